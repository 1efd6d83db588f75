//! The kernel side's own counters.

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{Array, HashMap as BpfMap, MapData, MapError},
};
use monitor_common::{
    CALLS, Counters, HOOK_ACCEPT, HOOK_BIND, HOOK_CONNECT, HOOK_LISTEN, HOOK_UNLISTEN, HOOKS, LOSSES, LOST_ACCEPT,
    LOST_BIND, LOST_CALLS, LOST_CONNECT, LOST_LISTEN, LOST_LISTENERS, LOST_UDP, LOST_UNLISTEN, Record,
};

use super::hooks;

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
    counters: Counters,
    misses: [u64; CALLS],
    displaced: u64,
}

impl KernelCounters {
    /// Runs of each hook, by the name of what it reports.
    pub fn runs(&self) -> [(&'static str, u64); HOOKS] {
        named(RUNS, self.counters.runs)
    }

    /// Losses at each edge on the kernel's side.
    pub fn lost(&self) -> Vec<(&'static str, u64)> {
        let displaced = ("connects_map", self.displaced);
        named(EDGES, self.counters.lost)
            .into_iter()
            .chain([displaced])
            .collect()
    }

    /// Calls whose return was not seen, by the function that is hooked.
    pub fn misses(&self) -> [(&'static str, u64); CALLS] {
        named(hooks::CALLS, self.misses)
    }
}

fn named<const N: usize>(names: [&'static str; N], values: [u64; N]) -> [(&'static str, u64); N] {
    let mut values = values.into_iter();
    names.map(|name| (name, values.next().unwrap_or(0)))
}

/// Reads the counters; a read is one system call, and a few more where calls or connects are under way.
pub struct CountersReader {
    map: Array<MapData, Plain>,
    calls: BpfMap<MapData, u64, PlainCall>,
    connects: BpfMap<MapData, u64, [u8; Record::SIZE]>,
    /// Connects that are known to have been displaced from their map.
    displaced: u64,
}

/// How many of all connects that were stored in the map were displaced there by later ones: what neither ended nor is in it. Of
/// numbers that change meanwhile: with `stored` read first and `ended` last it is never too many.
fn displaced(stored: u64, in_the_map: u64, ended: u64) -> u64 {
    stored.saturating_sub(ended).saturating_sub(in_the_map)
}

/// How long a call may be under way before its return is taken to be missed: nanoseconds. The functions that are hooked at
/// both ends wait for a lock at most.
const LOST_AFTER: u64 = 10_000_000_000;

/// A call under way: address of the socket, address of the argument, and when it was entered, in nanoseconds since boot.
type PlainCall = [u64; 3];

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain(Counters);

// SAFETY: `Counters` is integers without padding (asserted where it is defined), so any bytes are a value of it.
unsafe impl aya::Pod for Plain {}

impl CountersReader {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let mut take = |name: &str| {
            ebpf.take_map(name)
                .with_context(|| format!("the kernel object has no map {name}"))
        };
        Ok(Self {
            map: Array::try_from(take(".bss.counters")?).context("cannot use the map .bss.counters")?,
            calls: BpfMap::try_from(take("CALLS")?).context("cannot use the map CALLS")?,
            connects: BpfMap::try_from(take("CONNECTS")?).context("cannot use the map CONNECTS")?,
            displaced: 0,
        })
    }

    /// The sums now; `now` is in nanoseconds since boot.
    pub fn read(&mut self, now: u64) -> Result<KernelCounters> {
        // First those that were entered or stored, last those that returned or ended: what comes or goes meanwhile is not taken
        // for missed or displaced, which could not be taken back.
        let before = self.counters()?;
        let under_way = self.under_way(now)?;
        let waiting = before.connects_stored.saturating_sub(before.connects_ended);
        // Asked only where there may be any but for those that are known to have been displaced.
        let in_the_map = if waiting > self.displaced {
            self.connects.keys().count() as u64
        } else {
            0
        };
        let counters = self.counters()?;
        self.displaced = self
            .displaced
            .max(displaced(before.connects_stored, in_the_map, counters.connects_ended));
        let mut misses = [0; CALLS];
        let calls = before.entered.into_iter().zip(counters.returned).zip(under_way);
        for (misses, ((entered, returned), under_way)) in misses.iter_mut().zip(calls) {
            *misses = entered.saturating_sub(returned).saturating_sub(under_way);
        }
        Ok(KernelCounters {
            counters,
            misses,
            displaced: self.displaced,
        })
    }

    /// The counters as they stand.
    fn counters(&self) -> Result<Counters> {
        let Plain(counters) = self.map.get(&0, 0).context("cannot read the kernel side's counters")?;
        Ok(counters)
    }

    /// Calls that were entered and may still return, by function. Those that have been under way for too long are taken
    /// out: their return was missed.
    fn under_way(&mut self, now: u64) -> Result<[u64; CALLS]> {
        let mut under_way = [0; CALLS];
        let mut lost = Vec::new();
        for entry in self.calls.iter() {
            let (key, [_, _, entered]) = match entry {
                Ok(entry) => entry,
                // It returned meanwhile.
                Err(MapError::KeyNotFound) => continue,
                Err(error) => return Err(error).context("cannot read the map of calls"),
            };
            if now.saturating_sub(entered) > LOST_AFTER {
                lost.push(key);
            } else if let Some(count) = under_way.get_mut((key & 0xff) as usize) {
                *count += 1;
            }
        }
        for key in lost {
            // It may have returned at last.
            let _ = self.calls.remove(&key);
        }
        Ok(under_way)
    }
}

#[cfg(test)]
mod tests {
    use super::displaced;

    #[test]
    fn what_was_displaced_stays_so_when_the_map_is_empty_again() {
        assert_eq!(displaced(5_000, 5_000, 0), 0);
        assert_eq!(displaced(12_000, 8_192, 0), 3_808);
        assert_eq!(displaced(12_000, 0, 8_192), 3_808);
        // One that was stored after the first number was read.
        assert_eq!(displaced(10, 11, 0), 0);
    }
}
