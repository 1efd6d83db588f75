//! Alerts and their life. One alert for each (rule, protocol, port, process, namespace): it fires while at least one
//! such listener is open, and for `keep_firing_for` from its first delivery at the least.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::Severity;
use crate::event::{Protocol, SocketKey};

/// Alerts that fire at most at one time; one more is dropped, which the caller counts.
pub const ALERTS_MAX: usize = 4_096;

/// What makes two listeners one alert. IPv4 and IPv6 of one service are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AlertKey {
    /// Name of the rule.
    pub rule: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
    /// The process, as metrics name it.
    pub process: String,
    /// Inode of the network namespace.
    pub netns: u32,
}

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What it is about.
    pub key: AlertKey,
    /// How bad it is: the worst of its listeners so far.
    pub severity: Severity,
    /// When it fired: nanoseconds since boot.
    pub fired: u64,
    /// When it was first delivered; 0 for not yet.
    delivered: Option<u64>,
    keep: Duration,
    open: HashSet<SocketKey>,
}

/// The alerts that fire.
#[derive(Debug, Default)]
pub struct Alerts {
    firing: HashMap<AlertKey, Alert>,
}

/// What a listener did to its alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fired {
    /// It fires now.
    New,
    /// It fired already.
    Already,
    /// There are too many: for the caller to count.
    Dropped,
}

impl Alerts {
    /// Gives back room that is not needed now.
    pub fn shrink(&mut self) {
        self.firing.shrink_to_fit();
        for alert in self.firing.values_mut() {
            alert.open.shrink_to_fit();
        }
    }

    /// A listener matched a rule.
    pub fn opened(&mut self, key: AlertKey, severity: Severity, keep: Duration, socket: SocketKey, now: u64) -> Fired {
        if let Some(alert) = self.firing.get_mut(&key) {
            alert.open.insert(socket);
            alert.severity = alert.severity.max(severity);
            return Fired::Already;
        }
        if self.firing.len() >= ALERTS_MAX {
            return Fired::Dropped;
        }
        let open = HashSet::from([socket]);
        let alert = Alert {
            key: key.clone(),
            severity,
            fired: now,
            delivered: None,
            keep,
            open,
        };
        self.firing.insert(key, alert);
        Fired::New
    }

    /// Takes over an alert that fired before the agent started, with its rule's `keep`. Its listeners are still to be found.
    pub fn restore(&mut self, alert: Alert, keep: Duration) {
        if self.firing.len() < ALERTS_MAX {
            self.firing.insert(alert.key.clone(), Alert { keep, ..alert });
        }
    }

    /// Somebody took delivery of an alert. Without receivers, the log and the event stream do.
    pub fn delivered(&mut self, key: &AlertKey, now: u64) {
        if let Some(alert) = self.firing.get_mut(key) {
            alert.delivered.get_or_insert(now);
        }
    }

    /// A listener ended.
    pub fn closed(&mut self, socket: SocketKey) {
        for alert in self.firing.values_mut() {
            alert.open.remove(&socket);
        }
    }

    /// Takes out the alerts whose listeners are gone and that have been delivered for long enough, in a stable order.
    pub fn resolve(&mut self, now: u64) -> Vec<Alert> {
        let mut over: Vec<_> = self
            .firing
            .values()
            .filter(|alert| alert.is_over(now))
            .cloned()
            .collect();
        over.sort_by(|a, b| a.key.cmp(&b.key));
        for alert in &over {
            self.firing.remove(&alert.key);
        }
        over
    }

    /// How many fire.
    pub fn len(&self) -> usize {
        self.firing.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.firing.is_empty()
    }

    /// The alerts that fire, in no order.
    pub fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.firing.values()
    }
}

impl Alert {
    /// One that fired, and was delivered, before the agent started.
    pub fn of_before(key: AlertKey, severity: Severity, fired: u64, delivered: u64) -> Self {
        Self {
            key,
            severity,
            fired,
            delivered: Some(delivered),
            keep: Duration::ZERO,
            open: HashSet::new(),
        }
    }

    /// When it was first delivered: nanoseconds since boot.
    pub fn delivered(&self) -> Option<u64> {
        self.delivered
    }

    fn is_over(&self, now: u64) -> bool {
        self.open.is_empty()
            && self
                .delivered
                .is_some_and(|since| Duration::from_nanos(now.saturating_sub(since)) >= self.keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn key(port: u16) -> AlertKey {
        AlertKey {
            rule: "dormant-port".into(),
            protocol: Protocol::Tcp,
            port,
            process: "nc".into(),
            netns: 1,
        }
    }

    fn open(alerts: &mut Alerts, port: u16, socket: u64, now: u64) -> Fired {
        let fired = alerts.opened(
            key(port),
            Severity::Critical,
            Duration::from_secs(60),
            SocketKey::new(socket),
            now,
        );
        alerts.delivered(&key(port), now);
        fired
    }

    #[test]
    fn two_sockets_of_one_service_are_one_alert() {
        let mut alerts = Alerts::default();
        assert_eq!(open(&mut alerts, 1992, 1, 0), Fired::New);
        assert_eq!(open(&mut alerts, 1992, 2, 0), Fired::Already);
        alerts.closed(SocketKey::new(1));
        assert!(alerts.resolve(100 * SECOND).is_empty(), "one is still open");
        alerts.closed(SocketKey::new(2));
        assert_eq!(alerts.resolve(100 * SECOND).len(), 1);
        assert_eq!(alerts.firing().count(), 0);
    }

    #[test]
    fn a_short_listener_keeps_its_alert_firing_from_the_first_delivery_on() {
        let mut alerts = Alerts::default();
        open(&mut alerts, 1992, 1, 10 * SECOND);
        alerts.closed(SocketKey::new(1));
        assert!(alerts.resolve(69 * SECOND).is_empty());
        assert_eq!(alerts.resolve(70 * SECOND).len(), 1);
    }

    #[test]
    fn an_alert_that_nobody_took_does_not_resolve() {
        let mut alerts = Alerts::default();
        alerts.opened(key(1992), Severity::Critical, Duration::ZERO, SocketKey::new(1), 0);
        alerts.closed(SocketKey::new(1));
        assert!(alerts.resolve(u64::MAX).is_empty());
        alerts.delivered(&key(1992), 5);
        assert_eq!(alerts.resolve(5).len(), 1);
    }

    #[test]
    fn a_listener_that_comes_back_while_its_alert_fires_does_not_fire_again() {
        let mut alerts = Alerts::default();
        open(&mut alerts, 1992, 1, 0);
        alerts.closed(SocketKey::new(1));
        assert_eq!(open(&mut alerts, 1992, 2, 30 * SECOND), Fired::Already);
        assert!(alerts.resolve(100 * SECOND).is_empty());
    }

    #[test]
    fn the_severity_is_the_worst_so_far() {
        let mut alerts = Alerts::default();
        let mut add = |socket, severity| {
            alerts.opened(key(1992), severity, Duration::ZERO, SocketKey::new(socket), 0);
        };
        add(1, Severity::Warning);
        add(2, Severity::Critical);
        add(3, Severity::Warning);
        assert_eq!(alerts.firing().next().unwrap().severity, Severity::Critical);
    }

    #[test]
    fn past_the_bound_an_alert_is_dropped_and_one_that_fires_is_not() {
        let mut alerts = Alerts::default();
        let mut open = |index: usize| {
            let key = AlertKey {
                process: index.to_string(),
                ..key(1992)
            };
            alerts.opened(key, Severity::Info, Duration::ZERO, SocketKey::new(1), 0)
        };
        for index in 0..ALERTS_MAX {
            assert_eq!(open(index), Fired::New);
        }
        assert_eq!((open(ALERTS_MAX), open(0)), (Fired::Dropped, Fired::Already));
        assert_eq!(alerts.firing().count(), ALERTS_MAX);
    }
}
