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

/// A process at one stage of its life: id, start, and the executable's inode and device, which an exec changes.
type Key = (u32, u64, Option<(u64, u32)>);

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
        let key = (actor.tgid, actor.start_time, file);
        let holds = |learned: u64| now.saturating_sub(learned) < HOLDS;
        if let Some((learned, process)) = self.recent.get(&key)
            && holds(*learned)
        {
            return Arc::clone(process);
        }
        let mut process = self.identity.process(actor.tgid, actor.start_time, actor.uid);
        if let Some(Executable {
            path: Some(path),
            state,
            ..
        }) = &actor.executable
        {
            process.was_executing(path, *state);
        }
        let process = Arc::new(process);
        if self.recent.len() >= MAX {
            self.recent.retain(|_, (learned, _)| holds(*learned));
        }
        if self.recent.len() < MAX {
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
}
