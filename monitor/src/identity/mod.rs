//! Who opened a socket: executable, command line and user of a process, read from /proc at the moment of the event.
//!
//! An event is printed only after its identity is known, so this is on the hot path: a fixed number of system calls a
//! process, nothing that grows with the number of processes. What cannot be learned is named in
//! [`ProcessIdentity::missing`] and never an error: the process may be gone, its pid may belong to another by now, or
//! /proc may refuse.
//!
//! Reading order: [`Identity::process`], then `process` (the files of one /proc/PID), `users` (uid to name),
//! [`mask`] (what a command line must not show) and [`clock`] (boot time to wall clock).
//!
//! Ancestors, cgroup, systemd unit, container and package belong here too, each as a file beside `process`: each reads
//! the same pinned /proc/PID, adds its fields to [`ProcessIdentity`] and its name to [`Missing`].

pub mod clock;
pub mod mask;
mod process;
mod users;

use std::path::PathBuf;

use crate::event::ExecutableState;

pub use clock::Clock;
pub(crate) use process::TICK;
pub use users::Users;

/// Where the host's files are seen from: the roots that `--path.procfs` and `--path.rootfs` set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Mount point of the proc file system of the initial pid namespace.
    pub procfs: PathBuf,
    /// Root of the host's file system.
    pub rootfs: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            procfs: PathBuf::from("/proc"),
            rootfs: PathBuf::from("/"),
        }
    }
}

/// What of a command line leaves the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privacy {
    /// Secrets are replaced by `***`; see [`mask`].
    #[default]
    Masked,
    /// Everything, as the process shows it.
    Full,
    /// Nothing: the command line is not even read.
    None,
}

/// What the file that a process executes is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExeState {
    /// A file that its path still names.
    File,
    /// A file that was removed or replaced after the process started.
    Deleted,
    /// Memory from `memfd_create(2)`: it never had a path.
    Memfd,
}

impl ExeState {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Deleted => "deleted",
            Self::Memfd => "memfd",
        }
    }
}

/// A field that could not be learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Missing {
    /// The path of the executable, and its state.
    Exe,
    /// The command line.
    Cmdline,
    /// The name of the user.
    User,
}

impl Missing {
    /// All of them, for counters that must exist before they count.
    pub const ALL: [Self; 3] = [Self::Exe, Self::Cmdline, Self::User];

    /// The field's name in the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exe => "exe",
            Self::Cmdline => "cmdline",
            Self::User => "user",
        }
    }
}

/// What is known of a process beyond the kernel's record of it.
///
/// Bytes that are not UTF-8 are shown as U+FFFD, the same each time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Path of the executable in the process's own mount namespace, without the kernel's ` (deleted)`; for
    /// [`ExeState::Memfd`] `/memfd:NAME`.
    pub exe: Option<String>,
    /// State of that file; `None` exactly where `exe` is.
    pub exe_state: Option<ExeState>,
    /// Arguments, treated as [`Privacy`] says; at most [`MAX_ARGUMENTS`] from at most [`MAX_CMDLINE`] bytes. A last
    /// argument `…` stands for what was cut. Processes may rewrite it: it is a claim, `exe` is a fact.
    pub cmdline: Option<Vec<String>>,
    /// Name of the user on the host.
    pub user: Option<String>,
    /// What could not be learned. A kernel thread has neither executable nor command line; they are not missing.
    pub missing: Vec<Missing>,
}

impl ProcessIdentity {
    /// Takes the word of the kernel side, which is from the moment of the event: the process was executing this. What
    /// /proc said of another executable is of a later program.
    pub fn was_executing(&mut self, path: &str, state: ExecutableState) {
        // By its name alone: a container's path may be written in another way from here.
        let base = |path: &str| path.rsplit('/').next().map(str::to_owned);
        if self.exe.as_deref().is_some_and(|exe| base(exe) != base(path)) && self.cmdline.take().is_some() {
            self.missing.push(Missing::Cmdline);
        }
        self.exe = Some(path.to_owned());
        self.exe_state = Some(match state {
            ExecutableState::File => ExeState::File,
            ExecutableState::Deleted => ExeState::Deleted,
            ExecutableState::Memfd => ExeState::Memfd,
        });
        self.missing.retain(|missing| *missing != Missing::Exe);
    }
}

/// Bytes of a command line that are read.
pub const MAX_CMDLINE: usize = 8192;
/// Arguments of a command line that are kept.
pub const MAX_ARGUMENTS: usize = 256;

/// Looks processes up. One for each thread that needs it; it keeps the user table and buffers between calls.
#[derive(Debug)]
pub struct Identity {
    processes: process::Processes,
    users: Users,
    privacy: Privacy,
}

impl Identity {
    /// Reads nothing yet, so it cannot fail. Command lines are masked until [`Identity::with_privacy`] says otherwise.
    #[must_use]
    pub fn new(paths: &Paths) -> Self {
        Self {
            processes: process::Processes::new(paths.procfs.clone()),
            users: Users::new(paths.rootfs.clone()),
            privacy: Privacy::default(),
        }
    }

    /// The same, with `privacy` for command lines.
    #[must_use]
    pub fn with_privacy(mut self, privacy: Privacy) -> Self {
        self.privacy = privacy;
        self
    }

    /// What is known of the process `tgid` that started `start_boottime_ns` after boot (`group_leader->start_boottime`)
    /// and acted as `uid`.
    ///
    /// A process of the same number that started at another time is another process: executable and command line are
    /// then missing. The user is that of the record, whether the process lives or not.
    pub fn process(&mut self, tgid: u32, start_boottime_ns: u64, uid: u32) -> ProcessIdentity {
        let mut identity = ProcessIdentity::default();
        let want_cmdline = self.privacy != Privacy::None;
        match self.processes.read(tgid, start_boottime_ns, want_cmdline) {
            Some(process::Seen::KernelThread) => {}
            Some(process::Seen::Process { exe, cmdline }) => {
                match exe {
                    Some((path, state)) => {
                        identity.exe = Some(path);
                        identity.exe_state = Some(state);
                    }
                    None => identity.missing.push(Missing::Exe),
                }
                identity.cmdline = match self.privacy {
                    Privacy::Masked => cmdline.map(mask::mask),
                    Privacy::Full => cmdline,
                    Privacy::None => None,
                };
                if want_cmdline && identity.cmdline.is_none() {
                    identity.missing.push(Missing::Cmdline);
                }
            }
            None => {
                identity.missing.push(Missing::Exe);
                if want_cmdline {
                    identity.missing.push(Missing::Cmdline);
                }
            }
        }
        identity.user = self.user(uid);
        if identity.user.is_none() {
            identity.missing.push(Missing::User);
        }
        identity
    }

    /// Name of `uid` on the host, if it has one.
    pub fn user(&mut self, uid: u32) -> Option<String> {
        self.users.name(uid).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests;
