//! The constants that the kernel side gets before it is loaded: where each kernel field lies on this kernel.

use anyhow::{Context, Result, bail};
use monitor_common::{GLOBAL_HAVE_TASK, bit_field};

use super::{
    btf::{Btf, Member},
    hooks,
};

/// A kernel field that the kernel side reads.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name of the global that takes the offset.
    pub global: &'static str,
    /// Name of the kernel's struct.
    pub structure: &'static str,
    /// Path of members.
    pub path: &'static str,
    /// Whether the kernel side expects a bit field.
    pub bits: bool,
}

macro_rules! table {
    ($($kind:ident $name:ident: $structure:literal, $path:literal;)*) => {
        /// All fields, in the order of the list in `monitor_common`.
        pub const FIELDS: &[Field] = &[
            $(Field {
                global: stringify!($name),
                structure: $structure,
                path: $path,
                bits: is_bits!($kind),
            },)*
        ];
    };
}
macro_rules! is_bits {
    (bytes) => {
        false
    };
    (bits) => {
        true
    };
}
monitor_common::for_each_kernel_field!(table);

/// Present where a tracing program gets the running task as a pointer of its type (5.11 and later).
const TASK_HELPER: &str = "bpf_get_current_task_btf";

/// The structs of [`FIELDS`], for the scan of the BTF.
pub fn structs() -> Vec<&'static str> {
    let mut names: Vec<_> = FIELDS.iter().map(|field| field.structure).collect();
    names.dedup();
    names
}

/// The functions whose presence or prototype decides something.
pub fn functions() -> Vec<&'static str> {
    hooks::FUNCTIONS.iter().copied().chain([TASK_HELPER]).collect()
}

/// The value of each global, or the field that this kernel lacks.
pub fn globals(btf: &Btf) -> Result<Vec<(&'static str, u32)>> {
    let mut globals = Vec::with_capacity(FIELDS.len() + 1);
    for field in FIELDS {
        let name = format!("{}.{}", field.structure, field.path);
        let member = btf
            .member(field.structure, field.path)
            .with_context(|| format!("cannot place the kernel field {name}"))?;
        let value = pack(field, member).with_context(|| format!("cannot read the kernel field {name}"))?;
        globals.push((field.global, value));
    }
    globals.push((GLOBAL_HAVE_TASK, u32::from(btf.has_function(TASK_HELPER))));
    Ok(globals)
}

fn pack(field: &Field, member: Member) -> Result<u32> {
    let (byte, shift) = (member.bit_offset / 8, member.bit_offset % 8);
    match (field.bits, member.bit_width) {
        (false, 0) => Ok(byte),
        (true, width @ 1..=8) if shift + width <= 8 => Ok(bit_field(byte, shift, width)),
        (true, 0) => Ok(bit_field(byte, 0, 8)),
        (_, width) => bail!("it is a bit field of {width} bits at bit {shift}, which this version does not expect"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_field_is_placed_on_the_running_kernel() {
        let btf = Btf::of_kernel(Path::new("/sys"), &structs(), &functions()).unwrap();
        let globals = globals(&btf).unwrap();
        assert_eq!(globals.len(), FIELDS.len() + 1);
    }

    #[test]
    fn each_field_that_a_kernel_lacks_is_named_in_the_error() {
        let whole = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        for field in FIELDS {
            let member = field.path.rsplit('.').next().unwrap();
            let without = rename(whole.clone(), member);
            let btf = Btf::parse(without, &structs(), &functions()).unwrap();
            let text = format!("{:#}", globals(&btf).unwrap_err());
            // Several fields may share a name; the first of them is named.
            let named = FIELDS.iter().any(|other| {
                other.path.split('.').any(|part| part == member)
                    && text.contains(&format!("{}.{}", other.structure, other.path))
            });
            assert!(named, "{}: {text}", field.global);
        }
    }

    /// Changes the first letter of a name in the string table, where each stands once; before it may be the same bytes.
    fn rename(mut btf: Vec<u8>, name: &str) -> Vec<u8> {
        let word = |at: usize| u32::from_le_bytes(btf[at..at + 4].try_into().unwrap()) as usize;
        // `struct btf_header` of include/uapi/linux/btf.h: hdr_len, str_off.
        let strings = word(4) + word(16);
        let wanted = format!("\0{name}\0");
        let at = btf[strings..]
            .windows(wanted.len())
            .position(|bytes| bytes == wanted.as_bytes())
            .unwrap();
        btf[strings + at + 1] = b'~';
        btf
    }

    #[test]
    fn a_bit_field_that_spans_two_bytes_is_refused() {
        let field = Field {
            global: "X",
            structure: "sock",
            path: "x",
            bits: true,
        };
        assert!(
            pack(
                &field,
                Member {
                    bit_offset: 30,
                    bit_width: 4
                }
            )
            .is_err()
        );
        assert_eq!(
            pack(
                &field,
                Member {
                    bit_offset: 28,
                    bit_width: 4
                }
            )
            .unwrap(),
            bit_field(3, 4, 4)
        );
    }
}
