//! What one receiver is still to be told: the newest state of each alert, and never a queue of messages.
//!
//! An alert is told as firing until this receiver has accepted that, whatever became of it meanwhile; as resolved not before
//! `keep_firing_for` from then on, since a receiver that groups (Alertmanager) forgets what resolves within its wait. Pure: the
//! time comes in, in nanoseconds since boot.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::policy::{
    Severity,
    alerts::{ALERTS_MAX, AlertKey},
    notice::{Notice, Over},
};

/// How long what a receiver refused is not sent again.
const REFUSED: Duration = Duration::from_secs(60);

/// Alerts that are over, and of which it is still known who was told.
pub const ENDED_MAX: usize = 64;

/// An alert as receivers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// What it is about.
    pub key: AlertKey,
    /// How bad it is.
    pub severity: Severity,
    /// Labels, annotations and what set it off.
    pub notice: Arc<Notice>,
    /// When it fired: nanoseconds since boot.
    pub fired: u64,
    /// The same by the wall clock.
    pub starts_at: Timestamp,
}

impl Outgoing {
    /// The same for the same firing of the same alert, after a restart of the agent too; of every other one another.
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        let texts = self.notice.labels.iter().flat_map(|(name, value)| [name, value]);
        for text in texts {
            hash.update(text.len().to_be_bytes());
            hash.update(text);
        }
        hash.update(self.starts_at.as_nanosecond().to_be_bytes());
        let half = hash.finalize();
        half.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    fn slot(&self) -> Slot {
        (self.key.clone(), self.severity)
    }
}

/// What is one alert to a receiver: it is known by its labels, and the severity is one.
type Slot = (AlertKey, Severity);

/// Whether an alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It fires.
    Firing,
    /// It is over.
    Resolved,
}

impl Status {
    /// The name in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// What is sent of one alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The alert.
    pub alert: Outgoing,
    /// Whether it fires.
    pub status: Status,
    /// How it ended, of one that is resolved.
    pub ended: Option<Ended>,
}

/// When and why an alert ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When: nanoseconds since boot.
    pub at: u64,
    /// Why.
    pub why: Over,
}

/// What a kind of receiver wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// How often it is told again what fires; `None` for never.
    pub resend: Option<Duration>,
    /// Alerts in one message at most.
    pub batch: usize,
    /// Whether it wants each alert to fire for its `keep_firing_for`.
    pub keeps: bool,
}

/// What is known of an alert at this receiver.
#[derive(Clone, Debug)]
struct Entry {
    alert: Outgoing,
    /// It fired again while its end was not told yet: as it is then.
    newer: Option<Outgoing>,
    keep: Duration,
    /// When the receiver accepted it as firing.
    accepted: Option<u64>,
    /// How it ended.
    ended: Option<Ended>,
    /// When it is told again that it fires.
    resend: Option<u64>,
    /// Not to be sent before.
    not_before: u64,
    /// To be sent in a message of its own: the receiver refused one with others in it.
    alone: bool,
}

/// An alert with what this receiver knows of it, as it is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The alert.
    pub alert: Outgoing,
    /// How long the receiver wants it to fire.
    pub keep: Duration,
    /// When the receiver accepted it as firing.
    pub accepted: Option<u64>,
    /// How it ended.
    pub ended: Option<Ended>,
}

/// A receiver accepted that an alert fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The alert.
    pub key: AlertKey,
    /// How bad it is.
    pub severity: Severity,
    /// When: nanoseconds since boot.
    pub at: u64,
}

/// When a receiver accepted that an alert fires, and that it is over: nanoseconds since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// That it fires.
    pub firing: Option<u64>,
    /// That it is over.
    pub resolved: Option<u64>,
}

/// An alert whose end the receiver accepted.
#[derive(Debug)]
struct Done {
    slot: Slot,
    /// When it fired: the first time and the last one, which to the receiver were one alert.
    fired: (u64, u64),
    times: Times,
}

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// To send this.
    Send(Vec<Parcel>),
    /// To wait until then, or until something is new.
    Wait(Option<u64>),
}

/// What one receiver is still to be told.
#[derive(Debug)]
pub struct Outbox {
    style: Style,
    entries: BTreeMap<Slot, Entry>,
    /// The newest at the end.
    done: VecDeque<Done>,
    accepted: Vec<Accepted>,
    changes: u64,
}

impl Entry {
    /// When it may be told that it ended.
    fn ends(&self) -> Option<u64> {
        Some(self.ended?.at.max(after(self.accepted?, self.keep)))
    }

    /// When it fired: the first time, and the last one.
    fn fired(&self) -> (u64, u64) {
        let newest = self.newer.as_ref().unwrap_or(&self.alert);
        (self.alert.fired, newest.fired)
    }

    /// The receiver accepted its end.
    fn done(&self, fired: (u64, u64), slot: Slot, now: u64) -> Done {
        let times = Times {
            firing: self.accepted,
            resolved: Some(now),
        };
        Done { slot, fired, times }
    }

    /// What is to be told next, and when.
    fn due(&self) -> Option<(u64, Status)> {
        if self.accepted.is_none() {
            return Some((self.not_before, Status::Firing));
        }
        let end = self.ends().map(|ends| (ends.max(self.not_before), Status::Resolved));
        let resend = self.resend.map(|at| (at.max(self.not_before), Status::Firing));
        // At one time the end is what counts.
        match (end, resend) {
            (Some(end), Some(resend)) if resend.0 < end.0 => Some(resend),
            (Some(end), _) => Some(end),
            (None, resend) => resend,
        }
    }
}

impl Outbox {
    /// For a receiver that wants to be told so.
    pub fn new(style: Style) -> Self {
        Self {
            style,
            entries: BTreeMap::new(),
            done: VecDeque::new(),
            accepted: Vec::new(),
            changes: 0,
        }
    }

    /// Gives all of it to whoever takes this one's place.
    pub fn hand_over(&mut self) -> Self {
        let empty = Self::new(self.style);
        std::mem::replace(self, empty)
    }

    /// An alert fires, and will for `keep` at least.
    pub fn fire(&mut self, alert: Outgoing, keep: Duration) {
        self.changes += 1;
        let keep = if self.style.keeps { keep } else { Duration::ZERO };
        if let Some(entry) = self.entries.get_mut(&alert.slot()) {
            // The receiver was not told of the end: to it, this is one alert.
            entry.alert.notice = Arc::clone(&alert.notice);
            (entry.keep, entry.ended, entry.newer) = (keep, None, Some(alert));
            return;
        }
        let kept = Kept {
            alert,
            keep,
            accepted: None,
            ended: None,
        };
        self.insert(kept, None);
    }

    /// Takes over what the receiver was told before the agent started.
    pub fn restore(&mut self, kept: Kept, now: u64) {
        if let Some(entry) = self.entries.get_mut(&kept.alert.slot()) {
            // It fires again by now: to a receiver that has not heard so, it never ended.
            if entry.accepted.is_none() {
                entry.accepted = kept.accepted;
                entry.resend = kept.accepted.and(self.style.resend).map(|_| now);
                let newer = entry.alert.clone();
                (entry.alert.fired, entry.alert.starts_at) = (kept.alert.fired, kept.alert.starts_at);
                entry.newer.get_or_insert(newer);
            }
            return;
        }
        // Whatever the receiver forgot while there was no agent, it is told at once.
        let resend = kept.accepted.and(self.style.resend).map(|_| now);
        self.insert(kept, resend);
    }

    fn insert(&mut self, kept: Kept, resend: Option<u64>) {
        let Kept {
            alert,
            keep,
            accepted,
            ended,
        } = kept;
        let entry = Entry {
            newer: None,
            keep,
            accepted,
            ended,
            resend,
            not_before: 0,
            alone: false,
            alert,
        };
        self.entries.insert(entry.alert.slot(), entry);
    }

    /// More is known of an alert, which is no reason to tell it.
    pub fn update(&mut self, key: &AlertKey, severity: Severity, notice: &Arc<Notice>) {
        if let Some(entry) = self.entries.get_mut(&(key.clone(), severity)) {
            entry.alert.notice = Arc::clone(notice);
            self.changes += 1;
        }
    }

    /// An alert is over. Says whether there was room to remember it until the receiver knows.
    pub fn end(&mut self, key: &AlertKey, severity: Severity, ended: Ended) -> bool {
        self.changes += 1;
        let slot = (key.clone(), severity);
        let before = self.entries.values().filter(|entry| entry.ended.is_some()).count();
        if before >= ALERTS_MAX {
            return self.entries.remove(&slot).is_none();
        }
        if let Some(entry) = self.entries.get_mut(&slot) {
            entry.ended = Some(ended);
        }
        true
    }

    /// A worse one took the place of an alert: it need not be told, and it need not be kept.
    pub fn supersede(&mut self, key: &AlertKey, severity: Severity, ended: Ended) {
        self.changes += 1;
        let slot = (key.clone(), severity);
        match self.entries.get_mut(&slot) {
            Some(entry) if entry.accepted.is_some() => (entry.ended, entry.keep) = (Some(ended), Duration::ZERO),
            _ => drop(self.entries.remove(&slot)),
        }
    }

    /// What to do now.
    pub fn next(&self, now: u64) -> Next {
        let dues = self.entries.values().filter_map(|entry| Some((entry.due()?, entry)));
        let (mut due, mut first) = (Vec::new(), None::<u64>);
        for ((at, status), entry) in dues {
            if at <= now {
                due.push((status, entry));
            } else {
                first = Some(first.map_or(at, |first| first.min(at)));
            }
        }
        if due.is_empty() {
            return Next::Wait(first);
        }
        // What nobody knows yet comes first, and of that the worst.
        due.sort_by_key(|(_, entry)| (entry.accepted.is_some(), std::cmp::Reverse(entry.alert.severity)));
        let alone = due.first().is_some_and(|(_, entry)| entry.alone);
        let together = due.into_iter().filter(|(_, entry)| entry.alone == alone);
        let batch = if alone { 1 } else { self.style.batch };
        Next::Send(
            together
                .take(batch)
                .map(|(status, entry)| Parcel {
                    alert: entry.alert.clone(),
                    status,
                    ended: entry
                        .ends()
                        .zip(entry.ended)
                        .filter(|_| status == Status::Resolved)
                        .map(|(at, ended)| Ended { at, ..ended }),
                })
                .collect(),
        )
    }

    /// The receiver accepted this.
    pub fn accept(&mut self, parcels: &[Parcel], now: u64) {
        for Parcel { alert, status, .. } in parcels {
            let slot = alert.slot();
            let Some(entry) = self.entries.get_mut(&slot) else {
                continue;
            };
            (entry.not_before, entry.alone) = (0, false);
            match (status, entry.ended) {
                (Status::Firing, _) => {
                    if entry.accepted.is_none() {
                        self.changes += 1;
                        entry.accepted = Some(now);
                        let (key, severity) = slot;
                        self.accepted.push(Accepted { key, severity, at: now });
                    }
                    entry.resend = self.style.resend.map(|every| after(now, every));
                }
                (Status::Resolved, Some(_)) => {
                    self.changes += 1;
                    self.done.push_back(entry.done(entry.fired(), slot.clone(), now));
                    self.entries.remove(&slot);
                }
                // It fired again while its end was on the way: now it is another one.
                (Status::Resolved, None) => {
                    self.changes += 1;
                    let first = entry.alert.fired;
                    self.done.push_back(entry.done((first, first), slot, now));
                    if let Some(newer) = entry.newer.take() {
                        entry.alert = newer;
                    }
                    (entry.accepted, entry.resend) = (None, None);
                }
            }
        }
        let surplus = self.done.len().saturating_sub(ENDED_MAX);
        self.done.drain(..surplus);
    }

    /// The receiver refused this: not that it could not take it now, but that it will not take it.
    pub fn refuse(&mut self, parcels: &[Parcel], now: u64) {
        for parcel in parcels {
            if let Some(entry) = self.entries.get_mut(&parcel.alert.slot()) {
                entry.alone = true;
                // Of several, one may have been what it did not like: each is tried by itself.
                if parcels.len() == 1 {
                    entry.not_before = after(now, REFUSED);
                }
            }
        }
    }

    /// How many alerts the receiver should know more of by now.
    pub fn waiting(&self, now: u64) -> usize {
        let waits = |entry: &&Entry| {
            let is_late = |at: Option<u64>| at.is_some_and(|at| at <= now);
            entry.accepted.is_none() || is_late(entry.ends()) || is_late(entry.resend)
        };
        self.entries.values().filter(waits).count()
    }

    /// When the receiver accepted what of an alert that fired then, in nanoseconds since boot; `None` where it accepted nothing,
    /// or many others ended since.
    pub fn told(&self, key: &AlertKey, severity: Severity, fired: u64) -> Option<Times> {
        let slot = (key.clone(), severity);
        let is_of = |(first, last): (u64, u64)| first <= fired && fired <= last;
        let entry = self.entries.get(&slot).filter(|entry| is_of(entry.fired()));
        if let Some(entry) = entry {
            return entry.accepted.map(|accepted| Times {
                firing: Some(accepted),
                resolved: None,
            });
        }
        let mut newest_first = self.done.iter().rev();
        newest_first
            .find(|done| done.slot == slot && is_of(done.fired))
            .map(|done| done.times)
    }

    /// What was accepted for the first time since this was last asked.
    pub fn take_accepted(&mut self) -> Vec<Accepted> {
        std::mem::take(&mut self.accepted)
    }

    /// All that is to be kept on disk.
    pub fn kept(&self) -> impl Iterator<Item = Kept> + '_ {
        self.entries.values().map(|entry| Kept {
            alert: entry.alert.clone(),
            keep: entry.keep,
            accepted: entry.accepted,
            ended: entry.ended,
        })
    }

    /// A number that grows with each change of what is to be kept on disk.
    pub fn changes(&self) -> u64 {
        self.changes
    }
}

/// So much later.
fn after(at: u64, time: Duration) -> u64 {
    at.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
