//! Typed events: the kernel side's records, decoded.

mod errno;

use std::{
    fmt,
    mem::offset_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

pub use errno::errno_name;
use monitor_common::{
    FLAG_AUTOMATIC, FLAG_CLOSED, FLAG_KERNEL_SOCKET, FLAG_KERNEL_THREAD, FLAG_REUSEPORT, FLAG_UNCONFIRMED, FLAG_V6ONLY,
    KIND_ACCEPT, KIND_BIND, KIND_CONNECT, KIND_LISTEN, KIND_UNLISTEN, Record,
};

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
    Unknown(u32),
}

impl From<u32> for Kind {
    fn from(kind: u32) -> Self {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// Local address; an IPv4-mapped one is given as IPv4.
    pub address: IpAddr,
    /// Local port.
    pub port: u16,
    /// Whether the kernel chose the port.
    pub automatic: bool,
    /// IPV6_V6ONLY.
    pub v6only: bool,
    /// SO_REUSEPORT.
    pub reuseport: bool,
    /// Whether it belongs to the kernel.
    pub kernel: bool,
    /// Backlog of `listen()`.
    pub backlog: u32,
    /// Index of the interface it is bound to; 0 for none.
    pub interface: u32,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// When: nanoseconds since boot.
    pub time: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The socket.
    pub socket: Socket,
    /// Who opened it.
    pub opener: Actor,
    /// Id of the opener's cgroup (v2).
    pub cgroup: u64,
    /// Process id and name of who caused this event: for an unlisten the last holder.
    pub holder: (u32, String),
    /// For an unlisten of the tracepoint backend: the socket was closed, so it had listened.
    pub closed: bool,
}

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than a record has.
    Short(usize),
    /// A family that no hook reports.
    Family(u16),
    /// A protocol that no hook reports.
    Protocol(u16),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(length) => write!(f, "a record of {length} bytes is shorter than {}", Record::SIZE),
            Self::Family(family) => write!(f, "a record of the unknown address family {family}"),
            Self::Protocol(protocol) => write!(f, "a record of the unknown protocol {protocol}"),
        }
    }
}

impl std::error::Error for DecodeError {}

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;

/// Takes `N` bytes at a field's offset. `None` where the record is shorter.
fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

macro_rules! read {
    ($bytes:ident, $type:ty, $field:ident) => {
        <$type>::from_ne_bytes(
            take(Record::fits($bytes)?, offset_of!(Record, $field)).ok_or(DecodeError::Short($bytes.len()))?,
        )
    };
}

/// Checks the length before any field is taken.
trait Fits {
    fn fits(bytes: &[u8]) -> Result<&[u8], DecodeError>;
}

impl Fits for Record {
    fn fits(bytes: &[u8]) -> Result<&[u8], DecodeError> {
        if bytes.len() < Self::SIZE {
            Err(DecodeError::Short(bytes.len()))
        } else {
            Ok(bytes)
        }
    }
}

/// A name of the kernel's: up to the first NUL, whatever lies behind it.
fn name(bytes: [u8; 16]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn address_of(family: Family, bytes: [u8; 16]) -> IpAddr {
    match family {
        Family::Ipv4 => {
            let [a, b, c, d, ..] = bytes;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        // `::ffff:a.b.c.d` is IPv4 to everyone who reads it.
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical(),
    }
}

impl Event {
    /// Decodes a record of the ring. Bytes behind the record are left alone; a kind that is not known is data.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let sixteen = |at| take::<16>(bytes, at).ok_or(DecodeError::Short(bytes.len()));
        let flags = read!(bytes, u32, flags);
        let has = |flag| flags & flag != 0;
        let family = match read!(bytes, u16, family) {
            AF_INET => Family::Ipv4,
            AF_INET6 => Family::Ipv6,
            other => return Err(DecodeError::Family(other)),
        };
        let protocol = match read!(bytes, u16, protocol) {
            IPPROTO_TCP => Protocol::Tcp,
            IPPROTO_UDP => Protocol::Udp,
            other => return Err(DecodeError::Protocol(other)),
        };
        let kind = read!(bytes, u32, kind).into();
        let outcome = match read!(bytes, i32, result) {
            // An end carries the flags of its listen; that it ended is certain.
            _ if kind == Kind::Unlisten => Outcome::Succeeded,
            _ if has(FLAG_UNCONFIRMED) => Outcome::Unconfirmed,
            error @ ..0 => Outcome::Failed(Some(error.saturating_neg())),
            0.. => Outcome::Succeeded,
        };
        let cookie = read!(bytes, u64, cookie);
        Ok(Self {
            kind,
            time: read!(bytes, u64, time),
            outcome,
            socket: Socket {
                key: SocketKey(read!(bytes, u64, socket)),
                inode: read!(bytes, u64, inode),
                cookie: (cookie != 0).then_some(cookie),
                netns: read!(bytes, u32, netns),
                family,
                protocol,
                address: address_of(family, sixteen(offset_of!(Record, address))?),
                port: read!(bytes, u16, port),
                automatic: has(FLAG_AUTOMATIC),
                v6only: has(FLAG_V6ONLY),
                reuseport: has(FLAG_REUSEPORT),
                kernel: has(FLAG_KERNEL_SOCKET),
                backlog: read!(bytes, u32, backlog),
                interface: read!(bytes, u32, interface),
            },
            opener: Actor {
                tgid: read!(bytes, u32, tgid),
                tid: read!(bytes, u32, tid),
                uid: read!(bytes, u32, uid),
                start_time: read!(bytes, u64, start_time),
                comm: name(sixteen(offset_of!(Record, comm))?),
                thread: name(sixteen(offset_of!(Record, thread))?),
                kernel_thread: has(FLAG_KERNEL_THREAD),
            },
            cgroup: read!(bytes, u64, cgroup),
            holder: (
                read!(bytes, u32, holder_tgid),
                name(sixteen(offset_of!(Record, holder_comm))?),
            ),
            closed: has(FLAG_CLOSED),
        })
    }
}

impl Socket {
    /// Who can reach it: everyone on any address, this host alone, or one address.
    pub fn scope(&self) -> Scope {
        if self.address.is_unspecified() {
            Scope::Wildcard
        } else if self.address.is_loopback() {
            Scope::Loopback
        } else {
            Scope::Address
        }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Every address of the namespace.
    Wildcard,
    /// Loopback addresses alone.
    Loopback,
    /// One address.
    Address,
}

impl Scope {
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
