//! Who holds a socket, and who has a port that is wanted: for an operator's question.

use std::collections::HashSet;
use std::fs;
use std::net::IpAddr;
use std::num::NonZero;
use std::path::Path;

pub use super::Holder;
use super::{Confirmer, ListeningSocket, holders};
use crate::identity::{Paths, Users};

/// The processes that hold the socket `inode`, lowest pid first. Without CAP_SYS_PTRACE those of other users are not
/// seen; inode 0 is nobody's. Costs a walk over all processes: for many sockets see [`super::Looker`].
#[must_use]
pub fn holders_of(procfs: &Path, inode: u64) -> Vec<Holder> {
    let wanted: HashSet<u64> = Some(inode).filter(|inode| *inode != 0).into_iter().collect();
    let mut found = holders::walk(procfs, &wanted, NonZero::<usize>::MIN);
    found.by_inode.remove(&inode).unwrap_or_default()
}

/// Who listens on TCP `port` in this process's network namespace, so that `address` cannot: such as
/// `nginx (pid 812, user www-data)`, with `and 3 more` where several share the socket. `None` where nobody does.
#[must_use]
pub fn who_listens(paths: &Paths, port: u16, address: IpAddr) -> Option<String> {
    let sockets = Confirmer::new(paths).own_namespace(&[port]).ok()?;
    let socket = sockets
        .iter()
        .find(|socket| socket.port == port && in_the_way(socket, address))?;
    let mut users = Users::new(paths.rootfs.clone());
    let mut user = |uid: u32| users.name(uid).map_or_else(|| uid.to_string(), str::to_owned);
    let holders = holders_of(&paths.procfs, socket.inode);
    let Some(first) = holders.first() else {
        return Some(format!(
            "a socket of user {}, whose process this user may not see",
            user(socket.uid)
        ));
    };
    if first.pid == std::process::id() {
        return Some("this agent itself, on another of its addresses,".to_owned());
    }
    let uid = uid(&paths.procfs, first.pid).unwrap_or(socket.uid);
    let more = match holders.len() {
        1 => String::new(),
        all => format!(" and {} more", all - 1),
    };
    Some(format!("{} (pid {}, user {}){more}", first.comm, first.pid, user(uid)))
}

/// Whether a socket that listens keeps another from `address`: the same one, or either is the wildcard that covers the
/// other. An IPv6 wildcard covers IPv4 unless IPV6_V6ONLY is set; where that is not known it is taken to cover.
fn in_the_way(socket: &ListeningSocket, address: IpAddr) -> bool {
    let (theirs, ours) = (socket.address.to_canonical(), address.to_canonical());
    let covers = |wildcard: IpAddr, other: IpAddr| {
        let both = wildcard.is_ipv6() && socket.v6only != Some(true);
        wildcard.is_unspecified() && (both || wildcard.is_ipv4() == other.is_ipv4())
    };
    theirs == ours || covers(theirs, ours) || covers(ours, theirs)
}

/// The effective user id: the second number of `Uid:` in /proc/PID/status.
fn uid(procfs: &Path, pid: u32) -> Option<u32> {
    let status = fs::read(procfs.join(pid.to_string()).join("status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))?
        .split_ascii_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Family, Protocol};

    #[test]
    fn wildcards_are_in_the_way_of_what_they_cover() {
        let rows = [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0", "127.0.0.1", true),
            ("127.0.0.1", "0.0.0.0", true),
            ("::", "127.0.0.1", true),
            ("0.0.0.0", "::1", false),
            ("::1", "127.0.0.1", false),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
        ];
        for (theirs, ours, expected) in rows {
            let address: IpAddr = theirs.parse().unwrap();
            let family = if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
            let mut socket = ListeningSocket {
                protocol: Protocol::Tcp,
                inode: 1,
                family,
                address,
                port: 1,
                uid: 0,
                cookie: None,
                backlog: None,
                v6only: None,
            };
            assert_eq!(
                in_the_way(&socket, ours.parse().unwrap()),
                expected,
                "{theirs} and {ours}"
            );
            // What is of one family is in the way with IPV6_V6ONLY too.
            socket.v6only = Some(true);
            let same = theirs.contains(':') == ours.contains(':');
            if socket.address.is_unspecified() && socket.address.is_ipv6() {
                assert_eq!(
                    in_the_way(&socket, ours.parse().unwrap()),
                    expected && same,
                    "{theirs} alone and {ours}"
                );
            }
        }
    }
}
