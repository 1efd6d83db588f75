//! Counters that the kernel side keeps and the agent reads.

use core::mem::size_of;

/// Runs of the hook that reports listens.
pub const HOOK_LISTEN: usize = 0;
/// Runs of the hook that reports ends of listeners.
pub const HOOK_UNLISTEN: usize = 1;
/// Runs of the hooks that report binds.
pub const HOOK_BIND: usize = 2;
/// Runs of the hooks that store who connects, and of those that report the outcome.
pub const HOOK_CONNECT: usize = 3;
/// Runs of the hook that reports accepts.
pub const HOOK_ACCEPT: usize = 4;
/// Number of hooks with a run counter.
pub const HOOKS: usize = 5;

/// Listens that found the ring full.
pub const LOST_LISTEN: usize = 0;
/// Unlistens that found the ring full.
pub const LOST_UNLISTEN: usize = 1;
/// Binds that found the ring full.
pub const LOST_BIND: usize = 2;
/// Connects that found the ring full.
pub const LOST_CONNECT: usize = 3;
/// Accepts that found the ring full.
pub const LOST_ACCEPT: usize = 4;
/// Listeners that found the map of reported listeners full: their end will not be reported.
pub const LOST_LISTENERS: usize = 5;
/// UDP sockets that found the map of bound ones full.
pub const LOST_UDP: usize = 6;
/// Calls whose entry found the map of calls full: what they did is not reported.
pub const LOST_CALLS: usize = 7;
/// Number of edges at which the kernel side can lose something.
pub const LOSSES: usize = 8;

/// One function that is hooked at its entry and its return: which one a call in the map of calls belongs to.
pub const CALL_LISTEN: usize = 0;
/// `__inet_bind`.
pub const CALL_BIND4: usize = 1;
/// `__inet6_bind`.
pub const CALL_BIND6: usize = 2;
/// `tcp_v4_connect`.
pub const CALL_CONNECT4: usize = 3;
/// `tcp_v6_connect`.
pub const CALL_CONNECT6: usize = 4;
/// `__ip4_datagram_connect`.
pub const CALL_UDP_CONNECT4: usize = 5;
/// `__ip6_datagram_connect`.
pub const CALL_UDP_CONNECT6: usize = 6;
/// Number of such functions.
pub const CALLS: usize = 7;

/// The counters of all CPUs; they only grow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Runs, indexed by `HOOK_*`: only runs that passed the hook's first test.
    pub runs: [u64; HOOKS],
    /// Losses, indexed by `LOST_*`.
    pub lost: [u64; LOSSES],
    /// Calls whose entry was stored, indexed by `CALL_*`.
    pub entered: [u64; CALLS],
    /// Stored calls whose return came, indexed by `CALL_*`.
    pub returned: [u64; CALLS],
    /// Connects that were put into the map until their outcome is known, as another one had their place.
    pub connects_stored: u64,
    /// Those whose outcome came.
    pub connects_ended: u64,
}

const _: () = assert!(size_of::<Counters>() == 8 * (HOOKS + LOSSES + 2 * CALLS + 2));
