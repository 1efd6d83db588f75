//! The running kernel's BTF, read for the few names that are needed.
//!
//! A whole-tree parser takes ten times as long and keeps twenty megabytes: this is one pass that notes where each type
//! starts and which of the wanted names it met. Format: Documentation/bpf/btf.rst in the kernel's tree.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

const MAGIC: u16 = 0xeb9f;

/// Kinds of include/uapi/linux/btf.h that are told apart here.
mod kind {
    pub const INT: u32 = 1;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FWD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// Bytes of `struct btf_type`, and of one member, or one enumerator or parameter, behind it.
const TYPE: usize = 12;
const MEMBER: usize = 12;
const ENUMERATOR: usize = 8;

/// Bytes of `struct btf_header`.
const HEADER: u32 = 24;

/// How deep anonymous structs are followed: no kernel nests them further.
const DEPTH: u32 = 16;

/// Where a field lies in its struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bits from the start of the struct.
    pub bit_offset: u32,
    /// Width of a bit field; 0 for an ordinary member.
    pub bit_width: u32,
}

/// Where the running kernel has it.
pub(super) fn file(sysfs: &Path) -> PathBuf {
    sysfs.join("kernel/btf/vmlinux")
}

/// The types that are looked for, by name.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Structs whose members are asked for.
    pub structs: &'a [&'a str],
    /// Functions.
    pub functions: &'a [&'a str],
    /// Enumerations whose values are asked for.
    pub enums: &'a [&'a str],
    /// Typedefs: a tracepoint has one, by which programs are attached to it.
    pub typedefs: &'a [&'a str],
}

/// BTF in memory, with what was wanted found.
pub struct Btf {
    bytes: Vec<u8>,
    strings: usize,
    /// Where each type starts, by id; id 0 is void.
    starts: Vec<u32>,
    structs: HashMap<String, u32>,
    functions: HashMap<String, u32>,
    typedefs: HashMap<String, u32>,
    enums: HashMap<String, u32>,
}

impl Btf {
    /// Reads the running kernel's BTF below `sysfs`.
    pub fn of_kernel(sysfs: &Path, wanted: Wanted<'_>) -> Result<Self> {
        let path = file(sysfs);
        let bytes = fs::read(&path).with_context(|| {
            format!(
                "cannot read {}: the kernel must be built with CONFIG_DEBUG_INFO_BTF",
                path.display()
            )
        })?;
        Self::parse(bytes, wanted).with_context(|| format!("cannot understand {}", path.display()))
    }

    /// Scans BTF for the given names.
    pub fn parse(bytes: Vec<u8>, wanted: Wanted<'_>) -> Result<Self> {
        let half = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        if half(0) != Some(MAGIC) {
            bail!("no BTF, or BTF of the other byte order");
        }
        let mut btf = Self {
            bytes,
            strings: 0,
            starts: vec![0],
            structs: HashMap::new(),
            functions: HashMap::new(),
            typedefs: HashMap::new(),
            enums: HashMap::new(),
        };
        let header = btf.word(4)? as usize;
        let types = header + btf.word(8)? as usize;
        let end = types + btf.word(12)? as usize;
        btf.strings = header + btf.word(16)? as usize;

        let mut at = types;
        while at < end {
            let info = btf.word(at + 4)?;
            let (kind, count) = (kind_of(info), count_of(info));
            let id = u32::try_from(btf.starts.len()).context("too many types")?;
            btf.starts.push(u32::try_from(at).context("larger than 4 GiB")?);
            let names = match kind {
                kind::STRUCT => wanted.structs,
                kind::FUNC => wanted.functions,
                kind::TYPEDEF => wanted.typedefs,
                kind::ENUM => wanted.enums,
                _ => &[],
            };
            if !names.is_empty() {
                let name = btf.name(btf.word(at)?)?;
                if let Some(name) = names.iter().find(|wanted| wanted.as_bytes() == name) {
                    let found = match kind {
                        kind::STRUCT => &mut btf.structs,
                        kind::FUNC => &mut btf.functions,
                        kind::ENUM => &mut btf.enums,
                        _ => &mut btf.typedefs,
                    };
                    found.entry((*name).to_owned()).or_insert(id);
                }
            }
            at += TYPE
                + match kind {
                    kind::INT | kind::VAR | kind::DECL_TAG => 4,
                    kind::ARRAY => 12,
                    kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => MEMBER * count,
                    kind::ENUM | kind::FUNC_PROTO => ENUMERATOR * count,
                    2 | 7..=12 | 16 | kind::TYPE_TAG => 0,
                    unknown => bail!("type {id} is of kind {unknown}, which this version does not know"),
                };
        }
        Ok(btf)
    }

    /// Whether the kernel has this function (it was among the wanted).
    pub fn has_function(&self, name: &str) -> bool {
        self.functions.contains_key(name)
    }

    /// How many parameters a function takes; `None` where the kernel does not have it.
    pub fn parameters(&self, function: &str) -> Option<usize> {
        let function = *self.functions.get(function)?;
        let prototype = self.word(self.start(function).ok()? + 8).ok()?;
        let info = self.word(self.start(prototype).ok()? + 4).ok()?;
        (kind_of(info) == kind::FUNC_PROTO).then_some(count_of(info))
    }

    /// The functions and typedefs that were found, without all the rest.
    pub fn skeleton(&self) -> Skeleton {
        let named = |found: &HashMap<String, u32>, kind| -> Vec<(u32, u32, String)> {
            found.iter().map(|(name, id)| (*id, kind, name.clone())).collect()
        };
        let mut types = named(&self.functions, kind::FUNC);
        types.extend(named(&self.typedefs, kind::TYPEDEF));
        types.sort_unstable();
        Skeleton {
            count: self.starts.len() - 1,
            named: types,
        }
    }

    /// Finds a member by its path (`ns.inum`); anonymous structs and unions are looked through.
    pub fn member(&self, structure: &str, path: &str) -> Result<Member> {
        let mut id = *self
            .structs
            .get(structure)
            .with_context(|| format!("the kernel has no struct {structure}"))?;
        let mut found = Member {
            bit_offset: 0,
            bit_width: 0,
        };
        for name in path.split('.') {
            let (member, kind) = self
                .member_of(id, name.as_bytes(), DEPTH)?
                .with_context(|| format!("the kernel's struct {structure} has no member {path}"))?;
            found = Member {
                bit_offset: found.bit_offset + member.bit_offset,
                bit_width: member.bit_width,
            };
            id = kind;
        }
        Ok(found)
    }

    /// The value that an enumeration has under a name.
    pub fn value(&self, enumeration: &str, name: &str) -> Result<u32> {
        let id = *self
            .enums
            .get(enumeration)
            .with_context(|| format!("the kernel has no enum {enumeration}"))?;
        let start = self.start(id)?;
        for index in 0..count_of(self.word(start + 4)?) {
            let entry = start + TYPE + index * ENUMERATOR;
            if self.name(self.word(entry)?)? == name.as_bytes() {
                return self.word(entry + 4);
            }
        }
        bail!("the kernel's enum {enumeration} has no {name}")
    }

    fn member_of(&self, id: u32, name: &[u8], depth: u32) -> Result<Option<(Member, u32)>> {
        let start = self.start(self.unqualified(id)?)?;
        let info = self.word(start + 4)?;
        if !matches!(kind_of(info), kind::STRUCT | kind::UNION) || depth == 0 {
            return Ok(None);
        }
        let has_bit_fields = info >> 31 == 1;
        for index in 0..count_of(info) {
            let entry = start + TYPE + index * MEMBER;
            let (member_name, member_type, offset) = (self.word(entry)?, self.word(entry + 4)?, self.word(entry + 8)?);
            let member = if has_bit_fields {
                Member {
                    bit_offset: offset & 0x00ff_ffff,
                    bit_width: offset >> 24,
                }
            } else {
                Member {
                    bit_offset: offset,
                    bit_width: 0,
                }
            };
            if member_name == 0 {
                if let Some((inner, kind)) = self.member_of(member_type, name, depth - 1)? {
                    let bit_offset = member.bit_offset + inner.bit_offset;
                    return Ok(Some((
                        Member {
                            bit_offset,
                            bit_width: inner.bit_width,
                        },
                        kind,
                    )));
                }
            } else if self.name(member_name)? == name {
                return Ok(Some((member, member_type)));
            }
        }
        Ok(None)
    }

    /// The type behind typedefs and qualifiers.
    fn unqualified(&self, mut id: u32) -> Result<u32> {
        for _ in 0..DEPTH {
            let start = self.start(id)?;
            match kind_of(self.word(start + 4)?) {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = self.word(start + 8)?;
                }
                _ => return Ok(id),
            }
        }
        bail!("type {id} is qualified without end")
    }

    fn start(&self, id: u32) -> Result<usize> {
        let start = self
            .starts
            .get(id as usize)
            .with_context(|| format!("there is no type {id}"))?;
        Ok(*start as usize)
    }

    fn word(&self, at: usize) -> Result<u32> {
        let bytes = self.bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        Ok(u32::from_ne_bytes(
            bytes.with_context(|| format!("it ends before byte {at}"))?,
        ))
    }

    fn name(&self, offset: u32) -> Result<&[u8]> {
        let rest = self
            .bytes
            .get(self.strings + offset as usize..)
            .context("a name lies behind the end")?;
        let end = rest
            .iter()
            .position(|byte| *byte == 0)
            .context("the last name does not end")?;
        Ok(rest.get(..end).unwrap_or_default())
    }
}

/// BTF of as many types, of which only those that were found have a name: what tells their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skeleton {
    count: usize,
    /// Number, kind and name.
    named: Vec<(u32, u32, String)>,
}

impl Skeleton {
    /// In the kernel's format.
    ///
    /// # Errors
    /// Where there are more types than the format can count.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let entry = |name: usize, kind: u32| -> Result<Vec<u8>> {
            let words = [u32::try_from(name)?, kind << 24, 0];
            Ok(words.iter().flat_map(|word| word.to_ne_bytes()).collect())
        };
        // Those between are declared and not defined, which takes no further bytes.
        let mut types = entry(0, kind::FWD)?.repeat(self.count);
        let mut strings = vec![0];
        for (id, kind, name) in &self.named {
            let at = (*id as usize - 1) * TYPE;
            let place = types.get_mut(at..at + TYPE).context("a type behind the last one")?;
            place.copy_from_slice(&entry(strings.len(), *kind)?);
            strings.extend(name.as_bytes());
            strings.push(0);
        }
        let (types_length, strings_length) = (u32::try_from(types.len())?, u32::try_from(strings.len())?);
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        // Version and flags; then where everything lies.
        bytes.extend([1, 0]);
        for word in [HEADER, 0, types_length, types_length, strings_length] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings);
        Ok(bytes)
    }
}

fn kind_of(info: u32) -> u32 {
    (info >> 24) & 31
}

fn count_of(info: u32) -> usize {
    (info & 0xffff) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BTF of `struct outer { int a; union { struct inner in; }; unsigned low:4, high:3; }` with
    /// `struct inner { int x; int y; }`, and of `int f(int, int)`.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0inner\0in\0low\0high\0x\0y\0f\0";
        let name = |wanted: &str| {
            let wanted = format!("\0{wanted}\0");
            u32::try_from(
                strings
                    .windows(wanted.len())
                    .position(|w| w == wanted.as_bytes())
                    .unwrap()
                    + 1,
            )
            .unwrap()
        };
        let mut types: Vec<u32> = vec![];
        types.extend([name("int"), kind::INT << 24, 4, 32]); // 1
        types.extend([name("inner"), (kind::STRUCT << 24) | 2, 8]); // 2
        types.extend([name("x"), 1, 0, name("y"), 1, 32]);
        types.extend([0, (kind::UNION << 24) | 1, 8, name("in"), 2, 0]); // 3
        types.extend([name("outer"), (1 << 31) | (kind::STRUCT << 24) | 4, 16]); // 4
        types.extend([name("a"), 1, 0, 0, 3, 32]);
        types.extend([name("low"), 1, (4 << 24) | 96, name("high"), 1, (3 << 24) | 100]);
        types.extend([0, (kind::FUNC_PROTO << 24) | 2, 1, 0, 1, 0, 1]); // 5
        types.extend([name("f"), kind::FUNC << 24, 5]); // 6
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let mut btf = MAGIC.to_ne_bytes().to_vec();
        btf.extend([1, 0]);
        for word in [24, 0, length(&types), length(&types), length(strings)] {
            btf.extend(word.to_ne_bytes());
        }
        btf.extend(types);
        btf.extend(strings);
        btf
    }

    fn parsed() -> Btf {
        let wanted = Wanted {
            structs: &["outer", "inner"],
            functions: &["f", "g"],
            typedefs: &[],
            enums: &[],
        };
        Btf::parse(sample(), wanted).unwrap()
    }

    #[test]
    fn a_member_inside_an_anonymous_union_is_found_by_its_path() {
        assert_eq!(
            parsed().member("outer", "in.y").unwrap(),
            Member {
                bit_offset: 64,
                bit_width: 0
            }
        );
        assert_eq!(
            parsed().member("outer", "a").unwrap(),
            Member {
                bit_offset: 0,
                bit_width: 0
            }
        );
    }

    #[test]
    fn a_bit_field_has_its_width() {
        assert_eq!(
            parsed().member("outer", "high").unwrap(),
            Member {
                bit_offset: 100,
                bit_width: 3
            }
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = |structure, path| parsed().member(structure, path).unwrap_err().to_string();
        assert_eq!(text("outer", "in.z"), "the kernel's struct outer has no member in.z");
        assert_eq!(text("elsewhere", "x"), "the kernel has no struct elsewhere");
    }

    #[test]
    fn parameters_are_counted() {
        assert_eq!(parsed().parameters("f"), Some(2));
        assert_eq!(parsed().parameters("g"), None);
        assert!(parsed().has_function("f") && !parsed().has_function("g"));
    }

    #[test]
    fn btf_cut_short_anywhere_is_an_error_or_lacks_the_names() {
        let whole = sample();
        for length in 0..whole.len() - 1 {
            let cut = whole.get(..length).unwrap().to_vec();
            let wanted = Wanted {
                structs: &["outer"],
                functions: &["f"],
                typedefs: &[],
                enums: &[],
            };
            if let Ok(btf) = Btf::parse(cut, wanted) {
                assert!(btf.member("outer", "in.y").is_err(), "{length} bytes");
            }
        }
    }

    #[test]
    fn the_running_kernel_has_a_struct_sock() {
        let wanted = Wanted {
            structs: &["sock"],
            functions: &["inet_csk_listen_start"],
            typedefs: &[],
            enums: &["sock_flags"],
        };
        let btf = Btf::of_kernel(Path::new("/sys"), wanted).unwrap();
        assert!(btf.member("sock", "sk_protocol").unwrap().bit_offset > 0);
        assert!(matches!(btf.parameters("inet_csk_listen_start"), Some(1 | 2)));
        assert_eq!(btf.value("sock_flags", "SOCK_DONE").unwrap(), 1);
        assert!(btf.value("sock_flags", "SOCK_NONE").is_err());
    }
}
