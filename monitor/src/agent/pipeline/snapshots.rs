//! Looks at all open files: what they find is merged with what events told.

use std::collections::HashMap;

use super::Pipeline;
use crate::{
    agent::{decode, seconds},
    event::{Event, Kind, Protocol, SocketKey},
    identity::clock,
    kernel::RawRecord,
    output::{Origin, http::lock},
};

/// When to look, and what happens meanwhile.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// How often all open files were looked at.
    taken: u64,
    due: bool,
    /// Whether the end of a UDP socket is seen: else none may be taken for a listener, which it would be for ever.
    sees_udp: bool,
    /// When the sockets ended whose end was read while the files were looked at; `None` where that is not done now.
    ended: Option<HashMap<SocketKey, u64>>,
}

impl Snapshots {
    /// Takes whether the ends of UDP sockets are seen.
    pub(super) fn armed(&mut self, sees_udp: bool) {
        self.sees_udp = sees_udp;
    }

    /// It is time, or something was lost.
    pub(super) fn are_due(&mut self) {
        self.due = true;
    }

    /// Takes note of an event.
    pub(super) fn saw(&mut self, event: &Event) {
        if event.kind == Kind::Unlisten
            && let Some(ended) = &mut self.ended
        {
            ended.insert(event.socket.key, event.time);
        }
    }

    /// How the agent came to know what an event tells.
    pub(super) fn origin_of(&self, event: &Event) -> Origin {
        match (event.existing && event.opens_listener(), self.taken) {
            (false, _) => Origin::Event,
            (true, 0) => Origin::Existing,
            (true, _) => Origin::Reconciled,
        }
    }
}

/// Whether an event speaks of a listener that a look at all open files had found already.
pub(super) fn is_same_socket(found: &Event, event: &Event) -> bool {
    let inode = |event: &Event| (event.socket.netns, event.socket.inode);
    found.existing && event.socket.inode != 0 && inode(found) == inode(event)
}

impl Pipeline {
    /// Whether all open files should be looked at: something was lost, or it is time. Says so once.
    pub(in crate::agent) fn wants_snapshot(&mut self) -> bool {
        std::mem::take(&mut self.snapshots.due)
    }

    /// All open files are about to be looked at. What was reported meanwhile has to be taken before
    /// [`Pipeline::merge`] is called: it knows more.
    pub(in crate::agent) fn expect_snapshot(&mut self) {
        self.snapshots.ended = Some(HashMap::new());
    }

    /// Takes what a look at all open files found that began at `start`.
    pub(in crate::agent) fn merge(&mut self, records: &[RawRecord], start: u64) {
        let ended = self.snapshots.ended.take().unwrap_or_default();
        let mut found = 0;
        for record in records {
            let Some(event) = decode(record.bytes()) else {
                self.lose("decode", 1);
                continue;
            };
            let key = event.socket.key;
            let is_known = self.inventory.contains(key) || self.pending.contains(key);
            // A socket that ended before may have had the same memory.
            let has_ended = ended.get(&key).is_some_and(|time| *time >= event.time);
            let is_unseen = event.socket.protocol == Protocol::Udp && !self.snapshots.sees_udp;
            // One on a port that nothing names is told when it has been there for a while.
            if is_known || has_ended || is_unseen || event.late {
                continue;
            }
            found += 1;
            self.settled(event);
        }
        let now = clock::boot_now();
        lock(&self.metrics).looked(seconds(self.clock, now), now.saturating_sub(start) as f64 / 1e9);
        if self.snapshots.taken == 0 {
            ::log::info!(listeners = found; "what listened before is known");
        } else if found > 0 {
            self.drifted("missed", found);
        }
        self.snapshots.taken += 1;
    }

    /// Counts and tells what the inventory had wrong.
    pub(super) fn drifted(&mut self, kind: &'static str, count: u64) {
        lock(&self.metrics).drifted(kind, count);
        ::log::warn!(kind = kind, count = count; "the inventory was wrong");
        let line = self.lines.drift(kind, count, clock::boot_now(), self.clock);
        self.write(line);
    }
}
