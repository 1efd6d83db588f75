//! Where the fields of the kernel's structures lie: marks in the instructions that read them, which the agent replaces
//! before the load (`monitor_common::mark`). The verifier and the processor see constants.

use core::{arch::asm, hint, mem};

use monitor_common::mark;

/// A field, by its number in the list of `monitor_common`.
#[derive(Clone, Copy)]
pub struct Field<const INDEX: i32>;

macro_rules! fields {
    ($($kind:ident $name:ident: $structure:literal, $path:literal;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "the names of the list")]
        enum Index {
            $($name,)*
            END,
        }
        $(pub const $name: Field<{ Index::$name as i32 }> = Field;)*
    };
}
monitor_common::for_each_kernel_field!(fields);

const _: () = assert!((Index::END as i32) <= mark::FIELDS);

impl<const INDEX: i32> Field<INDEX> {
    /// Its address in the structure at `base`.
    #[inline(always)]
    pub fn at(self, base: *const u8) -> *const u8 {
        let address: u64;
        // SAFETY: an addition.
        unsafe {
            asm!("{address} += {mark}", address = inout(reg) base as u64 => address, mark = const mark::ADD + INDEX,
                options(pure, nomem, nostack));
        }
        address as *const u8
    }

    /// The structure that has it at `address`: a number, not a pointer of the verifier's.
    #[inline(always)]
    pub fn owner(self, address: *const u8) -> *const u8 {
        let base: u64;
        // SAFETY: a subtraction.
        unsafe {
            asm!("{base} -= {mark}", base = inout(reg) address as u64 => base, mark = const mark::ADD + INDEX,
                options(pure, nomem, nostack));
        }
        base as *const u8
    }

    /// Its value in the structure at `base`, by a plain load of as many bytes as `T` has. Of a bit field, the byte that it
    /// lies in.
    ///
    /// # Safety
    /// `T` must be valid for any bytes, and `base` point to memory that the verifier lets a program load from.
    #[inline(always)]
    pub unsafe fn load<T: Copy>(self, base: *const u8) -> T {
        macro_rules! load {
            ($instruction:literal) => {{
                let value: u64;
                // SAFETY: the caller's.
                unsafe {
                    asm!($instruction, value = out(reg) value, base = in(reg) base as u64,
                        mark = const mark::LOAD + INDEX, options(pure, readonly, nostack));
                }
                value
            }};
        }
        let value = match size_of::<T>() {
            1 => load!("{value} = *(u8 *)({base} + {mark})"),
            2 => load!("{value} = *(u16 *)({base} + {mark})"),
            4 => load!("{value} = *(u32 *)({base} + {mark})"),
            _ => {
                const { assert!(size_of::<T>().is_power_of_two() && size_of::<T>() <= 8) };
                load!("{value} = *(u64 *)({base} + {mark})")
            }
        };
        // SAFETY: a shorter load leaves zeroes above, which the compiler cannot know; BPF here is little-endian, so the value's
        // bytes come first.
        unsafe {
            hint::assert_unchecked(value <= u64::MAX >> (8 * (size_of::<u64>() - size_of::<T>())));
            mem::transmute_copy(&value)
        }
    }

    /// How far from the beginning of its structure it lies.
    #[inline(always)]
    fn distance(self) -> u64 {
        let distance: u64;
        // SAFETY: a number.
        unsafe {
            asm!("{distance} = {mark}", distance = out(reg) distance, mark = const mark::ADD + INDEX,
                options(pure, nomem, nostack));
        }
        distance
    }

    /// Whether another field of the same structure lies in the same byte. The verifier reckons with constants: it leaves out
    /// the way that is not taken.
    #[inline(always)]
    pub fn lies_in_byte_of<const OTHER: i32>(self, other: Field<OTHER>) -> bool {
        self.distance() == other.distance()
    }

    /// The value of a bit field, out of the byte that it lies in.
    #[inline(always)]
    pub fn bits(self, byte: u8) -> u64 {
        let mut value = u64::from(byte);
        // SAFETY: arithmetic.
        unsafe {
            asm!("{value} >>= {shift}", "{value} &= {mask}", value = inout(reg) value,
                shift = const mark::SHIFT + INDEX, mask = const mark::MASK + INDEX, options(pure, nomem, nostack));
        }
        value
    }
}
