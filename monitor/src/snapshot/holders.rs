//! Which processes have a descriptor of which socket: one walk over the descriptors of every process, for all sockets
//! at once. Slow by nature, so it is for a whole look and for an operator's question, not for events.
//!
//! The threads of a process share one table of descriptors, unless one of them has called `unshare(CLONE_FILES)`; and a
//! leader that has exited shows none, while its threads go on. So threads are asked too: how many descriptors they have,
//! which is one cheap call from Linux 6.2 on, or before that for a list of them. Links are read where that differs from the
//! leader's. A thread whose own table looks the same that way is not told apart.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::num::NonZero;
use std::path::Path;
use std::thread;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::walk::{self, Names};

/// Holders that one walk keeps. Past it each socket gets its first, and no more: processes that share sockets by
/// inheritance multiply.
const MAX_HOLDERS: usize = 1 << 16;
/// Bytes of /proc/PID/stat that are read.
const MAX_FILE: usize = 1024;

/// A process that has a descriptor of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id, as the proc file system shows it.
    pub pid: u32,
    /// Name of its main thread: at most 15 bytes, chosen by the process.
    pub comm: String,
    /// When it started, in clock ticks since boot (field 22 of /proc/PID/stat): with the pid it names one process.
    pub start_ticks: u64,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// By the socket's inode; lowest pid first.
    pub(super) by_inode: HashMap<u64, Vec<Holder>>,
    /// Processes whose descriptors may not be read.
    pub(super) refused: u32,
    kept: usize,
}

/// Processes for which a thread more is worth its start.
const WORTH_A_THREAD: usize = 64;

/// Walks over all processes, for the sockets with these inodes, with so many threads at most.
pub(super) fn walk(procfs: &Path, wanted: &HashSet<u64>, threads: NonZero<usize>) -> Holders {
    let mut holders = Holders::default();
    if wanted.is_empty() {
        return holders;
    }
    let Ok(procfs) = walk::folder(CWD, procfs) else {
        return holders;
    };
    // The kernel lists them in the order of their numbers.
    let pids = Names::new().numbers(&procfs).unwrap_or_default();
    let threads = threads.get().min(pids.len().div_ceil(WORTH_A_THREAD)).max(1);
    let part = pids.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let procfs = &procfs;
        let mut parts = pids.chunks(part);
        let own = parts.next().unwrap_or_default();
        let others: Vec<_> = parts
            .map(|pids| {
                // One that cannot be started is no reason to see less.
                let started = thread::Builder::new().spawn_scoped(scope, move || walk_over(procfs, pids, wanted));
                started.map_err(|_| pids)
            })
            .collect();
        holders.keep(walk_over(procfs, own, wanted));
        for other in others {
            holders.keep(match other.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(processes)) => processes,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(pids) => walk_over(procfs, pids, wanted),
            });
        }
    });
    holders
}

/// Those of these processes that have a socket, or refuse to tell.
fn walk_over<'a>(procfs: &OwnedFd, pids: &[u32], wanted: &'a HashSet<u64>) -> Vec<Process<'a>> {
    let mut names = Names::new();
    let asked = pids.iter().map(|pid| {
        let mut process = Process {
            pid: *pid,
            wanted,
            own: None,
            found: HashSet::new(),
            refused: false,
        };
        // An error means that it is gone, or refuses. What was found until then was so.
        process.refused |= matches!(process.read(procfs, &mut names), Err(Errno::ACCESS | Errno::PERM));
        process
    });
    asked
        .filter(|process| process.own.is_some() || process.refused)
        .collect()
}

impl Holders {
    fn keep(&mut self, processes: Vec<Process>) {
        for process in processes {
            self.refused += u32::from(process.refused);
            let Some(own) = process.own else { continue };
            for inode in process.found {
                let holders = self.by_inode.entry(inode).or_default();
                if self.kept < MAX_HOLDERS || holders.is_empty() {
                    holders.push(own.clone());
                    self.kept += 1;
                }
            }
        }
    }
}

/// One process of the walk.
struct Process<'a> {
    pid: u32,
    wanted: &'a HashSet<u64>,
    /// Read with its first socket; most have none.
    own: Option<Holder>,
    found: HashSet<u64>,
    /// Its descriptors could be listed and not read, as for root without CAP_SYS_PTRACE.
    refused: bool,
}

impl Process<'_> {
    fn read(&mut self, procfs: &OwnedFd, names: &mut Names) -> Result<(), Errno> {
        let leader = walk::folder(procfs, format!("{}/fd", self.pid))?;
        let threads = walk::has_threads(procfs, self.pid);
        let mut numbers = Vec::new();
        let mut count = 0;
        names.each(&leader, |name| {
            if threads {
                count += 1;
                numbers.extend_from_slice(name.to_bytes_with_nul());
            }
            self.descriptor(&leader, name, c"../stat");
        })?;
        if !threads {
            return Ok(());
        }
        let task = walk::folder(procfs, format!("{}/task", self.pid))?;
        for tid in names.numbers(&task)? {
            if tid == self.pid {
                continue;
            }
            let path = format!("{tid}/fd");
            if rustix::fs::statat(&task, &path, AtFlags::empty()).is_ok_and(|fd| fd.st_size == count && count > 0) {
                continue;
            }
            // One that has ended meanwhile is no reason to leave the others out.
            let Ok(folder) = walk::folder(&task, path) else {
                continue;
            };
            let mut rest = Some(&numbers[..]);
            let listed = names.each(&folder, |name| {
                rest = rest.and_then(|rest| rest.strip_prefix(name.to_bytes_with_nul()));
            });
            let same = rest.is_some_and(<[u8]>::is_empty);
            if listed.is_err() || same || rustix::fs::seek(&folder, SeekFrom::Start(0)).is_err() {
                continue;
            }
            let _ended = names.each(&folder, |name| self.descriptor(&folder, name, c"../../../stat"));
        }
        Ok(())
    }

    /// Looks at one descriptor in an open `fd` folder; `stat` is the process's own from there. Paths begin at the folder,
    /// which stays that of this process or thread, whoever gets the number later.
    fn descriptor(&mut self, folder: &OwnedFd, name: &CStr, stat: &CStr) {
        let inode = match walk::number(folder, name, b"socket") {
            Ok(Some(inode)) => inode,
            Ok(None) => return,
            Err(error) => {
                self.refused |= error == Errno::ACCESS;
                return;
            }
        };
        if !self.wanted.contains(&inode) || self.found.contains(&inode) || is_path(folder, name) {
            return;
        }
        if self.own.is_none() {
            self.own = read(folder, stat).and_then(|stat| holder(self.pid, &stat));
        }
        self.found.insert(inode);
    }
}

/// Whether the descriptor is one of O_PATH: it names the socket and does not hold it. The link's mode says what it may be
/// used for (proc_pid_fd(5)), which of a socket is reading and writing.
fn is_path(folder: &OwnedFd, name: &CStr) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|link| Mode::from_raw_mode(link.st_mode) & Mode::RWXU == Mode::empty())
}

/// Name and start out of /proc/PID/stat. The name stands in parentheses and may hold some itself.
fn holder(pid: u32, stat: &[u8]) -> Option<Holder> {
    let begin = stat.iter().position(|&byte| byte == b'(')?;
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    Some(Holder {
        pid,
        comm: String::from_utf8_lossy(stat.get(begin + 1..end)?).into_owned(),
        start_ticks: rest.split_ascii_whitespace().nth(19)?.parse().ok()?,
    })
}

fn read(at: &OwnedFd, path: impl rustix::path::Arg) -> Option<Vec<u8>> {
    let file = rustix::fs::openat(at, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = vec![0; MAX_FILE];
    // The kernel gives such a short file whole.
    let length = rustix::io::read(&file, &mut text[..]).ok()?;
    text.truncate(length);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_start_are_found_whatever_the_name_holds() {
        let stat = b"812 (a) R 1 (\x1b)) S 1 812 812 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3\n";
        let expected = Holder {
            pid: 812,
            comm: "a) R 1 (\u{1b})".to_owned(),
            start_ticks: 987_654,
        };
        assert_eq!(holder(812, stat), Some(expected));
        for cut in [&b""[..], b"812 (a", b"812 )a(", b"812 (a) S 1 812 812 0 -1 41"] {
            assert_eq!(holder(812, cut), None, "{}", String::from_utf8_lossy(cut));
        }
    }
}
