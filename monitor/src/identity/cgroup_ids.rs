//! From the id of a cgroup, which the kernel's record of a process that is gone has, to its path.
//!
//! The id is the inode of the cgroup's folder in the unified tree (cgroup v2); the kernel gives none of them twice. Ids
//! are learned from processes that live, and where that is not enough, from one walk through the tree.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};

use super::cgroup::Place;

/// Cgroups that are remembered; the path of one has about 100 bytes.
const MAX_KNOWN: usize = 4_096;
/// Folders that a walk visits. A host has some hundred.
const MAX_WALK: usize = 2_048;
/// How soon the tree is walked again.
const AGAIN: Duration = Duration::from_secs(1);
/// `CGROUP2_SUPER_MAGIC` of include/uapi/linux/magic.h.
const CGROUP2: i64 = 0x6367_7270;
/// Where the unified tree is mounted below sysfs, alone and beside those of v1.
const MOUNTS: [&str; 2] = ["fs/cgroup", "fs/cgroup/unified"];

/// The ids that are known.
#[derive(Debug)]
pub(super) struct CgroupIds {
    sysfs: PathBuf,
    paths: HashMap<u64, String>,
    walked: Option<Instant>,
}

impl CgroupIds {
    /// The cgroups of the host whose sysfs is at `sysfs`. Reads nothing yet.
    pub(super) fn new(sysfs: PathBuf) -> Self {
        Self {
            sysfs,
            paths: HashMap::new(),
            walked: None,
        }
    }

    /// Remembers that a record with this id came from a process that is at this place, if it still is there.
    pub(super) fn learn(&mut self, id: u64, place: &Place) {
        let Some(path) = place.unified.as_deref() else { return };
        let says_nothing = path == "/" && place.path != "/";
        if id == 0 || says_nothing || self.paths.contains_key(&id) {
            return;
        }
        let Some((tree, alone)) = self.tree() else { return };
        let folder = rustix::fs::statat(&tree, below(path), AtFlags::SYMLINK_NOFOLLOW);
        if folder.is_ok_and(|folder| folder.st_ino == id) {
            self.keep(id, path.to_owned(), alone);
        }
    }

    /// The path of the cgroup with this id; `None` where it was removed before anybody looked.
    pub(super) fn path(&mut self, id: u64) -> Option<String> {
        if id == 0 {
            return None;
        }
        if !self.paths.contains_key(&id) && self.walked.is_none_or(|walked| walked.elapsed() >= AGAIN) {
            self.walk();
            self.walked = Some(Instant::now());
        }
        self.paths.get(&id).cloned()
    }

    /// The root of the unified tree, and whether it is the only one.
    fn tree(&self) -> Option<(OwnedFd, bool)> {
        MOUNTS.iter().find_map(|mount| {
            let tree = open(CWD, self.sysfs.join(mount))?;
            let unified = rustix::fs::fstatfs(&tree).is_ok_and(|system| system.f_type == CGROUP2);
            unified.then_some((tree, *mount == MOUNTS[0]))
        })
    }

    /// Beside other trees the root of this one says nothing of where a process is.
    fn keep(&mut self, id: u64, path: String, alone: bool) {
        if path == "/" && !alone {
            return;
        }
        if self.paths.len() >= MAX_KNOWN {
            self.paths.clear();
        }
        self.paths.insert(id, path);
    }

    /// Learns all cgroups that there are. An event waits for this, so it is bounded.
    fn walk(&mut self) {
        let Some((tree, alone)) = self.tree() else { return };
        if self.paths.len() + MAX_WALK >= MAX_KNOWN {
            self.paths.clear();
        }
        if let Ok(root) = rustix::fs::fstat(&tree) {
            self.keep(root.st_ino, "/".to_owned(), alone);
        }
        let mut unread = vec![String::new()];
        let mut visited = 0;
        while let Some(above) = unread.pop() {
            let Some(entries) = open(&tree, below(&above)).and_then(|folder| Dir::new(folder).ok()) else {
                continue;
            };
            for entry in entries.filter_map(Result::ok) {
                let name = entry.file_name();
                if entry.file_type() != FileType::Directory || name == c"." || name == c".." {
                    continue;
                }
                visited += 1;
                if visited >= MAX_WALK {
                    return;
                }
                let path = format!("{above}/{}", name.to_string_lossy());
                // Most have no cgroup below them: then the folder's two links of its own are all there are.
                let folder = rustix::fs::statat(&tree, below(&path), AtFlags::SYMLINK_NOFOLLOW);
                if folder.is_ok_and(|folder| folder.st_nlink > 2) {
                    unread.push(path.clone());
                }
                self.keep(entry.ino(), path, alone);
            }
        }
    }
}

/// A cgroup's path as one below the root of the tree.
fn below(path: &str) -> &str {
    Some(path.trim_start_matches('/'))
        .filter(|path| !path.is_empty())
        .unwrap_or(".")
}

fn open(directory: impl AsFd, path: impl rustix::path::Arg) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, path, flags, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A cgroup in the machine's unified tree, removed at the end of the test.
    struct Own(PathBuf);

    impl Own {
        fn new(ids: &CgroupIds, name: &str) -> Option<(Self, String)> {
            let mounted = MOUNTS.iter().map(|mount| ids.sysfs.join(mount));
            let tree = mounted
                .into_iter()
                .find(|tree| tree.join("cgroup.controllers").exists())?;
            let path = format!("portreeve-{}-{name}", std::process::id());
            fs::create_dir(tree.join(&path)).ok()?;
            Some((Self(tree.join(&path)), format!("/{path}")))
        }

        fn id(&self) -> u64 {
            rustix::fs::stat(&self.0).unwrap().st_ino
        }
    }

    impl Drop for Own {
        fn drop(&mut self) {
            let _ = fs::remove_dir(self.0.join("inner"));
            let _ = fs::remove_dir(&self.0);
        }
    }

    fn ids() -> CgroupIds {
        CgroupIds::new(PathBuf::from("/sys"))
    }

    fn place(path: &str) -> Place {
        Place {
            path: path.to_owned(),
            unified: Some(path.to_owned()),
        }
    }

    #[test]
    fn a_cgroup_that_was_seen_is_known_after_its_end() {
        let mut ids = ids();
        let Some((own, path)) = Own::new(&ids, "seen") else {
            eprintln!("not run: no cgroup can be made here");
            return;
        };
        let id = own.id();
        ids.learn(id + 1, &place(&path));
        ids.learn(id, &place(&path));
        drop(own);
        assert_eq!(ids.path(id).as_deref(), Some(path.as_str()));
        assert!(!ids.paths.contains_key(&(id + 1)), "the process is elsewhere by now");
    }

    #[test]
    fn a_cgroup_that_nobody_saw_is_found_in_the_tree() {
        let mut ids = ids();
        let Some((own, path)) = Own::new(&ids, "walked") else {
            eprintln!("not run: no cgroup can be made here");
            return;
        };
        fs::create_dir(own.0.join("inner")).unwrap();
        let inner = rustix::fs::stat(own.0.join("inner")).unwrap().st_ino;
        assert_eq!(ids.path(inner), Some(format!("{path}/inner")));
        assert_eq!(ids.path(own.id()), Some(path));
        // The tree is not walked again for each that is unknown.
        let walked = ids.walked;
        assert_eq!((ids.path(u64::MAX), ids.path(0)), (None, None));
        assert_eq!(ids.walked, walked);
    }

    #[test]
    fn without_a_unified_tree_nothing_is_known() {
        let empty = tempfile::tempdir().unwrap();
        let mut ids = CgroupIds::new(empty.path().to_owned());
        ids.learn(1, &place("/"));
        assert_eq!(ids.path(1), None);
    }

    #[test]
    fn what_is_known_is_bounded() {
        let mut ids = ids();
        for id in 0..3 * MAX_KNOWN as u64 {
            ids.keep(id, "/x".to_owned(), true);
        }
        assert!(ids.paths.len() <= MAX_KNOWN);
        ids.keep(u64::MAX, "/".to_owned(), false);
        assert!(
            !ids.paths.contains_key(&u64::MAX),
            "the root beside other trees says nothing"
        );
    }
}
