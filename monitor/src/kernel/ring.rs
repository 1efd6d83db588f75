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

/// Records that may wait in the queue: some 10 MiB of them.
const QUEUE: usize = 40_960;

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
}

/// The records that the kernel side reports, in order.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
    attention: Attention,
    queue: VecDeque<RawRecord>,
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
            queue: VecDeque::new(),
            overflowed: 0,
        })
    }

    /// Waits for records, and takes up to `limit` of them: none where it only looked whether there are any. Where some are
    /// left from before, this only gives other tasks their turn. Cancel-safe: a wait that is given up takes nothing.
    pub async fn take(&mut self, records: &mut Vec<RawRecord>, limit: usize) -> Result<()> {
        if self.queue.is_empty() {
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
            if self.queue.len() < QUEUE {
                self.queue.push_back(RawRecord::new(&record));
            } else {
                self.overflowed += 1;
            }
        }
        self.queue.len()
    }

    /// Takes up to `limit` of the records that are there, and says whether there were any.
    pub fn take_present(&mut self, records: &mut Vec<RawRecord>, limit: usize) -> bool {
        self.gather();
        let count = limit.min(self.queue.len());
        records.extend(self.queue.drain(..count));
        if self.queue.is_empty() {
            self.queue.shrink_to(QUEUE_KEPT);
        }
        count > 0
    }

    /// Records that found the queue full, since this was last asked.
    pub fn take_overflowed(&mut self) -> u64 {
        std::mem::take(&mut self.overflowed)
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
}
