//! Counters that the kernel side keeps on each CPU and the agent adds up.

use core::mem::size_of;

/// Runs of the hook that reports listens.
pub const HOOK_LISTEN: usize = 0;
/// Runs of the hook that reports ends of listeners.
pub const HOOK_UNLISTEN: usize = 1;
/// Number of hooks with a run counter.
pub const HOOKS: usize = 2;

/// Listens that found the ring full.
pub const LOST_LISTEN: usize = 0;
/// Unlistens that found the ring full.
pub const LOST_UNLISTEN: usize = 1;
/// Listeners that found the map of reported listeners full: their end will not be reported.
pub const LOST_LISTENERS: usize = 2;
/// Number of edges at which the kernel side can lose something.
pub const LOSSES: usize = 3;

/// One CPU's counters; they only grow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Runs, indexed by `HOOK_*`: only runs that passed the hook's first test (a change to or from LISTEN).
    pub runs: [u64; HOOKS],
    /// Losses, indexed by `LOST_*`.
    pub lost: [u64; LOSSES],
}

const _: () = assert!(size_of::<Counters>() == 8 * (HOOKS + LOSSES));
