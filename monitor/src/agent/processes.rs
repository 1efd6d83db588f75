//! What was learned about processes a moment ago: a program that opens many listeners in a row is looked up once.

use std::{collections::HashMap, sync::Arc};

use crate::{
    event::{Actor, Executable},
    identity::{Identity, ProcessIdentity},
};

/// How long it is taken to hold, in nanoseconds.
const HOLDS: u64 = 20_000_000;

/// Processes that are kept for that long.
const MAX: usize = 1_024;

/// A process at one stage of its life: id, start, user, and the executable's inode and device, which an exec changes.
type Key = (u32, u64, u32, Option<(u64, u32)>);

/// Looks processes up, and remembers them for an instant.
#[derive(Debug)]
pub(super) struct Processes {
    identity: Identity,
    recent: HashMap<Key, (u64, Arc<ProcessIdentity>)>,
}

impl Processes {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            recent: HashMap::new(),
        }
    }

    /// Who this is; `now` is in nanoseconds since boot.
    pub(super) fn of(&mut self, actor: &Actor, now: u64) -> Arc<ProcessIdentity> {
        let file = actor
            .executable
            .as_ref()
            .map(|executable| (executable.inode, executable.device));
        let key = (actor.tgid, actor.start_time, actor.uid, file);
        let holds = |learned: u64| now.saturating_sub(learned) < HOLDS;
        let seen = match &actor.executable {
            Some(Executable {
                path: Some(path),
                state,
                ..
            }) => Some((path, *state)),
            _ => None,
        };
        let known = self.recent.get(&key).filter(|(learned, _)| holds(*learned));
        let mut process = match (known, seen) {
            // It was looked up when it was gone, for an event that carried no path.
            (Some((_, process)), Some(_)) if process.exe.is_none() => ProcessIdentity::clone(process),
            (Some((_, process)), _) => return Arc::clone(process),
            (None, _) => self.identity.process(actor.tgid, actor.start_time, actor.uid),
        };
        if let Some((path, state)) = seen {
            process.was_executing(path, state);
        }
        let process = Arc::new(process);
        if self.recent.len() >= MAX {
            self.recent.retain(|_, (learned, _)| holds(*learned));
        }
        if self.recent.len() < MAX || self.recent.contains_key(&key) {
            self.recent.insert(key, (now, Arc::clone(&process)));
        }
        process
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{ExecutableState, tests::RecordBytes},
        identity::{ExeState, Missing, Paths},
    };

    fn looked_up(processes: &mut Processes, inode: u64, now: u64) -> Arc<ProcessIdentity> {
        let mut actor = RecordBytes::listen().decode().opener;
        actor.executable = Some(Executable {
            inode,
            device: 1,
            path: None,
            state: ExecutableState::File,
        });
        processes.of(&actor, now)
    }

    #[test]
    fn a_process_is_looked_up_again_after_an_instant_or_an_exec() {
        let mut processes = Processes::new(Identity::new(&Paths::default()));
        let first = looked_up(&mut processes, 7, 0);
        assert!(Arc::ptr_eq(&first, &looked_up(&mut processes, 7, HOLDS - 1)));
        assert!(!Arc::ptr_eq(&first, &looked_up(&mut processes, 8, HOLDS - 1)));
        assert!(!Arc::ptr_eq(&first, &looked_up(&mut processes, 7, HOLDS)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut processes = Processes::new(Identity::new(&Paths::default()));
        for index in 0..2 * MAX {
            looked_up(&mut processes, index as u64, 0);
        }
        assert_eq!(processes.recent.len(), MAX);
    }

    #[test]
    fn a_process_that_is_gone_is_named_by_what_the_kernel_side_saw() {
        let mut actor = RecordBytes::listen().decode().opener;
        // No process has this start.
        actor.tgid = std::process::id();
        actor.executable = Some(Executable {
            inode: 7,
            device: 1,
            path: Some("/usr/bin/nc".to_owned()),
            state: ExecutableState::Deleted,
        });
        let process = Processes::new(Identity::new(&Paths::default())).of(&actor, 0);
        assert_eq!(process.exe.as_deref(), Some("/usr/bin/nc"));
        assert_eq!(process.exe_state, Some(ExeState::Deleted));
        assert_eq!(process.missing, [Missing::Cmdline]);
    }

    #[test]
    fn a_path_that_comes_after_the_process_was_not_found_is_taken_and_then_kept() {
        let mut processes = Processes::new(Identity::new(&Paths::default()));
        let mut actor = RecordBytes::listen().decode().opener;
        actor.tgid = std::process::id();
        let executable = |path: Option<&str>| {
            Some(Executable {
                inode: 7,
                device: 1,
                path: path.map(str::to_owned),
                state: ExecutableState::File,
            })
        };
        for (path, exe) in [
            (None, None),
            (Some("/usr/bin/nc"), Some("/usr/bin/nc")),
            (None, Some("/usr/bin/nc")),
        ] {
            actor.executable = executable(path);
            assert_eq!(processes.of(&actor, 0).exe.as_deref(), exe);
        }
    }

    #[test]
    fn a_process_that_changes_its_user_is_looked_up_again() {
        let mut processes = Processes::new(Identity::new(&Paths::default()));
        let mut actor = RecordBytes::listen().decode().opener;
        for (uid, user) in [(0, Some("root")), (4_000_000_000, None)] {
            actor.uid = uid;
            assert_eq!(processes.of(&actor, 0).user.as_deref(), user);
        }
    }
}
