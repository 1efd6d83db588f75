//! The kernel side's own counters, added up over the CPUs.

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use monitor_common::{
    Counters, HOOK_ACCEPT, HOOK_BIND, HOOK_CONNECT, HOOK_LISTEN, HOOK_UNLISTEN, HOOKS, LOSSES, LOST_ACCEPT, LOST_BIND,
    LOST_CALLS, LOST_CONNECT, LOST_LISTEN, LOST_LISTENERS, LOST_UDP, LOST_UNLISTEN,
};

/// Names of the hooks with a run counter, in the order of `HOOK_*`.
const RUNS: [&str; HOOKS] = ["listen", "unlisten", "bind", "connect", "accept"];

/// Names of the edges, in the order of `LOST_*`.
const EDGES: [&str; LOSSES] = [
    "ring_listen",
    "ring_unlisten",
    "ring_bind",
    "ring_connect",
    "ring_accept",
    "listeners_map",
    "udp_map",
    "calls_map",
];

const _: () = {
    assert!(HOOK_LISTEN == 0 && HOOK_UNLISTEN == 1 && HOOK_BIND == 2 && HOOK_CONNECT == 3 && HOOK_ACCEPT == 4);
    assert!(LOST_LISTEN == 0 && LOST_UNLISTEN == 1 && LOST_BIND == 2 && LOST_CONNECT == 3 && LOST_ACCEPT == 4);
    assert!(LOST_LISTENERS == 5 && LOST_UDP == 6 && LOST_CALLS == 7);
};

/// Sums since the object was loaded; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounters {
    sums: Counters,
}

impl KernelCounters {
    /// Runs of each hook, by the name of what it reports.
    pub fn runs(&self) -> [(&'static str, u64); HOOKS] {
        named(RUNS, self.sums.runs)
    }

    /// Losses at each edge on the kernel's side.
    pub fn lost(&self) -> [(&'static str, u64); LOSSES] {
        named(EDGES, self.sums.lost)
    }
}

fn named<const N: usize>(names: [&'static str; N], values: [u64; N]) -> [(&'static str, u64); N] {
    let mut values = values.into_iter();
    names.map(|name| (name, values.next().unwrap_or(0)))
}

/// Reads the counters; a read is one system call.
pub struct CountersReader {
    map: PerCpuArray<MapData, Plain>,
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain(Counters);

// SAFETY: `Counters` is integers without padding (asserted where it is defined), so any bytes are a value of it.
unsafe impl aya::Pod for Plain {}

impl CountersReader {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let map = ebpf
            .take_map("COUNTERS")
            .context("the kernel object has no map COUNTERS")?;
        Ok(Self {
            map: PerCpuArray::try_from(map).context("cannot use the map COUNTERS")?,
        })
    }

    /// The sums now.
    pub fn read(&self) -> Result<KernelCounters> {
        let each = self.map.get(&0, 0).context("cannot read the kernel side's counters")?;
        let mut sum = KernelCounters::default();
        for Plain(counters) in each.iter() {
            add(&mut sum.sums, counters);
        }
        Ok(sum)
    }
}

fn add(sum: &mut Counters, one: &Counters) {
    let each = |sums: &mut [u64], ones: &[u64]| sums.iter_mut().zip(ones).for_each(|(sum, one)| *sum += one);
    each(&mut sum.runs, &one.runs);
    each(&mut sum.lost, &one.lost);
    each(&mut sum.entered, &one.entered);
    each(&mut sum.returned, &one.returned);
    sum.connects_stored += one.connects_stored;
    sum.connects_ended += one.connects_ended;
    sum.udp_waiting += one.udp_waiting;
}
