//! Alerts and their life: pending, firing, resolved.
//!
//! One alert for each (rule, protocol, port, process, namespace). It fires while at least one such listener is open, and for
//! `keep_firing_for` from its first delivery at the least. With `for`, or where its rule fires too many, it is pending first.
//! What opens no listener (a connect, an accept, a bind) makes it fire for a span: `keep_firing_for` after the last one.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{Severity, notice::Notice};
use crate::event::{Protocol, SocketKey};

/// Alerts that fire or are pending at most at one time; one more is dropped, which the caller counts.
pub const ALERTS_MAX: usize = 4_096;

/// Alerts of one rule that begin to fire within [`WINDOW`] at most.
pub const RATE: u32 = 60;

/// The time that [`RATE`] is about, in nanoseconds.
const WINDOW: u64 = 60 * 1_000_000_000;

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

/// What its rule says of the life of an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How long a listener is open before its alert fires.
    pub wait: Duration,
    /// How long it fires at least, from its first delivery on; and after the last event of a span.
    pub keep: Duration,
}

/// An alert that fires, or is pending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What it is about.
    pub key: AlertKey,
    /// How bad it is. It is a label, so an alert that gets worse ends, and another one fires.
    pub severity: Severity,
    /// When it fired, or began to be pending: nanoseconds since boot.
    pub fired: u64,
    /// Whether it does not fire yet.
    pub pending: bool,
    /// What receivers are told.
    pub notice: Arc<Notice>,
    /// When it was first delivered: nanoseconds since boot.
    delivered: Option<u64>,
    terms: Terms,
    open: HashSet<SocketKey>,
    /// When the last thing happened that opened no listener.
    last: Option<u64>,
    /// Whether its rule fired too many, which was counted.
    held: bool,
}

/// The alerts that fire or are pending.
#[derive(Debug, Default)]
pub struct Alerts {
    all: HashMap<AlertKey, Alert>,
    rates: BTreeMap<String, Rate>,
    changes: u64,
}

/// How many alerts of a rule began to fire lately.
#[derive(Debug, Default)]
struct Rate {
    since: u64,
    fired: u32,
    /// What was held back since somebody asked.
    held: u64,
}

/// What an event did to its alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fired {
    /// It fires now.
    New,
    /// It fires now, in place of this one, which was less severe.
    Worse(Box<Alert>),
    /// It fired already.
    Already,
    /// It will fire if its listener stays open.
    Pending,
    /// Its rule fires too many: it fires when there is room, if its listener is open then.
    Held,
    /// There are too many: for the caller to count.
    Dropped,
}

impl Rate {
    fn allows(&mut self, now: u64) -> bool {
        if self.fired == 0 || now.saturating_sub(self.since) >= WINDOW {
            (self.since, self.fired) = (now, 0);
        }
        let allows = self.fired < RATE;
        self.fired += u32::from(allows);
        allows
    }
}

impl Alerts {
    /// Gives back room that is not needed now.
    pub fn shrink(&mut self) {
        self.all.shrink_to_fit();
        for alert in self.all.values_mut() {
            alert.open.shrink_to_fit();
        }
    }

    /// Something matched a rule: a listener with this socket opened, or where there is none, something happened.
    /// `make` says what receivers are told; it is asked where they are told something new.
    pub fn matched(
        &mut self,
        key: &AlertKey,
        severity: Severity,
        terms: Terms,
        socket: Option<SocketKey>,
        now: u64,
        make: impl FnOnce() -> Notice,
    ) -> Fired {
        let last = socket.is_none().then_some(now);
        if let Some(alert) = self.all.get_mut(key) {
            alert.open.extend(socket);
            alert.last = last.or(alert.last);
            if severity <= alert.severity {
                return if alert.pending { Fired::Pending } else { Fired::Already };
            }
            self.changes += 1;
            let before = alert.clone();
            alert.severity = severity;
            alert.notice = Arc::new(make());
            if alert.pending {
                return Fired::Pending;
            }
            (alert.fired, alert.delivered) = (now, None);
            return Fired::Worse(Box::new(before));
        }
        if self.all.len() >= ALERTS_MAX {
            return Fired::Dropped;
        }
        // A span has nothing that could stay open.
        let waits = socket.is_some() && !terms.wait.is_zero();
        let held = !waits && !self.allows(&key.rule, now);
        if held && socket.is_none() {
            return Fired::Held;
        }
        self.changes += 1;
        let alert = Alert {
            key: key.clone(),
            severity,
            fired: now,
            pending: waits || held,
            notice: Arc::new(make()),
            delivered: None,
            terms,
            open: socket.into_iter().collect(),
            last,
            held,
        };
        self.all.insert(key.clone(), alert);
        match (waits, held) {
            (true, _) => Fired::Pending,
            (_, true) => Fired::Held,
            _ => Fired::New,
        }
    }

    /// Whether the rule may fire one more; where it may not, that counts as held back.
    fn allows(&mut self, rule: &str, now: u64) -> bool {
        if !self.rates.contains_key(rule) {
            self.rates.insert(rule.to_owned(), Rate::default());
        }
        self.rates.get_mut(rule).is_none_or(|rate| {
            let allows = rate.allows(now);
            rate.held += u64::from(!allows);
            allows
        })
    }

    /// Fires the pending alerts whose time has come, the most severe first, and gives them.
    pub fn fire_due(&mut self, now: u64) -> Vec<Alert> {
        let mut due: Vec<_> = self
            .all
            .values()
            .filter(|alert| alert.is_due(now))
            .map(|alert| (std::cmp::Reverse(alert.severity), alert.fired, alert.key.clone()))
            .collect();
        due.sort();
        let mut fired = Vec::new();
        for (_, _, key) in due {
            let (Some(alert), rate) = (self.all.get_mut(&key), self.rates.entry(key.rule.clone()).or_default()) else {
                continue;
            };
            if rate.allows(now) {
                self.changes += 1;
                (alert.pending, alert.fired) = (false, now);
                fired.push(alert.clone());
            } else if !std::mem::replace(&mut alert.held, true) {
                rate.held += 1;
            }
        }
        fired
    }

    /// What was held back since this was last asked, by rule.
    pub fn take_held(&mut self) -> Vec<(String, u64)> {
        let held = self.rates.iter_mut().filter(|(_, rate)| rate.held > 0);
        held.map(|(rule, rate)| (rule.clone(), std::mem::take(&mut rate.held)))
            .collect()
    }

    /// Takes over an alert of before the agent started, with the terms of its rule. Its listeners are still to be found.
    pub fn restore(&mut self, alert: Alert, terms: Terms) {
        if self.all.len() < ALERTS_MAX {
            self.all.insert(alert.key.clone(), Alert { terms, ..alert });
        }
    }

    /// Other rules are in force: `terms` are those of an alert, if its rule is still there, and `matches` says whether a socket
    /// still matches it. Gives the alerts that are over by that, whenever they fired.
    pub fn reconfigure(
        &mut self,
        terms: impl Fn(&AlertKey) -> Option<Terms>,
        matches: impl Fn(&AlertKey, SocketKey) -> bool,
    ) -> Vec<Alert> {
        let mut over = Vec::new();
        for alert in self.all.values_mut() {
            let Some(terms) = terms(&alert.key) else {
                over.push(alert.clone());
                continue;
            };
            alert.terms = terms;
            let before = alert.open.len();
            alert.open.retain(|socket| matches(&alert.key, *socket));
            // One whose listeners ended by themselves goes on for its time.
            if alert.open.is_empty() && before > 0 && alert.last.is_none() {
                over.push(alert.clone());
            }
        }
        over.sort_by(|one, other| one.key.cmp(&other.key));
        for alert in &over {
            self.all.remove(&alert.key);
            self.changes += 1;
        }
        over.retain(|alert| !alert.pending);
        over
    }

    /// Somebody took delivery of an alert. Without receivers, the log and the event stream do.
    pub fn delivered(&mut self, key: &AlertKey, severity: Severity, now: u64) {
        if let Some(alert) = self.all.get_mut(key)
            && alert.severity == severity
            && alert.delivered.is_none()
        {
            alert.delivered = Some(now);
            self.changes += 1;
        }
    }

    /// A listener of a known alert has this address too. Gives the alert where that is news.
    pub fn also_at(&mut self, key: &AlertKey, address: &str) -> Option<&Alert> {
        let alert = self.all.get_mut(key)?;
        if !Arc::make_mut(&mut alert.notice).add_address(address) {
            return None;
        }
        self.changes += 1;
        Some(alert)
    }

    /// A listener ended. What was pending for it alone will not fire.
    pub fn closed(&mut self, socket: SocketKey) {
        let mut gone = Vec::new();
        for alert in self.all.values_mut() {
            if alert.open.remove(&socket) && alert.pending && alert.open.is_empty() {
                gone.push(alert.key.clone());
            }
        }
        for key in gone {
            self.all.remove(&key);
            self.changes += 1;
        }
    }

    /// Takes out the alerts that are over, in a stable order. Not to be asked before the first look: until then the listeners of
    /// alerts of before are still to be found.
    pub fn resolve(&mut self, now: u64) -> Vec<Alert> {
        // Pending ones of before whose listener is gone.
        let before = self.all.len();
        self.all.retain(|_, alert| !alert.pending || !alert.open.is_empty());
        self.changes += u64::from(self.all.len() != before);
        let over = self.all.values().filter(|alert| alert.is_over(now));
        let mut over: Vec<_> = over.cloned().collect();
        over.sort_by(|a, b| a.key.cmp(&b.key));
        for alert in &over {
            self.all.remove(&alert.key);
            self.changes += 1;
        }
        over
    }

    /// How many fire.
    pub fn len(&self) -> usize {
        self.firing().count()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.firing().next().is_none()
    }

    /// The alert, if it fires or is pending.
    pub fn get(&self, key: &AlertKey) -> Option<&Alert> {
        self.all.get(key)
    }

    /// The alerts that fire, in no order.
    pub fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.all.values().filter(|alert| !alert.pending)
    }

    /// The alerts that fire or are pending, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Alert> {
        self.all.values()
    }

    /// A number that grows with each change of what is to be kept on disk.
    pub fn changes(&self) -> u64 {
        self.changes
    }
}

impl Alert {
    /// One that fired, or was pending, before the agent started.
    pub fn of_before(
        key: AlertKey,
        severity: Severity,
        notice: Notice,
        (fired, pending): (u64, bool),
        delivered: Option<u64>,
    ) -> Self {
        Self {
            key,
            severity,
            fired,
            pending,
            notice: Arc::new(notice),
            delivered,
            terms: Terms::default(),
            open: HashSet::new(),
            last: None,
            held: false,
        }
    }

    /// When it was first delivered: nanoseconds since boot.
    pub fn delivered(&self) -> Option<u64> {
        self.delivered
    }

    /// Whether things that opened no listener set it off.
    pub fn is_span(&self) -> bool {
        self.last.is_some()
    }

    /// How long it fires at least.
    pub fn keep(&self) -> Duration {
        self.terms.keep
    }

    fn is_due(&self, now: u64) -> bool {
        self.pending && !self.open.is_empty() && lasted(self.fired, now, self.terms.wait)
    }

    fn is_over(&self, now: u64) -> bool {
        let kept = |since| lasted(since, now, self.terms.keep);
        self.open.is_empty() && self.delivered.is_some_and(kept) && self.last.is_none_or(kept)
    }
}

/// Whether so much time has passed.
fn lasted(since: u64, now: u64, time: Duration) -> bool {
    Duration::from_nanos(now.saturating_sub(since)) >= time
}

#[cfg(test)]
mod tests;
