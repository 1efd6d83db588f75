//! The reader of the ring.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use tokio::io::{Interest, unix::AsyncFd};

/// The records that the kernel side reports, in order.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
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
        Ok(Self {
            ring: readable(ring).context("cannot wait for the ring of events")?,
        })
    }

    /// Waits until there are records. Cancel-safe: nothing is taken.
    pub async fn ready(&mut self) -> Result<()> {
        let mut guard = self
            .ring
            .readable_mut()
            .await
            .context("cannot wait for the ring of events")?;
        // Cleared before the ring is drained: a record that arrives meanwhile raises it again.
        guard.clear_ready();
        Ok(())
    }

    /// Hands over up to `limit` records that are there, and says whether there may be more.
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(&[u8])) -> bool {
        for _ in 0..limit {
            match self.ring.get_mut().next() {
                Some(record) => take(&record),
                None => return false,
            }
        }
        true
    }
}
