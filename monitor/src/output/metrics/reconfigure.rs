//! Other rules: their series come, and those of rules that are gone go.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError},
};

use super::{Metrics, ports, series_of};
use crate::{event::Protocol, policy::Policy, registry::Registry};

impl Metrics {
    /// The series of ports that are watched.
    pub(super) fn prepare_ports(&self, watched: &[(Protocol, u16)]) {
        for (protocol, port) in watched {
            let (protocol, port) = (protocol.as_str(), port.to_string());
            let labels = [protocol, &port];
            self.watched_listeners.with_label_values(&labels).set(0);
            self.watched_listens.with_label_values(&labels).reset();
            for result in ["ok", "error"] {
                self.watched_binds.with_label_values(&[protocol, &port, result]).reset();
            }
        }
    }

    /// The series of rules.
    pub(super) fn prepare_rules(&self, policy: &Policy) {
        self.expect(policy);
        for labels in policy.rules().iter().flat_map(series_of) {
            self.alerts.with_label_values(&labels).set(0);
            self.alerts_fired.with_label_values(&labels).reset();
        }
        for rule in policy.rules() {
            self.alerts_held_back.with_label_values(&[&rule.name]).reset();
        }
    }

    fn expect(&self, policy: &Policy) {
        let expectations = policy.expectations().len();
        self.expectations.set(i64::try_from(expectations).unwrap_or(i64::MAX));
    }

    /// Another configuration is in use from now on. What both have in common goes on; every listener has to be shown anew,
    /// by [`Metrics::shown`].
    pub fn reconfigure(&mut self, before: &Policy, policy: &Policy, registry: &Registry, max_series: usize) {
        let whole = Arc::clone(&self.whole);
        let _whole = whole.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = ports::with_series(policy, Some(before));
        let was_watched = std::mem::replace(&mut self.watched, watched);
        for (protocol, port) in was_watched.iter().filter(|port| !self.watched.contains(port)) {
            let (protocol, port) = (protocol.as_str(), port.to_string());
            // One that is not there is none to take out.
            let _ = self.watched_listeners.remove_label_values(&[protocol, &port]);
            let _ = self.watched_listens.remove_label_values(&[protocol, &port]);
            for result in ["ok", "error"] {
                let _ = self.watched_binds.remove_label_values(&[protocol, &port, result]);
            }
        }
        for (protocol, port) in &self.watched {
            let labels = [protocol.as_str(), &port.to_string()];
            self.watched_listeners.with_label_values(&labels).set(0);
        }
        let is_new = |port: &(Protocol, u16)| !was_watched.contains(port);
        let new: Vec<_> = self.watched.iter().copied().filter(is_new).collect();
        self.prepare_ports(&new);
        let now: Vec<_> = policy.rules().iter().flat_map(series_of).collect();
        let then: Vec<_> = before.rules().iter().flat_map(series_of).collect();
        for labels in then.iter().filter(|labels| !now.contains(labels)) {
            let _ = self.alerts.remove_label_values(labels);
            let _ = self.alerts_fired.remove_label_values(labels);
        }
        for labels in now.iter().filter(|labels| !then.contains(labels)) {
            self.alerts.with_label_values(labels).set(0);
            self.alerts_fired.with_label_values(labels).reset();
        }
        let (now, then): (HashSet<_>, HashSet<_>) = (names(policy).collect(), names(before).collect());
        for rule in then.difference(&now) {
            let _ = self.alerts_held_back.remove_label_values(&[rule]);
        }
        for rule in now.difference(&then) {
            self.alerts_held_back.with_label_values(&[rule]).reset();
        }
        self.expect(policy);
        self.budget.begin_anew(max_series);
        self.registry_in_use(registry);
    }
}

/// The names of all rules.
fn names(policy: &Policy) -> impl Iterator<Item = &str> {
    policy.rules().iter().map(|rule| rule.name.as_str())
}
