//! How many alerts of a rule begin to fire, and which were held back.

use std::collections::BTreeMap;

use super::AlertKey;
use crate::event::Protocol;

/// Alerts of one rule that begin to fire within [`WINDOW`] at most.
pub const RATE: u32 = 60;

/// The time that [`RATE`] is about, in nanoseconds.
const WINDOW: u64 = 60 * 1_000_000_000;

/// Ports and processes that are named of what was held back.
const NAMED_MAX: usize = 8;

/// How many alerts of a rule began to fire lately.
#[derive(Debug, Default)]
pub(super) struct Rate {
    since: u64,
    fired: u32,
    /// What was held back since somebody asked.
    pub(super) held: Held,
}

impl Rate {
    pub(super) fn allows(&mut self, now: u64) -> bool {
        if self.fired == 0 || now.saturating_sub(self.since) >= WINDOW {
            (self.since, self.fired) = (now, 0);
        }
        let allows = self.fired < RATE;
        self.fired += u32::from(allows);
        allows
    }
}

/// What was held back of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many alerts.
    pub count: u64,
    /// The first of them, and how often each.
    named: BTreeMap<(u16, Protocol, String), u64>,
}

impl Held {
    /// This alert is held back.
    pub(super) fn note(&mut self, key: &AlertKey) {
        self.add((key.port, key.protocol, key.process.clone()), 1);
        self.count += 1;
    }

    /// Further ones of the same rule.
    pub fn extend(&mut self, further: Self) {
        for (name, count) in further.named {
            self.add(name, count);
        }
        self.count += further.count;
    }

    fn add(&mut self, name: (u16, Protocol, String), count: u64) {
        if self.named.len() < NAMED_MAX || self.named.contains_key(&name) {
            *self.named.entry(name).or_default() += count;
        }
    }

    /// `8 alerts held back: 1992/tcp nc, 8080/tcp python3.11 ×2, and 5 more`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut names: Vec<_> = self
            .named
            .iter()
            .map(|((port, protocol, process), count)| {
                let times = if *count > 1 {
                    format!(" ×{count}")
                } else {
                    String::new()
                };
                format!("{port}/{protocol} {process}{times}")
            })
            .collect();
        let more = self.count.saturating_sub(self.named.values().sum());
        if more > 0 {
            names.push(format!("and {more} more"));
        }
        let alerts = if self.count == 1 { "alert" } else { "alerts" };
        format!("{} {alerts} held back: {}", self.count, names.join(", "))
    }
}
