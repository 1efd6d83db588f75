//! UDP sockets on ports that nothing names: they count as listeners once they have been bound for a while.
//!
//! The kernel side keeps them in a map and takes them out when they end or are connected, without a word where that was
//! soon. So the ring never sees the ports that resolvers bind for each query. What is still in the map after
//! [`UDP_COUNTS_AFTER`] is read here; a socket that ends later than that is reported by the kernel side itself, and whole.

use std::collections::HashMap;

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{HashMap as BpfMap, MapData, MapError},
};
use monitor_common::{KIND_BIND, Record, UDP_COUNTS_AFTER};

use super::ring::RawRecord;

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain(Record);

// SAFETY: `Record` is integers without padding (asserted where it is defined), so any bytes are a value of it.
unsafe impl aya::Pod for Plain {}

/// Reads the map of bound UDP sockets.
pub struct BoundUdp {
    map: BpfMap<MapData, u64, Plain>,
    told: Told,
}

/// Which sockets were told of: by address, since a socket that took the memory of another was bound later.
#[derive(Debug, Default)]
struct Told(HashMap<u64, u64>);

impl BoundUdp {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let map = ebpf
            .take_map("BOUND_UDP")
            .context("the kernel object has no map BOUND_UDP")?;
        Ok(Self {
            map: BpfMap::try_from(map).context("cannot use the map BOUND_UDP")?,
            told: Told::default(),
        })
    }

    /// The binds that count since the last call, each once, as records of the ring. `now` is in nanoseconds since boot.
    pub fn due(&mut self, now: u64) -> Result<Vec<RawRecord>> {
        let mut present = HashMap::new();
        let mut due = Vec::new();
        for entry in self.map.iter() {
            let (socket, Plain(record)) = match entry {
                Ok(entry) => entry,
                // It ended meanwhile.
                Err(MapError::KeyNotFound) => continue,
                Err(error) => return Err(error).context("cannot read the map of bound UDP sockets"),
            };
            present.insert(socket, record.opened);
            if self.told.is_due(socket, &record, now) {
                due.push(RawRecord::new(bytes_of(&record)));
            }
        }
        self.told.keep(&present);
        Ok(due)
    }
}

impl Told {
    /// Whether this socket counts and was not told of; it is from now on.
    fn is_due(&mut self, socket: u64, record: &Record, now: u64) -> bool {
        let is_old = now.saturating_sub(record.opened) >= UDP_COUNTS_AFTER;
        let is_late = record.flags & monitor_common::FLAG_LATE != 0;
        // One that is about to go is the record of its end already.
        record.kind == KIND_BIND && is_late && is_old && self.0.insert(socket, record.opened) != Some(record.opened)
    }

    /// Forgets what is there no more.
    fn keep(&mut self, present: &HashMap<u64, u64>) {
        self.0.retain(|socket, opened| present.get(socket) == Some(opened));
    }
}

fn bytes_of(record: &Record) -> &[u8] {
    // SAFETY: a record is integers without padding, so each of its bytes is initialised; it is borrowed for as long.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(record).cast(), Record::SIZE) }
}

#[cfg(test)]
mod tests {
    use monitor_common::FLAG_LATE;

    use super::*;

    fn record(opened: u64, flags: u32) -> Record {
        // SAFETY: integers, for which zero is a value.
        let mut record: Record = unsafe { std::mem::zeroed() };
        (record.kind, record.opened, record.flags) = (KIND_BIND, opened, flags);
        record
    }

    #[test]
    fn a_socket_counts_once_when_it_is_old_enough_and_its_port_is_not_named() {
        let mut told = Told::default();
        let old = UDP_COUNTS_AFTER;
        assert!(!told.is_due(1, &record(5, FLAG_LATE), 5 + old - 1));
        assert!(told.is_due(1, &record(5, FLAG_LATE), 5 + old));
        assert!(!told.is_due(1, &record(5, FLAG_LATE), 6 + old));
        assert!(!told.is_due(2, &record(5, 0), 9 + old), "a named port was told at once");
    }

    #[test]
    fn a_socket_in_the_memory_of_another_is_another() {
        let mut told = Told::default();
        assert!(told.is_due(1, &record(5, FLAG_LATE), 5 + UDP_COUNTS_AFTER));
        assert!(told.is_due(1, &record(9, FLAG_LATE), 9 + UDP_COUNTS_AFTER));
        told.keep(&HashMap::new());
        assert!(told.0.is_empty());
    }
}
