//! Counts of alerts, and of what became of telling them.

use std::collections::HashMap;

use super::{Metrics, severities};
use crate::policy::{Policy, Severity};

impl Metrics {
    /// The alerts that fire now.
    pub fn alerts_firing<'a>(&self, policy: &Policy, firing: impl Iterator<Item = (&'a str, Severity)>) {
        let mut counts: HashMap<(&str, Severity), i64> = HashMap::new();
        for rule in policy.rules() {
            for severity in severities(rule) {
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

    /// Somebody is told of alerts.
    pub fn receiver(&self, name: &str) {
        self.notification_queue.with_label_values(&[name]).set(0);
        for result in ["ok", "error", "dropped"] {
            self.notifications.with_label_values(&[name, result]).inc_by(0);
        }
    }

    /// A receiver is told no more.
    pub fn no_receiver(&self, name: &str) {
        // One that is not there is none to take out.
        let _ = self.notification_queue.remove_label_values(&[name]);
        for result in ["ok", "error", "dropped"] {
            let _ = self.notifications.remove_label_values(&[name, result]);
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
