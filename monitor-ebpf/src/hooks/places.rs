//! Records that are kept until their socket comes to an end or has its answer: of listeners, and of connects.
//!
//! Each has a place in an array by a hash of its socket's address, which costs a few loads and stores; where another one has
//! it already, a map takes it, which costs a tenth of a `listen()`. Whoever calls holds the socket's lock, so no other CPU
//! looks for the same socket; of the same place it may.

use core::{
    arch::asm,
    mem::offset_of,
    ptr::{self, NonNull},
};

use monitor_common::Record;

use crate::{atomic, emit::Paper, maps::Global};

/// Bits of a place.
const BITS: u32 = 11;

/// Bits of an address within a slab, where sockets are taken from.
const SLAB_BITS: u32 = 15;

/// Bits of an address within a socket, at least.
const SOCKET_BITS: u32 = 11;

/// Bits of a place that tell sockets of one slab apart.
const WITHIN_BITS: u32 = SLAB_BITS - SOCKET_BITS;

/// Added, it takes one away.
const MINUS_ONE: u64 = u64::MAX;

/// The places.
pub type Places<T> = [Place<T>; 1 << BITS];

/// Room for what is kept of one socket: a record, or what begins with one.
#[repr(C)]
pub struct Place<T> {
    /// How many sockets claim it: 1 while one is here. Before what is kept, beside the socket: most of what is kept is room
    /// for a path, and the end of it lies in another page of memory.
    claims: u64,
    kept: T,
}

/// What a place may keep.
///
/// # Safety
/// It begins with a [`Record`].
pub unsafe trait Kept {}

// SAFETY: it is one.
unsafe impl Kept for Record {}

// SAFETY: its first field is one.
unsafe impl Kept for Paper {}

/// The place of an address. The kernel takes sockets from slabs of 32 KiB, one after the other, and each is larger than 2 KiB:
/// those of one slab have places side by side. Strewn over the whole array, each next listener of a busy host would be the
/// first to touch a page of it.
#[inline(always)]
fn of<T: Kept>(places: &Global<Places<T>>, socket: u64) -> *mut Place<T> {
    // Multiplied by 2^64 / φ, as addresses differ in their middle bits.
    let slab = (socket >> SLAB_BITS).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS + WITHIN_BITS - BITS);
    let within = (socket >> SOCKET_BITS) & ((1 << WITHIN_BITS) - 1);
    #[expect(clippy::cast_possible_truncation, reason = "a place has BITS bits")]
    let place = ((slab << WITHIN_BITS) | within) as usize;
    // SAFETY: there are as many places.
    unsafe { places.as_ptr().cast::<Place<T>>().add(place) }
}

/// Which socket is in a place; 0 where none is.
///
/// # Safety
/// A pointer into a map.
#[inline(always)]
unsafe fn socket_of<T: Kept>(place: *mut Place<T>) -> *mut u64 {
    // SAFETY: what is kept begins with a record.
    unsafe { &raw mut (*(&raw mut (*place).kept).cast::<Record>()).socket }
}

/// What is kept in a place, as a pointer that the compiler thinks may be null. So it asks the pointer whether something was
/// found. Else it asks once more what the place holds, and the verifier does not know that the answer is the same.
///
/// # Safety
/// A pointer into a map.
#[inline(always)]
unsafe fn kept<T>(place: *mut Place<T>) -> Option<NonNull<T>> {
    // SAFETY: the caller's.
    unsafe {
        let address = &raw mut (*place).kept as u64;
        let kept: u64;
        // An instruction: of none, the line would stand twice in the line table, which the kernel refuses.
        asm!("{kept} = {address}", kept = lateout(reg) kept, address = in(reg) address, options(pure, nomem, nostack));
        NonNull::new(kept as *mut T)
    }
}

/// The place of a socket, if it is free or nobody else's, for whoever keeps something of it there.
#[inline(always)]
pub fn claim<T: Kept>(places: &Global<Places<T>>, socket: u64) -> Option<NonNull<T>> {
    let place = of(places, socket);
    // SAFETY: the map's value is a `Place`.
    unsafe {
        // A socket that is here under this address has ended unseen.
        let is_own = *socket_of(place) == socket || claim_alone(&raw mut (*place).claims);
        if is_own { kept(place) } else { None }
    }
}

/// What is kept of a socket in its place.
#[inline(always)]
pub fn find<T: Kept>(places: &Global<Places<T>>, socket: u64) -> Option<NonNull<T>> {
    let place = of(places, socket);
    // SAFETY: the map's value is a `Place`.
    unsafe { if *socket_of(place) == socket { kept(place) } else { None } }
}

/// Leaves a place.
///
/// # Safety
/// What [`claim`] or [`find`] gave.
#[inline(always)]
pub unsafe fn leave<T: Kept>(kept: NonNull<T>) {
    // SAFETY: what is kept lies in its place.
    unsafe {
        let place = kept.as_ptr().byte_sub(offset_of!(Place<T>, kept)).cast::<Place<T>>();
        *socket_of(place) = 0;
        atomic::add(&raw mut (*place).claims, MINUS_ONE);
    }
}

/// Claims a place, where nobody else does. Of two that try at once both may be sent away, and never both be let in: who
/// reads 1 after adding 1 is alone.
///
/// # Safety
/// A pointer into a map.
#[inline(always)]
unsafe fn claim_alone(claims: *mut u64) -> bool {
    // SAFETY: the caller's.
    unsafe {
        if ptr::read_volatile(claims) != 0 {
            return false;
        }
        atomic::add(claims, 1);
        let is_alone = ptr::read_volatile(claims) == 1;
        if !is_alone {
            atomic::add(claims, MINUS_ONE);
        }
        is_alone
    }
}
