//! Who opened a socket: executable, command line, user, ancestors, cgroup, unit, container and package of a process, read
//! at the moment of the event from /proc and the host's files.
//!
//! An event is printed only after its identity is known, so this is on the hot path: a fixed number of system calls a
//! process, nothing that grows with the number of processes, but for one walk a second through the cgroups at most, for
//! processes that are gone. What cannot be learned is named in
//! [`ProcessIdentity::missing`] and never an error: the process may be gone, its pid may belong to another by now, or
//! /proc may refuse.
//!
//! Reading order: [`Identity::process`], then `process` (the files of one /proc/PID and the ancestors), [`cgroup`] (what a
//! cgroup's path says: unit and container), `cgroup_ids` (the cgroup of a process that is gone), `pods`, `packages` and
//! `sockets` (what the host's files say of pods, executables and socket units), `images` (what the container runtime says,
//! where it may be asked), `users` (uid to name), [`mask`] (what a
//! command line must not show) and [`clock`] (boot time to wall clock). `host` opens files below the host's root.

pub mod cgroup;
mod cgroup_ids;
pub mod clock;
mod host;
mod images;
pub mod mask;
mod packages;
mod pods;
mod process;
mod sockets;
mod users;

use std::net::IpAddr;
use std::path::PathBuf;

use crate::event::{Executable, ExecutableState, Protocol};

pub use cgroup::{Container, Runtime};
pub use clock::Clock;
pub(crate) use images::answers as runtime_answers;
pub use pods::Pod;
pub(crate) use process::TICK;
pub use sockets::SocketUnit;
pub use users::Users;

/// Where the host's files are seen from: the roots that `--path.procfs`, `--path.sysfs` and `--path.rootfs` set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Mount point of the proc file system of the initial pid namespace.
    pub procfs: PathBuf,
    /// Mount point of the host's sysfs.
    pub sysfs: PathBuf,
    /// Root of the host's file system.
    pub rootfs: PathBuf,
    /// Socket of the container runtime, which `--cri.socket` sets; without it no container has an image.
    pub cri_socket: Option<PathBuf>,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            procfs: PathBuf::from("/proc"),
            sysfs: PathBuf::from("/sys"),
            rootfs: PathBuf::from("/"),
            cri_socket: None,
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
    /// The cgroup, and with it unit and container.
    Cgroup,
    /// The parents.
    Ancestors,
}

impl Missing {
    /// All of them, for counters that must exist before they count.
    pub const ALL: [Self; 5] = [Self::Exe, Self::Cmdline, Self::User, Self::Cgroup, Self::Ancestors];

    /// The field's name in the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exe => "exe",
            Self::Cmdline => "cmdline",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Ancestors => "ancestors",
        }
    }
}

/// A process above another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Its number.
    pub pid: u32,
    /// Its name, which it can change.
    pub comm: String,
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
    /// Path of the cgroup in the tree that says most; see [`cgroup::Place`].
    pub cgroup: Option<String>,
    /// The unit of the host's systemd.
    pub unit: Option<String>,
    /// The container.
    pub container: Option<Container>,
    /// The package of the host that owns the executable.
    pub package: Option<String>,
    /// The parent, its parent and so on, at most [`MAX_ANCESTORS`].
    pub ancestors: Option<Vec<Ancestor>>,
    /// What could not be learned. A kernel thread has a user alone; the rest is not missing.
    pub missing: Vec<Missing>,
}

impl ProcessIdentity {
    /// Names what a process of user space should have and this one has not.
    fn find_missing(&mut self, want_cmdline: bool) {
        let found = [
            (Missing::Exe, self.exe.is_some()),
            (Missing::Cmdline, self.cmdline.is_some() || !want_cmdline),
            (Missing::Cgroup, self.cgroup.is_some()),
            (Missing::Ancestors, self.ancestors.is_some()),
        ];
        let missing = found.into_iter().filter(|(_, found)| !found);
        self.missing.extend(missing.map(|(missing, _)| missing));
    }
}

/// Bytes of a command line that are read.
pub const MAX_CMDLINE: usize = 8192;
/// Arguments of a command line that are kept.
pub const MAX_ARGUMENTS: usize = 256;
/// Ancestors that are looked for.
pub const MAX_ANCESTORS: usize = 8;

/// Looks processes up. One for each thread that needs it; it keeps tables and buffers between calls.
#[derive(Debug)]
pub struct Identity {
    processes: process::Processes,
    cgroups: cgroup_ids::CgroupIds,
    pods: pods::Pods,
    /// `None` without a socket to ask at.
    images: Option<images::Images>,
    /// `None` where they are not asked for.
    packages: Option<packages::Packages>,
    sockets: sockets::Sockets,
    users: Users,
    privacy: Privacy,
}

impl Identity {
    /// Reads nothing yet, so it cannot fail. Command lines are masked until [`Identity::with_privacy`] says otherwise.
    #[must_use]
    pub fn new(paths: &Paths) -> Self {
        Self {
            processes: process::Processes::new(paths.procfs.clone()),
            cgroups: cgroup_ids::CgroupIds::new(paths.sysfs.clone()),
            pods: pods::Pods::new(paths.rootfs.clone()),
            images: paths.cri_socket.clone().map(images::Images::new),
            packages: Some(packages::Packages::new(paths.rootfs.clone())),
            sockets: sockets::Sockets::new(paths.rootfs.clone()),
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

    /// Begins to read the database of packages, on a thread of its own; without this the first look-up does.
    pub fn prepare(&mut self) {
        if let Some(packages) = &mut self.packages {
            packages.refresh();
        }
    }

    /// Reads the database of packages, or does without it: for a command that looks once.
    #[must_use]
    pub fn with_packages_read(mut self, wanted: bool) -> Self {
        match &mut self.packages {
            Some(packages) if wanted => packages.wait(),
            packages => *packages = None,
        }
        self
    }

    /// A look at many processes begins: what they have in common is read once. For a command; events come one by one, and
    /// whoever has a number at the next one may be another.
    pub fn look_begins(&mut self) {
        self.processes.one_look();
    }

    /// The package of an executable of the host's.
    fn package_of(&mut self, path: &str, file: packages::FileId) -> Option<String> {
        self.packages.as_mut()?.owner(path, file)
    }

    /// What is known of the process `tgid` that started `start_boottime_ns` after boot (`group_leader->start_boottime`)
    /// and acted as `uid` in the cgroup with the id `cgroup` (0 for none).
    ///
    /// A process of the same number that started at another time is another process: all but user and cgroup, which are
    /// those of the record, is then missing.
    pub fn process(&mut self, tgid: u32, start_boottime_ns: u64, uid: u32, cgroup: u64) -> ProcessIdentity {
        let mut identity = ProcessIdentity::default();
        let want_cmdline = self.privacy != Privacy::None;
        match self.processes.read(tgid, start_boottime_ns, want_cmdline) {
            Some(process::Seen::KernelThread) => {}
            Some(process::Seen::Process {
                exe,
                cmdline,
                place,
                ancestors,
            }) => {
                if let Some(place) = &place {
                    self.cgroups.learn(cgroup, place);
                }
                self.place(&mut identity, cgroup, place.map(|place| place.path));
                identity.ancestors = Some(ancestors);
                identity.cmdline = match self.privacy {
                    Privacy::Masked => cmdline.map(mask::mask),
                    Privacy::Full => cmdline,
                    Privacy::None => None,
                };
                if let Some(exe) = exe {
                    if identity.container.is_none() && exe.state == ExeState::File {
                        identity.package = exe.file.and_then(|file| self.package_of(&exe.path, file));
                    }
                    identity.exe = Some(exe.path);
                    identity.exe_state = Some(exe.state);
                }
                identity.find_missing(want_cmdline);
            }
            None => {
                self.place(&mut identity, cgroup, None);
                identity.find_missing(want_cmdline);
            }
        }
        identity.user = self.user(uid);
        if identity.user.is_none() {
            identity.missing.push(Missing::User);
        }
        identity
    }

    /// Fills in cgroup, unit and container; the path is that of the id where the process does not tell it.
    fn place(&mut self, identity: &mut ProcessIdentity, id: u64, path: Option<String>) {
        let Some(path) = path.or_else(|| self.cgroups.path(id)) else {
            return;
        };
        identity.unit = cgroup::unit_of(&path).map(str::to_owned);
        identity.container = cgroup::container_of(&path);
        if let Some(container) = &mut identity.container {
            container.pod = container.pod_uid.as_deref().and_then(|uid| self.pods.named(uid));
            container.image = self.image_of(&container.id);
        }
        identity.cgroup = Some(path);
    }

    /// The image of the container with this id; `None` where no runtime may be asked, and where it does not say or is too busy to.
    pub fn image_of(&mut self, id: &str) -> Option<String> {
        self.images.as_mut()?.of(id)
    }

    /// Takes the word of the kernel side, which is from the moment of the event: the process was executing this. What
    /// /proc said of another executable is of a later program.
    pub fn executed(&mut self, identity: &mut ProcessIdentity, executable: &Executable) {
        let Some(path) = &executable.path else { return };
        // By its name alone: a container's path may be written in another way from here.
        let base = |path: &str| path.rsplit('/').next().map(str::to_owned);
        let was_another = identity.exe.as_deref().is_some_and(|exe| base(exe) != base(path));
        if was_another && identity.cmdline.take().is_some() {
            identity.missing.push(Missing::Cmdline);
        }
        // A package is not named by a name alone.
        if identity.exe.as_ref() != Some(path) || executable.state != ExecutableState::File {
            let is_the_hosts = identity.container.is_none() && executable.state == ExecutableState::File;
            identity.package = is_the_hosts
                .then(|| self.package_of(path, file_of(executable)))
                .flatten();
        }
        identity.exe = Some(path.clone());
        identity.exe_state = Some(match executable.state {
            ExecutableState::File => ExeState::File,
            ExecutableState::Deleted => ExeState::Deleted,
            ExecutableState::Memfd => ExeState::Memfd,
        });
        identity.missing.retain(|missing| *missing != Missing::Exe);
    }

    /// Name of `uid` on the host, if it has one.
    pub fn user(&mut self, uid: u32) -> Option<String> {
        self.users.name(uid).map(str::to_owned)
    }

    /// Whether a user of the host is called this.
    pub fn has_user(&mut self, name: &str) -> bool {
        self.users.has(name)
    }

    /// The socket unit that listens here. To be asked of what systemd opened: the unit files say where a socket would be,
    /// not who opened this one.
    pub fn socket_unit(&mut self, protocol: Protocol, address: IpAddr, port: u16) -> Option<SocketUnit> {
        self.sockets.unit_of(protocol, address, port)
    }
}

/// The file, with its device as user space numbers it: the kernel has 12 bits of major and 20 of minor number.
fn file_of(executable: &Executable) -> packages::FileId {
    let (major, minor) = (executable.device >> 20, executable.device & 0xf_ffff);
    packages::FileId {
        device: rustix::fs::makedev(major, minor),
        inode: executable.inode,
    }
}

#[cfg(test)]
mod tests;
