//! Which processes hold a socket, by walking /proc/PID/fd. Slow by nature (every descriptor of every process): for
//! one question of an operator, not for events.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::{Confirmer, ListeningSocket};
use crate::identity::{Paths, Users};

/// A process that has a descriptor of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id, as the proc file system shows it.
    pub pid: u32,
    /// Name of its main thread: at most 15 bytes, chosen by the process.
    pub comm: String,
}

/// The processes that hold the socket `inode`, lowest pid first. Without CAP_SYS_PTRACE those of other users are not
/// seen; inode 0 is nobody's.
#[must_use]
pub fn holders_of(procfs: &Path, inode: u64) -> Vec<Holder> {
    let Ok(entries) = fs::read_dir(procfs) else {
        return Vec::new();
    };
    let target = format!("socket:[{inode}]");
    let mut holders: Vec<Holder> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| inode != 0 && holds(&procfs.join(pid.to_string()), &target))
        .map(|pid| Holder {
            pid,
            comm: comm(procfs, pid),
        })
        .collect();
    holders.sort_unstable_by_key(|holder| holder.pid);
    holders
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
    let uid = uid(&paths.procfs, first.pid).unwrap_or(socket.uid);
    let more = match holders.len() {
        1 => String::new(),
        all => format!(" and {} more", all - 1),
    };
    Some(format!("{} (pid {}, user {}){more}", first.comm, first.pid, user(uid)))
}

/// Whether a socket that listens keeps another from `address`: the same one, or either is the wildcard that covers the
/// other. An IPv6 wildcard covers IPv4 unless IPV6_V6ONLY is set, which the tables do not show: it is taken to cover.
fn in_the_way(socket: &ListeningSocket, address: IpAddr) -> bool {
    let (theirs, ours) = (socket.address.to_canonical(), address.to_canonical());
    let covers = |wildcard: IpAddr, other: IpAddr| wildcard.is_unspecified() && (wildcard.is_ipv6() || other.is_ipv4());
    theirs == ours || covers(theirs, ours) || covers(ours, theirs)
}

fn holds(process: &Path, target: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors
        .filter_map(Result::ok)
        .any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|link| link.as_os_str() == target))
}

fn comm(procfs: &Path, pid: u32) -> String {
    let name = fs::read(procfs.join(pid.to_string()).join("comm")).unwrap_or_default();
    String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name)).into_owned()
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
    use crate::snapshot::Family;

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
            let socket = ListeningSocket {
                inode: 1,
                family,
                address,
                port: 1,
                uid: 0,
                cookie: None,
                backlog: None,
                interface: None,
            };
            assert_eq!(
                in_the_way(&socket, ours.parse().unwrap()),
                expected,
                "{theirs} and {ours}"
            );
        }
    }
}
