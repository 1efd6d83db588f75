//! Alerts: what fires them, who is told, and what outlives the agent.

use std::{sync::Arc, time::Duration};

use super::Pipeline;
use crate::{
    agent::state::{self, Stored},
    event::{Event, Scope},
    identity::clock,
    output::{
        Report,
        alert_states::{Listed, alerts as alerts_as_json},
        events::rfc3339,
        http::{Listing, lock},
        notices,
        notify::outbox::{Accepted, ENDED_MAX, Ended},
        sentence,
    },
    policy::{
        Rule, Severity,
        alerts::{Alert, AlertKey, Fired, Held, RATE, Terms},
        notice::{HELD_BACK, Over},
    },
};

/// Alerts that are written down one by one.
const FEW: usize = 64;

/// How often it is said which alerts were held back: ticks of the caller, which come once a second.
const HELD_TICKS: u64 = 60;

impl Pipeline {
    /// Takes over what the last agent left, once it has left it. Alerts of this boot go on; the listeners of another one are gone.
    pub(super) fn restore_alerts(&mut self) {
        if !self.state.claim() {
            return;
        }
        let now = clock::boot_now();
        let (stored, same_boot) = self.state.read();
        if !same_boot {
            self.before = stored;
            if self.first_look.is_some() {
                self.end_alerts_of_another_boot();
            }
            return;
        }
        for stored in stored {
            let rule = self.policy.rules().iter().find(|rule| rule.name == stored.rule);
            let over = match (stored.ended(), rule) {
                (None, Some(rule)) => {
                    let Some(alert) = stored.alert() else { continue };
                    let (key, severity, pending) = (Arc::clone(&alert.key), alert.severity, alert.pending);
                    // Whatever the other agent left late fires here by now, or its listeners are gone.
                    let fires = self.first_look.is_none() || self.alerts.get(&key).is_some();
                    if fires {
                        self.alerts.restore(alert, terms(rule));
                        if !pending && !self.receivers.are_remote() {
                            self.alerts.delivered(&key, severity, now);
                        }
                    }
                    (!fires).then_some(Over::Closed)
                }
                (ended, _) => Some(ended.map_or(Over::Unruled, |ended| ended.why)),
            };
            if !stored.pending {
                let ended = over.map(|why| stored.ended().unwrap_or(Ended { at: now, why }));
                self.restore_at_receivers(&stored, ended, now);
            }
        }
    }

    fn restore_at_receivers(&self, stored: &Stored, ended: Option<Ended>, now: u64) {
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
                let why = Over::Rebooted;
                self.restore_at_receivers(&stored.of_another_boot(), Some(Ended { at: now, why }), now);
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
                    self.receivers.supersede(&before, Over::Worse, now);
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

    /// Whether this program did that, and not this process, on loopback: nothing of it but agents and `test-alert` listens.
    pub(super) fn is_test(&self, event: &Event) -> bool {
        let executable = event.opener.executable.as_ref();
        let program = executable.map(|executable| (executable.device, executable.inode));
        let is_ours = event.opener.tgid != self.own && program.is_some() && program == self.program;
        is_ours && event.scope() == Scope::Loopback
    }

    /// Tells that an alert fires.
    fn fired(&mut self, key: &AlertKey) {
        if let Some(held) = self.held_unsaid.remove(&key.rule) {
            self.alerts.annotate(key, HELD_BACK, &held);
        }
        let Some(alert) = self.alerts.get(key).cloned() else {
            return;
        };
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
        let level = match alert.severity {
            Severity::Critical => ::log::Level::Error,
            Severity::Warning => ::log::Level::Warn,
            Severity::Info => ::log::Level::Info,
        };
        ::log::log!(
            level,
            rule = key.rule.as_str(), severity = alert.severity.as_str(), protocol = key.protocol.as_str(),
            port = key.port, process = key.process.as_str(), netns = key.netns, pid = listener.pid.unwrap_or(0),
            exe = listener.exe.as_deref().unwrap_or("-"), address = listener.address.as_str();
            "alert: {}", alert.notice.summary()
        );
        let line = self.lines.alert(&alert, self.clock);
        self.write(line);
    }

    pub(super) fn told_as_over(&mut self, alert: &Alert, why: Over, now: u64) {
        self.ended.push_back((alert.clone(), now));
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
        ::log::info!(
            rule = alert.key.rule.as_str(), severity = alert.severity.as_str(),
            protocol = alert.key.protocol.as_str(), port = alert.key.port, process = alert.key.process.as_str(),
            netns = alert.key.netns;
            "{}", sentence::resolved(&alert.key, why, &rfc3339(self.clock, alert.fired))
        );
        let line = self.lines.alert_resolved(alert, now, self.clock);
        self.write(line);
    }

    /// Once a second: alerts whose time has come, and those that are over.
    pub(super) fn tick_alerts(&mut self, now: u64) {
        // Another agent may have left the folder by now.
        self.restore_alerts();
        self.note_accepted(now);
        // Before the first look the listeners of alerts that fired before are still to be found.
        let resolved = match self.first_look {
            Some(_) => self.alerts.resolve(now),
            None => Vec::new(),
        };
        for alert in &resolved {
            let why = if alert.last().is_some() {
                Over::Quiet
            } else {
                Over::Closed
            };
            self.receivers.end(alert, why, now);
            self.told_as_over(alert, why, now);
        }
        for alert in self.alerts.fire_due(now) {
            self.fired(&alert.key);
        }
        if !resolved.is_empty() {
            self.count_alerts();
        }
        for (rule, held) in self.alerts.take_held() {
            lock(&self.metrics).alerts_held_back(&rule, held.count);
            self.held_back.entry(rule).or_default().extend(held);
        }
        if self.ticks.is_multiple_of(HELD_TICKS) {
            for (rule, held) in std::mem::take(&mut self.held_back) {
                self.say_held_back(rule, &held);
            }
        }
        self.keep_alerts();
    }

    /// Says which alerts of a rule were held back: in the log, with the alert of it that fired last, and with the one that fires
    /// next, since a webhook is told of no change.
    fn say_held_back(&mut self, rule: String, held: &Held) {
        let sentence = held.sentence();
        ::log::warn!(
            rule = rule.as_str(), count = held.count;
            "{sentence}; a rule fires {RATE} a minute, and then those whose listeners are still open"
        );
        let newest = self.alerts.newest_of(&rule).map(|alert| Arc::clone(&alert.key));
        let annotated = newest.and_then(|key| self.alerts.annotate(&key, HELD_BACK, &sentence));
        if let Some(alert) = annotated {
            self.receivers.update(&alert.key, alert.severity, &alert.notice);
        }
        self.held_unsaid.insert(rule, sentence);
    }

    /// Takes what receivers accepted.
    pub(super) fn note_accepted(&mut self, now: u64) {
        for Accepted { key, severity, at } in self.receivers.look(now) {
            self.alerts.delivered(&key, severity, at);
        }
    }

    /// The alerts that fire, are pending, or ended lately, to be written down by whoever asked.
    pub(in crate::agent) fn alert_listing(&mut self) -> Listing {
        self.note_accepted(clock::boot_now());
        let names: Vec<String> = self.receivers.names().map(str::to_owned).collect();
        let (host, clock) = (self.ours.instance.clone(), self.clock);
        let now = self.alerts.all().map(|alert| (alert, None));
        let ended = self.ended.iter().map(|(alert, at)| (alert, Some(*at)));
        let all: Vec<_> = now
            .chain(ended)
            .map(|(alert, ended)| Listed {
                alert: alert.clone(),
                ended,
                told: self.receivers.told(alert),
            })
            .collect();
        Box::new(move || Ok(alerts_as_json(&host, clock::boot_now(), clock, &names, &all)))
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
