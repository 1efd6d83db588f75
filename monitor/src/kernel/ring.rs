//! The reader of the ring.
//!
//! The ring is emptied into a bounded queue whenever the agent comes for records, however few it takes then: so a burst
//! meets the room of the queue and not that of the ring, which is mapped twice and counts as the agent's memory for
//! good, where the queue's does only while it is used.

use std::{collections::VecDeque, os::fd::AsRawFd};

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use monitor_common::{PATH_MAX, Record};
use tokio::io::{Interest, unix::AsyncFd};

use super::attention::Attention;
use crate::identity::clock;

/// Memory of the records that may wait in the queue, some 180,000 of 270 bytes: what is left over when two processors open and
/// close 100,000 listeners as fast as they can, and the agent has what they leave it.
const QUEUE_BYTES: usize = 48 << 20;

/// What a record takes beside its bytes: its place in the queue, and what the allocator keeps of it.
const OF_EACH: usize = size_of::<RawRecord>() + 16;

/// Room that an empty queue keeps.
const QUEUE_KEPT: usize = 1_024;

/// A record as it came out of the ring, with the names that follow it. Of a longer one the tail is left out, a shorter
/// one stays short.
#[derive(Clone)]
pub struct RawRecord(Box<[u8]>);

impl RawRecord {
    pub(super) fn new(record: &[u8]) -> Self {
        let longest = Record::SIZE + PATH_MAX;
        Self(record.get(..longest).unwrap_or(record).into())
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What it takes of the queue's room.
    fn takes(&self) -> usize {
        self.0.len() + OF_EACH
    }
}

/// The records that the kernel side reports, in order.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
    attention: Attention,
    queue: Queue,
}

/// Records that wait, as many as there is room for.
#[derive(Default)]
struct Queue {
    records: VecDeque<RawRecord>,
    /// What they take of [`QUEUE_BYTES`].
    bytes: usize,
    overflowed: u64,
}

/// Registers something that owns a file descriptor with the reactor.
pub(super) fn readable<T: AsRawFd>(owner: T) -> Result<AsyncFd<T>> {
    // SAFETY: used with the ring, its timer and the kernel side's log alone. Each owns its descriptor, returns the same
    // one each time, and closes it only when it is dropped, which the AsyncFd then does.
    let registered = unsafe { AsyncFd::register_with_interest(owner, Interest::READABLE) };
    registered.map_err(|error| anyhow::Error::from(error.into_parts().1))
}

impl Events {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let ring = ebpf.take_map("EVENTS").context("the kernel object has no map EVENTS")?;
        let ring = RingBuf::try_from(ring).context("cannot map the ring of events")?;
        let ring = readable(ring).context("cannot wait for the ring of events")?;
        Ok(Self {
            ring,
            attention: Attention::new(ebpf)?,
            queue: Queue::default(),
        })
    }

    /// Waits for records, and takes up to `limit` of them: none where it only looked whether there are any. Where some are
    /// left from before, this only gives other tasks their turn. Cancel-safe: a wait that is given up takes nothing.
    pub async fn take(&mut self, records: &mut Vec<RawRecord>, limit: usize) -> Result<()> {
        if self.queue.records.is_empty() {
            tokio::select! {
                woken = self.ring.readable_mut() => {
                    // Cleared before the ring is emptied: a record that arrives meanwhile raises it again.
                    woken.context("cannot wait for the ring of events")?.clear_ready();
                }
                paused = self.attention.pause(clock::boot_now()) => paused?,
            }
        } else {
            tokio::task::yield_now().await;
        }
        if self.take_present(records, limit) {
            self.attention.found(clock::boot_now())?;
        }
        Ok(())
    }

    /// Empties the ring into the queue, and says how many records wait there now.
    pub fn gather(&mut self) -> usize {
        while let Some(record) = self.ring.get_mut().next() {
            self.queue.push(&record);
        }
        self.queue.records.len()
    }

    /// Takes up to `limit` of the records that are there, and says whether there were any.
    pub fn take_present(&mut self, records: &mut Vec<RawRecord>, limit: usize) -> bool {
        self.gather();
        self.queue.take(records, limit)
    }

    /// Records that found the queue full, since this was last asked.
    pub fn take_overflowed(&mut self) -> u64 {
        std::mem::take(&mut self.queue.overflowed)
    }
}

impl Queue {
    /// Puts a record in, or counts it where there is no room.
    fn push(&mut self, record: &[u8]) {
        if self.bytes >= QUEUE_BYTES {
            self.overflowed += 1;
            return;
        }
        let record = RawRecord::new(record);
        self.bytes += record.takes();
        self.records.push_back(record);
    }

    /// Takes out up to `limit`, and says whether there were any.
    fn take(&mut self, records: &mut Vec<RawRecord>, limit: usize) -> bool {
        let before = records.len();
        records.extend(self.records.drain(..limit.min(self.records.len())));
        let taken = records.get(before..).unwrap_or_default();
        self.bytes -= taken.iter().map(RawRecord::takes).sum::<usize>();
        if self.records.is_empty() {
            self.records.shrink_to(QUEUE_KEPT);
        }
        !taken.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_its_length_and_a_longer_one_its_head() {
        assert_eq!(RawRecord::new(&[7; 12]).bytes(), [7; 12]);
        let longest = [7; Record::SIZE + PATH_MAX];
        assert_eq!(RawRecord::new(&[7; Record::SIZE + PATH_MAX + 9]).bytes(), longest);
        assert!(RawRecord::new(&[]).bytes().is_empty());
    }

    #[test]
    fn a_full_queue_counts_what_comes_and_has_room_again_for_what_was_taken() {
        let mut queue = Queue::default();
        let record = [7; 1 << 10];
        let room = QUEUE_BYTES.div_ceil(RawRecord::new(&record).takes());
        (0..room + 3).for_each(|_| queue.push(&record));
        assert_eq!((queue.records.len(), queue.overflowed), (room, 3));
        let mut taken = Vec::new();
        assert!(queue.take(&mut taken, 2));
        (0..3).for_each(|_| queue.push(&record));
        assert_eq!((queue.records.len(), queue.overflowed), (room, 4));
        assert!(queue.take(&mut taken, usize::MAX));
        assert_eq!((taken.len(), queue.bytes), (room + 2, 0));
        assert!(!queue.take(&mut taken, 1));
    }
}
