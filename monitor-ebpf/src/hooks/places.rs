//! Records that are kept until their socket comes to an end or has its answer: of listeners, and of connects.
//!
//! Each has a place in an array by a hash of its socket's address, which costs a few loads and stores; where another one has
//! it already, a map takes it, which costs a tenth of a `listen()`. Whoever calls holds the socket's lock, so no other CPU
//! looks for the same socket; of the same place it may.

use core::{
    arch::asm,
    ptr::{self, NonNull},
};

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;

use crate::{
    atomic,
    kernel::{cut, lower_half, unknown},
    maps::Global,
};

/// Bits of an address within a slab, where sockets are taken from.
const SLAB_BITS: u32 = 15;

/// Bits of an address within a socket, at least.
const SOCKET_BITS: u32 = 11;

/// Bits of a place that tell sockets of one slab apart.
const WITHIN_BITS: u32 = SLAB_BITS - SOCKET_BITS;

/// Added, it takes one away.
const MINUS_ONE: u64 = u64::MAX;

/// `COUNT` places, a power of two. The first `HASHED`, another one, are for what is kept; those behind are spare ones, where
/// something is put together that another one's place would have taken.
///
/// Who is where stands apart from what is kept: to ask for it touches few pages of memory, whatever is kept. Side by side, a
/// listen and its close took longer, measured natively in turns.
#[repr(C)]
pub struct Places<T, const COUNT: usize, const HASHED: usize> {
    keys: [Key; COUNT],
    kept: [T; COUNT],
}

/// Who is in a place.
#[repr(C)]
struct Key {
    /// How many claim it: 1 while one is here.
    claims: u64,
    /// The socket of what is kept; 0 where nothing is.
    socket: u64,
}

/// A place, and what is kept there.
pub struct Place<T> {
    key: *mut Key,
    kept: NonNull<T>,
}

impl<T> Place<T> {
    /// What is kept.
    #[inline(always)]
    pub fn kept(&self) -> *mut T {
        self.kept.as_ptr()
    }

    /// Leaves it.
    #[inline(always)]
    pub fn leave(self) {
        // SAFETY: a pointer into a map, of a place that is the caller's.
        unsafe {
            (*self.key).socket = 0;
            atomic::add(&raw mut (*self.key).claims, MINUS_ONE);
        }
    }
}

impl<T, const COUNT: usize, const HASHED: usize> Global<Places<T, COUNT, HASHED>> {
    /// The number of the place of an address. The kernel takes sockets from slabs of 32 KiB, one after the other, and each is
    /// larger than 2 KiB: those of one slab have places side by side. Strewn over the whole array, each next listener of a busy
    /// host would be the first to touch a page of it.
    #[inline(always)]
    fn number_of(socket: u64) -> usize {
        let socket = lower_half(socket);
        // Multiplied by 2^32 / φ, as addresses differ in their middle bits.
        let slab = (socket >> SLAB_BITS).wrapping_mul(0x9e37_79b9) >> (u32::BITS + WITHIN_BITS - HASHED.ilog2());
        let within = (socket >> SOCKET_BITS) & ((1 << WITHIN_BITS) - 1);
        ((slab << WITHIN_BITS) | within) as usize
    }

    #[inline(always)]
    fn key(&self, number: usize) -> *mut Key {
        // SAFETY: there are as many.
        unsafe { (&raw mut (*self.as_ptr()).keys).cast::<Key>().add(Self::within(number)) }
    }

    /// The number of a place, within them all.
    #[inline(always)]
    fn within(number: usize) -> usize {
        cut!(number, COUNT - 1)
    }

    /// The place, as a pointer that the compiler thinks may be null. So it asks the pointer whether something was found. Else it
    /// asks once more what the place holds, and the verifier does not know that the answer is the same.
    #[inline(always)]
    fn place(&self, number: usize) -> Option<Place<T>> {
        // SAFETY: there are as many.
        let address = unsafe { (&raw mut (*self.as_ptr()).kept).cast::<T>().add(Self::within(number)) } as u64;
        let kept: u64;
        // SAFETY: a copy. An instruction: of none, the line would stand twice in the line table, which the kernel refuses.
        unsafe {
            asm!("{kept} = {address}", kept = lateout(reg) kept, address = in(reg) address, options(pure, nomem, nostack));
        }
        Some(Place {
            key: self.key(number),
            kept: NonNull::new(kept as *mut T)?,
        })
    }

    /// What is kept of a socket in its place.
    #[inline(always)]
    pub fn find(&self, socket: u64) -> Option<Place<T>> {
        let number = Self::number_of(socket);
        // SAFETY: a pointer into a map.
        if unsafe { (*self.key(number)).socket } == socket {
            self.place(number)
        } else {
            None
        }
    }

    /// Whether a socket's place is free or nobody else's, and the caller's now.
    #[inline(always)]
    fn is_claimed(&self, number: usize, socket: u64) -> bool {
        let key = self.key(number);
        // SAFETY: a pointer into a map.
        unsafe {
            if claim_alone(&raw mut (*key).claims) {
                (*key).socket = socket;
                return true;
            }
            // A socket that is here under this address has ended unseen.
            (*key).socket == socket
        }
    }

    /// The place of a socket, if it is free or nobody else's, for whoever keeps something of it there.
    #[inline(always)]
    pub fn claim(&self, socket: u64) -> Option<Place<T>> {
        let number = Self::number_of(socket);
        if self.is_claimed(number, socket) {
            self.place(number)
        } else {
            None
        }
    }

    /// The place of a socket, or where another one has it, a spare one of this CPU; and whether it is one. `None` where
    /// more CPUs than there are spare places do the same at once.
    ///
    /// The verifier must not know which of the two it is: it would follow by itself for each whatever is then done there.
    #[inline(always)]
    pub fn claim_any(&self, socket: u64) -> Option<(Place<T>, bool)> {
        let mut number = Self::number_of(socket);
        if !self.is_claimed(number, socket) {
            // SAFETY: the helper has no preconditions.
            let cpu = unsafe { bpf_get_smp_processor_id() } as usize;
            number = HASHED + cpu % (COUNT - HASHED);
            // SAFETY: a pointer into a map.
            if !unsafe { claim_alone(&raw mut (*self.key(number)).claims) } {
                return None;
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "it is the number")]
        let number = unknown(number as u64, socket) as usize;
        Some((self.place(number)?, number >= HASHED))
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
