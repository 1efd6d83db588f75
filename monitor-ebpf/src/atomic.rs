//! Additions that happen at once for all CPUs. The target has no atomics in `core`, since it has no compare-and-swap.

use core::arch::asm;

/// Adds, without asking for what was there, which kernels before 5.12 cannot say.
///
/// # Safety
/// `number` must be memory that the program may write: of a map, or its own stack.
#[inline(always)]
pub unsafe fn add(number: *mut u64, more: u64) {
    // SAFETY: the caller's.
    unsafe { asm!("lock *(u64 *)({number} + 0) += {more}", number = in(reg) number, more = in(reg) more) };
}
