//! What the kernel side gets before it is loaded: where each kernel field lies on this kernel.

use anyhow::{Context, Result, bail, ensure};
use monitor_common::mark;
use object::{Object, ObjectSection, SectionKind, read::elf::ElfFile64};

use super::{
    btf::{Btf, Member, Wanted},
    hooks, open_files,
};

/// A kernel field that the kernel side reads.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name of the kernel's struct.
    pub structure: &'static str,
    /// Path of members.
    pub path: &'static str,
    /// Whether the kernel side expects a bit field.
    pub bits: bool,
    /// Whether it is a bit of a field, whose number an enumeration has: the path is `FIELD & ENUM.NAME`.
    pub flag: bool,
    /// Whether a kernel may be without it: the kernel side then never asks for it.
    pub maybe: bool,
}

macro_rules! table {
    ($($kind:ident $name:ident: $structure:literal, $path:literal;)*) => {
        /// All fields, in the order of the list in `monitor_common`: a field's place is its number.
        pub const FIELDS: &[Field] = &[
            $(Field {
                structure: $structure,
                path: $path,
                bits: is!(bits $kind),
                flag: is!(flag $kind),
                maybe: is!(maybe $kind),
            },)*
        ];
    };
}
macro_rules! is {
    (bits bits) => {
        true
    };
    (flag flag) => {
        true
    };
    (maybe maybe) => {
        true
    };
    ($asked:ident $kind:ident) => {
        false
    };
}
monitor_common::for_each_kernel_field!(table);

/// Where a field lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the start of the struct.
    byte: u32,
    /// Of a bit field, the position of its lowest bit in that byte.
    shift: u32,
    /// Bits of a bit field.
    width: u32,
}

/// Present where a tracing program gets the running task as a pointer of its type (5.11 and later).
const TASK_HELPER: &str = "bpf_get_current_task_btf";

/// The structs of [`FIELDS`], for the scan of the BTF.
pub fn structs() -> Vec<&'static str> {
    let mut names: Vec<_> = FIELDS.iter().map(|field| field.structure).collect();
    names.dedup();
    names
}

/// The enumerations that number flags of [`FIELDS`].
const ENUMS: &[&str] = &["sock_flags"];

/// The functions whose presence or prototype decides something.
pub fn functions() -> Vec<&'static str> {
    let others = [TASK_HELPER, open_files::ITERATOR_TYPE];
    hooks::FUNCTIONS.iter().copied().chain(others).collect()
}

/// All that is looked for in the kernel's BTF.
pub fn wanted<'a>(structs: &'a [&'a str], functions: &'a [&'a str]) -> Wanted<'a> {
    Wanted {
        structs,
        functions,
        typedefs: hooks::TRACEPOINT_TYPES,
        enums: ENUMS,
    }
}

/// Whether the running task can be had as a pointer of its type: the value of `monitor_common::GLOBAL_HAVE_TASK`.
pub fn have_task(btf: &Btf) -> u32 {
    u32::from(btf.has_function(TASK_HELPER))
}

/// The place of each field, or the field that this kernel lacks.
pub fn places(btf: &Btf) -> Result<Vec<Place>> {
    let place = |field: &Field| {
        let name = format!("{}.{}", field.structure, field.path);
        if field.maybe && btf.member(field.structure, field.path).is_err() {
            return Ok(Place::default());
        }
        if field.flag {
            return flag(btf, field).with_context(|| format!("cannot place the kernel's flag {name}"));
        }
        let members = field.path.split('|').map(|path| btf.member(field.structure, path));
        let member = members
            .reduce(|found, other| found.or(other))
            .context("a field without a name")?
            .with_context(|| format!("cannot place the kernel field {name}"))?;
        place(field, member).with_context(|| format!("cannot read the kernel field {name}"))
    };
    FIELDS.iter().map(place).collect()
}

fn flag(btf: &Btf, field: &Field) -> Result<Place> {
    let (path, value) = field.path.split_once(" & ").context("a flag without a number")?;
    let (enumeration, value) = value.split_once('.').context("a number without an enumeration")?;
    let bit = btf.member(field.structure, path)?.bit_offset + btf.value(enumeration, value)?;
    let bit = Member {
        bit_offset: bit,
        bit_width: 1,
    };
    place(&Field { bits: true, ..*field }, bit)
}

fn place(field: &Field, member: Member) -> Result<Place> {
    let (byte, shift) = (member.bit_offset / 8, member.bit_offset % 8);
    let width = match (field.bits, member.bit_width) {
        (false, 0) | (true, 0) => 8,
        (true, width @ 1..=8) if shift + width <= 8 => width,
        (_, width) => bail!("it is a bit field of {width} bits at bit {shift}, which this version does not expect"),
    };
    // A load has room for fifteen bits.
    ensure!(
        byte < mark::LOAD.unsigned_abs(),
        "it lies {byte} bytes from the start of its struct, too far for a load"
    );
    Ok(Place { byte, shift, width })
}

/// Bytes of an instruction (`struct bpf_insn` of include/uapi/linux/bpf.h): code, registers, two of offset, four of a number.
const INSTRUCTION: usize = 8;

/// The classes of instructions, in the lowest bits of a code, and the bit that says that a register is the source.
const CLASS: u8 = 0x07;
const LOAD: u8 = 0x01;
const ARITHMETIC: u8 = 0x07;
const FROM_REGISTER: u8 = 0x08;
/// The code of a load of 64 bits that follow in the instruction: it takes two places.
const WIDE: u8 = 0x18;

/// Writes the places over the marks in the instructions of an object. Gives how many there were.
pub fn fill_in(object: &mut [u8], places: &[Place]) -> Result<usize> {
    let file = ElfFile64::<object::Endianness>::parse(&*object).context("the kernel object is no ELF file")?;
    let code: Vec<_> = file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
        .filter_map(|section| section.file_range())
        .collect();
    let mut count = 0;
    for (start, length) in code {
        let (start, length) = (usize::try_from(start)?, usize::try_from(length)?);
        let section = object
            .get_mut(start..start + length)
            .context("a section beyond the object's end")?;
        let mut instructions = section.as_chunks_mut::<INSTRUCTION>().0.iter_mut();
        while let Some(instruction) = instructions.next() {
            if instruction[0] == WIDE {
                instructions.next();
            } else {
                count += usize::from(fill_in_one(instruction, places)?);
            }
        }
    }
    Ok(count)
}

/// Whether an instruction had a mark.
fn fill_in_one(instruction: &mut [u8; INSTRUCTION], places: &[Place]) -> Result<bool> {
    let [code, _, low, high, number @ ..] = instruction;
    let place = |found: i32, mark: i32| {
        if !(mark..mark + mark::FIELDS).contains(&found) {
            return Ok(None);
        }
        let place = usize::try_from(found - mark).ok().and_then(|field| places.get(field));
        place.map(Some).with_context(|| {
            format!(
                "the kernel object asks for field {}, which is not in the list",
                found - mark
            )
        })
    };
    if *code & CLASS == LOAD {
        let Some(place) = place(i16::from_le_bytes([*low, *high]).into(), mark::LOAD)? else {
            return Ok(false);
        };
        [*low, *high, ..] = place.byte.to_le_bytes();
        return Ok(true);
    }
    if *code & (CLASS | FROM_REGISTER) == ARITHMETIC {
        let found = i32::from_le_bytes(*number);
        let value = if let Some(place) = place(found, mark::ADD)? {
            place.byte
        } else if let Some(place) = place(found, mark::SHIFT)? {
            place.shift
        } else if let Some(place) = place(found, mark::MASK)? {
            (1 << place.width) - 1
        } else {
            return Ok(false);
        };
        *number = value.to_le_bytes();
        return Ok(true);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_field_is_placed_on_the_running_kernel() {
        let btf = Btf::of_kernel(Path::new("/sys"), wanted(&structs(), &functions())).unwrap();
        assert_eq!(places(&btf).unwrap().len(), FIELDS.len());
    }

    #[test]
    fn each_field_that_a_kernel_lacks_is_named_in_the_error() {
        let whole = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        for field in FIELDS.iter().filter(|field| !field.maybe) {
            let without = field
                .path
                .split('|')
                .fold(whole.clone(), |btf, path| rename(btf, path.rsplit('.').next().unwrap()));
            let member = field.path.rsplit('.').next().unwrap();
            let btf = Btf::parse(without, wanted(&structs(), &functions())).unwrap();
            let text = format!("{:#}", places(&btf).unwrap_err());
            // Several fields may share a name; the first of them is named.
            let named = FIELDS.iter().any(|other| {
                other.path.split('.').any(|part| part == member)
                    && text.contains(&format!("{}.{}", other.structure, other.path))
            });
            assert!(named, "{}.{}: {text}", field.structure, field.path);
        }
    }

    /// Changes the first letter of a name in the string table, where each stands at most once; before it may be the same
    /// bytes.
    fn rename(mut btf: Vec<u8>, name: &str) -> Vec<u8> {
        let word = |at: usize| u32::from_le_bytes(btf[at..at + 4].try_into().unwrap()) as usize;
        // `struct btf_header` of include/uapi/linux/btf.h: hdr_len, str_off.
        let strings = word(4) + word(16);
        let wanted = format!("\0{name}\0");
        let mut names = btf[strings..].windows(wanted.len());
        if let Some(at) = names.position(|bytes| bytes == wanted.as_bytes()) {
            btf[strings + at + 1] = b'~';
        }
        btf
    }

    #[test]
    fn a_bit_field_that_spans_two_bytes_and_a_field_too_far_off_are_refused() {
        let at = |bit_offset, bit_width| Member { bit_offset, bit_width };
        let field = |bits| Field {
            structure: "sock",
            path: "x",
            bits,
            flag: false,
            maybe: false,
        };
        assert!(place(&field(true), at(30, 4)).is_err());
        assert!(place(&field(false), at(8 * 0x7e00, 0)).is_err());
        let found = place(&field(true), at(28, 4)).unwrap();
        assert_eq!((found.byte, found.shift, found.width), (3, 4, 4));
    }

    #[test]
    fn every_mark_of_the_object_is_written_over_once() {
        let places: Vec<_> = (1..)
            .take(FIELDS.len())
            .map(|byte| Place {
                byte,
                shift: 1,
                width: 2,
            })
            .collect();
        let mut object = super::super::OBJECT.to_vec();
        assert!(fill_in(&mut object, &places).unwrap() > FIELDS.len());
        assert_eq!(fill_in(&mut object, &places).unwrap(), 0);
        let missing = fill_in(&mut super::super::OBJECT.to_vec(), &places[1..]).unwrap_err();
        assert!(format!("{missing:#}").contains("not in the list"), "{missing:#}");
    }

    #[test]
    fn a_mark_is_known_by_its_instruction() {
        let places = [Place {
            byte: 0x1234,
            shift: 5,
            width: 3,
        }];
        let number = |code: u8, number: i32| {
            let mut instruction = [code, 0x21, 0, 0, 0, 0, 0, 0];
            instruction[4..].copy_from_slice(&number.to_le_bytes());
            instruction
        };
        for (mut instruction, expected) in [
            // r1 = *(u64 *)(r2 + mark)
            (
                [0x79, 0x21, 0x00, 0x7e, 0, 0, 0, 0],
                Some([0x79, 0x21, 0x34, 0x12, 0, 0, 0, 0]),
            ),
            // *(u64 *)(r1 + mark) = r2
            ([0x7b, 0x21, 0x00, 0x7e, 0, 0, 0, 0], None),
            (number(0x07, mark::ADD), Some(number(0x07, 0x1234))),
            (number(0x77, mark::SHIFT), Some(number(0x77, 5))),
            (number(0x57, mark::MASK), Some(number(0x57, 7))),
            // r1 += r2, whatever stands behind it.
            (number(0x0f, mark::ADD), None),
            (number(0x07, mark::ADD - 1), None),
        ] {
            let before = instruction;
            let found = fill_in_one(&mut instruction, &places).unwrap();
            assert_eq!((found, instruction), (expected.is_some(), expected.unwrap_or(before)));
        }
    }
}
