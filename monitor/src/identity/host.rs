//! Files of the host, opened below its root.
//!
//! Symbolic links stay inside the root, as on the host itself, and nothing that lies there can hold the agent up.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// The root of the host's file system.
#[derive(Clone, Debug)]
pub(super) struct Host {
    root: PathBuf,
}

/// What tells one version of a file or folder from the next: tools replace it (inode), editors rewrite it (time, size).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i128),
}

impl Version {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, i128::from(stat.st_mtime_nsec)),
        }
    }
}

impl Host {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Opens a regular file to read it.
    pub(super) fn file(&self, path: &str) -> Option<(File, Version)> {
        // Without O_NONBLOCK a FIFO in place of the file would hold up every event.
        let file = self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let stat = rustix::fs::fstat(&file).ok()?;
        (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then(|| (File::from(file), Version::of(&stat)))
    }

    /// What the host has at this path.
    pub(super) fn stat(&self, path: &str) -> Option<Stat> {
        rustix::fs::fstat(self.open(path, OFlags::PATH)?).ok()
    }

    /// Version of a folder: it changes with the names in it.
    pub(super) fn version(&self, path: &str) -> Option<Version> {
        self.stat(path).as_ref().map(Version::of)
    }

    /// The names in a folder, at most `limit`; without those that are not UTF-8, which nothing here looks for.
    pub(super) fn names(&self, path: &str, limit: usize) -> impl Iterator<Item = String> + use<> {
        let folder = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY);
        let entries = folder.and_then(|folder| Dir::new(folder).ok()).into_iter().flatten();
        entries.take(limit).filter_map(|entry| {
            let name = entry.ok()?.file_name().to_str().ok()?.to_owned();
            (name != "." && name != "..").then_some(name)
        })
    }

    /// What a symbolic link says; its folder is looked up inside the root, the link itself is not followed.
    pub(super) fn link(&self, folder: &str, name: &str) -> Option<String> {
        let folder = self.open(folder, OFlags::PATH | OFlags::DIRECTORY)?;
        rustix::fs::readlinkat(folder, name, Vec::new())
            .ok()?
            .into_string()
            .ok()
    }

    fn open(&self, path: &str, flags: OFlags) -> Option<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        if self.root == Path::new("/") {
            // Links lead nowhere else.
            return rustix::fs::openat(CWD, format!("/{path}"), flags, Mode::empty()).ok();
        }
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, &self.root, folder, Mode::empty()).ok()?;
        let path = Some(path.trim_start_matches('/')).filter(|path| !path.is_empty());
        let path = path.unwrap_or(".");
        let opened = match rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            // Before 5.6 there is no openat2, and a seccomp filter may not know it.
            Err(Errno::NOSYS | Errno::PERM) => rustix::fs::openat(&root, path, flags, Mode::empty()),
            other => other,
        };
        opened.ok()
    }
}
