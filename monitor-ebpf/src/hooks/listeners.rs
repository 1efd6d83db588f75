//! The listeners that were reported, so that their end can name who opened them.
//!
//! Each has a place in an array by a hash of its address, which costs a few loads and stores; where another listener has it
//! already, a hash map takes it, which costs a tenth of a `listen()`. Whoever calls holds the socket's lock, so no other CPU
//! looks for the same listener; of the same place it may.

use core::{arch::asm, ptr};

use aya_ebpf::EbpfContext;
use aya_log_ebpf::warn;
use monitor_common::{LOST_LISTENERS, Record};

use crate::{
    emit::{Draft, copy},
    maps::{LISTENERS, PLACES, count_loss},
};

/// Bits of a place.
const BITS: u32 = 12;

/// Places there are.
pub const PLACES_MAX: u32 = 1 << BITS;

/// Room for one listener.
#[repr(C)]
pub struct Place {
    record: Record,
    /// How many listeners claim it: 1 while one is here.
    claims: u64,
}

/// The place of an address. Multiplied by 2^64 / φ, as addresses differ in their middle bits.
#[inline(always)]
fn place(socket: u64) -> Option<*mut Place> {
    PLACES.get_ptr_mut((socket.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - BITS)) as u32)
}

/// Keeps the record of a listener.
#[inline(always)]
pub fn remember<C: EbpfContext>(ctx: &C, record: &Record) {
    if let Some(place) = place(record.socket) {
        // SAFETY: the map's value is a `Place`. Who is alone in claiming it writes it.
        unsafe {
            // One that is here under this address has ended unseen.
            if (*place).record.socket == record.socket || claim(&raw mut (*place).claims) {
                copy(record, &raw mut (*place).record);
                return;
            }
        }
    }
    if LISTENERS.insert(record.socket, record, 0).is_err() && count_loss::<LOST_LISTENERS>() == 1 {
        warn!(
            ctx,
            "the map of reported listeners is full: ends of further listeners are left to the reconcile"
        );
    }
}

/// Takes out the record of a listener, if it was reported, into a draft.
#[inline(always)]
pub fn forget(socket: u64, draft: &mut Draft) -> bool {
    let socket = draft.number(socket);
    if let Some(place) = place(socket) {
        // SAFETY: as above; the listener that is here is the caller's.
        unsafe {
            if (*place).record.socket == socket {
                draft.take(&raw const (*place).record);
                (*place).record.socket = 0;
                add(&raw mut (*place).claims, -1);
                return true;
            }
        }
    }
    // SAFETY: the entry is copied at once.
    let Some(kept) = (unsafe { LISTENERS.get(socket) }) else {
        return false;
    };
    draft.take(kept);
    // An entry that is gone already is no loss.
    let _ = LISTENERS.remove(socket);
    true
}

/// Claims a place, where nobody else does. Of two that try at once both may be sent away, and never both be let in: who
/// reads 1 after adding 1 is alone.
///
/// # Safety
/// A pointer into a map.
#[inline(always)]
unsafe fn claim(claims: *mut u64) -> bool {
    // SAFETY: the caller's.
    unsafe {
        if ptr::read_volatile(claims) != 0 {
            return false;
        }
        add(claims, 1);
        let is_alone = ptr::read_volatile(claims) == 1;
        if !is_alone {
            add(claims, -1);
        }
        is_alone
    }
}

/// Adds at once for all CPUs, without asking for what was there, which kernels before 5.12 cannot say. The target has no
/// atomics in `core`, since it has no compare-and-swap.
///
/// # Safety
/// A pointer into a map.
#[inline(always)]
unsafe fn add(number: *mut u64, more: i64) {
    // SAFETY: the caller's.
    unsafe { asm!("lock *(u64 *)({number} + 0) += {more}", number = in(reg) number, more = in(reg) more) };
}
