//! Counts of alerts, and of what became of telling them.

use std::collections::HashMap;

use super::Metrics;
use crate::policy::{Policy, Severity};

impl Metrics {
    /// The alerts that fire now.
    pub fn alerts_firing<'a>(&self, policy: &Policy, firing: impl Iterator<Item = (&'a str, Severity)>) {
        let mut counts: HashMap<(&str, Severity), i64> = HashMap::new();
        for rule in policy.rules() {
            for severity in [Some(rule.severity), rule.automatic_severity].into_iter().flatten() {
                counts.insert((&rule.name, severity), 0);
            }
        }
        for alert in firing {
            *counts.entry(alert).or_default() += 1;
        }
        for ((rule, severity), count) in counts {
            self.alerts.with_label_values(&[rule, severity.as_str()]).set(count);
        }
    }

    /// An alert fired.
    pub fn alert_fired(&self, rule: &str, severity: Severity) {
        self.alerts_fired.with_label_values(&[rule, severity.as_str()]).inc();
    }

    /// So many alerts of a rule were held back.
    pub fn alerts_held_back(&self, rule: &str, count: u64) {
        self.alerts_held_back.with_label_values(&[rule]).inc_by(count);
    }

    /// These are told of alerts.
    pub fn receivers<'a>(&self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            self.notification_queue.with_label_values(&[name]).set(0);
            for result in ["ok", "error", "dropped"] {
                self.notifications.with_label_values(&[name, result]).reset();
            }
        }
    }

    /// So many alerts were sent to a receiver, with this result.
    pub fn notified(&self, receiver: &str, result: &str, alerts: u64) {
        self.notifications.with_label_values(&[receiver, result]).inc_by(alerts);
    }

    /// So many alerts wait for a receiver.
    pub fn notifications_wait(&self, receiver: &str, alerts: usize) {
        let length = i64::try_from(alerts).unwrap_or(i64::MAX);
        self.notification_queue.with_label_values(&[receiver]).set(length);
    }
}
