//! A kernel's BTF, out of the image that a boot loader loads, and prototypes out of that, written as C.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use btfparse::{FuncProto, Readable, TypeInformation, TypeVariant};
use object::{Object, ObjectSection};

use crate::command::shown;
use crate::setup::apt::{self, Package};
use crate::workspace::Workspace;

/// A kernel's types, with its functions by name.
pub(crate) struct KernelTypes {
    types: TypeInformation,
    functions: HashMap<String, u32>,
}

impl KernelTypes {
    /// Reads them out of a compressed image, or out of what an earlier run kept beside it.
    pub(crate) fn of_image(workspace: &Workspace, vmlinuz: &Path) -> Result<Self> {
        let kept = vmlinuz.with_file_name("btf");
        let btf = match fs::read(&kept) {
            Ok(btf) => btf,
            Err(_) => {
                let image = fs::read(vmlinuz).with_context(|| format!("cannot read {}", vmlinuz.display()))?;
                let kernel = decompressed(workspace, &image, &vmlinuz.with_file_name("vmlinux"))
                    .with_context(|| format!("cannot unpack {}", vmlinuz.display()))?;
                let kernel = object::File::parse(kernel.as_slice()).context("the image holds no ELF file")?;
                let section = kernel.section_by_name(".BTF").context("the kernel has no BTF")?;
                let btf = section.data().context("the kernel's BTF cannot be read")?.to_vec();
                fs::write(&kept, &btf).with_context(|| format!("cannot write {}", kept.display()))?;
                btf
            }
        };
        let types = TypeInformation::new(&Bytes(&btf)).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let functions = types.get().iter().filter_map(|(id, variant)| match variant {
            TypeVariant::Func(function) => Some((function.name().clone()?, *id)),
            _ => None,
        });
        Ok(Self {
            functions: functions.collect(),
            types,
        })
    }

    /// What a function looks like in C, or a raw tracepoint: it has no result, and its first argument is not the
    /// program's.
    pub(crate) fn prototype(&self, name: &str) -> Option<String> {
        if let Some(TypeVariant::Func(function)) = self.functions.get(name).and_then(|id| self.types.from_id(*id)) {
            let TypeVariant::FuncProto(prototype) = self.types.from_id(*function.prototype_tid())? else {
                return None;
            };
            let result = self.declared(*prototype.return_tid(), "");
            let separator = if result.ends_with('*') { "" } else { " " };
            return Some(format!("{result}{separator}{name}({})", self.parameters(&prototype, 0)));
        }
        let TypeVariant::Typedef(pointer) = self.types.from_id(self.types.id_of(&format!("btf_trace_{name}"))?)? else {
            return None;
        };
        let TypeVariant::Ptr(function) = self.types.from_id(*pointer.tid())? else {
            return None;
        };
        let TypeVariant::FuncProto(prototype) = self.types.from_id(*function.tid())? else {
            return None;
        };
        Some(format!("{name}({})", self.parameters(&prototype, 1)))
    }

    fn parameters(&self, prototype: &FuncProto, skipped: usize) -> String {
        let parameters = prototype.parameter_list().iter().skip(skipped);
        let declared =
            parameters.map(|parameter| self.declared(parameter.tid(), &parameter.name().unwrap_or_default()));
        let declared: Vec<String> = declared.collect();
        if declared.is_empty() {
            "void".to_owned()
        } else {
            declared.join(", ")
        }
    }

    /// A declaration: `struct sock *sk`.
    fn declared(&self, id: u32, name: &str) -> String {
        let spaced = |word: &str| {
            if name.is_empty() {
                word.to_owned()
            } else {
                format!("{word} {name}")
            }
        };
        let named =
            |keyword: &str, tag: &Option<String>| spaced(&format!("{keyword}{}", tag.as_deref().unwrap_or_default()));
        match self.types.from_id(id) {
            Some(TypeVariant::Ptr(pointer)) => self.declared(*pointer.tid(), &format!("*{name}")),
            Some(TypeVariant::Const(constant)) if self.is_pointer(*constant.tid()) => {
                self.declared(*constant.tid(), &format!("const {name}"))
            }
            Some(TypeVariant::Const(constant)) => format!("const {}", self.declared(*constant.tid(), name)),
            Some(TypeVariant::Volatile(volatile)) => format!("volatile {}", self.declared(*volatile.tid(), name)),
            Some(TypeVariant::Restrict(restrict)) => self.declared(*restrict.tid(), name),
            Some(TypeVariant::TypeTag(tag)) => self.declared(*tag.tid(), name),
            Some(TypeVariant::Struct(structure)) => named("struct ", structure.name()),
            Some(TypeVariant::Union(union)) => named("union ", union.name()),
            Some(TypeVariant::Enum(enumeration)) => named("enum ", enumeration.name()),
            Some(TypeVariant::Enum64(enumeration)) => named("enum ", enumeration.name()),
            Some(TypeVariant::Fwd(forward)) => named("struct ", forward.name()),
            Some(TypeVariant::FuncProto(_)) => format!("(*{name})()"),
            _ => spaced(&self.types.name_of(id).unwrap_or_else(|| "?".to_owned())),
        }
    }

    fn is_pointer(&self, id: u32) -> bool {
        matches!(self.types.from_id(id), Some(TypeVariant::Ptr(_)))
    }
}

/// Bytes in memory, as btfparse reads them.
struct Bytes<'a>(&'a [u8]);

impl Readable for Bytes<'_> {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> btfparse::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = start.checked_add(buffer.len()).and_then(|end| self.0.get(start..end));
        let found = found
            .ok_or_else(|| btfparse::Error::new(btfparse::ErrorKind::IOError, "the BTF ends before what it names"))?;
        buffer.copy_from_slice(found);
        Ok(())
    }
}

/// The kernel inside an image for x86: Documentation/arch/x86/boot.rst. What is unpacked lies at `place` for a moment.
fn decompressed(workspace: &Workspace, image: &[u8], place: &Path) -> Result<Vec<u8>> {
    const SETUP_SECTORS: usize = 0x1f1;
    const MAGIC: usize = 0x202;
    const PAYLOAD_OFFSET: usize = 0x248;
    const PAYLOAD_LENGTH: usize = 0x24c;
    const SECTOR: usize = 512;
    let word = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("the image is cut short")?;
        Ok(usize::try_from(u32::from_le_bytes(bytes.try_into()?))?)
    };
    if image.get(MAGIC..MAGIC + 4) != Some(b"HdrS".as_slice()) {
        bail!("it is no image for x86");
    }
    let sectors = match image.get(SETUP_SECTORS) {
        Some(0) | None => 4,
        Some(sectors) => usize::from(*sectors),
    };
    let start = (sectors + 1) * SECTOR + word(PAYLOAD_OFFSET)?;
    // Behind the compressed bytes stands the length of what comes out.
    let end = start + word(PAYLOAD_LENGTH)? - 4;
    let payload = image.get(start..end).context("the image is cut short")?;
    let program = match payload {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Package::new("xz-utils", "xz"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Package::new("zstd", "zstd"),
        [0x02, 0x21, 0x4c, 0x18, ..] => Package::new("lz4", "lz4"),
        [0x1f, 0x8b, ..] => Package::new("gzip", "gzip"),
        _ => bail!("it is compressed in a way that is not known here"),
    };
    apt::ensure(workspace, std::slice::from_ref(&program), "a kernel's image")?;
    fs::write(place, payload).with_context(|| format!("cannot write {}", place.display()))?;
    let mut command = Command::new(&program.shown_by);
    command
        .arg("-dc")
        .stdin(fs::File::open(place)?)
        .stderr(Stdio::inherit());
    let output = command
        .output()
        .with_context(|| format!("cannot start `{}`", shown(&command)));
    let _ = fs::remove_file(place);
    let output = output?;
    if !output.status.success() {
        bail!("`{}` failed ({})", shown(&command), output.status);
    }
    Ok(output.stdout)
}
