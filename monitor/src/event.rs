//! Typed events: the kernel side's records, decoded.

mod decode;
mod errno;

use std::{fmt, net::IpAddr};

use serde::Deserialize;

use crate::registry::Transport;
pub use decode::DecodeError;
pub use errno::errno_name;
use monitor_common::{KIND_ACCEPT, KIND_BIND, KIND_CONNECT, KIND_LISTEN, KIND_UNLISTEN};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A socket started to listen, or failed to.
    Listen,
    /// A listener ended.
    Unlisten,
    /// A socket was bound.
    Bind,
    /// A connection was tried.
    Connect,
    /// A connection was accepted.
    Accept,
    /// A kind that this version does not know.
    Unknown(u16),
}

impl From<u16> for Kind {
    fn from(kind: u16) -> Self {
        match kind {
            KIND_LISTEN => Self::Listen,
            KIND_UNLISTEN => Self::Unlisten,
            KIND_BIND => Self::Bind,
            KIND_CONNECT => Self::Connect,
            KIND_ACCEPT => Self::Accept,
            unknown => Self::Unknown(unknown),
        }
    }
}

/// The socket's family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// `AF_INET`.
    Ipv4,
    /// `AF_INET6`; unless it is IPV6_V6ONLY, a wildcard socket takes IPv4 too.
    Ipv6,
}

/// The transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The name in events, metrics and rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Protocol> for Transport {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}

/// How a call ended, as far as the hook knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded.
    Succeeded,
    /// It failed, with a positive errno; `None` where the backend cannot know it.
    Failed(Option<i32>),
    /// The hook fired before the result was known.
    Unconfirmed,
}

/// The address of a `struct sock`: what a socket is known by inside the agent. Kept out of every output.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketKey(u64);

impl SocketKey {
    /// Makes a key of an address.
    pub const fn new(address: u64) -> Self {
        Self(address)
    }

    /// A key for a socket whose address is not known, by what nothing else in this boot has: its cookie, else its inode and
    /// namespace. No address of the kernel is so low.
    pub fn of_tables(cookie: Option<u64>, netns: u32, inode: u64) -> Self {
        Self(match cookie {
            Some(cookie) => cookie & (u64::MAX >> 2),
            None => (1 << 62) | (u64::from(netns) << 32 ^ inode) & (u64::MAX >> 2),
        })
    }
}

impl fmt::Debug for SocketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SocketKey(..)")
    }
}

/// A process, as the kernel side saw it when it acted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Process id in the initial pid namespace.
    pub tgid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Start of the process: nanoseconds since boot.
    pub start_time: u64,
    /// The leader's name.
    pub comm: String,
    /// The thread's name.
    pub thread: String,
    /// Whether the task is a kernel thread.
    pub kernel_thread: bool,
    /// Its executable; `None` for a kernel thread.
    pub executable: Option<Executable>,
}

impl Actor {
    /// Nobody that is known.
    pub const fn unknown() -> Self {
        Self {
            tgid: 0,
            tid: 0,
            uid: 0,
            start_time: 0,
            comm: String::new(),
            thread: String::new(),
            kernel_thread: false,
            executable: None,
        }
    }

    /// Whether it is known at all. Process 0 is the kernel's idle task, and opens nothing.
    pub const fn is_known(&self) -> bool {
        self.tgid != 0
    }
}

/// A process that has a descriptor of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Its leader's name.
    pub comm: String,
    /// Start of the process: nanoseconds since boot.
    pub start_time: u64,
}

/// The executable of a process, as the kernel side saw it when the process acted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Inode of the file.
    pub inode: u64,
    /// Device of the file, as the kernel numbers it: 12 bits of major, 20 of minor.
    pub device: u32,
    /// Path in the process's own mount namespace; `None` where the kernel side did not take it, or not whole.
    pub path: Option<String>,
    /// What became of the file.
    pub state: ExecutableState,
}

/// What became of an executable's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutableState {
    /// Its name still stands.
    File,
    /// It was removed or replaced.
    Deleted,
    /// It never had a name.
    Memfd,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address; an IPv4-mapped one is given as IPv4.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
}

/// A socket that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// What it is known by inside the agent.
    pub key: SocketKey,
    /// Inode, as /proc/PID/fd shows it.
    pub inode: u64,
    /// Cookie, where the kernel gave one.
    pub cookie: Option<u64>,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Family.
    pub family: Family,
    /// Protocol.
    pub protocol: Protocol,
    /// Local address; an IPv4-mapped one is given as IPv4. Of a bind that failed, the one that was asked for.
    pub address: IpAddr,
    /// Local port; 0 where none was chosen yet.
    pub port: u16,
    /// Whether the kernel chose the port.
    pub automatic: bool,
    /// IPV6_V6ONLY.
    pub v6only: bool,
    /// SO_REUSEPORT.
    pub reuseport: bool,
    /// Whether it is the first subflow of an MPTCP socket.
    pub mptcp: bool,
    /// Whether it belongs to the kernel.
    pub kernel: bool,
    /// Backlog of `listen()`.
    pub backlog: u32,
}

impl Socket {
    /// Whether one with the same key is this one: another that the kernel gave the same memory has another inode. One whose
    /// inode is not known (0) may be.
    pub fn may_be(&self, other: &Self) -> bool {
        self.inode == other.inode || self.inode == 0 || other.inode == 0
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// When: nanoseconds since boot.
    pub time: u64,
    /// When what ends with this event began: for an unlisten the listen (or the bind of UDP), for a connect the call;
    /// else the same as `time`. Nanoseconds since boot.
    pub opened: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The socket. Of an accept, the listener.
    pub socket: Socket,
    /// The other end: of a connect its destination, of an accept the client; `None` for every other kind.
    pub peer: Option<Endpoint>,
    /// Who opened it.
    pub opener: Actor,
    /// Id of the opener's cgroup (v2).
    pub cgroup: u64,
    /// Process id and name of who caused this event: for an unlisten the last holder, else the opener.
    pub holder: (u32, String),
    /// For an unlisten: its hook knows that it had listened. See [`Event::had_listened`].
    pub listened: bool,
    /// For an unlisten: its hook knows that the listen had failed.
    pub refused: bool,
    /// For an unlisten of UDP: the socket was connected, not closed.
    pub connected: bool,
    /// A UDP socket on a port that nothing names: its bind is reported only once it has lived for
    /// `monitor_common::UDP_COUNTS_AFTER`, and so is its end.
    pub late: bool,
    /// Who tells it.
    pub source: Source,
}

/// Who tells of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A hook, as it happened.
    Hook,
    /// The kernel side's look at all open files: no hook saw how it began, and `opener` is the one of those that hold it who
    /// has lived longest.
    OpenFiles,
    /// The kernel's tables of sockets, with who holds it out of /proc, or nobody: whether the port was automatic, and
    /// options of the socket are not known.
    Tables,
    /// The record of its end, which names the opener too: that of its begin was lost.
    End,
}

impl Event {
    /// The end that the event is about, which names, rules and counts go by: the destination of a connect, else the
    /// local one (of an accept, the listener's).
    pub fn subject(&self) -> Endpoint {
        match (self.kind, self.peer) {
            (Kind::Connect, Some(destination)) => destination,
            _ => Endpoint {
                address: self.socket.address,
                port: self.socket.port,
            },
        }
    }

    /// Who can reach the end that the event is about, or whom it reaches: see [`Scope`].
    pub fn scope(&self) -> Scope {
        Scope::of(self.subject().address)
    }

    /// Whether the kernel chose the port that the event is about; `None` where that is not known. Of a connect or an accept the
    /// socket's own port is another one, or says nothing: a client's is nearly always automatic.
    pub fn automatic(&self) -> Option<bool> {
        let is_local = !matches!(self.kind, Kind::Connect | Kind::Accept);
        (is_local && self.source != Source::Tables).then_some(self.socket.automatic)
    }

    /// Whether it was found and not seen to happen.
    pub fn is_found(&self) -> bool {
        matches!(self.source, Source::OpenFiles | Source::Tables)
    }

    /// Whether what this unlisten ends had listened; `None` where that is not known. The tracepoint sees the states of a socket
    /// alone: both a listen that fails and a `shutdown()` lead from LISTEN to CLOSE. Which it was the socket itself tells, unless
    /// it had listened before. A listen that fails does so within one call, so by the same process.
    pub fn had_listened(&self) -> Option<bool> {
        if self.listened || self.holder.0 != self.opener.tgid {
            Some(true)
        } else {
            self.refused.then_some(false)
        }
    }

    /// Whether this opens a listener: a listen, or a bind of UDP. A listen whose result stays unknown counts.
    pub fn opens_listener(&self) -> bool {
        let opens = match self.kind {
            Kind::Listen => true,
            Kind::Bind => self.socket.protocol == Protocol::Udp,
            _ => false,
        };
        opens && !matches!(self.outcome, Outcome::Failed(_))
    }
}

impl Socket {
    /// Who can reach it: everyone on any address, this host alone, or one address.
    pub fn scope(&self) -> Scope {
        Scope::of(self.address)
    }

    /// Whether an IPv6 socket also takes IPv4; `None` where the question makes no sense.
    pub fn dual_stack(&self) -> Option<bool> {
        match (self.family, self.address) {
            (Family::Ipv6, IpAddr::V6(address)) if address.is_unspecified() => Some(!self.v6only),
            _ => None,
        }
    }
}

/// Who can reach a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Every address of the namespace.
    Wildcard,
    /// Loopback addresses alone.
    Loopback,
    /// One address.
    Address,
}

impl Scope {
    /// The scope of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_unspecified() {
            Self::Wildcard
        } else if address.is_loopback() {
            Self::Loopback
        } else {
            Self::Address
        }
    }

    /// The name in events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wildcard => "wildcard",
            Self::Loopback => "loopback",
            Self::Address => "address",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
