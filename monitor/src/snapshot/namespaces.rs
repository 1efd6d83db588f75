//! Ways into a network namespace: a living task in it, or a file that keeps it.
//!
//! A namespace is known by its inode, the number in `net:[4026531840]`. The kernel offers no look-up by that number,
//! so for one namespace a task has to be found; the search is bounded, since it happens while an event waits. For all of
//! them see `entrances`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::here::{Here, Table};
use super::sock_diag::{DumpError, Dumper};
use super::{Entrance, Protocol, Rows, Unseen, proc_net};
use crate::identity::Paths;

/// Tasks that one search looks at: the nearest in number to the one that is gone, where its relatives are.
const MAX_SEARCH: usize = 256;
/// Namespaces whose last known task is remembered.
const MAX_KNOWN: usize = 1024;
/// Files that one search for a kept namespace looks at.
const MAX_KEPT: usize = 256;
/// Where `ip netns` and docker keep namespaces, below the host's root.
const KEPT: [&str; 2] = ["run/netns", "run/docker/netns"];

/// Why a namespace could not be looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoEntry {
    /// No living task and no file of it was found.
    NotFound,
    /// There may be a way, and this process may not take it: CAP_SYS_PTRACE to see a task's namespace, CAP_SYS_ADMIN
    /// to enter it.
    Denied,
    /// It was entered, and the dump failed.
    Dump(DumpError),
}

/// Finds ways into namespaces, and remembers the last.
#[derive(Debug)]
pub struct Namespaces {
    paths: Paths,
    known: HashMap<u32, u32>,
}

/// A task in the wanted namespace. Its directory in /proc stays that of this task, whoever gets its number later.
struct Task {
    tid: u32,
    directory: OwnedFd,
}

/// What one task showed of its namespace.
enum Look {
    Here(Task),
    Elsewhere,
    Denied,
    Gone,
}

impl Namespaces {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(paths: &Paths) -> Self {
        Self {
            paths: paths.clone(),
            known: HashMap::new(),
        }
    }

    /// Inode of this process's own network namespace.
    ///
    /// # Errors
    /// Where the proc file system is not that of this process.
    pub fn own(&self) -> Result<u32, Errno> {
        inode(rustix::fs::stat(self.paths.procfs.join("self/ns/net"))?.st_ino)
    }

    /// The listening TCP sockets of the namespace `netns`; `tids` are tasks that were in it a moment ago.
    ///
    /// # Errors
    /// See [`NoEntry`].
    pub fn listening(&mut self, netns: u32, tids: &[u32]) -> Result<Rows, NoEntry> {
        let (task, denied) = self.find(netns, tids);
        if let Some(task) = task {
            if self.known.len() >= MAX_KNOWN {
                self.known.clear();
            }
            self.known.insert(netns, task.tid);
            // Entering comes first: measured at 60 µs, where the files took 9 ms, since the kernel walks its table of
            // connections, mostly empty, before it ends them. The files need no capability.
            let entered = match open(&task.directory, "ns/net") {
                Ok(way) => enter(way, netns),
                Err(_) => Err(NoEntry::NotFound),
            };
            let Err(reason) = entered else { return entered };
            // The rows are this namespace's only if the task is still in it; the pinned directory tells.
            let directory = self.paths.procfs.join(task.tid.to_string());
            return match proc_net::listening(&directory.join("net")) {
                Ok(rows) if namespace_of(&task.directory) == Ok(netns) => Ok(rows),
                Ok(_) | Err(_) => Err(reason),
            };
        }
        self.known.remove(&netns);
        match self.kept(netns) {
            Some(way) => enter(way, netns),
            None if denied => Err(NoEntry::Denied),
            None => Err(NoEntry::NotFound),
        }
    }

    /// A living task in `netns`, and without one whether that is for want of a capability: a task that was asked for
    /// was refused, or most of the others were. (One that is refused even to root, as some hosts' init is, means
    /// nothing.)
    fn find(&self, netns: u32, tids: &[u32]) -> (Option<Task>, bool) {
        let mut denied = false;
        for tid in tids.iter().copied().chain(self.known.get(&netns).copied()) {
            match self.task(tid, netns) {
                Look::Here(task) => return (Some(task), false),
                Look::Denied => denied = true,
                Look::Elsewhere | Look::Gone => {}
            }
        }
        let (mut refused, mut shown) = (0, 0);
        for tid in self.neighbours(tids.first().copied()) {
            match self.task(tid, netns) {
                Look::Here(task) => return (Some(task), false),
                Look::Denied => refused += 1,
                Look::Elsewhere => shown += 1,
                Look::Gone => {}
            }
        }
        (None, denied || refused > shown)
    }

    fn task(&self, tid: u32, netns: u32) -> Look {
        let Ok(directory) = pin(&self.paths.procfs, tid) else {
            return Look::Gone;
        };
        match namespace_of(&directory) {
            Ok(found) if found == netns => Look::Here(Task { tid, directory }),
            Ok(_) => Look::Elsewhere,
            // For a task that has just ended the kernel may say EACCES too (fs/proc/namespaces.c); its directory is
            // empty by then.
            Err(Errno::ACCESS | Errno::PERM) if rustix::fs::statat(&directory, "stat", AtFlags::empty()).is_ok() => {
                Look::Denied
            }
            Err(_) => Look::Gone,
        }
    }

    /// Processes to search, the nearest in number first.
    fn neighbours(&self, near: Option<u32>) -> impl Iterator<Item = u32> {
        let entries = fs::read_dir(&self.paths.procfs).into_iter().flatten();
        let mut tids: Vec<u32> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        if let Some(near) = near {
            tids.sort_unstable_by_key(|tid| tid.abs_diff(near));
        }
        tids.into_iter().take(MAX_SEARCH)
    }

    fn kept(&self, netns: u32) -> Option<OwnedFd> {
        kept(&self.paths.rootfs, MAX_KEPT)
            .filter_map(|file| open_host(&self.paths.rootfs, &file).ok())
            .find(|way| is_namespace(way, netns))
    }
}

/// The files that may keep namespaces, `limit` of each folder at most; below `rootfs`, and relative to it.
pub(super) fn kept(rootfs: &Path, limit: usize) -> impl Iterator<Item = PathBuf> {
    KEPT.iter().flat_map(move |folder| {
        // The folder is opened as its files are: no link leads out of the host's root.
        let names = open_host(rootfs, Path::new(folder)).and_then(rustix::fs::Dir::new);
        let names = names.into_iter().flatten().filter_map(Result::ok);
        names
            .map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned())
            .filter(|name| name != "." && name != "..")
            .take(limit)
            .map(move |name| Path::new(folder).join(name))
    })
}

/// The listening TCP sockets of the namespace that `way` opens, if it is `netns`. A thread enters it, asks, and ends:
/// no other thread of this process ever leaves its namespace.
///
/// # Errors
/// [`NoEntry::Denied`] without CAP_SYS_ADMIN, [`NoEntry::NotFound`] where `way` is another namespace.
pub fn enter(way: OwnedFd, netns: u32) -> Result<Rows, NoEntry> {
    let asked = apart(|| {
        step_into(&way, netns)?;
        Dumper::new()
            .and_then(|mut dumper| dumper.dump(Protocol::Tcp, 0))
            .map_err(NoEntry::Dump)
    });
    asked.unwrap_or(Err(NoEntry::Dump(DumpError::System(Errno::AGAIN))))
}

/// Does this on a thread of its own, which may go into other namespaces, and waits for its end. `None` where there was no
/// thread to be had.
pub(super) fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned());
        thread.spawn_scoped(scope, work).ok()?.join().ok()
    })
}

/// Takes the calling thread into the namespace that `way` opens, if it is `netns`. There is no way back.
fn step_into(way: &OwnedFd, netns: u32) -> Result<(), NoEntry> {
    if !is_namespace(way, netns) {
        return Err(NoEntry::NotFound);
    }
    match move_into_link_name_space(way.as_fd(), Some(LinkNameSpaceType::Network)) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => Err(NoEntry::Denied),
        Err(errno) => Err(NoEntry::Dump(DumpError::System(errno))),
    }
}

/// Takes the calling thread through this entrance and asks `here` for all sockets. Where it may not go in, the files of a
/// task inside are read. `None` where nothing leads there any more.
pub(super) fn visit(paths: &Paths, entrance: &Entrance, here: &mut Here) -> Option<Table> {
    let netns = entrance.netns;
    let unseen = |reason| {
        Some(Table {
            rows: Rows::default(),
            seen: Err(reason),
        })
    };
    let mut best = None;
    for tid in &entrance.tasks {
        let Ok(task) = pin(&paths.procfs, *tid) else { continue };
        match open(&task, "ns/net").map(|way| step_into(&way, netns)) {
            Ok(Ok(())) => {
                here.moved();
                return Some(here.all());
            }
            Ok(Err(NoEntry::NotFound)) => continue,
            Ok(Err(refused)) => best = best.or_else(|| unseen(refused.into())),
            Err(Errno::ACCESS | Errno::PERM) => best = best.or_else(|| unseen(Unseen::Denied)),
            // For want of descriptors or memory; the namespace is still there.
            Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
                best = best.or_else(|| unseen(NoEntry::Dump(DumpError::System(errno)).into()));
            }
            Err(_) => continue,
        }
        let table = Table::of_proc(&paths.procfs.join(tid.to_string()).join("net"));
        // The rows are this namespace's only if the task is still in it; the pinned directory tells.
        if namespace_of(&task) != Ok(netns) {
            continue;
        }
        if table.seen.is_ok() {
            return Some(table);
        }
        if !table.rows.sockets.is_empty() {
            best = Some(table);
        }
    }
    for file in &entrance.files {
        let Ok(way) = open_host(&paths.rootfs, file) else {
            continue;
        };
        match step_into(&way, netns) {
            Ok(()) => {
                here.moved();
                return Some(here.all());
            }
            Err(NoEntry::NotFound) => {}
            Err(refused) => best = best.or_else(|| unseen(refused.into())),
        }
    }
    best
}

/// Number of the namespace that a kept file opens; `None` for other files.
pub(super) fn kept_namespace(rootfs: &Path, file: &Path) -> Option<u32> {
    let way = open_host(rootfs, file).ok()?;
    let netns = inode(rustix::fs::fstat(&way).ok()?.st_ino).ok()?;
    is_namespace(&way, netns).then_some(netns)
}

/// Opens a file of the host, whose symbolic links stay inside `rootfs`, as on the host itself.
fn open_host(rootfs: &Path, file: &Path) -> Result<OwnedFd, Errno> {
    // Without O_NONBLOCK a FIFO would hold up the look.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let root = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, rootfs, root, Mode::empty())?;
    match rustix::fs::openat2(&root, file, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        // Before 5.6 there is no openat2, and a seccomp filter may not know it.
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::openat(&root, file, flags, Mode::empty()),
        opened => opened,
    }
}

/// The directory of a task in /proc. It stays that of this task, whoever gets its number later.
fn pin(procfs: &Path, tid: u32) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, procfs.join(tid.to_string()), flags, Mode::empty())
}

fn open(directory: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        directory,
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )
}

fn namespace_of(task: &OwnedFd) -> Result<u32, Errno> {
    inode(rustix::fs::statat(task, "ns/net", AtFlags::empty())?.st_ino)
}

/// Files beside the kept namespaces may have the same inode on another device: those of namespaces lie on the kernel's
/// nsfs.
fn is_namespace(file: &OwnedFd, netns: u32) -> bool {
    // NSFS_MAGIC of include/uapi/linux/magic.h.
    rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type == 0x6e73_6673)
        && rustix::fs::fstat(file).is_ok_and(|stat| inode(stat.st_ino) == Ok(netns))
}

pub(super) fn inode(number: u64) -> Result<u32, Errno> {
    u32::try_from(number).map_err(|_| Errno::OVERFLOW)
}
