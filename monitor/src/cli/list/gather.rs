//! Looking at the host: what listens, who holds it, and who that is. All that `list` and `watch` read is read here.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use anyhow::Result;
use jiff::Timestamp;

use super::agent::{self, Since, agent_address};
use super::row::{Identified, Key, Owner, Process, Row, Unseen, User, What};
use crate::{
    agent::{ephemeral_ports, host_netns},
    cli::{
        print::say,
        run::{DEFAULT_ADDRESS, PathArgs},
    },
    config::{self, Listen},
    history,
    identity::{Clock, Identity, Missing, ProcessIdentity, TICK},
    kernel::capability::{CAPABILITIES, Effective, in_initial_pid_namespace},
    policy::{Policy, Rule, covers},
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
    ///
    /// Without this it is asked where it serves by default, and need not be there.
    #[arg(long, value_name = "ADDRESS", value_parser = agent_address)]
    agent: Option<Listen>,

    #[command(flatten)]
    paths: PathArgs,
}

/// What the configuration says to commands that look and do not stay.
#[derive(Debug)]
pub struct Configured {
    /// The registry in use.
    pub registry: Arc<Registry>,
    look: config::Look,
}

impl Configured {
    /// What is kept of what listened.
    pub const fn history(&self) -> &config::History {
        &self.look.history
    }
}

impl SourceArgs {
    /// Reads the configuration and the registry that it leads to. What is wrong with a file that has names is said on
    /// stderr, and is no error.
    ///
    /// # Errors
    /// Where the configuration is wrong, or the paths are.
    pub fn read(&self) -> Result<Configured> {
        let files = config::gather(&self.config_file);
        let chosen = files.names().open(&self.paths.paths().rootfs);
        chosen.remarks.iter().for_each(|remark| say(remark));
        let look = config::Look::new(files.resolve(&chosen.registry)?)?;
        self.paths.check()?;
        if let Some(refusal) = self.paths.runtime_refusal() {
            say(&refusal);
        }
        Ok(Configured {
            registry: chosen.registry,
            look,
        })
    }
}

/// Looks at the host. It must be made on a thread that is in its own network namespace.
#[derive(Debug)]
pub struct Looker {
    pub host: String,
    pub policy: Policy,
    /// The registry in use.
    pub registry: Arc<Registry>,
    /// The host's range of automatic ports.
    pub automatic: Option<(u16, u16)>,
    procfs: PathBuf,
    clock: Clock,
    host_netns: Option<u32>,
    looker: snapshot::Looker,
    identity: Identity,
    /// Why some processes may not be seen; `None` where all are.
    blind: Option<&'static str>,
    agent: Listen,
    /// Whether somebody said where the agent is.
    agent_is_named: bool,
    since: Since,
    /// Why the agent that was named said nothing.
    pub silent: Option<String>,
    /// This program.
    own: Option<(u64, u64)>,
    /// Processes of this look, by pid and start: one may hold thousands of sockets.
    known: HashMap<(u32, u64), Known>,
    /// Names of users, asked for once a look: each question opens the host's file.
    users: HashMap<u32, Option<String>>,
}

/// The file that a process executes: device and inode.
fn program(procfs: &Path, process: &str) -> Option<(u64, u64)> {
    let metadata = fs::metadata(procfs.join(process).join("exe")).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// A process that holds a socket: it, what is known of it, and whether it is the agent.
type Known = (Process, ProcessIdentity, bool);

/// What one look found.
#[derive(Debug)]
pub struct Look {
    pub found: Vec<Found>,
    pub unseen: Vec<Unseen>,
}

/// The ports of a rule, by protocol.
fn ruled(rule: &Rule) -> impl Iterator<Item = free::Ruled> {
    rule.selector.protocols.iter().map(|protocol| {
        let ports = rule
            .selector
            .ports
            .iter()
            .filter(|spec| covers(spec, *protocol, spec.first));
        let ports = ports.map(|spec| Ports {
            first: spec.first,
            last: spec.last,
        });
        free::Ruled::new(&rule.name, (*protocol).into(), ports.collect())
    })
}

/// Whether a socket may be there though it was not found, since its namespace could not be read.
pub fn may_hide(unseen: &[Unseen], key: &Key) -> bool {
    let (netns, ..) = key;
    unseen
        .iter()
        .any(|unseen| unseen.what == What::Namespace && unseen.netns.is_none_or(|unread| unread == *netns))
}

impl Looker {
    /// Reads what stays the same from look to look, with `packages` dpkg's database too.
    pub fn new(args: &SourceArgs, configured: Configured, packages: bool) -> Self {
        let Configured { registry, look } = configured;
        let paths = args.paths.paths();
        Self {
            host: look.instance,
            policy: look.policy,
            registry,
            automatic: ephemeral_ports(&paths.procfs),
            clock: Clock::read(),
            host_netns: host_netns(&paths.procfs),
            looker: snapshot::Looker::new(&paths).in_a_hurry(),
            identity: Identity::new(&paths)
                .with_privacy(look.privacy)
                .with_packages_read(packages),
            agent: args.agent.clone().unwrap_or(Listen::Tcp(DEFAULT_ADDRESS)),
            agent_is_named: args.agent.is_some(),
            since: Since::new(),
            silent: None,
            known: HashMap::new(),
            users: HashMap::new(),
            blind: blind(&paths.procfs),
            own: program(&paths.procfs, "self"),
            procfs: paths.procfs,
        }
    }

    /// What listens now; with the processes that hold it only where they are asked for, since that takes longer.
    pub fn look(&mut self, with_holders: bool) -> Look {
        self.known.clear();
        self.users.clear();
        self.identity.look_begins();
        let Whole {
            sockets,
            namespaces,
            refused,
        } = if with_holders {
            // The agent answers while this looks.
            let address = self.agent.clone();
            let asked = thread::Builder::new().spawn(move || agent::since(&address));
            let whole = self.looker.look();
            let answer = asked.map(|asked| asked.join().unwrap_or_else(|_| Ok(Since::new())));
            self.take(answer.unwrap_or_else(|error| Err(error.to_string())));
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
                reason: closed(&namespace.seen.err()?),
            })
        });
        Look {
            unseen: unseen.collect(),
            found: sockets,
        }
    }

    /// Takes what the agent said, or why it said nothing.
    fn take(&mut self, answer: Result<Since, String>) {
        (self.since, self.silent) = match answer {
            Ok(since) => (since, None),
            Err(reason) => (Since::new(), self.agent_is_named.then_some(reason)),
        };
    }

    /// What the host does with its ports: its two sysctls, where something listens, in whatever namespace, and what rules tell of;
    /// of those that name ports alone, where a rule on all that is unassigned would leave nothing.
    pub fn ports(&self, look: &Look, named: bool) -> free::Host {
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
            ruled: self
                .policy
                .telling()
                .filter(|rule| !named || rule.selector.names_ports)
                .flat_map(ruled)
                .collect(),
        }
    }

    /// Identity, registry and policy: as the agent describes an event.
    pub fn describe(&mut self, found: Found) -> Row {
        let uid = found.socket.uid;
        let user = User {
            uid,
            name: self.user(uid),
        };
        let mut missing = Vec::new();
        let (mut known, mut own) = (ProcessIdentity::default(), false);
        let mut socket_unit = None;
        // Who has lived longest opened it, most likely; process ids begin anew some day.
        let opener = found
            .holders
            .iter()
            .min_by_key(|holder| (holder.start_ticks, holder.pid));
        let owner = match opener {
            Some(holder) => {
                let process;
                (process, known, own) = self.process(holder, uid);
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
            own,
            since: self.since.get(&(found.netns, found.socket.inode)).copied(),
            missing,
        };
        Row::new(found, identified, self.host_netns, &self.registry, &self.policy)
    }

    /// The process itself. Its user is who it runs as now, which may be another than who made the socket.
    fn process(&mut self, holder: &Holder, socket_uid: u32) -> Known {
        let key = (holder.pid, holder.start_ticks);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let found = self.look_up(holder, socket_uid);
        self.known.insert(key, found.clone());
        found
    }

    /// The service that a socket unit of the history starts, as the unit files are now.
    pub fn service_of(&mut self, row: &history::read::Row) -> Option<String> {
        let unit = row.unit.as_deref().filter(|unit| unit.ends_with(".socket"))?;
        let address = row.address.to_canonical();
        let found = self.identity.socket_unit(row.protocol, address, row.port)?;
        (found.unit == unit).then_some(found.service)
    }

    /// Whether the host knows a user by this name, or it is a number.
    pub fn knows_user(&mut self, user: &str) -> bool {
        user.parse::<u32>().is_ok() || self.identity.has_user(user)
    }

    fn user(&mut self, uid: u32) -> Option<String> {
        let identity = &mut self.identity;
        self.users.entry(uid).or_insert_with(|| identity.user(uid)).clone()
    }

    fn look_up(&mut self, holder: &Holder, socket_uid: u32) -> Known {
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
        let is_agent = self.is_agent(holder.pid);
        (process, identity, is_agent)
    }

    /// Whether a process runs this very program: the agent, since nothing else of it listens.
    fn is_agent(&self, pid: u32) -> bool {
        self.own.is_some() && self.own == program(&self.procfs, &pid.to_string())
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

/// Why namespaces were not looked into, for one or many of them, and what helps.
fn closed(reason: &snapshot::Unseen) -> String {
    match reason {
        snapshot::Unseen::Denied if rustix::process::geteuid().is_root() => {
            "CAP_SYS_PTRACE and CAP_SYS_ADMIN are needed for that".to_owned()
        }
        snapshot::Unseen::Denied => "run as root, or with CAP_SYS_PTRACE and CAP_SYS_ADMIN".to_owned(),
        snapshot::Unseen::NoWay => "no living task was found there".to_owned(),
        snapshot::Unseen::Failed(reason) => reason.clone(),
        reason => reason.to_string(),
    }
}

#[cfg(test)]
#[test]
fn a_command_that_may_not_look_says_what_to_do_for_the_command() {
    let said = closed(&snapshot::Unseen::Denied);
    assert!(said.contains("CAP_SYS_PTRACE and CAP_SYS_ADMIN"), "{said}");
    assert!(!said.contains("agent") && !said.contains("its"), "{said}");
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
