//! Calls of functions that the backend `kprobe` hooks at both ends: what the entry knows and the return needs.

use monitor_common::LOST_CALLS;

use crate::{
    kernel::task::{self, Ids},
    maps::{CALLS, are_calls_under_way, count_entered, count_loss, count_returned},
};

/// A call under way.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    /// Address of the `struct sock`.
    pub sock: u64,
    /// Address of the `struct sockaddr`; 0 where the function has none.
    pub address: u64,
    /// When it was entered: nanoseconds since boot.
    pub time: u64,
}

/// A thread is in one call of a function at a time, and IPv6's functions call IPv4's.
#[inline(always)]
fn key<const CALL: usize>() -> u64 {
    (u64::from(Ids::current().tid) << 8) | CALL as u64
}

/// Keeps what the entry knows, where the return is awaited.
#[inline(always)]
pub fn entered_if<const CALL: usize>(is_awaited: bool, sock: *const u8, address: *const u8) {
    if is_awaited {
        entered::<CALL>(sock, address);
    } else if are_calls_under_way::<CALL>() {
        // Of a call of this thread whose return was missed: this one's return must not be taken for it. It stays counted as
        // missed.
        let _ = CALLS.remove(key::<CALL>());
    }
}

/// Keeps what the entry knows.
#[inline(always)]
pub fn entered<const CALL: usize>(sock: *const u8, address: *const u8) {
    let call = Call {
        sock: sock as u64,
        address: address as u64,
        time: task::boot_time(),
    };
    if CALLS.insert(key::<CALL>(), call, 0).is_err() {
        count_loss::<LOST_CALLS>();
    } else {
        count_entered::<CALL>();
    }
}

/// Gives what the entry knew; `None` where it kept nothing.
#[inline(always)]
pub fn returned<const CALL: usize>() -> Option<Call> {
    let key = key::<CALL>();
    // SAFETY: the entry is copied at once; only this thread writes it.
    let call = unsafe { CALLS.get(key) }.copied()?;
    // Counted first: whoever reads the counters and finds no entry finds it counted, and takes it for no miss.
    count_returned::<CALL>();
    // It was there a moment ago.
    let _ = CALLS.remove(key);
    Some(call)
}
