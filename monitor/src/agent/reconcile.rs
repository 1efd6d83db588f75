//! Listeners that are in the inventory and listen no more: what a lost end leaves behind.

use std::collections::HashSet;

use crate::{
    event::{Event, Kind, Outcome, Protocol, SocketKey},
    inventory::Inventory,
    snapshot::{Answer, Confirmer, Query},
};

/// Ticks between two looks where nothing was lost: a minute.
const REGULARLY: u64 = 60;

/// Looks after a loss, one a tick.
const LOOKS: u32 = 5;

/// When to look, and who was found missing the last time.
///
/// A listener goes only when it was missing in two looks, a tick apart. By then its end has been read if there was one: it
/// may wait in the ring at the first look. And a table that changes while it is read may leave a socket out.
#[derive(Debug, Default)]
pub(super) struct Reconcile {
    /// Looks that are still due since ends were lost. Several: a listen whose result is still open comes into the inventory
    /// later.
    due: u32,
    suspects: HashSet<SocketKey>,
}

impl Reconcile {
    /// Something was lost. Ends are lost where ring or queue were full or the kernel left a hook out; those that are never
    /// reported, since the kernel side's map was full, are found by the regular look.
    pub(super) fn lost(&mut self, edge: &str) {
        match edge {
            "ring_unlisten" | "hook" | "queue" => self.due = LOOKS,
            _ => {}
        }
    }

    /// The listeners that have ended unnoticed. Asked once a tick; looks where something was lost, and once a minute.
    pub(super) fn ended<T>(
        &mut self,
        tick: u64,
        inventory: &Inventory<T>,
        confirmer: &mut Confirmer,
        bound: impl FnOnce() -> Option<HashSet<SocketKey>>,
    ) -> Vec<SocketKey> {
        let regular = tick.is_multiple_of(REGULARLY);
        if self.due == 0 && !regular && self.suspects.is_empty() {
            return Vec::new();
        }
        self.due = self.due.saturating_sub(1);
        let (keys, queries): (Vec<_>, Vec<_>) = inventory
            .iter()
            .filter(|listener| listener.opened.socket.protocol == Protocol::Tcp)
            .map(|listener| (listener.opened.socket.key, query(&listener.opened)))
            .unzip();
        let answers = confirmer.look(&queries);
        // One whose namespace cannot be looked into stays.
        let mut missing: HashSet<_> = keys
            .into_iter()
            .zip(answers)
            .filter(|(_, answer)| *answer == Answer::NotListening)
            .map(|(key, _)| key)
            .collect();
        // Of UDP the kernel side knows itself what is still bound.
        if let Some(bound) = bound() {
            let udp = inventory
                .iter()
                .filter(|listener| listener.opened.socket.protocol == Protocol::Udp);
            missing.extend(
                udp.map(|listener| listener.opened.socket.key)
                    .filter(|key| !bound.contains(key)),
            );
        }
        let (ended, suspects): (HashSet<_>, _) = missing.into_iter().partition(|key| self.suspects.contains(key));
        self.suspects = suspects;
        ended.into_iter().collect()
    }
}

fn query(event: &Event) -> Query {
    Query {
        netns: event.socket.netns,
        inode: event.socket.inode,
        tid: event.opener.tid,
        port: event.socket.port,
    }
}

/// The end of a listener that nobody reported: now, and by nobody known.
pub(super) fn end_of(opened: &Event, now: u64) -> Event {
    Event {
        kind: Kind::Unlisten,
        time: now,
        outcome: Outcome::Succeeded,
        holder: (0, String::new()),
        ..opened.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::{mem::offset_of, net::TcpListener};

    use monitor_common::Record;

    use super::*;
    use crate::{event::tests::RecordBytes, identity::Paths, inventory::Listener};

    /// A record of this socket in this process's own namespace.
    fn listening(key: u64, inode: u64, port: u16) -> Event {
        let netns = std::fs::read_link("/proc/self/ns/net").unwrap();
        let netns: u32 = netns.to_str().unwrap()[5..].trim_end_matches(']').parse().unwrap();
        let mut record = RecordBytes::listen();
        record.put(offset_of!(Record, socket), &key.to_ne_bytes());
        record.put(offset_of!(Record, inode), &inode.to_ne_bytes());
        record.put(offset_of!(Record, port), &port.to_ne_bytes());
        record.put(offset_of!(Record, netns), &netns.to_ne_bytes());
        record.decode()
    }

    #[test]
    fn a_listener_that_is_gone_is_found_and_one_that_listens_or_cannot_be_seen_is_left() {
        let open = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let inode = rustix::fs::fstat(&open).unwrap().st_ino;
        let mut inventory = Inventory::default();
        let mut elsewhere = listening(3, 5, 1992);
        elsewhere.socket.netns = 1;
        for opened in [
            listening(1, inode, open.local_addr().unwrap().port()),
            listening(2, 1, 1992),
            elsewhere,
        ] {
            inventory.keep(Listener { opened, known: () });
        }
        let mut confirmer = Confirmer::new(&Paths::default());
        let mut reconcile = Reconcile::default();
        let mut look = |reconcile: &mut Reconcile, tick| reconcile.ended(tick, &inventory, &mut confirmer, || None);
        assert_eq!(look(&mut reconcile, 1), [], "nothing was lost");
        reconcile.lost("ring_unlisten");
        assert_eq!(look(&mut reconcile, 2), [], "its end may still be read");
        assert_eq!(look(&mut reconcile, 3), [SocketKey::new(2)]);
        reconcile.lost("stdout");
        assert_eq!(look(&mut reconcile, 4), []);
    }

    #[test]
    fn it_looks_once_a_minute_whatever_happens() {
        let mut inventory = Inventory::default();
        inventory.keep(Listener {
            opened: listening(2, 1, 1992),
            known: (),
        });
        let mut confirmer = Confirmer::new(&Paths::default());
        let mut reconcile = Reconcile::default();
        for (tick, found) in [(59, 0), (60, 0), (61, 1), (62, 0)] {
            assert_eq!(
                reconcile.ended(tick, &inventory, &mut confirmer, || None).len(),
                found,
                "tick {tick}"
            );
        }
    }

    #[test]
    fn a_udp_socket_goes_when_the_kernel_side_no_longer_has_it() {
        let mut inventory = Inventory::default();
        for key in [1, 2] {
            let mut opened = listening(key, key, 1992);
            opened.socket.protocol = Protocol::Udp;
            inventory.keep(Listener { opened, known: () });
        }
        let mut confirmer = Confirmer::new(&Paths::default());
        let mut reconcile = Reconcile::default();
        reconcile.lost("ring_unlisten");
        let mut look = |tick| {
            let bound = || Some(HashSet::from([SocketKey::new(2)]));
            reconcile.ended(tick, &inventory, &mut confirmer, bound)
        };
        assert_eq!(look(1), []);
        assert_eq!(look(2), [SocketKey::new(1)]);
    }

    #[test]
    fn an_end_that_nobody_reported_has_no_holder() {
        let end = end_of(&listening(1, 1, 1992), 7);
        assert_eq!((end.kind, end.time, end.holder.0), (Kind::Unlisten, 7, 0));
    }
}
