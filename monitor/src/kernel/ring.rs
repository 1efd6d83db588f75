//! The reader of the ring.
//!
//! A task of its own empties the ring into a bounded queue, so that a burst meets the queue's room and not the ring's: the
//! ring is mapped twice and counts as the agent's memory for good, the queue only while it is used.

use std::{
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use monitor_common::Record;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot},
};

/// Records that may wait in the queue: 10 MiB of them.
const QUEUE: usize = 65_536;

/// Records that are moved before other tasks get their turn.
const TURN: usize = 512;

/// A record as it came out of the ring. Of a longer one the tail is left out, a shorter one stays short.
#[derive(Clone, Copy)]
pub struct RawRecord {
    bytes: [u8; Record::SIZE],
    length: usize,
}

impl RawRecord {
    fn new(record: &[u8]) -> Self {
        let mut bytes = [0; Record::SIZE];
        let length = record.len().min(bytes.len());
        for (to, from) in bytes.iter_mut().zip(record) {
            *to = *from;
        }
        Self { bytes, length }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The records that the kernel side reports, in order.
pub struct Events {
    queue: mpsc::Receiver<RawRecord>,
    overflowed: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
}

/// Registers something that owns a file descriptor with the reactor.
pub(super) fn readable<T: AsRawFd>(owner: T) -> Result<AsyncFd<T>> {
    // SAFETY: used with the ring and the kernel side's log alone. Both own the descriptor of their map, return the
    // same one each time, and close it only when they are dropped, which the AsyncFd then does.
    let registered = unsafe { AsyncFd::register_with_interest(owner, Interest::READABLE) };
    registered.map_err(|error| anyhow::Error::from(error.into_parts().1))
}

impl Events {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let ring = ebpf.take_map("EVENTS").context("the kernel object has no map EVENTS")?;
        let ring = RingBuf::try_from(ring).context("cannot map the ring of events")?;
        let ring = readable(ring).context("cannot wait for the ring of events")?;
        let (sender, queue) = mpsc::channel(QUEUE);
        let (stop, stopped) = oneshot::channel();
        let overflowed = Arc::new(AtomicU64::new(0));
        tokio::spawn(empty(ring, sender, Arc::clone(&overflowed), stopped));
        Ok(Self {
            queue,
            overflowed,
            stop: Some(stop),
        })
    }

    /// Waits for records and takes up to `limit` of them; none once the end was asked for and all are taken.
    /// Cancel-safe: nothing is taken by a wait that is given up.
    pub async fn take(&mut self, records: &mut Vec<RawRecord>, limit: usize) -> usize {
        self.queue.recv_many(records, limit).await
    }

    /// Records that found the queue full, since this was last asked.
    pub fn take_overflowed(&self) -> u64 {
        self.overflowed.swap(0, Ordering::Relaxed)
    }

    /// Asks for the end: what the ring holds still comes, then nothing more.
    pub fn finish(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The task may have ended by itself; then there is nobody to tell.
            let _ = stop.send(());
        }
    }
}

/// Moves records from the ring into the queue until the end is asked for, or nobody takes them.
async fn empty(
    mut ring: AsyncFd<RingBuf<MapData>>,
    queue: mpsc::Sender<RawRecord>,
    overflowed: Arc<AtomicU64>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut last = false;
    while !last {
        tokio::select! {
            ready = ring.readable_mut() => match ready {
                // Cleared before the ring is emptied: a record that arrives meanwhile raises it again.
                Ok(mut guard) => guard.clear_ready(),
                Err(error) => {
                    ::log::error!("cannot wait for the ring of events any more: {error}");
                    return;
                }
            },
            _ = &mut stopped => last = true,
        }
        let mut moved = 0;
        while let Some(record) = ring.get_mut().next() {
            match queue.try_send(RawRecord::new(&record)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    overflowed.fetch_add(1, Ordering::Relaxed);
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
            drop(record);
            moved += 1;
            if moved % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_its_length_and_a_longer_one_its_head() {
        assert_eq!(RawRecord::new(&[7; 12]).bytes(), [7; 12]);
        assert_eq!(RawRecord::new(&[7; Record::SIZE + 9]).bytes(), [7; Record::SIZE]);
        assert!(RawRecord::new(&[]).bytes().is_empty());
    }
}
