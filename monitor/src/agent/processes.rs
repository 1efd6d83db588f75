//! What was learned about processes a moment ago: a program that opens many listeners in a row is looked up once.

use std::{collections::HashMap, sync::Arc};

use crate::{
    event::{Actor, Event},
    identity::{Identity, ProcessIdentity, SocketUnit},
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
    pub(super) fn new(mut identity: Identity) -> Self {
        identity.prepare();
        Self {
            identity,
            recent: HashMap::new(),
        }
    }

    /// Who this is, in the cgroup with this id; `now` is in nanoseconds since boot.
    pub(super) fn of(&mut self, actor: &Actor, cgroup: u64, now: u64) -> Arc<ProcessIdentity> {
        let file = actor
            .executable
            .as_ref()
            .map(|executable| (executable.inode, executable.device));
        let key = (actor.tgid, actor.start_time, actor.uid, file);
        let holds = |learned: u64| now.saturating_sub(learned) < HOLDS;
        let seen = actor.executable.as_ref().filter(|executable| executable.path.is_some());
        let known = self.recent.get(&key).filter(|(learned, _)| holds(*learned));
        let mut process = match (known, seen) {
            // It was looked up when it was gone, for an event that carried no path.
            (Some((_, process)), Some(_)) if process.exe.is_none() => ProcessIdentity::clone(process),
            (Some((_, process)), _) => return Arc::clone(process),
            (None, _) => self.identity.process(actor.tgid, actor.start_time, actor.uid, cgroup),
        };
        if let Some(executable) = seen {
            self.identity.executed(&mut process, executable);
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

    /// Asks once more for an image that the container runtime did not tell.
    pub(super) fn name_image(&mut self, process: &mut Arc<ProcessIdentity>) {
        let container = process.container.as_ref().filter(|container| container.image.is_none());
        let image = container.and_then(|container| self.identity.image_of(&container.id));
        if image.is_some()
            && let Some(container) = &mut Arc::make_mut(process).container
        {
            container.image = image;
        }
    }

    /// The socket unit of a listener that systemd opened: its first process, or the helper that it sends into the unit's
    /// cgroup for this (`(sd-listen)`), where that cgroup is not known.
    pub(super) fn socket_unit(&mut self, event: &Event, process: &ProcessIdentity) -> Option<SocketUnit> {
        let helper = event.opener.uid == 0 && event.opener.comm == "(sd-listen)" && process.unit.is_none();
        let socket = &event.socket;
        (event.opener.tgid == 1 || helper)
            .then(|| self.identity.socket_unit(socket.protocol, socket.address, socket.port))
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Executable, ExecutableState, tests::RecordBytes},
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
        processes.of(&actor, 0, now)
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
        let process = Processes::new(Identity::new(&Paths::default())).of(&actor, 0, 0);
        assert_eq!(process.exe.as_deref(), Some("/usr/bin/nc"));
        assert_eq!(process.exe_state, Some(ExeState::Deleted));
        assert_eq!(process.missing, [Missing::Cmdline, Missing::Cgroup, Missing::Ancestors]);
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
            assert_eq!(processes.of(&actor, 0, 0).exe.as_deref(), exe);
        }
    }

    #[test]
    fn a_process_that_changes_its_user_is_looked_up_again() {
        let mut processes = Processes::new(Identity::new(&Paths::default()));
        let mut actor = RecordBytes::listen().decode().opener;
        for (uid, user) in [(0, Some("root")), (4_000_000_000, None)] {
            actor.uid = uid;
            assert_eq!(processes.of(&actor, 0, 0).user.as_deref(), user);
        }
    }

    #[test]
    fn what_systemd_opened_belongs_to_a_socket_unit_and_what_others_opened_does_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("etc/systemd/system");
        std::fs::create_dir_all(&folder).unwrap();
        let mut event = RecordBytes::listen().decode();
        let text = format!("[Socket]\nListenStream={}\n", event.socket.port);
        std::fs::write(folder.join("quay.socket"), text).unwrap();
        let mut processes = Processes::new(Identity::new(&Paths {
            rootfs: root.path().to_owned(),
            ..Paths::default()
        }));
        let mut unit = |tgid, comm: &str, uid, own: Option<&str>| {
            event.opener.tgid = tgid;
            event.opener.comm = comm.to_owned();
            event.opener.uid = uid;
            let process = ProcessIdentity {
                unit: own.map(str::to_owned),
                ..ProcessIdentity::default()
            };
            processes.socket_unit(&event, &process).map(|socket| socket.unit)
        };
        let quay = Some("quay.socket".to_owned());
        assert_eq!(unit(1, "systemd", 0, Some("init.scope")), quay);
        assert_eq!(unit(812, "(sd-listen)", 0, None), quay);
        // Its cgroup says more.
        assert_eq!(unit(812, "(sd-listen)", 0, Some("other.socket")), None);
        assert_eq!(unit(812, "(sd-listen)", 1000, None), None);
        assert_eq!(unit(812, "python3", 0, None), None);
    }
}
