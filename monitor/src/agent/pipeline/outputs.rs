//! What leaves the pipeline: lines, alerts, and what was lost.

use super::Pipeline;
use crate::{
    event::{Event, SocketKey},
    identity::clock,
    inventory::reconcile::is_missed,
    kernel::is_of_listens,
    output::{
        Report,
        events::listeners as listeners_as_json,
        http::{Listing, lock},
        log, sentence,
        writer::{Unwritten, Writer},
    },
    policy::alerts::{AlertKey, Fired},
};

/// Stands for what is over as it is told. The socket itself may be a listener, whose own alert must not close with it; no
/// `struct sock` has this address.
const SPAN: SocketKey = SocketKey::new(u64::MAX);

/// Alerts that are written down one by one.
const FEW: usize = 64;

impl Pipeline {
    /// All that listens, to be written down by whoever asked.
    pub(in crate::agent) fn listing(&self) -> Listing {
        let (all, host, clock) = (self.inventory.all(), self.instance.clone(), self.clock);
        Box::new(move || {
            let listeners = all
                .iter()
                .map(|listener| (&listener.opened, &listener.known.report, listener.holders.as_slice()));
            listeners_as_json(&host, clock::boot_now(), clock, listeners)
        })
    }

    /// One line for each thing that happened: JSON where that is asked for, else in the log.
    pub(super) fn tell(&mut self, event: &Event, report: &Report) {
        if self.writer.is_some() {
            let line = self.lines.socket(event, report, self.clock);
            self.write(line);
        } else {
            sentence::log(event, report);
        }
    }

    pub(super) fn write(&mut self, line: String) {
        if let Some(writer) = &self.writer
            && !writer.write(line)
        {
            self.lose("stdout", 1);
        }
    }

    /// Counts a loss in user space, at one of the edges of `metrics`.
    pub(super) fn lose(&mut self, edge: &'static str, count: u64) {
        lock(&self.metrics).lost(edge, count);
        *self.losses.entry(edge).or_default() += count;
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
            let keep = rule.keep_firing_for;
            let socket = if finding.span { SPAN } else { event.socket.key };
            let fired = self.alerts.opened(key.clone(), finding.severity, keep, socket, now);
            if finding.span {
                self.alerts.closed(socket);
            }
            match fired {
                Fired::New => {}
                // It may be worse now than it was.
                Fired::Already => {
                    self.count_alerts();
                    continue;
                }
                Fired::Dropped => {
                    self.lose("alerts", 1);
                    continue;
                }
            }
            // Log and event stream take delivery at once; receivers that may refuse come with notifications.
            self.alerts.delivered(&key, now);
            lock(&self.metrics).alert_fired(&key.rule, finding.severity);
            self.count_alerts();
            if self.alerts.len() <= FEW {
                // Whatever happens to the agent now, the next one knows. Of many, the next tick writes all at once.
                self.state.write(self.alerts.firing());
            }
            let summary = sentence::summary(event, report, &self.instance);
            ::log::warn!(
                rule = key.rule.as_str(), severity = finding.severity.as_str(), protocol = key.protocol.as_str(),
                port = key.port, process = key.process.as_str(), netns = key.netns, pid = event.opener.tgid,
                exe = report.process.exe.as_deref().unwrap_or("-"), address = event.socket.address.to_string();
                "alert: {summary}"
            );
            let alert = self.alerts.firing().find(|alert| alert.key == key);
            if let Some(line) = alert.map(|alert| self.lines.alert(alert, event, report, &summary, self.clock)) {
                self.write(line);
            }
        }
    }

    pub(super) fn count_alerts(&self) {
        let firing = self
            .alerts
            .firing()
            .map(|alert| (alert.key.rule.as_str(), alert.severity));
        lock(&self.metrics).alerts_firing(&self.policy, firing);
    }

    /// Tells what was lost since the last time.
    pub(super) fn count_losses(&mut self, now: u64) {
        let missed = match self.counters.read(now) {
            Ok(counters) => {
                let mut metrics = lock(&self.metrics);
                self.losses.extend(metrics.kernel_counters(&counters));
                metrics.hooks_missed(&self.misses.add(&counters.misses()))
            }
            Err(error) => {
                ::log::error!("{error:#}");
                Vec::new()
            }
        };
        for (hook, count) in missed {
            ::log::warn!(hook = hook, count = count; "the kernel left out runs of a hook");
            if is_of_listens(hook) {
                self.lose("hook", count);
            }
        }
        let unwritten = self
            .writer
            .as_ref()
            .map_or_else(Unwritten::default, Writer::take_unwritten);
        if unwritten.events > 0 {
            self.lose("stdout", unwritten.events);
        }
        lock(&self.metrics).lost("stdout", unwritten.about_losses);
        let unlogged = log::take_lost();
        if unlogged > 0 {
            self.lose("log", unlogged);
        }
        for (edge, count) in std::mem::take(&mut self.losses) {
            if is_missed(edge) {
                self.reconcile.lost();
            }
            // Of lines of the log the log cannot say it: that would be one more.
            if edge != "log" {
                ::log::warn!(edge = edge, count = count; "events were lost");
            }
            let line = self.lines.lost(edge, count, now, self.clock);
            // Where even this line is not written, only the metric says so: telling it would lose another one.
            if self
                .writer
                .as_ref()
                .is_some_and(|writer| !writer.write_about_loss(line))
            {
                lock(&self.metrics).lost("stdout", 1);
            }
        }
    }
}
