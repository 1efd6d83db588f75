//! A guest's file system, as a cpio archive (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// An archive in the format "newc", uncompressed: emulation unpacks slower than it reads.
#[derive(Debug)]
pub(crate) struct Initramfs<W: Write> {
    to: W,
    entries: u32,
    written: usize,
}

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const KIND: u32 = 0o170_000;
const TRAILER: &str = "TRAILER!!!";

/// Mode, with the kind of file, and owner.
#[derive(Clone, Copy, Debug)]
struct Node {
    mode: u32,
    user: u32,
    group: u32,
}

impl Node {
    const fn of_root(mode: u32) -> Self {
        Self {
            mode,
            user: 0,
            group: 0,
        }
    }
}

impl Initramfs<BufWriter<File>> {
    /// Starts an archive in a file.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self::new(BufWriter::new(file)))
    }

    /// Starts an archive behind another one in a file: the kernel unpacks one after the other.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(crate) fn append(path: &Path) -> Result<Self> {
        let file = File::options().append(true).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self::new(BufWriter::new(file)))
    }
}

impl<W: Write> Initramfs<W> {
    fn new(to: W) -> Self {
        Self {
            to,
            entries: 0,
            written: 0,
        }
    }

    /// Adds folders; each one's parent must have been added before.
    ///
    /// # Errors
    /// Where the archive cannot be written.
    pub(crate) fn folders(&mut self, names: &[&str]) -> Result<()> {
        let folder = Node::of_root(FOLDER | 0o755);
        names
            .iter()
            .try_for_each(|name| self.entry(name.as_bytes(), folder, &[]))
    }

    /// Adds a file with its content.
    ///
    /// # Errors
    /// Where the archive cannot be written.
    pub(crate) fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.entry(name.as_bytes(), Node::of_root(FILE | mode), content)
    }

    /// Adds a copy of a program of this machine, which must need no library.
    ///
    /// # Errors
    /// Where the program cannot be read, or asks for a dynamic loader.
    pub(crate) fn program(&mut self, name: &str, path: &Path) -> Result<()> {
        let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        if is_dynamic(&content) {
            bail!(
                "{} is not a static program, and a guest has no libraries",
                path.display()
            );
        }
        self.file(name, 0o755, &content)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// Where the archive cannot be written.
    pub(crate) fn link(&mut self, name: &str, to: &str) -> Result<()> {
        self.entry(name.as_bytes(), Node::of_root(LINK | 0o777), to.as_bytes())
    }

    /// Adds what lies below a folder of this machine, with owners and modes, below `name`. Only folders, files and links.
    ///
    /// # Errors
    /// Where something of it cannot be read, or the archive cannot be written.
    pub(crate) fn tree(&mut self, name: &str, folder: &Path) -> Result<()> {
        self.folders(&[name])?;
        let mut left = vec![folder.to_path_buf()];
        while let Some(place) = left.pop() {
            for found in fs::read_dir(&place).with_context(|| format!("cannot list {}", place.display()))? {
                let path = found
                    .with_context(|| format!("cannot list {}", place.display()))?
                    .path();
                let shown = || format!("cannot read {}", path.display());
                let metadata = fs::symlink_metadata(&path).with_context(shown)?;
                let content = match metadata.mode() & KIND {
                    FOLDER => Vec::new(),
                    FILE => fs::read(&path).with_context(shown)?,
                    LINK => fs::read_link(&path)
                        .with_context(shown)?
                        .as_os_str()
                        .as_bytes()
                        .to_vec(),
                    _ => continue,
                };
                let node = Node {
                    mode: metadata.mode(),
                    user: metadata.uid(),
                    group: metadata.gid(),
                };
                let inside = Path::new(name).join(path.strip_prefix(folder)?);
                self.entry(inside.as_os_str().as_bytes(), node, &content)?;
                if metadata.is_dir() {
                    left.push(path);
                }
            }
        }
        Ok(())
    }

    /// Ends the archive and gives what it was written to.
    ///
    /// # Errors
    /// Where the archive cannot be written.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.entry(TRAILER.as_bytes(), Node::of_root(0), &[])?;
        self.to.flush().context("cannot write the initramfs")?;
        Ok(self.to)
    }

    fn entry(&mut self, name: &[u8], node: Node, content: &[u8]) -> Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len())
            .with_context(|| format!("{} is too large for an initramfs", String::from_utf8_lossy(name)))?;
        // Thirteen fields of eight hex digits: inode, mode, uid, gid, links, time, size, device (two), device of a
        // special file (two), length of the name with its NUL, checksum.
        let fields = [
            self.entries,
            node.mode,
            node.user,
            node.group,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            u32::try_from(name.len() + 1)?,
            0,
        ];
        let header = fields
            .iter()
            .fold(String::from("070701"), |header, field| header + &format!("{field:08x}"));
        self.bytes(header.as_bytes())?;
        self.bytes(name)?;
        self.bytes(&[0])?;
        self.pad()?;
        self.bytes(content)?;
        self.pad()
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes).context("cannot write the initramfs")?;
        self.written += bytes.len();
        Ok(())
    }

    /// Names and contents end at a multiple of four bytes.
    fn pad(&mut self) -> Result<()> {
        while !self.written.is_multiple_of(4) {
            self.bytes(&[0])?;
        }
        Ok(())
    }
}

/// Whether a 64-bit ELF program has a PT_INTERP header (3), that is, names a dynamic loader. A static program at a
/// variable address has none.
fn is_dynamic(elf: &[u8]) -> bool {
    let number = |at: usize, width: usize| -> Option<usize> {
        let bytes = elf.get(at..at + width)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |value, byte| (value << 8) | usize::from(*byte)),
        )
    };
    let headers = || Some((number(32, 8)?, number(54, 2)?, number(56, 2)?));
    let Some((offset, size, count)) = headers() else {
        return false;
    };
    (0..count).any(|index| number(offset + index * size, 4) == Some(3))
}

#[cfg(test)]
mod tests {
    use super::{Initramfs, is_dynamic};
    use std::path::Path;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_reads_the_archive() {
        let mut archive = Initramfs::new(Vec::new());
        archive.folders(&["bin", "lib", "lib/modules"]).unwrap();
        archive.file("init", 0o755, b"#!/bin/sh\n").unwrap();
        archive.link("bin/sh", "busybox").unwrap();
        let bytes = archive.finish().unwrap();
        assert!(bytes.len().is_multiple_of(4));
        let text = String::from_utf8_lossy(&bytes);
        // Each entry: magic, then mode as the second field.
        assert_eq!(text.matches("070701").count(), 6);
        assert!(text.contains("0000000a00000000"), "the size of init is ten bytes");
        assert!(text.ends_with("TRAILER!!!\0\0\0\0") || text.trim_end_matches('\0').ends_with("TRAILER!!!"));
    }

    #[test]
    fn a_folder_goes_in_with_its_owners_and_modes() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = std::env::temp_dir().join(format!("portreeve-tree-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("etc")).unwrap();
        std::fs::write(folder.join("etc/shadow"), "x").unwrap();
        std::fs::set_permissions(folder.join("etc/shadow"), std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink("shadow", folder.join("etc/link")).unwrap();
        let mut archive = Initramfs::new(Vec::new());
        archive.tree("root", &folder).unwrap();
        let bytes = archive.finish().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for part in [
            "root/etc\0",
            "root/etc/shadow\0",
            "root/etc/link\0",
            "000081a0",
            "0000a1ff",
        ] {
            assert!(text.contains(part), "{part}");
        }
    }

    #[test]
    fn a_program_that_needs_libraries_is_refused() {
        // This test itself is one or the other; the shell of a Debian machine is dynamic.
        let shell = Path::new("/bin/sh");
        let dynamic = Command::new("ldd")
            .arg(shell)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if dynamic.is_ok_and(|status| status.success()) {
            assert!(is_dynamic(&std::fs::read(shell).unwrap()));
            let mut archive = Initramfs::new(Vec::new());
            assert!(archive.program("sh", shell).is_err());
        }
        assert!(!is_dynamic(b"#!/bin/sh\n"));
    }
}
