//! Alerts and their life: pending, firing, resolved.
//!
//! One alert for each (rule, protocol, port, process, namespace). It fires while at least one such listener is open, and for
//! `keep_firing_for` from its first delivery at the least. With `for`, or where its rule fires too many, it is pending first.
//! What opens no listener (a connect, an accept, a bind) makes it fire for a span: `keep_firing_for` after the last one.

mod rate;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use self::rate::Rate;
pub use self::rate::{Held, RATE};
use super::{Severity, notice::Notice};
use crate::event::{Protocol, SocketKey};

/// Alerts that fire or are pending at most at one time; one more is dropped, which the caller counts.
pub const ALERTS_MAX: usize = 4_096;

/// How exactly the time of the last event of a span is kept on disk: nanoseconds.
const LAST_KEPT_EVERY: u64 = 10 * 1_000_000_000;

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
    pub key: Arc<AlertKey>,
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
    /// How many of its listeners are open.
    open: usize,
    /// When the last thing happened that opened no listener.
    last: Option<u64>,
    /// Whether its rule fired too many, which was counted.
    held: bool,
}

/// The alerts that fire or are pending.
#[derive(Debug, Default)]
pub struct Alerts {
    all: HashMap<Arc<AlertKey>, Alert>,
    /// By each open socket the alerts that it keeps up, so that its end costs what it concerns.
    by_socket: HashMap<SocketKey, Vec<Arc<AlertKey>>>,
    rates: BTreeMap<String, Rate>,
    changes: u64,
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

impl Alerts {
    /// Gives back room that is not needed now.
    pub fn shrink(&mut self) {
        self.all.shrink_to_fit();
        self.by_socket.shrink_to_fit();
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
            if let Some(socket) = socket {
                keep_up(&mut self.by_socket, alert, socket);
            }
            if let Some(last) = last {
                // Not each of thousands of connects is a reason to write the disk.
                let moved = alert
                    .last
                    .is_none_or(|before| before / LAST_KEPT_EVERY != last / LAST_KEPT_EVERY);
                self.changes += u64::from(moved);
                alert.last = Some(last);
            }
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
        let held = !waits && !self.allows(key, now);
        if held && socket.is_none() {
            return Fired::Held;
        }
        self.changes += 1;
        let key = Arc::new(key.clone());
        let mut alert = Alert {
            key: Arc::clone(&key),
            severity,
            fired: now,
            pending: waits || held,
            notice: Arc::new(make()),
            delivered: None,
            terms,
            open: 0,
            last,
            held,
        };
        if let Some(socket) = socket {
            keep_up(&mut self.by_socket, &mut alert, socket);
        }
        self.all.insert(key, alert);
        match (waits, held) {
            (true, _) => Fired::Pending,
            (_, true) => Fired::Held,
            _ => Fired::New,
        }
    }

    /// Whether the rule may fire one more; where it may not, this one is held back.
    fn allows(&mut self, key: &AlertKey, now: u64) -> bool {
        if !self.rates.contains_key(&key.rule) {
            self.rates.insert(key.rule.clone(), Rate::default());
        }
        self.rates.get_mut(&key.rule).is_none_or(|rate| {
            let allows = rate.allows(now);
            if !allows {
                rate.held.note(key);
            }
            allows
        })
    }

    /// Fires the pending alerts whose time has come, the most severe first, and gives them.
    pub fn fire_due(&mut self, now: u64) -> Vec<Alert> {
        let mut due: Vec<_> = self
            .all
            .values()
            .filter(|alert| alert.is_due(now))
            .map(|alert| (std::cmp::Reverse(alert.severity), alert.fired, Arc::clone(&alert.key)))
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
                rate.held.note(&key);
            }
        }
        fired
    }

    /// What was held back since this was last asked, by rule.
    pub fn take_held(&mut self) -> Vec<(String, Held)> {
        let held = self.rates.iter_mut().filter(|(_, rate)| rate.held.count > 0);
        held.map(|(rule, rate)| (rule.clone(), std::mem::take(&mut rate.held)))
            .collect()
    }

    /// Takes over an alert of before the agent started, with the terms of its rule. Its listeners are still to be found. One that
    /// fires by now stays as it is.
    pub fn restore(&mut self, alert: Alert, terms: Terms) {
        if self.all.len() < ALERTS_MAX {
            self.all
                .entry(Arc::clone(&alert.key))
                .or_insert(Alert { terms, ..alert });
        }
    }

    /// Other rules are in force: `terms` are those of an alert, if its rule is still there, and `matches` says whether a socket
    /// still matches it. Gives the alerts that are over by that, whenever they fired.
    pub fn reconfigure(
        &mut self,
        terms: impl Fn(&AlertKey) -> Option<Terms>,
        matches: impl Fn(&AlertKey, SocketKey) -> bool,
    ) -> Vec<Alert> {
        let mut lost = HashSet::new();
        self.by_socket.retain(|socket, keys| {
            keys.retain(|key| {
                let matches = terms(key).is_some() && matches(key, *socket);
                if !matches && let Some(alert) = self.all.get_mut(key) {
                    alert.open = alert.open.saturating_sub(1);
                    lost.insert(Arc::clone(key));
                }
                matches
            });
            !keys.is_empty()
        });
        for (key, alert) in &mut self.all {
            match terms(key) {
                Some(terms) => alert.terms = terms,
                None => drop(lost.insert(Arc::clone(key))),
            }
        }
        // One whose listeners ended by themselves goes on for its time.
        self.end(|alert| {
            lost.contains(&alert.key) && (terms(&alert.key).is_none() || alert.open == 0 && alert.last.is_none())
        })
    }

    /// Takes out the alerts of which this holds. Gives those that fired, in a stable order.
    fn end(&mut self, is_over: impl Fn(&Alert) -> bool) -> Vec<Alert> {
        let over = self.all.extract_if(|_, alert| is_over(alert));
        let mut over: Vec<_> = over.map(|(_, alert)| alert).collect();
        self.changes += over.len() as u64;
        over.retain(|alert| !alert.pending);
        over.sort_by(|one, other| one.key.cmp(&other.key));
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
        self.change_notice(key, |notice| notice.add_address(address))
    }

    /// Annotates an alert. Gives it where it fires or is pending.
    pub fn annotate(&mut self, key: &AlertKey, name: &str, text: &str) -> Option<&Alert> {
        self.change_notice(key, |notice| {
            notice.annotations.insert(name.to_owned(), text.to_owned());
            true
        })
    }

    fn change_notice(&mut self, key: &AlertKey, change: impl FnOnce(&mut Notice) -> bool) -> Option<&Alert> {
        let alert = self.all.get_mut(key)?;
        if !change(Arc::make_mut(&mut alert.notice)) {
            return None;
        }
        self.changes += 1;
        Some(alert)
    }

    /// A listener ended. What was pending for it alone will not fire.
    pub fn closed(&mut self, socket: SocketKey) {
        for key in self.by_socket.remove(&socket).into_iter().flatten() {
            let Some(alert) = self.all.get_mut(&key) else { continue };
            alert.open = alert.open.saturating_sub(1);
            if alert.pending && alert.open == 0 {
                self.all.remove(&key);
                self.changes += 1;
            }
        }
    }

    /// Takes out the alerts that are over, in a stable order. Not to be asked before the first look: until then the listeners of
    /// alerts of before are still to be found.
    pub fn resolve(&mut self, now: u64) -> Vec<Alert> {
        // Pending ones without a listener are of before, and theirs is gone.
        self.end(|alert| {
            if alert.pending {
                alert.open == 0
            } else {
                alert.is_over(now)
            }
        })
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

    /// The alert of a rule that fired last.
    pub fn newest_of(&self, rule: &str) -> Option<&Alert> {
        let of_rule = self.firing().filter(|alert| alert.key.rule == rule);
        of_rule.max_by_key(|alert| (alert.fired, &alert.key))
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
    /// How many of its listeners are open; `None` where it is about something else: a connection, say.
    #[must_use]
    pub fn open(&self) -> Option<usize> {
        (self.open > 0 || self.last.is_none()).then_some(self.open)
    }

    /// One that fired, or was pending, before the agent started.
    pub fn of_before(
        key: AlertKey,
        severity: Severity,
        notice: Notice,
        (fired, pending): (u64, bool),
        (delivered, last): (Option<u64>, Option<u64>),
    ) -> Self {
        Self {
            key: Arc::new(key),
            severity,
            fired,
            pending,
            notice: Arc::new(notice),
            delivered,
            terms: Terms::default(),
            open: 0,
            last,
            held: false,
        }
    }

    /// When it was first delivered: nanoseconds since boot.
    pub fn delivered(&self) -> Option<u64> {
        self.delivered
    }

    /// When the last thing happened that opened no listener; `None` where nothing such set it off.
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// How long it fires at least.
    pub fn keep(&self) -> Duration {
        self.terms.keep
    }

    fn is_due(&self, now: u64) -> bool {
        self.pending && self.open > 0 && lasted(self.fired, now, self.terms.wait)
    }

    fn is_over(&self, now: u64) -> bool {
        let kept = |since| lasted(since, now, self.terms.keep);
        self.open == 0 && self.delivered.is_some_and(kept) && self.last.is_none_or(kept)
    }
}

/// An open socket keeps an alert up.
fn keep_up(by_socket: &mut HashMap<SocketKey, Vec<Arc<AlertKey>>>, alert: &mut Alert, socket: SocketKey) {
    // Mostly it is one.
    let keys = by_socket.entry(socket).or_insert_with(|| Vec::with_capacity(1));
    if !keys.contains(&alert.key) {
        keys.push(Arc::clone(&alert.key));
        alert.open += 1;
    }
}

/// Whether so much time has passed.
fn lasted(since: u64, now: u64, time: Duration) -> bool {
    Duration::from_nanos(now.saturating_sub(since)) >= time
}

#[cfg(test)]
mod tests;
