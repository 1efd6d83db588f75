//! The kernel side's own counters, added up over the CPUs.

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use monitor_common::{Counters, HOOK_LISTEN, HOOK_UNLISTEN, HOOKS, LOSSES, LOST_LISTEN, LOST_LISTENERS, LOST_UNLISTEN};

/// Sums since the object was loaded; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounters {
    runs: [u64; HOOKS],
    lost: [u64; LOSSES],
}

impl KernelCounters {
    /// Runs of each hook, by the name of what it reports.
    pub fn runs(&self) -> [(&'static str, u64); HOOKS] {
        let [listen, unlisten] = self.runs;
        const { assert!(HOOK_LISTEN == 0 && HOOK_UNLISTEN == 1) };
        [("listen", listen), ("unlisten", unlisten)]
    }

    /// Losses at each edge on the kernel's side.
    pub fn lost(&self) -> [(&'static str, u64); LOSSES] {
        let [listen, unlisten, listeners] = self.lost;
        const { assert!(LOST_LISTEN == 0 && LOST_UNLISTEN == 1 && LOST_LISTENERS == 2) };
        [
            ("ring_listen", listen),
            ("ring_unlisten", unlisten),
            ("listeners_map", listeners),
        ]
    }
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
            for (sum, count) in sum.runs.iter_mut().zip(counters.runs) {
                *sum += count;
            }
            for (sum, count) in sum.lost.iter_mut().zip(counters.lost) {
                *sum += count;
            }
        }
        Ok(sum)
    }
}
