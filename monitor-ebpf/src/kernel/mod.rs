//! All reads of kernel structures.

pub mod executable;
pub mod field;
pub mod net;
pub mod sock;
pub mod sockaddr;
pub mod task;

use core::{arch::asm, ffi::c_void, mem::MaybeUninit, ptr};

use aya_ebpf::{
    Global,
    helpers::generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel},
};

use field::Field;
use monitor_common::Bytes16;

/// Whether the running task can be had as a pointer that the verifier follows (`GLOBAL_HAVE_TASK`).
#[unsafe(no_mangle)]
pub static HAVE_TASK: Global<u32> = Global::new(0);

/// How a kernel pointer may be read. It depends on where the pointer came from, so it is part of its type.
pub trait Access {
    /// Whether a read is a plain load, and not a call.
    const PLAIN: bool;

    /// Reads a value; zeroes where nothing is mapped.
    ///
    /// # Safety
    /// `T` must be valid for any bytes. For [`Typed`] the pointer must be one that the verifier follows.
    unsafe fn read<T: Copy>(pointer: *const u8) -> T;

    /// Reads a field of the structure at `base`, a pointer of the same kind.
    ///
    /// # Safety
    /// As [`Access::read`].
    unsafe fn field<T: Copy, const INDEX: i32>(base: *const u8, field: Field<INDEX>) -> T;

    /// Reads sixteen bytes.
    ///
    /// # Safety
    /// As [`Access::read`].
    unsafe fn sixteen(pointer: *const u8) -> Bytes16;

    /// The `struct task_struct` of the running task.
    fn task() -> *const u8;

    /// A structure of which many fields are read.
    type Block;

    /// The structure at this address: up to [`BLOCK`] bytes of it.
    fn block(pointer: *const u8) -> Self::Block;

    /// Where plain loads find it.
    fn bytes(block: &Self::Block) -> *const u8;
}

/// Bytes of a structure that are read at once where each read is a call: those of `struct sock_common`, which has 136 on
/// the kernels that are known. Beyond them the verifier refuses.
const BLOCK: usize = 136;

/// The verifier knows the pointer's type (an argument of a BTF trampoline, or what a plain load from one gave): a
/// plain load, which the kernel makes safe.
pub struct Typed;

/// A pointer that is just a number to the verifier: `bpf_probe_read_kernel`.
pub struct Probed;

impl Access for Typed {
    const PLAIN: bool = true;

    #[inline(always)]
    unsafe fn read<T: Copy>(pointer: *const u8) -> T {
        // SAFETY: the kernel handles a fault of such a load and gives zeroes. Volatile, so that the compiler neither
        // splits nor merges what the verifier checks field by field.
        unsafe { ptr::read_volatile(pointer.cast()) }
    }

    #[inline(always)]
    unsafe fn field<T: Copy, const INDEX: i32>(base: *const u8, field: Field<INDEX>) -> T {
        // SAFETY: as above.
        unsafe { field.load(base) }
    }

    #[inline(always)]
    unsafe fn sixteen(pointer: *const u8) -> Bytes16 {
        // SAFETY: the caller's. Two loads: one may not be wider than eight bytes.
        unsafe { [Self::read(pointer), Self::read(pointer.wrapping_add(8))] }
    }

    #[inline(always)]
    fn task() -> *const u8 {
        // SAFETY: the helper has no preconditions. It is there where `HAVE_TASK` says so.
        unsafe { bpf_get_current_task_btf() as *const u8 }
    }

    type Block = *const u8;

    #[inline(always)]
    fn block(pointer: *const u8) -> Self::Block {
        pointer
    }

    #[inline(always)]
    fn bytes(block: &Self::Block) -> *const u8 {
        *block
    }
}

impl Access for Probed {
    const PLAIN: bool = false;

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "what is read is at most BLOCK bytes")]
    unsafe fn read<T: Copy>(pointer: *const u8) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes all bytes, zeroes where the read fails; any bytes are a valid T.
        unsafe {
            bpf_probe_read_kernel(
                value.as_mut_ptr().cast::<c_void>(),
                size_of::<T>() as u32,
                pointer.cast(),
            );
            value.assume_init()
        }
    }

    #[inline(always)]
    unsafe fn field<T: Copy, const INDEX: i32>(base: *const u8, field: Field<INDEX>) -> T {
        // SAFETY: the caller's.
        unsafe { Self::read(field.at(base)) }
    }

    #[inline(always)]
    unsafe fn sixteen(pointer: *const u8) -> Bytes16 {
        // SAFETY: the caller's.
        unsafe { Self::read(pointer) }
    }

    #[inline(always)]
    fn task() -> *const u8 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_get_current_task() as *const u8 }
    }

    type Block = [u64; BLOCK / 8];

    #[inline(always)]
    fn block(pointer: *const u8) -> Self::Block {
        // SAFETY: integers.
        unsafe { Self::read(pointer) }
    }

    #[inline(always)]
    fn bytes(block: &Self::Block) -> *const u8 {
        block.as_ptr().cast()
    }
}

/// A port of network order in host order: the one place where that is done. Read back from the stack, since verifiers
/// before 6.18 do not know that two bytes are left after bytes were swapped.
#[inline(always)]
pub fn host_order(port: u16) -> u16 {
    core::hint::black_box(u16::from_be(port))
}

/// An address as a number to reckon with, which the verifier allows with no pointer of the kernel's. On the stack, whatever a
/// byte was written over is a number to it: here the highest, which is 0xff in every address of the kernel.
#[inline(always)]
pub fn number(address: *const u8) -> u64 {
    let mut number = MaybeUninit::<u64>::uninit();
    // SAFETY: the program's own stack.
    unsafe {
        ptr::write_volatile(number.as_mut_ptr(), address as u64);
        ptr::write_volatile(number.as_mut_ptr().cast::<u8>().add(7), 0xff);
        ptr::read_volatile(number.as_ptr())
    }
}

/// The lower half of an address, a number too, and sooner had: to the verifier, half a pointer is a number.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
pub fn lower_half(address: u64) -> u32 {
    let half: u32;
    // SAFETY: a copy.
    unsafe {
        asm!("{half} = {address}", half = lateout(wreg) half, address = in(wreg) address as u32, options(pure, nomem, nostack));
    }
    half
}

/// A number of which the verifier knows nothing: it does not reckon with what it does not know.
#[inline(always)]
pub fn unknown(number: u64, by: u64) -> u64 {
    let mut unknown = number;
    let by = lower_half(by);
    // SAFETY: arithmetic.
    unsafe {
        asm!("{unknown} += {by}", "{unknown} -= {by}", unknown = inout(reg) unknown, by = in(reg) u64::from(by),
            options(pure, nomem, nostack));
    }
    unknown
}

/// A flag where the value of a field of one bit is 1.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it is one bit")]
pub fn one_bit(value: u64, flag: u32) -> u32 {
    (value as u32) << flag.trailing_zeros()
}

/// A flag where a bit of a value is set, without a branch.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "one bit is left")]
pub fn flag(value: u64, bit: u64, flag: u32) -> u32 {
    (((value & bit) >> bit.trailing_zeros()) << flag.trailing_zeros()) as u32
}

/// Cuts an index to a mask, as the verifier can follow it: 5.10 forgets what was spilled to the stack. An instruction, since the
/// compiler knows that nothing is cut, and must not leave it out.
macro_rules! cut {
    ($index:expr, $mask:expr) => {{
        let cut: usize;
        // SAFETY: arithmetic.
        unsafe {
            core::arch::asm!("{index} &= {mask}", index = inout(reg) $index => cut, mask = const $mask,
                options(pure, nomem, nostack));
        }
        cut
    }};
}
pub(crate) use cut;
