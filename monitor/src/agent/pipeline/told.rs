//! Which receivers were told what of an alert, and when: for whoever asks.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::{
    output::notify::{Told, outbox::Status},
    policy::{
        Severity,
        alerts::{Alert, AlertKey},
    },
};

/// Alerts that are over, and still told of.
const ENDED_MAX: usize = 64;

/// When a receiver accepted that an alert fires, and that it is over: nanoseconds since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::agent) struct Times {
    pub(in crate::agent) firing: Option<u64>,
    pub(in crate::agent) resolved: Option<u64>,
}

/// By the receiver's name.
pub(in crate::agent) type ByReceiver = BTreeMap<String, Times>;

/// An alert that is over.
#[derive(Clone, Debug)]
pub(in crate::agent) struct Ended {
    pub(in crate::agent) alert: Alert,
    pub(in crate::agent) at: u64,
    pub(in crate::agent) told: ByReceiver,
}

/// What receivers were told.
#[derive(Debug, Default)]
pub(in crate::agent) struct Ledger {
    firing: HashMap<(AlertKey, Severity), ByReceiver>,
    ended: VecDeque<Ended>,
}

impl Ledger {
    /// A receiver accepted something.
    pub(in crate::agent) fn note(&mut self, told: &Told) {
        let (accepted, name) = (&told.accepted, &told.receiver);
        let slot = (accepted.key.clone(), accepted.severity);
        let ended = self.ended.iter_mut().rev().find(|ended| {
            let alert = &ended.alert;
            alert.key == slot.0 && alert.severity == slot.1
        });
        let receivers = match (accepted.status, ended) {
            (Status::Firing, Some(ended)) if ended.told.get(name).is_none_or(|times| times.resolved.is_none()) => {
                // It is told late that it fired, and later that it is over.
                if self.firing.contains_key(&slot) {
                    self.firing.entry(slot).or_default()
                } else {
                    &mut ended.told
                }
            }
            (Status::Firing, _) => self.firing.entry(slot).or_default(),
            (Status::Resolved, Some(ended)) => &mut ended.told,
            (Status::Resolved, None) => return,
        };
        let times = receivers.entry(name.clone()).or_default();
        match accepted.status {
            Status::Firing => times.firing = Some(accepted.at),
            Status::Resolved => times.resolved = Some(accepted.at),
        }
    }

    /// An alert fires.
    pub(in crate::agent) fn fired(&mut self, alert: &Alert) {
        self.firing
            .insert((alert.key.clone(), alert.severity), ByReceiver::new());
    }

    /// An alert is over.
    pub(in crate::agent) fn ended(&mut self, alert: &Alert, at: u64) {
        let told = self.firing.remove(&(alert.key.clone(), alert.severity));
        self.ended.push_back(Ended {
            alert: alert.clone(),
            at,
            told: told.unwrap_or_default(),
        });
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
    }

    /// What is known of an alert that fires.
    pub(in crate::agent) fn of(&self, alert: &Alert) -> ByReceiver {
        let slot = (alert.key.clone(), alert.severity);
        self.firing.get(&slot).cloned().unwrap_or_default()
    }

    /// The alerts that ended last, the newest at the end.
    pub(in crate::agent) fn all_ended(&self) -> impl Iterator<Item = &Ended> {
        self.ended.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{notify::outbox::Accepted, samples};

    fn told(alert: &Alert, status: Status, at: u64) -> Told {
        Told {
            receiver: "webhook/a:80".to_owned(),
            is_remote: true,
            accepted: Accepted {
                key: alert.key.clone(),
                severity: alert.severity,
                status,
                at,
            },
        }
    }

    #[test]
    fn what_a_receiver_accepts_stays_with_its_alert_until_many_others_ended() {
        let (mut ledger, alert) = (Ledger::default(), samples::alert(1));
        ledger.fired(&alert);
        ledger.note(&told(&alert, Status::Firing, 2));
        assert_eq!(ledger.of(&alert)["webhook/a:80"].firing, Some(2));
        ledger.ended(&alert, 3);
        ledger.note(&told(&alert, Status::Resolved, 4));
        let times = ledger.all_ended().next().unwrap().told["webhook/a:80"];
        assert_eq!((times.firing, times.resolved), (Some(2), Some(4)));
        // It fires again.
        ledger.fired(&alert);
        ledger.note(&told(&alert, Status::Firing, 5));
        assert_eq!(ledger.of(&alert)["webhook/a:80"].firing, Some(5));
        for _ in 0..=ENDED_MAX {
            ledger.ended(&alert, 6);
        }
        assert_eq!(ledger.all_ended().count(), ENDED_MAX);
    }

    #[test]
    fn an_alert_that_is_over_before_its_receiver_took_it_is_told_with_both_times() {
        let (mut ledger, alert) = (Ledger::default(), samples::alert(1));
        ledger.fired(&alert);
        ledger.ended(&alert, 3);
        ledger.note(&told(&alert, Status::Firing, 4));
        ledger.note(&told(&alert, Status::Resolved, 5));
        let times = ledger.all_ended().next().unwrap().told["webhook/a:80"];
        assert_eq!((times.firing, times.resolved), (Some(4), Some(5)));
    }
}
