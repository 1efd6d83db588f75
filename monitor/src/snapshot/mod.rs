//! What listens now: asked of the kernel, not remembered from events.
//!
//! Two ways give the same rows: `sock_diag` (netlink; quick, and whole) and `proc_net` (/proc/PID/net/tcp and tcp6; where
//! the kernel has no INET_DIAG, and for other network namespaces without entering them). `confirm` uses them to learn
//! what became of a `listen()` whose result the tracepoint does not show; `namespaces` finds a way into a namespace;
//! `owners` says which processes hold a socket.
//!
//! The snapshot of all namespaces (a BPF iterator, with these ways as fallback), bound UDP sockets and the holders of
//! every socket belong here too, beside these files.

pub mod confirm;
pub mod namespaces;
pub mod owners;
pub mod proc_net;
pub mod sock_diag;
pub mod whole;

use std::collections::HashSet;
use std::net::IpAddr;

pub use crate::event::Family;
pub use confirm::{Answer, Confirmer, Query, Unseen};
pub use sock_diag::Dumper;

/// A TCP socket in state LISTEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListeningSocket {
    /// Inode of the socket, as /proc/PID/fd shows it; 0 where no file belongs to it (a kernel's socket, or one in
    /// flight). The first subflow of an MPTCP socket has the inode of the MPTCP socket.
    pub inode: u64,
    /// Protocol.
    pub protocol: crate::event::Protocol,
    /// x
    pub v6only: Option<bool>,
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
    /// Backlog as the kernel took it; `None` from /proc, which does not have it.
    pub backlog: Option<u32>,
    /// Index of the interface that the socket is bound to, 0 for none; `None` from /proc, which does not have it.
    pub interface: Option<u32>,
}

/// Leaves each socket once. The kernel goes on with a long table by counting places, so one that changes meanwhile may
/// show a socket twice (and may leave one out, which the next look finds).
fn each_once(sockets: &mut Vec<ListeningSocket>) {
    let mut seen = HashSet::with_capacity(sockets.len());
    sockets.retain(|socket| socket.inode == 0 || seen.insert(socket.inode));
}

#[cfg(test)]
mod tests;
