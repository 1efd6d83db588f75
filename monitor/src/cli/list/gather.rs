//! Looking at the host: what listens, who holds it, and who that is. All that `list` and `watch` read is read here.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
};

use anyhow::Result;
use jiff::Timestamp;

use super::agent::{self, Since};
use super::row::{Identified, Key, Owner, Process, Row, Unseen, User, What};
use crate::{
    agent::{ephemeral_ports, host_netns},
    cli::run::{DEFAULT_ADDRESS, PathArgs, listen_address},
    config,
    identity::{Clock, Identity, Missing, ProcessIdentity, TICK},
    kernel::capability::{CAPABILITIES, Effective, in_initial_pid_namespace},
    policy::Policy,
    registry::{Ports, Registry, free},
    snapshot::{self, Found, Holder, Whole},
};

/// Where to look, and by which rules to judge.
#[derive(Clone, Debug, clap::Args)]
pub struct SourceArgs {
    /// Configuration file of the agent, for its rules and names; may be given several times
    #[arg(long = "config.file", value_name = "FILE")]
    config_file: Vec<PathBuf>,

    /// Where to ask a running agent since when a socket listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value = DEFAULT_ADDRESS, value_parser = listen_address)]
    agent: SocketAddr,

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
    looker: snapshot::Looker,
    identity: Identity,
    /// Why some processes may not be seen; `None` where all are.
    blind: Option<&'static str>,
    agent: SocketAddr,
    since: Since,
    /// Processes of this look, by pid and start: one may hold thousands of sockets.
    known: HashMap<(u32, u64), (Process, ProcessIdentity)>,
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
    /// Reads the configuration, with `packages` dpkg's database, and what stays the same from look to look.
    ///
    /// # Errors
    /// Where the configuration is wrong, or the paths are.
    pub fn new(args: &SourceArgs, packages: bool) -> Result<Self> {
        let config = config::Look::new(config::read(&args.config_file, Registry::embedded())?)?;
        args.paths.check()?;
        let paths = args.paths.paths();
        Ok(Self {
            host: config.instance,
            policy: config.policy,
            automatic: ephemeral_ports(&paths.procfs),
            clock: Clock::read(),
            host_netns: host_netns(&paths.procfs),
            looker: snapshot::Looker::new(&paths),
            identity: Identity::new(&paths)
                .with_privacy(config.privacy)
                .with_packages_read(packages),
            agent: args.agent,
            since: Since::new(),
            known: HashMap::new(),
            blind: blind(&paths.procfs),
            procfs: paths.procfs,
        })
    }

    /// What listens now; with the processes that hold it only where they are asked for, since that takes longer.
    pub fn look(&mut self, with_holders: bool) -> Look {
        self.known.clear();
        let Whole {
            sockets,
            namespaces,
            refused,
        } = if with_holders {
            // The agent answers while this looks.
            let address = self.agent;
            let asked = thread::Builder::new().spawn(move || agent::since(address));
            let whole = self.looker.look();
            self.since = asked.ok().and_then(|asked| asked.join().ok()).unwrap_or_default();
            whole
        } else {
            self.looker.sockets().into()
        };
        if refused > 0 && self.blind.is_none() {
            self.blind = Some("a process does not let even root see what it holds");
        }
        let unseen = namespaces.into_iter().filter_map(|namespace| {
            Some(Unseen {
                what: What::Namespace,
                netns: (namespace.netns != 0).then_some(namespace.netns),
                listeners: None,
                reason: namespace.seen.err()?.to_string(),
            })
        });
        Look {
            unseen: unseen.collect(),
            found: sockets,
        }
    }

    /// What the host does with its ports: its two sysctls, and where something listens, in whatever namespace.
    pub fn ports(&self, look: &Look) -> free::Host {
        let reserved = fs::read_to_string(self.procfs.join("sys/net/ipv4/ip_local_reserved_ports"));
        let mut used: Vec<_> = look
            .found
            .iter()
            .map(|found| (found.socket.protocol.into(), found.socket.port))
            .collect();
        used.sort_unstable();
        free::Host {
            automatic: self.automatic.map(|(first, last)| Ports { first, last }),
            reserved: reserved.map(|text| stretches(&text)).unwrap_or_default(),
            used,
        }
    }

    /// Identity, registry and policy: as the agent describes an event.
    pub fn describe(&mut self, found: Found) -> Row {
        let uid = found.socket.uid;
        let user = User {
            uid,
            name: self.identity.user(uid),
        };
        let mut missing = Vec::new();
        let mut known = ProcessIdentity::default();
        let mut socket_unit = None;
        // Who has lived longest opened it, most likely; process ids begin anew some day.
        let opener = found
            .holders
            .iter()
            .min_by_key(|holder| (holder.start_ticks, holder.pid));
        let owner = match opener {
            Some(holder) => {
                let process;
                (process, known) = self.process(holder, uid);
                missing.extend(known.missing.iter().copied().map(Missing::as_str));
                if holder.pid == 1 {
                    // systemd, for a service.
                    let socket = &found.socket;
                    let address = socket.address.to_canonical();
                    socket_unit = self.identity.socket_unit(socket.protocol, address, socket.port);
                }
                Owner::Process(Box::new(process))
            }
            None if self.blind.is_some() && found.socket.inode != 0 => Owner::Hidden,
            None => Owner::Nobody,
        };
        if user.name.is_none() && !missing.contains(&Missing::User.as_str()) {
            missing.push(Missing::User.as_str());
        }
        let (socket, service) = socket_unit.map_or((None, None), |socket| (Some(socket.unit), Some(socket.service)));
        let identified = Identified {
            owner,
            user,
            unit: socket.or(known.unit),
            service,
            container: known.container,
            cgroup: known.cgroup,
            package: known.package,
            own: opener.is_some_and(|holder| self.is_agent(holder.pid)),
            since: self.since.get(&(found.netns, found.socket.inode)).copied(),
            missing,
        };
        Row::new(found, identified, self.host_netns, Registry::embedded(), &self.policy)
    }

    /// The process itself. Its user is who it runs as now, which may be another than who made the socket.
    fn process(&mut self, holder: &Holder, socket_uid: u32) -> (Process, ProcessIdentity) {
        let key = (holder.pid, holder.start_ticks);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let found = self.look_up(holder, socket_uid);
        self.known.insert(key, found.clone());
        found
    }

    fn look_up(&mut self, holder: &Holder, socket_uid: u32) -> (Process, ProcessIdentity) {
        let folder = self.procfs.join(holder.pid.to_string());
        let uid = fs::metadata(folder).map_or(socket_uid, |metadata| metadata.uid());
        let start = holder.start_ticks.saturating_mul(TICK);
        let identity = self.identity.process(holder.pid, start, uid, 0);
        let started = Timestamp::from_nanosecond(self.clock.wall(start)).ok();
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
            ancestors: identity.ancestors.clone(),
        };
        (process, identity)
    }

    /// Whether a process runs this very program: the agent, since nothing else of it listens.
    fn is_agent(&self, pid: u32) -> bool {
        let file = |process: &str| {
            let metadata = fs::metadata(self.procfs.join(process).join("exe")).ok()?;
            Some((metadata.dev(), metadata.ino()))
        };
        let own = file("self");
        own.is_some() && own == file(&pid.to_string())
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

/// Ports as the kernel writes them: `8080,9148,9200-9210`.
fn stretches(text: &str) -> Vec<Ports> {
    let stretch = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        Some(Ports {
            first: first.parse().ok()?,
            last: last.parse().ok()?,
        })
    };
    text.trim().split(',').filter_map(stretch).collect()
}

#[cfg(test)]
#[test]
fn the_kernels_list_of_ports_is_read() {
    let ports = |first, last| Ports { first, last };
    assert_eq!(stretches("8080,9200-9210\n"), [ports(8080, 8080), ports(9200, 9210)]);
    assert_eq!(stretches("\n"), []);
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
