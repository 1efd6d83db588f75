//! Looking at the host: what listens, who holds it, and who that is. All that `list` and `watch` read is read here.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::Result;
use jiff::Timestamp;

use super::row::{Found, Holder, Identified, Key, Owner, Process, Row, Unseen, User, What};
use crate::{
    agent::{ephemeral_ports, host_netns, netns_of},
    cli::run::PathArgs,
    config,
    event::Protocol,
    identity::{Clock, Identity, Missing, ProcessIdentity, TICK},
    kernel::capability::{CAPABILITIES, Effective, in_initial_pid_namespace},
    policy::Policy,
    registry::Registry,
    snapshot::{Confirmer, ListeningSocket, owners},
};

/// Where to look, and by which rules to judge.
#[derive(Clone, Debug, clap::Args)]
pub struct SourceArgs {
    /// Configuration file of the agent, for its rules and names; may be given several times
    #[arg(long = "config.file", value_name = "FILE")]
    config_file: Vec<PathBuf>,

    #[command(flatten)]
    paths: PathArgs,
}

/// Looks at the host. It must be made on a thread that is in its own network namespace.
#[derive(Debug)]
pub struct Looker {
    pub host: String,
    pub policy: Policy,
    /// The host's range of automatic ports.
    pub automatic: Option<(u16, u16)>,
    procfs: PathBuf,
    clock: Clock,
    host_netns: Option<u32>,
    own_netns: Option<u32>,
    confirmer: Confirmer,
    identity: Identity,
    /// Why some processes may not be seen; `None` where all are.
    blind: Option<&'static str>,
}

/// What one look found.
#[derive(Debug)]
pub struct Look {
    pub found: Vec<Found>,
    pub unseen: Vec<Unseen>,
}

/// Whether a socket may be there though it was not found, since its namespace could not be read.
pub fn may_hide(unseen: &[Unseen], key: &Key) -> bool {
    let (netns, ..) = key;
    unseen
        .iter()
        .any(|unseen| unseen.what == What::Namespace && unseen.netns.is_none_or(|unread| unread == *netns))
}

impl Looker {
    /// Reads the configuration, and what stays the same from look to look.
    ///
    /// # Errors
    /// Where the configuration is wrong, or the paths are.
    pub fn new(args: &SourceArgs) -> Result<Self> {
        let config = config::Look::new(config::read(&args.config_file, Registry::embedded())?)?;
        args.paths.check()?;
        let paths = args.paths.paths();
        Ok(Self {
            host: config.instance,
            policy: config.policy,
            automatic: ephemeral_ports(&paths.procfs),
            clock: Clock::read(),
            host_netns: host_netns(&paths.procfs),
            own_netns: netns_of(&paths.procfs, "self"),
            confirmer: Confirmer::new(&paths),
            identity: Identity::new(&paths).with_privacy(config.privacy),
            blind: blind(&paths.procfs),
            procfs: paths.procfs,
        })
    }

    /// What listens now; with the processes that hold it only where they are asked for, since that takes longer.
    pub fn look(&mut self, with_holders: bool) -> Look {
        let mut unseen = vec![Unseen {
            what: What::Sockets,
            netns: None,
            listeners: None,
            reason: "UDP and other network namespaces are not looked at by this version".to_owned(),
        }];
        let sockets = match (self.own_netns, self.confirmer.own_namespace(&[])) {
            (Some(netns), Ok(sockets)) => sockets.into_iter().map(|socket| (netns, socket)).collect(),
            (netns, outcome) => {
                let reason = outcome.err().map(|reason| reason.to_string());
                unseen.push(Unseen {
                    what: What::Namespace,
                    netns,
                    listeners: None,
                    reason: reason.unwrap_or_else(|| "its number cannot be read from procfs".to_owned()),
                });
                Vec::new()
            }
        };
        let found = sockets.into_iter().map(|(netns, socket)| Found {
            netns,
            protocol: Protocol::Tcp,
            v6only: None,
            kernel: None,
            holders: if with_holders {
                self.holders(&socket)
            } else {
                Vec::new()
            },
            socket,
        });
        Look {
            found: found.collect(),
            unseen,
        }
    }

    fn holders(&self, socket: &ListeningSocket) -> Vec<Holder> {
        let holders = owners::holders_of(&self.procfs, socket.inode).into_iter();
        let holders = holders.map(|holder| Holder {
            start_ticks: self.start_of(holder.pid),
            pid: holder.pid,
            comm: holder.comm,
        });
        holders.collect()
    }

    /// Field 22 of /proc/PID/stat, counted from behind the name.
    fn start_of(&self, pid: u32) -> Option<u64> {
        let stat = fs::read(self.procfs.join(pid.to_string()).join("stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat).into_owned();
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_ascii_whitespace().nth(19)?.parse().ok()
    }

    /// Identity, registry and policy: as the agent describes an event.
    pub fn describe(&mut self, found: Found) -> Row {
        let uid = found.socket.uid;
        let user = User {
            uid,
            name: self.identity.user(uid),
        };
        let mut missing = Vec::new();
        let owner = match (found.holders.first(), found.kernel) {
            (Some(holder), _) => {
                let (process, identity) = self.process(holder, uid);
                missing.extend(identity.missing.iter().copied().map(Missing::as_str));
                Owner::Process(Box::new(process))
            }
            (None, Some(true)) => Owner::Kernel,
            (None, None) if self.blind.is_some() && found.socket.inode != 0 => Owner::Hidden,
            (None, _) => Owner::Nobody,
        };
        if user.name.is_none() && !missing.contains(&Missing::User.as_str()) {
            missing.push(Missing::User.as_str());
        }
        let identified = Identified {
            owner,
            user,
            unit: None,
            container: None,
            cgroup: None,
            package: None,
            since: None,
            missing,
        };
        Row::new(found, identified, self.host_netns, Registry::embedded(), &self.policy)
    }

    /// The process itself. Its user is who it runs as now, which may be another than who made the socket.
    fn process(&mut self, holder: &Holder, socket_uid: u32) -> (Process, ProcessIdentity) {
        let folder = self.procfs.join(holder.pid.to_string());
        let uid = fs::metadata(folder).map_or(socket_uid, |metadata| metadata.uid());
        let start = holder.start_ticks.map(|ticks| ticks.saturating_mul(TICK));
        // No process starts at the end of time, so one that is gone is found to be another.
        let identity = self.identity.process(holder.pid, start.unwrap_or(u64::MAX), uid);
        let started = start.and_then(|start| Timestamp::from_nanosecond(self.clock.wall(start)).ok());
        let process = Process {
            pid: holder.pid,
            comm: holder.comm.clone(),
            exe: identity.exe.clone(),
            exe_state: identity.exe_state,
            cmdline: identity.cmdline.clone(),
            started,
            user: User {
                uid,
                name: identity.user.clone(),
            },
        };
        (process, identity)
    }

    /// How many of the rows have a process that may not be seen, and why.
    pub fn hidden(&self, rows: &[Row]) -> Option<Unseen> {
        let hidden = rows.iter().filter(|row| row.owner == Owner::Hidden).count();
        self.blind.filter(|_| hidden > 0).map(|reason| Unseen {
            what: What::Processes,
            netns: None,
            listeners: Some(hidden),
            reason: reason.to_owned(),
        })
    }
}

/// Why this process does not see who holds the sockets of others; `None` where it does.
fn blind(procfs: &Path) -> Option<&'static str> {
    let held = Effective::of_self(procfs);
    let needed = ["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"];
    let mut needed = CAPABILITIES
        .iter()
        .filter(|capability| needed.contains(&capability.name));
    if !in_initial_pid_namespace(procfs) {
        Some("this is not the host's pid namespace, in which they could be seen (hostPID)")
    } else if needed.all(|capability| held.has(capability)) {
        None
    } else if rustix::process::geteuid().is_root() {
        Some("CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH are needed to see those of other users")
    } else {
        Some("run as root to see those of other users")
    }
}
