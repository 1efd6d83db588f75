//! One listening socket with all that was found out about it: what the table, the document and `watch` are made from.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    event::{Family, Protocol, Scope},
    identity::{Ancestor, Container, ExeState},
    output::report::process_name,
    policy::{Facts, Policy, Verdict},
    registry::{Registrations, Registry, name_matches},
    snapshot::{Found, Holder},
};

/// What tells a socket from every other, for as long as it lives.
pub type Key = (u32, Protocol, u64, IpAddr, u16);

/// The key of a socket that a look found.
pub fn key(found: &Found) -> Key {
    let socket = &found.socket;
    (found.netns, socket.protocol, socket.inode, socket.address, socket.port)
}

/// Whose socket it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process: the first of those that hold it.
    Process(Box<Process>),
    /// No process holds it: the kernel itself (an NFS server, say, or WireGuard), or its descriptor is on its way from one
    /// process to another.
    Nobody,
    /// Some process does that this user may not see.
    Hidden,
}

/// A process that holds a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub comm: String,
    pub exe: Option<String>,
    pub exe_state: Option<ExeState>,
    pub cmdline: Option<Vec<String>>,
    pub started: Option<Timestamp>,
    pub user: User,
    pub ancestors: Option<Vec<Ancestor>>,
}

impl Process {
    /// The name that metrics and alerts give it too.
    pub fn name(&self) -> String {
        process_name(self.exe.as_deref(), &self.comm)
    }
}

/// A user, by number and, where the host's passwd file has it, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub name: Option<String>,
}

/// What is known of the process of a socket, beside what [`Found`] says.
#[derive(Clone, Debug)]
pub struct Identified {
    pub owner: Owner,
    /// The user who made the socket.
    pub user: User,
    pub unit: Option<String>,
    /// The service that the socket unit `unit` starts.
    pub service: Option<String>,
    pub container: Option<Container>,
    pub cgroup: Option<String>,
    pub package: Option<String>,
    /// Whether it is an agent's own, which no rule speaks of.
    pub own: bool,
    /// When it began to listen. Only an agent that saw it knows.
    pub since: Option<Timestamp>,
    /// What could not be learned of the process.
    pub missing: Vec<&'static str>,
}

/// A listening socket.
#[derive(Clone, Debug)]
pub struct Row {
    pub protocol: Protocol,
    pub family: Family,
    /// An IPv4-mapped address of an IPv6 socket is given as IPv4, as in events.
    pub address: IpAddr,
    pub port: u16,
    pub scope: Scope,
    /// Whether an IPv6 wildcard takes IPv4 too; `None` for every other socket, and where that could not be learned.
    pub dual_stack: Option<bool>,
    pub netns: u32,
    pub host_netns: bool,
    pub inode: u64,
    pub cookie: Option<u64>,
    pub backlog: Option<u32>,
    pub registrations: Registrations,
    pub owner: Owner,
    pub holders: Vec<Holder>,
    pub user: User,
    pub unit: Option<String>,
    /// The service that the socket unit `unit` starts.
    pub service: Option<String>,
    pub container: Option<Container>,
    pub cgroup: Option<String>,
    pub package: Option<String>,
    pub since: Option<Timestamp>,
    /// Whether the process is one that serves what its port is registered for; `None` where that is not known.
    pub name_matches: Option<bool>,
    pub verdict: Verdict,
    pub rule: Option<String>,
    pub missing: Vec<&'static str>,
}

/// What no look at a socket from outside tells, though events do.
const NOT_TOLD: [&str; 3] = ["automatic", "reuseport", "mptcp"];

impl Row {
    /// Puts together what was found and judges it, as the agent judges an event.
    pub fn new(
        found: Found,
        identified: Identified,
        host_netns: Option<u32>,
        registry: &Arc<Registry>,
        policy: &Policy,
    ) -> Self {
        let socket = found.socket;
        let address = socket.address.to_canonical();
        let host_netns = host_netns == Some(found.netns);
        let scope = Scope::of(address);
        let process = match &identified.owner {
            Owner::Process(process) => Some(process.as_ref()),
            Owner::Nobody | Owner::Hidden => None,
        };
        let user = process.map_or(&identified.user, |process| &process.user);
        let facts = Facts {
            exe: process.and_then(|process| process.exe.as_deref()),
            uid: Some(user.uid),
            user: user.name.as_deref(),
            unit: identified.unit.as_deref(),
            service: identified.service.as_deref(),
            container: identified.container.as_ref().map(|container| container.id.as_str()),
            hidden: identified.owner == Owner::Hidden,
            ..Facts::of_listener(socket.protocol, socket.port, scope, host_netns)
        };
        let judged = policy.judge(&facts, identified.own);
        let is_v6_wildcard = address.is_ipv6() && address.is_unspecified();
        let mut missing = identified.missing;
        let unknown = [
            ("since", identified.since.is_none()),
            ("dual_stack", is_v6_wildcard && socket.v6only.is_none()),
            ("process", identified.owner == Owner::Hidden),
        ];
        missing.extend(unknown.iter().filter(|(_, unknown)| *unknown).map(|(name, _)| *name));
        missing.extend(NOT_TOLD);
        let registrations = Registrations::new(registry, socket.protocol.into(), socket.port);
        let name_matches = match &identified.owner {
            Owner::Process(process) => name_matches(registrations.iter(), &process.name()),
            Owner::Nobody | Owner::Hidden => None,
        };
        Self {
            protocol: socket.protocol,
            family: socket.family,
            address,
            port: socket.port,
            scope,
            dual_stack: socket.v6only.filter(|_| is_v6_wildcard).map(|v6only| !v6only),
            netns: found.netns,
            host_netns,
            inode: socket.inode,
            cookie: socket.cookie,
            // Of UDP the tables have something else in its place.
            backlog: socket.backlog.filter(|_| socket.protocol == Protocol::Tcp),
            registrations,
            name_matches,
            owner: identified.owner,
            holders: found.holders,
            user: identified.user,
            unit: identified.unit,
            service: identified.service,
            container: identified.container,
            cgroup: identified.cgroup,
            package: identified.package,
            since: identified.since,
            verdict: judged.verdict,
            rule: judged.findings.into_iter().next().map(|finding| finding.rule),
            missing,
        }
    }

    /// The names registered for its port.
    pub fn services(&self) -> Vec<&str> {
        self.registrations.names()
    }

    /// The process, where one is seen.
    pub fn process(&self) -> Option<&Process> {
        match &self.owner {
            Owner::Process(process) => Some(process),
            Owner::Nobody | Owner::Hidden => None,
        }
    }

    /// Whose it is: the user of the process, else the one who made the socket.
    pub fn user(&self) -> &User {
        self.process().map_or(&self.user, |process| &process.user)
    }

    /// The order of the table: what is unexpected first, then by port.
    pub fn order(&self) -> impl Ord + use<> {
        (
            self.verdict != Verdict::Unexpected,
            self.port,
            self.protocol.as_str(),
            self.address,
            !self.host_netns,
            self.netns,
            self.inode,
        )
    }

    /// In one line, for sentences and `watch`: `tcp 0.0.0.0:1992`.
    pub fn place(&self) -> String {
        format!(
            "{} {}",
            self.protocol,
            std::net::SocketAddr::new(self.address, self.port)
        )
    }

    /// The process in a word: `nc[812]`, `?` where it may not be seen, `(none)` where no process holds it.
    pub fn process_word(&self) -> String {
        match &self.owner {
            Owner::Process(process) => format!("{}[{}]", process.name(), process.pid),
            Owner::Hidden => "?".to_owned(),
            Owner::Nobody => "(none)".to_owned(),
        }
    }
}

impl User {
    /// The name, else the number.
    pub fn word(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uid.to_string())
    }
}

/// What could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unseen {
    pub what: What,
    /// The namespace that it is about.
    pub netns: Option<u32>,
    /// How many listeners it is about, where that is known.
    pub listeners: Option<usize>,
    /// Why, and what to do.
    pub reason: String,
}

/// What could not be looked at, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// The processes of some listeners.
    Processes,
    /// A network namespace.
    Namespace,
}

/// Everything that a look found.
#[derive(Clone, Debug)]
pub struct Listing {
    pub host: String,
    pub time: Timestamp,
    pub rows: Vec<Row>,
    /// UDP sockets on automatic ports that are not among the rows.
    pub left_out: usize,
    pub unseen: Vec<Unseen>,
}
