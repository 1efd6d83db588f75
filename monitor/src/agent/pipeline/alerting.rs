//! Alerts: what fires them, who is told, and what outlives the agent.

use std::time::Duration;

use super::Pipeline;
use crate::{
    agent::state::{self, Stored},
    event::Event,
    identity::clock,
    output::{
        Report,
        alert_states::alerts as alerts_as_json,
        events::rfc3339,
        http::{Listing, lock},
        notices,
        notify::outbox::Status,
        sentence::{self, Over},
    },
    policy::{
        Rule,
        alerts::{Alert, AlertKey, Fired, RATE, Terms},
    },
};

/// Alerts that are written down one by one.
const FEW: usize = 64;

/// How often it is said which alerts were held back: ticks of the caller, which come once a second.
const HELD_TICKS: u64 = 60;

impl Pipeline {
    /// Takes over what the last agent left. Alerts of this boot go on; the listeners of another one are gone.
    pub(super) fn restore_alerts(&mut self) {
        let now = clock::boot_now();
        let (stored, same_boot) = self.state.read();
        if !same_boot {
            self.before = stored;
            return;
        }
        for stored in stored {
            let rule = self.policy.rules().iter().find(|rule| rule.name == stored.rule);
            match rule.filter(|_| stored.ended.is_none()) {
                Some(rule) => {
                    let Some(alert) = stored.alert() else { continue };
                    let (key, severity, pending) = (alert.key.clone(), alert.severity, alert.pending);
                    self.alerts.restore(alert, terms(rule));
                    if pending {
                        continue;
                    }
                    if !self.receivers.are_remote() {
                        self.alerts.delivered(&key, severity, now);
                    }
                    self.restore_at_receivers(&stored, None, now);
                }
                // It is over, or its rule is gone and it with it.
                None if !stored.pending => self.restore_at_receivers(&stored, stored.ended.or(Some(now)), now),
                None => {}
            }
        }
    }

    fn restore_at_receivers(&self, stored: &Stored, ended: Option<u64>, now: u64) {
        if let Some(outgoing) = stored.outgoing() {
            let keep = stored.keep();
            self.receivers.restore(&outgoing, keep, ended, &stored.receivers, now);
        }
    }

    /// After the first look: whatever fired in another boot and does not fire again is over.
    pub(super) fn end_alerts_of_another_boot(&mut self) {
        let now = clock::boot_now();
        for stored in std::mem::take(&mut self.before) {
            if !stored.pending {
                self.restore_at_receivers(&stored.of_another_boot(), Some(now), now);
            }
        }
    }

    /// Fires the alerts of the rules that matched.
    pub(super) fn alert(&mut self, event: &Event, report: &Report) {
        let now = clock::boot_now();
        for finding in &report.findings {
            let Some(rule) = self.policy.rules().iter().find(|rule| rule.name == finding.rule) else {
                continue;
            };
            let key = AlertKey {
                rule: rule.name.clone(),
                protocol: event.socket.protocol,
                port: event.subject().port,
                process: report.label.clone(),
                netns: event.socket.netns,
            };
            let socket = (!finding.span).then_some(event.socket.key);
            let (severity, ours) = (finding.severity, &self.ours);
            let make = || notices::notice(event, report, rule, severity, ours);
            let terms = Terms {
                // Of its own `test-alert` it is to be seen that it ends.
                keep: if self.is_test(event) {
                    Duration::ZERO
                } else {
                    rule.keep_firing_for
                },
                ..terms(rule)
            };
            match self.alerts.matched(&key, severity, terms, socket, now, make) {
                Fired::New => self.fired(&key),
                Fired::Worse(before) => {
                    self.receivers.supersede(&before, now);
                    self.told_as_over(&before, Over::Worse, now);
                    self.fired(&key);
                }
                Fired::Already => {
                    let address = event.subject().address.to_string();
                    if let Some(alert) = self.alerts.also_at(&key, &address) {
                        self.receivers.update(&key, alert.severity, &alert.notice);
                    }
                }
                Fired::Pending | Fired::Held => {}
                Fired::Dropped => self.lose("alerts", 1),
            }
        }
    }

    /// Whether this program did that, and not this process: nothing of it but the agent and `test-alert` listens.
    fn is_test(&self, event: &Event) -> bool {
        let executable = event.opener.executable.as_ref();
        let program = executable.map(|executable| (executable.device, executable.inode));
        event.opener.tgid != self.own && program.is_some() && program == self.program
    }

    /// Tells that an alert fires.
    fn fired(&mut self, key: &AlertKey) {
        let Some(alert) = self.alerts.get(key).cloned() else {
            return;
        };
        self.ledger.fired(&alert);
        // The receivers first: they take the longest.
        self.receivers.fire(&alert, self.clock);
        if !self.receivers.are_remote() {
            self.alerts.delivered(key, alert.severity, alert.fired);
        }
        lock(&self.metrics).alert_fired(&key.rule, alert.severity);
        self.count_alerts();
        if self.alerts.len() <= FEW {
            // Whatever happens to the agent now, the next one knows. Of many, the next tick writes all at once.
            self.keep_alerts();
        }
        let listener = &alert.notice.listener;
        ::log::warn!(
            rule = key.rule.as_str(), severity = alert.severity.as_str(), protocol = key.protocol.as_str(),
            port = key.port, process = key.process.as_str(), netns = key.netns, pid = listener.pid.unwrap_or(0),
            exe = listener.exe.as_deref().unwrap_or("-"), address = listener.address.as_str();
            "alert: {}", alert.notice.summary()
        );
        let line = self.lines.alert(&alert, self.clock);
        self.write(line);
    }

    pub(super) fn told_as_over(&mut self, alert: &Alert, why: Over, now: u64) {
        self.ledger.ended(alert, now);
        ::log::info!(
            rule = alert.key.rule.as_str(), severity = alert.severity.as_str(),
            protocol = alert.key.protocol.as_str(), port = alert.key.port, process = alert.key.process.as_str(),
            netns = alert.key.netns;
            "{}", sentence::resolved(alert, why, &rfc3339(self.clock, alert.fired))
        );
        let line = self.lines.alert_resolved(alert, now, self.clock);
        self.write(line);
    }

    /// Once a second: alerts whose time has come, and those that are over.
    pub(super) fn tick_alerts(&mut self, now: u64) {
        self.note_accepted(now);
        // Before the first look the listeners of alerts that fired before are still to be found.
        let resolved = match self.first_look {
            Some(_) => self.alerts.resolve(now),
            None => Vec::new(),
        };
        for alert in &resolved {
            self.receivers.end(alert, now);
            self.told_as_over(alert, Over::Ended, now);
        }
        for alert in self.alerts.fire_due(now) {
            self.fired(&alert.key);
        }
        if !resolved.is_empty() {
            self.count_alerts();
        }
        for (rule, count) in self.alerts.take_held() {
            lock(&self.metrics).alerts_held_back(&rule, count);
            *self.held_back.entry(rule).or_default() += count;
        }
        if self.ticks.is_multiple_of(HELD_TICKS) {
            for (rule, count) in std::mem::take(&mut self.held_back) {
                ::log::warn!(
                    rule = rule.as_str(), count = count;
                    "alerts were held back: a rule fires {RATE} a minute, and then those whose listeners are still open"
                );
            }
        }
        self.keep_alerts();
    }

    /// Takes what receivers accepted.
    pub(super) fn note_accepted(&mut self, now: u64) {
        for told in self.receivers.look(now) {
            self.ledger.note(&told);
            let accepted = &told.accepted;
            if told.is_remote && accepted.status == Status::Firing {
                self.alerts.delivered(&accepted.key, accepted.severity, accepted.at);
            }
        }
    }

    /// The alerts that fire, are pending, or ended lately, to be written down by whoever asked.
    pub(in crate::agent) fn alert_listing(&mut self) -> Listing {
        self.note_accepted(clock::boot_now());
        let names: Vec<String> = self.receivers.names().map(str::to_owned).collect();
        let (host, clock) = (self.ours.instance.clone(), self.clock);
        let now = self
            .alerts
            .all()
            .map(|alert| (alert.clone(), None, self.ledger.of(alert)));
        let ended = self.ledger.all_ended();
        let ended = ended.map(|ended| (ended.alert.clone(), Some(ended.at), ended.told.clone()));
        let all: Vec<_> = now.chain(ended).collect();
        Box::new(move || {
            let alerts = all.iter().map(|(alert, ended, told)| {
                let told = told
                    .iter()
                    .map(|(name, times)| (name.as_str(), times.firing, times.resolved));
                (alert, *ended, told.collect())
            });
            Ok(alerts_as_json(&host, clock::boot_now(), clock, &names, alerts))
        })
    }

    pub(super) fn count_alerts(&self) {
        let firing = self
            .alerts
            .firing()
            .map(|alert| (alert.key.rule.as_str(), alert.severity));
        lock(&self.metrics).alerts_firing(&self.policy, firing);
    }

    /// Writes down which alerts fire and who knows, where that changed.
    pub(super) fn keep_alerts(&mut self) {
        let changes = self.alerts.changes() + self.receivers.changes();
        let (alerts, receivers, clock) = (&self.alerts, &self.receivers, self.clock);
        let before = &self.before;
        self.state.write(changes, || {
            let mut all = state::stored(alerts.all(), &receivers.kept(), clock);
            // Until it is known whether they fire again.
            all.extend(before.iter().map(Stored::of_another_boot));
            all
        });
    }
}

/// What a rule says of the life of its alerts.
pub(super) fn terms(rule: &Rule) -> Terms {
    Terms {
        wait: rule.for_,
        keep: rule.keep_firing_for,
    }
}
