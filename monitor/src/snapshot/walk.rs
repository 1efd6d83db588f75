//! Walking folders of /proc, relative to one that is open: what a process or its threads show.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, RawDir};
use rustix::io::Errno;

/// Bytes that the kernel fills with names at once.
const NAMES: usize = 32 * 1024;
/// Bytes of a link that are read: `socket:[…]` and `net:[…]` are shorter, and paths of files are not wanted whole.
const LINK: usize = 48;

/// Room for the names of a folder, to be used again.
pub(super) struct Names(Vec<MaybeUninit<u8>>);

impl Names {
    pub(super) fn new() -> Self {
        Self(vec![MaybeUninit::uninit(); NAMES])
    }

    /// Calls `each` with each name in `folder` that begins with a digit, as those of processes, threads and descriptors
    /// do, from where the last reading of this folder stopped.
    pub(super) fn each(&mut self, folder: impl AsFd, mut each: impl FnMut(&CStr)) -> Result<(), Errno> {
        let mut names = RawDir::new(folder, &mut self.0);
        while let Some(entry) = names.next() {
            let entry = entry?;
            if entry.file_name().to_bytes().first().is_some_and(u8::is_ascii_digit) {
                each(entry.file_name());
            }
        }
        Ok(())
    }

    /// The numbers among them.
    pub(super) fn numbers(&mut self, folder: impl AsFd) -> Result<Vec<u32>, Errno> {
        let mut numbers = Vec::new();
        self.each(folder, |name| {
            numbers.extend(name.to_str().ok().and_then(|name| name.parse::<u32>().ok()));
        })?;
        Ok(numbers)
    }
}

/// Opens a folder to read its names.
pub(super) fn folder(at: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

/// Whether a process has more threads than its leader, without listing them: a `task` folder counts them among its links.
pub(super) fn has_threads(procfs: impl AsFd, pid: u32) -> bool {
    let task = rustix::fs::statat(procfs, format!("{pid}/task"), AtFlags::empty());
    // Two links are those of every folder, and the third is the leader's.
    task.is_ok_and(|task| task.st_nlink > 3)
}

/// The number in a link such as `socket:[18342]`; `None` where it is another.
pub(super) fn number(at: impl AsFd, path: impl rustix::path::Arg, kind: &[u8]) -> Result<Option<u64>, Errno> {
    let mut link = [0_u8; LINK];
    let length = rustix::fs::readlinkat_raw(at, path, &mut link)?;
    Ok(link.get(..length).and_then(|link| inode(link, kind)))
}

fn inode(link: &[u8], kind: &[u8]) -> Option<u64> {
    let digits = link.strip_prefix(kind)?.strip_prefix(b":[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_of_the_kind_that_is_asked_for_have_a_number() {
        assert_eq!(inode(b"socket:[18342]", b"socket"), Some(18_342));
        assert_eq!(inode(b"net:[4026531840]", b"net"), Some(4_026_531_840));
        for link in [
            &b"socket:[18342"[..],
            b"socket:[]",
            b"socket:[x]",
            b"socket:[1] (deleted)",
            b"pipe:[18342]",
            b"/tmp/socket:[18342]",
            b"",
        ] {
            assert_eq!(inode(link, b"socket"), None, "{}", String::from_utf8_lossy(link));
        }
    }

    #[test]
    fn threads_are_noticed_without_listing_them() {
        let procfs = folder(rustix::fs::CWD, "/proc").unwrap();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let alone = !has_threads(&procfs, child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || stopped.recv());
        assert!(alone && has_threads(&procfs, std::process::id()) && !has_threads(&procfs, u32::MAX));
        drop(stop);
        thread.join().unwrap().unwrap_err();
    }
}
