//! What listens now: asked of the kernel, not remembered from events.
//!
//! Two ways give the same rows: `sock_diag` (netlink; quick, and whole) and `proc_net` (/proc/PID/net/tcp, tcp6, udp and
//! udp6; where the kernel has no INET_DIAG, and for other network namespaces without entering them). `here` asks the
//! first, and where it fails the second, about the calling thread's namespace. `entrances` lists all namespaces and what
//! leads into each, and `namespaces` enters them. `holders` says which processes have a descriptor of a socket.
//!
//! From these [`whole`] makes the look at everything, without any BPF; `confirm` learns what became of a `listen()` whose
//! result the tracepoint does not show; `owners` says who has a port. The BPF iterator belongs beside `whole`.

pub mod confirm;
mod entrances;
mod here;
mod holders;
pub mod namespaces;
pub mod owners;
pub mod proc_net;
pub mod sock_diag;
mod walk;
pub mod whole;

use std::collections::HashSet;
use std::net::IpAddr;

pub use crate::event::{Family, Protocol};
pub use confirm::{Answer, Confirmer, Query, Unseen};
pub use entrances::Entrance;
pub use holders::Holder;
pub use sock_diag::Dumper;
pub use whole::{Found, Looker, Way, Whole};

/// Sockets that one look keeps, of all namespaces together: some 25 MiB. A user without rights can open more.
pub const MAX_SOCKETS: usize = 1 << 18;

/// A TCP socket in state LISTEN, or a UDP socket that is bound and has no peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListeningSocket {
    /// Transport protocol. An MPTCP listener shows as its first subflow, which is TCP.
    pub protocol: Protocol,
    /// Inode of the socket, as /proc/PID/fd shows it; 0 where it has none any more. A socket in flight keeps its own,
    /// and most of the kernel's have one. The first subflow of an MPTCP socket has the inode of the MPTCP socket.
    pub inode: u64,
    /// Family of the socket, which that of `address` follows.
    pub family: Family,
    /// Local address, as the socket has it: IPv4-mapped ones of IPv6 sockets stay mapped.
    pub address: IpAddr,
    /// Local port, host order.
    pub port: u16,
    /// User id of the socket, in the reader's user namespace.
    pub uid: u32,
    /// Cookie, as `ss -e` shows it; `None` from /proc, which does not have it.
    pub cookie: Option<u64>,
    /// Backlog as the kernel took it; `None` for UDP, and from /proc, which does not have it.
    pub backlog: Option<u32>,
    /// Whether an IPv6 socket takes no IPv4 (IPV6_V6ONLY); `None` for IPv4, and from /proc, which does not have it.
    pub v6only: Option<bool>,
}

/// Sockets of one namespace, as they are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// At most [`MAX_SOCKETS`], IPv4 first.
    pub sockets: Vec<ListeningSocket>,
    /// Lines of /proc that could not be read: cut short, or of a form that is not known.
    pub unread: u64,
    /// There are more than were kept.
    pub more: bool,
}

impl Rows {
    fn push(&mut self, socket: ListeningSocket) {
        if self.sockets.len() < MAX_SOCKETS {
            self.sockets.push(socket);
        } else {
            self.more = true;
        }
    }

    fn append(&mut self, other: Self) {
        self.unread += other.unread;
        self.more |= other.more;
        for socket in other.sockets {
            self.push(socket);
        }
    }
}

/// Leaves each socket once. The kernel goes on with a long table by counting places, so one that changes meanwhile may
/// show a socket twice (and may leave one out, which the next look finds).
fn each_once(sockets: &mut Vec<ListeningSocket>) {
    let mut seen = HashSet::with_capacity(sockets.len());
    sockets.retain(|socket| socket.inode == 0 || seen.insert(socket.inode));
}

#[cfg(test)]
mod tests;
