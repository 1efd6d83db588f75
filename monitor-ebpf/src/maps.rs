//! The maps that kernel side and agent share, and the counters in them.
//!
//! What has one value is a [`Global`]: a map too, but its value's address stands in the instructions, where an array is asked
//! for it each time.

use core::{cell::UnsafeCell, mem::MaybeUninit, ptr};

use aya_ebpf::{
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use monitor_common::{CALLS_MAX, CONNECTS_MAX, Counters, LISTENERS_MAX, PORTS, RING_BYTES, Record, UDP_MAX};

use crate::{
    atomic,
    emit::{DRAFTS_MAX, Draft, Paper},
    hooks::{call::Call, places::Places},
};

/// One value that all processors share, zeroes at first. Each has a section of its own, and by its name the agent finds the
/// map that the library makes of it.
#[repr(transparent)]
pub struct Global<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: it hands out a pointer; how that is used is for the caller to answer.
unsafe impl<T> Sync for Global<T> {}

impl<T> Global<T> {
    const fn zeroed() -> Self {
        Self(UnsafeCell::new(MaybeUninit::zeroed()))
    }

    /// Where the value is: any bytes that agent and programs wrote.
    #[inline(always)]
    pub fn as_ptr(&self) -> *mut T {
        self.0.get().cast()
    }
}

/// The ring to the agent. Written by `emit` alone.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Until when the agent looks at the ring by itself, in nanoseconds since boot. To wake it means an interrupt, which costs
/// whoever makes the call as much as all the rest: so it is woken for the first record of a burst, and for the next ones it
/// has said that it will come.
#[unsafe(link_section = ".bss.attention")]
pub static ATTENTION: Global<u64> = Global::zeroed();

/// What is reported for each port; written by the agent. One value, so that a look-up costs the same for one port
/// that is watched and for all of them.
#[unsafe(link_section = ".bss.filter")]
pub static FILTER: Global<[u8; PORTS]> = Global::zeroed();

/// The listeners that were reported and still listen, each at the place that its address gives: see `hooks::places`.
#[unsafe(link_section = ".bss.listeners")]
pub static LISTENER_PLACES: Global<Places<Paper, 2048, 1024>> = Global::zeroed();

/// The listeners whose place another one has, by the address of their `struct sock`. Allocated in advance: the hooks run
/// where memory may not be allocated.
#[map]
pub static LISTENERS: HashMap<u64, Record> = HashMap::with_max_entries(LISTENERS_MAX, 0);

/// The UDP sockets that are bound and not connected, by the address of their `struct sock`. A map of their own: they come
/// and go with each query of a resolver, and must not take the place of a listener.
#[map]
pub static BOUND_UDP: HashMap<u64, Record> = HashMap::with_max_entries(UDP_MAX, 0);

/// Connections that were begun, with who began them, until their outcome is known, each at its place.
#[unsafe(link_section = ".bss.connects")]
pub static CONNECT_PLACES: Global<Places<Record, 2048, 2048>> = Global::zeroed();

/// The connections whose place another one has. The one that has waited longest goes where there are too many: a host that
/// swallows SYNs must not keep the next connection from being seen.
#[map]
pub static CONNECTS: LruHashMap<u64, Record> = LruHashMap::with_max_entries(CONNECTS_MAX, 0);

/// Calls under way, for the backend `kprobe`: what their entry knew, by thread and function.
#[map]
pub static CALLS: HashMap<u64, Call> = HashMap::with_max_entries(CALLS_MAX, 0);

/// The listener that a thread takes a connection from, for the backend `kprobe`, by thread. An entry is left behind where
/// there was no connection to take, so the oldest goes.
#[map]
pub static ACCEPTS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(CALLS_MAX, 0);

/// The drafts of records: see `emit::Slot`.
#[map]
pub static DRAFTS: PerCpuArray<Draft> = PerCpuArray::with_max_entries(DRAFTS_MAX, 0);

/// One for all CPUs: a number that is added to at once is right wherever a program is interrupted, and it is reached without
/// a call, which a `listen()` or a `connect()` would wait for.
#[unsafe(link_section = ".bss.counters")]
static COUNTERS: Global<Counters> = Global::zeroed();

/// Adds 1 to one of the counters, and returns what it was before.
#[inline(always)]
fn count(counter: impl FnOnce(*mut Counters) -> *mut u64) -> u64 {
    let counter = counter(COUNTERS.as_ptr());
    // SAFETY: an integer in the map's value, which each CPU adds to at once.
    unsafe {
        // Left out where nobody asks for it.
        let before = *counter;
        atomic::add(counter, 1);
        before
    }
}

/// Counts one run of a hook.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "the index is a constant, checked against the array when compiled"
)]
pub fn count_run<const HOOK: usize>() {
    // SAFETY: within the map's value.
    count(|counters| unsafe { &raw mut (*counters).runs[HOOK] });
}

/// Counts one loss, and returns how many were counted at that edge before.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "the index is a constant, checked against the array when compiled"
)]
pub fn count_loss<const EDGE: usize>() -> u64 {
    // SAFETY: within the map's value.
    count(|counters| unsafe { &raw mut (*counters).lost[EDGE] })
}

/// Counts a call whose entry was stored.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "the index is a constant, checked against the array when compiled"
)]
pub fn count_entered<const CALL: usize>() {
    // SAFETY: within the map's value.
    count(|counters| unsafe { &raw mut (*counters).entered[CALL] });
}

/// Counts the return of a stored call.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "the index is a constant, checked against the array when compiled"
)]
pub fn count_returned<const CALL: usize>() {
    // SAFETY: within the map's value.
    count(|counters| unsafe { &raw mut (*counters).returned[CALL] });
}

/// Whether a call of this function has been entered whose return has not come, or was missed.
#[inline(always)]
#[expect(
    clippy::indexing_slicing,
    reason = "the index is a constant, checked against the array when compiled"
)]
pub fn are_calls_under_way<const CALL: usize>() -> bool {
    let counters = COUNTERS.as_ptr();
    // SAFETY: within the map's value, of integers that each CPU adds to at once.
    unsafe {
        ptr::read_volatile(&raw const (*counters).entered[CALL])
            != ptr::read_volatile(&raw const (*counters).returned[CALL])
    }
}

/// Whether a connect may wait for its outcome in the map. Most often none does, and to look for one costs as much as ten
/// loads.
#[inline(always)]
pub fn do_connects_wait() -> bool {
    let counters = COUNTERS.as_ptr();
    // SAFETY: within the map's value, of integers that each CPU adds to at once.
    unsafe {
        ptr::read_volatile(&raw const (*counters).connects_stored)
            != ptr::read_volatile(&raw const (*counters).connects_ended)
    }
}

/// Counts a connect that waits for its outcome in the map.
#[inline(always)]
pub fn count_connect_stored() {
    // SAFETY: within the map's value.
    count(|counters| unsafe { &raw mut (*counters).connects_stored });
}

/// Counts the outcome of a connect that waited there.
#[inline(always)]
pub fn count_connect_ended() {
    // SAFETY: within the map's value.
    count(|counters| unsafe { &raw mut (*counters).connects_ended });
}
