//! The maps that kernel side and agent share, and the counters in them.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use monitor_common::{Counters, LISTENERS_MAX, PORTS, RING_BYTES, Record, UDP_MAX};

/// The ring to the agent. Written by `emit` alone.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// What is reported for each port; written by the agent. One value, so that a look-up costs the same for one port
/// that is watched and for all of them.
#[map]
pub static FILTER: Array<[u8; PORTS]> = Array::with_max_entries(1, 0);

/// The listeners that were reported and still listen, by the address of their `struct sock`. Allocated in advance:
/// the hooks run where memory may not be allocated.
#[map]
pub static LISTENERS: HashMap<u64, Record> = HashMap::with_max_entries(LISTENERS_MAX, 0);

/// The UDP sockets that are bound and not connected, by the address of their `struct sock`. A map of their own: they come
/// and go with each query of a resolver, and must not take the place of a listener.
#[map]
pub static BOUND_UDP: HashMap<u64, Record> = HashMap::with_max_entries(UDP_MAX, 0);

#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Counts one run of a hook.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "the index is a constant, checked against the array when compiled"
)]
pub fn count_run<const HOOK: usize>() {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the map's value is a `Counters`, of this CPU alone.
        unsafe { (*counters).runs[HOOK] += 1 }
    }
}

/// Counts one loss, and returns how many this CPU has counted at that edge.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "the index is a constant, checked against the array when compiled"
)]
pub fn count_loss<const EDGE: usize>() -> u64 {
    match COUNTERS.get_ptr_mut(0) {
        // SAFETY: as in `count_run`.
        Some(counters) => unsafe {
            (*counters).lost[EDGE] += 1;
            (*counters).lost[EDGE]
        },
        None => 0,
    }
}
