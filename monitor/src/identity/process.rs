//! One process's directory in /proc.

use std::collections::HashMap;
use std::path::PathBuf;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, MemfdFlags, Mode, OFlags, Stat};

use super::cgroup::Place;
use super::packages::FileId;
use super::{Ancestor, ExeState, MAX_ANCESTORS, MAX_ARGUMENTS, MAX_CMDLINE};

/// `PF_KTHREAD` of include/linux/sched.h, in field 9 of /proc/PID/stat.
const PF_KTHREAD: u64 = 0x0020_0000;
/// Bytes of /proc/PID/stat that are read: 52 numbers and a name of at most 64 bytes take less.
const MAX_STAT: usize = 2048;
/// Bytes of /proc/PID/cgroup that are read: a path is at most 4096 bytes long, and is written once for each tree.
const MAX_CGROUP: usize = 16_384;
/// What the kernel's `d_path()` appends to the name of a file that its path no longer names.
const DELETED: &[u8] = b" (deleted)";

/// The state of what has ended, and of which somebody has still to hear.
const ZOMBIE: char = 'Z';

/// Threads that are looked at for one that lives.
const THREADS_MAX: usize = 32;

/// What /proc says of a process.
pub(super) enum Seen {
    /// A thread of the kernel: it has neither executable nor command line.
    KernelThread,
    /// A process of user space; `None` for what could not be read.
    Process {
        exe: Option<Exe>,
        cmdline: Option<Vec<String>>,
        place: Option<Place>,
        ancestors: Vec<Ancestor>,
    },
}

/// The executable of a process.
pub(super) struct Exe {
    pub(super) path: String,
    pub(super) state: ExeState,
    /// The file itself, where it could be asked.
    pub(super) file: Option<FileId>,
}

/// Reads processes below one proc file system.
#[derive(Debug)]
pub(super) struct Processes {
    procfs: PathBuf,
    buffer: Vec<u8>,
    /// Device of the kernel's own tmpfs, on which every memfd lives; learned when it is first asked for.
    memfd_device: Option<u64>,
    /// Ancestors that this look has met, with those that are gone; `None` where each is asked anew.
    known: Option<HashMap<u32, Option<ProcessStat>>>,
}

impl Processes {
    pub(super) fn new(procfs: PathBuf) -> Self {
        Self {
            procfs,
            buffer: Vec::new(),
            memfd_device: None,
            known: None,
        }
    }

    /// Reads the process `tgid` that started `start_boottime_ns` after boot. `None` where it is gone, or where the
    /// number belongs to another process by now.
    pub(super) fn read(&mut self, tgid: u32, start_boottime_ns: u64, want_cmdline: bool) -> Option<Seen> {
        // The directory stays that of one process: once the process is gone, every read below it fails, even after
        // the kernel has given the number away again. So one comparison of the start time covers the reads after it.
        let directory = open(
            CWD,
            self.procfs.join(tgid.to_string()),
            OFlags::PATH | OFlags::DIRECTORY,
        )?;
        self.read_lines(&directory, "stat", MAX_STAT)?;
        let stat = parse_stat(&self.buffer)?;
        if stat.start_ticks != ticks(start_boottime_ns) {
            return None;
        }
        if stat.flags & PF_KTHREAD != 0 {
            return Some(Seen::KernelThread);
        }
        // Of a process whose first thread has ended, the others have what it had.
        let living = if stat.state == ZOMBIE {
            living_thread(&directory)
        } else {
            None
        };
        let directory = living.unwrap_or(directory);
        let mut place = None;
        if self.read_lines(&directory, "cgroup", MAX_CGROUP).is_some() {
            place = Place::of(&self.buffer);
        }
        let mut cmdline = None;
        if want_cmdline && self.read_file(&directory, "cmdline", MAX_CMDLINE + 1).is_some() {
            cmdline = Some(split(&self.buffer));
        }
        // The order matters: an exiting process shows an empty command line, a living one may have one. Whoever still
        // has an executable after its command line was read was alive when it was.
        let exe = self.exe(&directory);
        if exe.is_none() && cmdline.as_ref().is_some_and(Vec::is_empty) {
            cmdline = None;
        }
        if exe.is_none() {
            // So do the trees of v1: they put it at their roots.
            place = place.filter(|place| place.path != "/");
        }
        Some(Seen::Process {
            exe,
            cmdline,
            place,
            ancestors: self.ancestors(stat.parent, stat.start_ticks),
        })
    }

    /// The parent, its parent and so on, up to the first process. One that is gone ends the list: whoever has its number
    /// by now has started later than its child.
    fn ancestors(&mut self, mut parent: u32, mut child_start: u64) -> Vec<Ancestor> {
        let mut ancestors = Vec::new();
        while parent != 0 && ancestors.len() < MAX_ANCESTORS {
            let Some(stat) = self.ancestor(parent).filter(|stat| stat.start_ticks <= child_start) else {
                break;
            };
            ancestors.push(Ancestor {
                pid: parent,
                comm: stat.comm,
            });
            (parent, child_start) = (stat.parent, stat.start_ticks);
        }
        ancestors
    }

    fn ancestor(&mut self, pid: u32) -> Option<ProcessStat> {
        if let Some(known) = self.known.as_ref().and_then(|known| known.get(&pid)) {
            return known.clone();
        }
        let path = self.procfs.join(pid.to_string()).join("stat");
        let stat = self
            .read_lines(CWD, path, MAX_STAT)
            .and_then(|()| parse_stat(&self.buffer));
        if let Some(known) = &mut self.known {
            known.insert(pid, stat.clone());
        }
        stat
    }

    /// From now on a process that is somebody's ancestor is read once, until this is called again: for a look at many, which
    /// have most of theirs in common.
    pub(super) fn one_look(&mut self) {
        self.known = Some(HashMap::new());
    }

    /// Reads a file of lines, which the kernel hands out in one piece.
    fn read_lines(&mut self, directory: impl AsFd, name: impl rustix::path::Arg, limit: usize) -> Option<()> {
        self.read_until(directory, name, limit, |text| text.ends_with(b"\n"))
    }

    fn read_file(&mut self, directory: impl AsFd, name: impl rustix::path::Arg, limit: usize) -> Option<()> {
        self.read_until(directory, name, limit, |_| false)
    }

    fn read_until(
        &mut self,
        directory: impl AsFd,
        name: impl rustix::path::Arg,
        limit: usize,
        is_whole: impl Fn(&[u8]) -> bool,
    ) -> Option<()> {
        let file = open(directory, name, OFlags::RDONLY)?;
        self.buffer.resize(limit, 0);
        let mut filled = 0;
        while let Some(rest) = self.buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match rustix::io::read(&file, rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
            if self.buffer.get(..filled).is_some_and(&is_whole) {
                break;
            }
        }
        self.buffer.truncate(filled);
        Some(())
    }

    fn exe(&mut self, directory: &OwnedFd) -> Option<Exe> {
        let target = rustix::fs::readlinkat(directory, "exe", Vec::new()).ok()?.into_bytes();
        // Through the magic link: the file itself, whatever its path names now.
        let file = rustix::fs::statat(directory, "exe", AtFlags::empty()).ok();
        let state = match &file {
            Some(file) if target.starts_with(b"/memfd:") && self.is_memfd(file) => ExeState::Memfd,
            Some(file) if file.st_nlink == 0 => ExeState::Deleted,
            // Links are left, or overlayfs counts those of a lower layer: the kernel's word may be true all the same,
            // or be part of the name.
            file if target.ends_with(DELETED) && !names_itself(directory, &target, file.as_ref()) => ExeState::Deleted,
            _ => ExeState::File,
        };
        let path = match state {
            ExeState::File => &target,
            ExeState::Deleted | ExeState::Memfd => target.strip_suffix(DELETED).unwrap_or(&target),
        };
        Some(Exe {
            path: String::from_utf8_lossy(path).into_owned(),
            state,
            file: file.map(|file| FileId {
                device: file.st_dev,
                inode: file.st_ino,
            }),
        })
    }

    /// A file that is called `/memfd:…` and deleted looks the same but for its device.
    fn is_memfd(&mut self, file: &Stat) -> bool {
        if self.memfd_device.is_none() {
            self.memfd_device = rustix::fs::memfd_create("portreeve", MemfdFlags::CLOEXEC)
                .and_then(rustix::fs::fstat)
                .ok()
                .map(|own| own.st_dev);
        }
        self.memfd_device.is_none_or(|device| device == file.st_dev)
    }
}

/// The directory of a thread that still executes something, of the first few of a process.
fn living_thread(directory: &OwnedFd) -> Option<OwnedFd> {
    let threads = open(directory, "task", OFlags::RDONLY | OFlags::DIRECTORY)?;
    let entries = Dir::read_from(&threads).ok()?.filter_map(Result::ok);
    entries
        .filter(|entry| !entry.file_name().to_bytes().starts_with(b"."))
        .take(THREADS_MAX)
        .filter_map(|entry| open(&threads, entry.file_name(), OFlags::PATH | OFlags::DIRECTORY))
        .find(|thread| rustix::fs::readlinkat(thread, "exe", Vec::new()).is_ok())
}

/// Whether the path, taken as it stands in the process's own root, is that very file.
fn names_itself(directory: &OwnedFd, target: &[u8], file: Option<&Stat>) -> bool {
    let mut path = b"root".to_vec();
    path.extend_from_slice(target);
    match (rustix::fs::statat(directory, path, AtFlags::SYMLINK_NOFOLLOW), file) {
        (Ok(named), Some(file)) => named.st_dev == file.st_dev && named.st_ino == file.st_ino,
        _ => false,
    }
}

fn open(directory: impl AsFd, path: impl rustix::path::Arg, flags: OFlags) -> Option<OwnedFd> {
    rustix::fs::openat(directory, path, flags | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Nanoseconds of a clock tick: `USER_HZ` is 100 on every architecture but alpha and ia64, and part of the interface to
/// user space (include/uapi/asm-generic/param.h). Asking for it means to read the auxiliary vector, which a process with
/// capabilities on its file may not do by /proc/self/auxv, and before 6.4 in no other way.
pub(crate) const TICK: u64 = 1_000_000_000 / 100;

/// Clock ticks of a time in nanoseconds, rounded as the kernel's `nsec_to_clock_t()` does.
fn ticks(nanoseconds: u64) -> u64 {
    nanoseconds / TICK
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ProcessStat {
    /// Name: field 2.
    comm: String,
    /// State, by its letter: field 3.
    state: char,
    /// Number of the parent: field 4.
    parent: u32,
    /// `PF_*`: field 9.
    flags: u64,
    /// Start after boot, in ticks: field 22.
    start_ticks: u64,
}

/// Fields of /proc/PID/stat (proc_pid_stat(5)). The name in field 2 may hold blanks and parentheses, so counting starts
/// behind the last parenthesis.
fn parse_stat(text: &[u8]) -> Option<ProcessStat> {
    let name_start = text.iter().position(|&byte| byte == b'(')?;
    let name_end = text.iter().rposition(|&byte| byte == b')')?;
    let comm = String::from_utf8_lossy(text.get(name_start + 1..name_end)?).into_owned();
    let rest = std::str::from_utf8(text.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    Some(ProcessStat {
        comm,
        state: fields.next()?.parse().ok()?,
        parent: fields.next()?.parse().ok()?,
        flags: fields.nth(4)?.parse().ok()?,
        start_ticks: fields.nth(12)?.parse().ok()?,
    })
}

/// Arguments out of the bytes of /proc/PID/cmdline, cut to the bounds.
///
/// Empty arguments at the end are dropped: a process that rewrote its title pads it with NULs, and nothing tells them
/// from arguments that are empty.
fn split(bytes: &[u8]) -> Vec<String> {
    let mut kept = bytes.get(..MAX_CMDLINE).unwrap_or(bytes);
    let mut cut = bytes.len() > kept.len();
    if cut {
        // Half a word could be half a secret that nothing marks as one any more, such as `scheme://user:pass` before
        // its `@`.
        let end = kept
            .iter()
            .rposition(|byte| *byte == 0 || byte.is_ascii_whitespace())
            .unwrap_or(0);
        kept = kept.get(..end).unwrap_or_default();
    }
    while let Some(shorter) = kept.strip_suffix(&[0]) {
        kept = shorter;
    }
    let mut arguments: Vec<String> = Vec::new();
    if !kept.is_empty() {
        for argument in kept.split(|&byte| byte == 0) {
            if arguments.len() == MAX_ARGUMENTS {
                cut = true;
                break;
            }
            arguments.push(String::from_utf8_lossy(argument).into_owned());
        }
    }
    if cut {
        arguments.truncate(MAX_ARGUMENTS - 1);
        arguments.push("…".to_owned());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_name_that_holds_parentheses() {
        let text = b"812 ((a) R 1 (b)) S 7 812 812 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3\n";
        assert_eq!(
            parse_stat(text),
            Some(ProcessStat {
                comm: "(a) R 1 (b)".to_owned(),
                state: 'S',
                parent: 7,
                flags: 4_194_560,
                start_ticks: 987_654
            })
        );
    }

    #[test]
    fn a_stat_that_is_cut_short_is_none() {
        for text in [
            &b""[..],
            b"812",
            b"812 (a)",
            b"812 (a) S 1 2",
            b"812 (a) S 1 812 812 0 -1 x 1 2 3 4 5 6 7 8 20 0 1 0 9",
        ] {
            assert_eq!(parse_stat(text), None, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn ticks_are_rounded_down_as_the_kernel_does() {
        assert_eq!(ticks(0), 0);
        assert_eq!(ticks(9_999_999), 0);
        assert_eq!(ticks(10_000_000), 1);
        assert_eq!(ticks(u64::MAX), 1_844_674_407_370);
    }

    #[test]
    fn a_command_line_is_split_at_each_nul() {
        assert_eq!(
            split(b"python3\0-m\0http.server\x001992\0"),
            ["python3", "-m", "http.server", "1992"]
        );
        assert_eq!(split(b"grep\0\0file\0"), ["grep", "", "file"]);
        assert_eq!(split(b""), [""; 0]);
        assert_eq!(split(b"\0"), [""; 0]);
        assert_eq!(split(b"caf\xe9\0"), ["caf\u{fffd}"]);
    }

    #[test]
    fn a_rewritten_title_is_one_argument_without_its_padding() {
        assert_eq!(split(b"nginx: worker process\0\0\0\0\0\0"), ["nginx: worker process"]);
        assert_eq!(split(b"sshd: alice [priv]"), ["sshd: alice [priv]"]);
    }

    #[test]
    fn a_long_command_line_is_cut_at_a_word_and_says_so() {
        let mut bytes = b"app\0".to_vec();
        bytes.resize(MAX_CMDLINE - 4, b'a');
        bytes.extend_from_slice(b"\0db://alice:secret@host\0");
        let arguments = split(&bytes);
        assert_eq!(arguments.len(), 3);
        assert_eq!(arguments[2], "…");
        assert!(!arguments.concat().contains("db:"));

        assert_eq!(split(&vec![b'x'; MAX_CMDLINE + 1]), ["…"]);
        assert_eq!(split(&vec![b'x'; MAX_CMDLINE]).concat().len(), MAX_CMDLINE);
    }

    #[test]
    fn many_arguments_are_cut_and_it_says_so() {
        let arguments = split(&b"a\0".repeat(MAX_ARGUMENTS + 1));
        assert_eq!(arguments.len(), MAX_ARGUMENTS);
        assert_eq!(arguments.last().map(String::as_str), Some("…"));
        assert!(!split(&b"a\0".repeat(MAX_ARGUMENTS)).contains(&"…".to_owned()));
    }

    #[test]
    fn a_thread_that_executes_something_is_found() {
        let own = open(CWD, "/proc/self", OFlags::PATH | OFlags::DIRECTORY).unwrap();
        let thread = living_thread(&own).unwrap();
        let exe = |directory| rustix::fs::readlinkat(directory, "exe", Vec::new()).unwrap();
        assert_eq!(exe(&thread), exe(&own));
        let none = open(CWD, "/proc", OFlags::PATH | OFlags::DIRECTORY).unwrap();
        assert!(living_thread(&none).is_none());
    }

    #[test]
    fn once_a_process_is_gone_its_open_directory_shows_nothing() {
        // What `read` relies on for a number that is given away while it reads.
        let mut child = std::process::Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let directory = open(CWD, format!("/proc/{}", child.id()), OFlags::PATH | OFlags::DIRECTORY).unwrap();
        let mut processes = Processes::new(PathBuf::from("/proc"));
        assert!(processes.read_file(&directory, "stat", MAX_STAT).is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(processes.read_file(&directory, "stat", MAX_STAT).is_none());
        assert!(processes.exe(&directory).is_none());
    }
}
