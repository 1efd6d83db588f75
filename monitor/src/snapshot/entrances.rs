//! All network namespaces, and what leads into each.
//!
//! The kernel lists no namespaces: they are those of the processes, of threads that have gone elsewhere, and those that
//! `ip netns` and docker keep by a file. One that lives by nothing but an open descriptor, or a file elsewhere, is not
//! found; nor one that only the 257th thread of a process, or the 4097th file of a folder leads to.

use std::collections::HashMap;
use std::path::PathBuf;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;

use super::namespaces::{inode, kept, kept_namespace};
use super::walk::{self, Names};
use crate::identity::Paths;

/// Namespaces that one look goes into.
pub(super) const MAX_NAMESPACES: usize = 4096;
/// Tasks and files that are remembered for each: the first may be gone when it is needed.
const MAX_WAYS: usize = 4;
/// Threads of one process that are asked.
const MAX_THREADS: usize = 256;

/// A network namespace, and what led into it a moment ago.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entrance {
    /// Inode of the namespace; 0 where even that may not be seen (CAP_SYS_PTRACE).
    pub netns: u32,
    /// Some tasks in it, by the thread's id.
    pub tasks: Vec<u32>,
    /// Files that keep it, relative to the host's root.
    pub files: Vec<PathBuf>,
}

/// All namespaces but `own`, by number.
pub(super) fn all(paths: &Paths, own: Option<u32>) -> Vec<Entrance> {
    let mut found = Found::default();
    if let Ok(procfs) = walk::folder(CWD, &paths.procfs) {
        found.processes(procfs);
    }
    for file in kept(&paths.rootfs, MAX_NAMESPACES) {
        if let Some(files) = kept_namespace(&paths.rootfs, &file).and_then(|netns| found.files(netns)) {
            files.push(file);
        }
    }
    let mut entrances: Vec<Entrance> = found.known.into_values().chain(found.hidden.into_values()).collect();
    entrances.retain(|entrance| Some(entrance.netns) != own);
    entrances.sort_unstable_by_key(|entrance| entrance.netns);
    entrances
}

#[derive(Default)]
struct Found {
    known: HashMap<u32, Entrance>,
    /// Namespaces whose number may not be seen, by what tells them apart all the same; see [`table`].
    hidden: HashMap<u64, Entrance>,
}

impl Found {
    fn processes(&mut self, procfs: OwnedFd) {
        let mut names = Names::new();
        for pid in names.numbers(&procfs).unwrap_or_default() {
            let led = match netns(&procfs, format!("{pid}/ns/net")) {
                Ok(netns) => {
                    self.task(netns, pid);
                    Some(netns)
                }
                Err(Errno::ACCESS | Errno::PERM) => {
                    if let Some(table) = table(&procfs, pid) {
                        let hidden = self.hidden.entry(table).or_default();
                        if hidden.tasks.len() < MAX_WAYS {
                            hidden.tasks.push(pid);
                        }
                    }
                    continue;
                }
                // Gone; or the leader has exited, and its threads live.
                Err(_) => None,
            };
            if walk::has_threads(&procfs, pid) {
                self.threads(&procfs, pid, led, &mut names);
            }
        }
        if !self.hidden.is_empty() {
            self.unhide(&procfs);
        }
    }

    /// The namespaces of threads that are not in that of their leader.
    fn threads(&mut self, procfs: &OwnedFd, pid: u32, led: Option<u32>, names: &mut Names) {
        let Ok(tasks) = walk::folder(procfs, format!("{pid}/task")) else {
            return;
        };
        let tids = names.numbers(&tasks).unwrap_or_default();
        for tid in tids.into_iter().filter(|tid| *tid != pid).take(MAX_THREADS) {
            match netns(&tasks, format!("{tid}/ns/net")) {
                Ok(netns) if led != Some(netns) => self.task(netns, tid),
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn task(&mut self, netns: u32, tid: u32) {
        let tasks = &mut self.entrance(netns).tasks;
        if tasks.len() < MAX_WAYS {
            tasks.push(tid);
        }
    }

    fn files(&mut self, netns: u32) -> Option<&mut Vec<PathBuf>> {
        let files = &mut self.entrance(netns).files;
        (files.len() < MAX_WAYS).then_some(files)
    }

    fn entrance(&mut self, netns: u32) -> &mut Entrance {
        self.known.entry(netns).or_insert_with(|| Entrance {
            netns,
            ..Entrance::default()
        })
    }

    /// Forgets hidden namespaces that other tasks have shown, or this process: one task is refused more easily than
    /// another.
    fn unhide(&mut self, procfs: &OwnedFd) {
        let shown = self.known.values().filter_map(|entrance| entrance.tasks.first());
        for tid in shown {
            if let Some(table) = table(procfs, *tid) {
                self.hidden.remove(&table);
            }
        }
        if let Ok(own) = rustix::fs::statat(procfs, "self/net/tcp", AtFlags::empty()) {
            self.hidden.remove(&own.st_ino);
        }
    }
}

/// Number of a task's namespace, out of a link such as `net:[4026531840]`.
fn netns(at: &OwnedFd, path: String) -> Result<u32, Errno> {
    walk::number(at, path, b"net")?.map_or(Err(Errno::INVAL), inode)
}

/// A number of a task's namespace that needs no capability: the kernel numbers the files below /proc/PID/net too, each
/// namespace has its own, and all its tasks show the same.
fn table(procfs: &OwnedFd, tid: u32) -> Option<u64> {
    let stat = rustix::fs::statat(procfs, format!("{tid}/net/tcp"), AtFlags::empty());
    stat.ok().map(|stat| stat.st_ino)
}
