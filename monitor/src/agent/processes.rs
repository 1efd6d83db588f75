//! What was learned about processes a moment ago: a program that opens many listeners in a row is looked up once.

use std::{collections::HashMap, sync::Arc};

use crate::{
    event::Actor,
    identity::{Identity, ProcessIdentity},
};

/// How long it is taken to hold, in nanoseconds.
const HOLDS: u64 = 20_000_000;

/// Processes that are kept for that long.
const MAX: usize = 1_024;

/// A process at one stage of its life: id, start, and the name, which an exec changes.
type Key = (u32, u64, String);

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
        let key = (actor.tgid, actor.start_time, actor.comm.clone());
        let holds = |learned: u64| now.saturating_sub(learned) < HOLDS;
        if let Some((learned, process)) = self.recent.get(&key)
            && holds(*learned)
        {
            return Arc::clone(process);
        }
        let process = Arc::new(self.identity.process(actor.tgid, actor.start_time, actor.uid));
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
    use crate::{event::tests::RecordBytes, identity::Paths};

    fn looked_up(processes: &mut Processes, comm: &str, now: u64) -> Arc<ProcessIdentity> {
        let mut actor = RecordBytes::listen().decode().opener;
        actor.comm = comm.to_owned();
        processes.of(&actor, now)
    }

    #[test]
    fn a_process_is_looked_up_again_after_an_instant_or_an_exec() {
        let mut processes = Processes::new(Identity::new(&Paths::default()));
        let first = looked_up(&mut processes, "sh", 0);
        assert!(Arc::ptr_eq(&first, &looked_up(&mut processes, "sh", HOLDS - 1)));
        assert!(!Arc::ptr_eq(&first, &looked_up(&mut processes, "nc", HOLDS - 1)));
        assert!(!Arc::ptr_eq(&first, &looked_up(&mut processes, "sh", HOLDS)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut processes = Processes::new(Identity::new(&Paths::default()));
        for index in 0..2 * MAX {
            looked_up(&mut processes, &index.to_string(), 0);
        }
        assert_eq!(processes.recent.len(), MAX);
    }
}
