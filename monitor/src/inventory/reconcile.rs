//! What a look at all that listens says against the inventory. Pure: the look comes in, differences come out.
//!
//! A look takes time, and the kernel's tables change under it. So a difference counts once two looks in a row found it: by
//! then an event that explains it has been read. Only what the very first look finds is taken at once, since nothing told of it
//! before.

use std::collections::{HashMap, HashSet};

use monitor_common::UDP_COUNTS_AFTER;

use super::Inventory;
use crate::event::{Event, Holder, SocketKey, Source};

/// Looks after a loss: several, since a listen whose result is still open comes into the inventory later.
const LOOKS: u32 = 5;

/// Looks after the first one that found UDP sockets on ports that nothing names: by the last they have been there for two
/// seconds.
const FIRST_LOOKS: u32 = 3;

/// Sockets whose end is remembered while a look is under way. Past it nothing that the look alone has is believed.
const ENDED_MAX: usize = 65_536;

/// A socket that a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighted {
    /// It, as if its opening was told now.
    pub event: Event,
    /// Who holds it; nobody where it is the kernel's own, or in flight between processes.
    pub holders: Vec<Holder>,
}

/// What a look found.
#[derive(Debug, Default)]
pub struct Look {
    /// When it began: nanoseconds since boot.
    pub began: u64,
    /// Each listener, once.
    pub sockets: Vec<Sighted>,
    /// Whether all descriptors of all processes were looked at by the kernel side, in whatever namespace.
    pub saw_all_files: bool,
    /// Inodes of the namespaces whose tables were read.
    pub namespaces: HashSet<u32>,
}

/// What the inventory has wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Listeners that it has not.
    pub missed: Vec<Sighted>,
    /// Those of them that the first look found already.
    pub existing: Vec<Sighted>,
    /// Listeners that it has, and that are gone.
    pub ended: Vec<SocketKey>,
}

/// A socket that is not certain yet: with its inode, since the next one may have the same memory.
type Uncertain = (SocketKey, u64);

/// When to look, and what the last look found that is not certain yet.
#[derive(Debug, Default)]
pub struct Reconcile {
    /// Looks that are still due.
    due: u32,
    /// Looks there were.
    looks: u64,
    /// Listeners that the last look did not find.
    suspects: HashSet<Uncertain>,
    /// Sockets that were found and are not known, with when they first were.
    newcomers: HashMap<Uncertain, u64>,
    /// When the first look began.
    first: u64,
    /// Whether one of them is worth a look of its own.
    is_open: bool,
    /// The sockets whose end was told since the look that is under way began, with when; `None` where there is none.
    ended: Option<Ended>,
}

/// Sockets that ended while they were looked for: by key, and by namespace and inode, which is all that tables show.
#[derive(Debug, Default)]
struct Ended {
    by_key: HashMap<SocketKey, u64>,
    by_inode: HashSet<(u32, u64)>,
}

impl Ended {
    /// Whether a socket that was found has ended since. What ended before may have had the same memory.
    fn has(&self, event: &Event) -> bool {
        let by_key = self.by_key.get(&event.socket.key);
        self.by_key.len() >= ENDED_MAX
            || by_key.is_some_and(|time| *time >= event.time)
            || (event.source == Source::Tables && self.by_inode.contains(&(event.socket.netns, event.socket.inode)))
    }
}

impl Reconcile {
    /// Something was lost that the inventory lives by: listens, ends or binds.
    pub fn lost(&mut self) {
        self.due = LOOKS;
    }

    /// It is time for a look.
    pub fn regular(&mut self) {
        self.due = self.due.max(1);
    }

    /// Whether there should be a look now. Asked once a second, while none is under way.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.due > 0 || self.is_open || !self.suspects.is_empty();
        self.due = self.due.saturating_sub(1);
        is_due
    }

    /// A look begins.
    pub fn begin(&mut self) {
        self.ended = Some(Ended::default());
    }

    /// The look that was under way failed.
    pub fn fail(&mut self) {
        self.ended = None;
    }

    /// The end of a socket was told.
    pub fn saw_end(&mut self, end: &Event) {
        if let Some(ended) = self.ended.as_mut().filter(|ended| ended.by_key.len() < ENDED_MAX) {
            ended.by_key.insert(end.socket.key, end.time);
            ended.by_inode.insert((end.socket.netns, end.socket.inode));
        }
    }

    /// Compares a look with the inventory, and takes from it who holds what. `waits` says of a socket whether its listen is
    /// known and has no result yet; `now` is in nanoseconds since boot.
    pub fn merge<T: Clone>(
        &mut self,
        look: Look,
        inventory: &mut Inventory<T>,
        waits: impl Fn(&Event) -> bool,
        now: u64,
    ) -> Differences {
        let told = self.ended.take().unwrap_or_default();
        let is_first = self.looks == 0;
        if is_first {
            self.first = look.began;
        }
        self.looks += 1;
        let mut differences = Differences::default();
        let mut present = HashSet::with_capacity(look.sockets.len());
        let (mut newcomers, mut is_open) = (HashMap::new(), false);
        for sighted in look.sockets {
            let event = &sighted.event;
            if let Some(key) = inventory.find(&event.socket) {
                present.insert(key);
                inventory.held_by(key, sighted.holders);
                continue;
            }
            let key = event.socket.key;
            if told.has(event) || waits(event) {
                continue;
            }
            let newcomer = (key, event.socket.inode);
            let known_since = self.newcomers.get(&newcomer).copied();
            let since = known_since.unwrap_or(look.began);
            let is_certain = if event.late {
                known_since.is_some() && now.saturating_sub(since) >= UDP_COUNTS_AFTER
            } else {
                is_first || known_since.is_some()
            };
            if is_certain && since <= self.first {
                differences.existing.push(sighted);
            } else if is_certain {
                differences.missed.push(sighted);
            } else {
                // A UDP socket on any port waits for the next regular look, since there is always one that has just come; the
                // first looks are for those that were there before.
                is_open |= !event.late;
                newcomers.insert(newcomer, since);
            }
        }
        if is_first && !newcomers.is_empty() {
            self.due = FIRST_LOOKS;
        }
        (self.newcomers, self.is_open) = (newcomers, is_open);
        let reached = |event: &Event| {
            // A socket of the kernel is in no process's hands.
            look.namespaces.contains(&event.socket.netns) || (look.saw_all_files && !event.socket.kernel)
        };
        let missing: HashSet<_> = inventory
            .iter()
            .map(|listener| &listener.opened)
            .filter(|opened| opened.time < look.began && !present.contains(&opened.socket.key) && reached(opened))
            .map(|opened| (opened.socket.key, opened.socket.inode))
            .collect();
        let (ended, suspects): (HashSet<_>, _) = missing.into_iter().partition(|gone| self.suspects.contains(gone));
        self.suspects = suspects;
        differences.ended = ended.into_iter().map(|(key, _)| key).collect();
        differences
    }
}

/// Whether what is lost at this edge leaves the inventory wrong.
pub fn is_missed(edge: &str) -> bool {
    matches!(
        edge,
        "ring_listen" | "ring_unlisten" | "ring_bind" | "hook" | "queue" | "decode" | "udp_map"
    )
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use monitor_common::{FLAG_EXISTING, FLAG_LATE, KIND_BIND, Record};

    use super::*;
    use crate::{
        event::tests::RecordBytes,
        inventory::{Change, Listener},
    };

    const NETNS: u32 = 4_026_531_840;
    const NOW: u64 = 60_000_000_000;

    fn found(key: u64, flags: u32) -> Event {
        let mut record = RecordBytes::listen();
        record.put(offset_of!(Record, socket), &key.to_ne_bytes());
        record.put(offset_of!(Record, inode), &(1000 + key).to_ne_bytes());
        record.put(offset_of!(Record, time), &NOW.to_ne_bytes());
        record.put(offset_of!(Record, flags), &(flags | FLAG_EXISTING).to_ne_bytes());
        if flags & FLAG_LATE != 0 {
            record.put(offset_of!(Record, kind), &KIND_BIND.to_ne_bytes());
            record.put(offset_of!(Record, protocol), &17u16.to_ne_bytes());
        }
        record.decode()
    }

    fn holder(pid: u32) -> Holder {
        Holder {
            pid,
            comm: "x".to_owned(),
            start_time: 1,
        }
    }

    fn look(keys: &[u64]) -> Look {
        let sockets = keys.iter().map(|key| Sighted {
            event: found(*key, 0),
            holders: vec![holder(7), holder(8)],
        });
        Look {
            began: NOW,
            sockets: sockets.collect(),
            saw_all_files: true,
            namespaces: HashSet::from([NETNS]),
        }
    }

    fn with(keys: &[u64]) -> Inventory<()> {
        let mut inventory = Inventory::default();
        for key in keys {
            let mut opened = found(*key, 0);
            opened.time = 5;
            inventory.keep(Listener::new(opened, ()));
        }
        inventory
    }

    fn merge(reconcile: &mut Reconcile, inventory: &mut Inventory<()>, look: Look) -> (Vec<SocketKey>, Vec<SocketKey>) {
        let differences = reconcile.merge(look, inventory, |_| false, NOW);
        let found = differences.existing.iter().chain(&differences.missed);
        (
            found.map(|sighted| sighted.event.socket.key).collect(),
            differences.ended,
        )
    }

    fn after_the_first() -> Reconcile {
        let mut reconcile = Reconcile::default();
        merge(&mut reconcile, &mut with(&[]), look(&[]));
        reconcile
    }

    #[test]
    fn what_the_first_look_finds_is_taken_at_once_and_later_ones_need_a_second() {
        let mut inventory = with(&[]);
        let mut reconcile = Reconcile::default();
        assert_eq!(merge(&mut reconcile, &mut inventory, look(&[1])).0, [SocketKey::new(1)]);
        inventory.keep(Listener::new(found(1, 0), ()));
        assert_eq!(merge(&mut reconcile, &mut inventory, look(&[1, 2])).0, []);
        assert!(reconcile.is_due(), "what is uncertain is looked at again");
        assert_eq!(
            merge(&mut reconcile, &mut inventory, look(&[1, 2])).0,
            [SocketKey::new(2)]
        );
        inventory.keep(Listener::new(found(2, 0), ()));
        assert_eq!(merge(&mut reconcile, &mut inventory, look(&[1, 2])), (vec![], vec![]));
        assert!(!reconcile.is_due());
    }

    #[test]
    fn two_sockets_in_the_same_memory_are_not_one_that_two_looks_found() {
        let mut inventory = with(&[]);
        let mut reconcile = after_the_first();
        for inode in 1..4 {
            let mut churning = look(&[1]);
            churning.sockets[0].event.socket.inode = inode;
            assert_eq!(merge(&mut reconcile, &mut inventory, churning).0, []);
        }
    }

    #[test]
    fn one_in_the_memory_of_a_listener_whose_end_was_lost_is_found_and_that_end_too() {
        let mut inventory = with(&[1]);
        let mut reconcile = after_the_first();
        let successor = || {
            let mut look = look(&[1]);
            look.sockets[0].event.socket.inode += 1;
            look
        };
        assert_eq!(merge(&mut reconcile, &mut inventory, successor()), (vec![], vec![]));
        let (found, ended) = merge(&mut reconcile, &mut inventory, successor());
        assert_eq!((found, ended), (vec![SocketKey::new(1)], vec![SocketKey::new(1)]));
    }

    #[test]
    fn one_that_two_looks_miss_has_ended_and_one_that_comes_back_has_not() {
        let mut inventory = with(&[1, 2]);
        let mut reconcile = after_the_first();
        assert_eq!(merge(&mut reconcile, &mut inventory, look(&[2])).1, []);
        assert_eq!(merge(&mut reconcile, &mut inventory, look(&[1])).1, []);
        assert_eq!(merge(&mut reconcile, &mut inventory, look(&[1])).1, [SocketKey::new(2)]);
    }

    #[test]
    fn one_that_opened_after_the_look_began_is_not_missing_in_it() {
        let mut inventory = with(&[]);
        let mut opened = found(1, 0);
        opened.time = NOW + 1;
        inventory.keep(Listener::new(opened, ()));
        let mut reconcile = after_the_first();
        for _ in 0..3 {
            assert_eq!(merge(&mut reconcile, &mut inventory, look(&[])).1, []);
        }
    }

    #[test]
    fn one_that_cannot_be_looked_for_stays() {
        let mut inventory = with(&[1]);
        let mut reconcile = after_the_first();
        let blind = || Look {
            saw_all_files: false,
            namespaces: HashSet::from([1]),
            ..look(&[])
        };
        for _ in 0..3 {
            assert_eq!(merge(&mut reconcile, &mut inventory, blind()).1, []);
        }
        // A socket of the kernel has no descriptor that a look at files could find.
        let mut kernels = found(2, 0);
        (kernels.time, kernels.socket.kernel) = (5, true);
        inventory.keep(Listener::new(kernels, ()));
        let files = || Look {
            namespaces: HashSet::new(),
            ..look(&[1])
        };
        for _ in 0..3 {
            assert_eq!(merge(&mut reconcile, &mut inventory, files()).1, []);
        }
    }

    #[test]
    fn what_ended_or_waits_while_it_was_looked_at_is_not_found() {
        let mut inventory = with(&[]);
        let mut reconcile = Reconcile::default();
        reconcile.begin();
        for (key, time) in [(1, NOW + 1), (2, NOW - 1), (4, NOW + 1)] {
            let mut end = found(key, 0);
            end.time = time;
            reconcile.saw_end(&end);
        }
        // The tables are stamped when they were read, and know no addresses.
        let mut by_tables = look(&[1, 2, 3, 4]);
        let last = &mut by_tables.sockets[3].event;
        (last.time, last.source) = (NOW + 5, Source::Tables);
        last.socket.key = SocketKey::of_tables(Some(77), NETNS, last.socket.inode);
        let differences = reconcile.merge(
            by_tables,
            &mut inventory,
            |event| event.socket.key == SocketKey::new(3),
            NOW,
        );
        let missed: Vec<_> = differences
            .existing
            .iter()
            .map(|sighted| sighted.event.socket.key)
            .collect();
        assert_eq!(
            missed,
            [SocketKey::new(2)],
            "the memory of one that ended before may be another's"
        );
    }

    #[test]
    fn a_udp_socket_that_nothing_names_counts_once_it_has_been_there_for_two_seconds() {
        let mut inventory = with(&[]);
        let mut reconcile = Reconcile::default();
        let resolver = |began| Look {
            began,
            sockets: vec![Sighted {
                event: found(1, FLAG_LATE),
                holders: Vec::new(),
            }],
            ..look(&[])
        };
        let mut missed = |began| {
            let differences = reconcile.merge(resolver(began), &mut inventory, |_| false, began);
            assert_eq!(differences.missed, [], "it was there at the first look");
            differences.existing.len()
        };
        assert_eq!(missed(NOW), 0);
        assert_eq!(missed(NOW + UDP_COUNTS_AFTER - 1), 0);
        assert_eq!(missed(NOW + UDP_COUNTS_AFTER), 1);
    }

    #[test]
    fn a_look_says_who_holds_a_listener_now_and_knows_one_without_its_address() {
        let mut inventory = with(&[1]);
        let mut reconcile = after_the_first();
        let mut by_tables = look(&[1]);
        by_tables.sockets[0].event.socket.key = SocketKey::of_tables(None, NETNS, 1001);
        assert_eq!(merge(&mut reconcile, &mut inventory, by_tables), (vec![], vec![]));
        let listener = inventory.iter().next().unwrap();
        assert_eq!(listener.holders, [holder(7), holder(8)]);
    }

    #[test]
    fn the_event_of_a_listener_that_a_look_found_first_is_no_second_one() {
        let mut inventory = with(&[1]);
        let mut event = found(1, 0);
        event.source = Source::Hook;
        assert_eq!(inventory.apply(event), Change::Known(SocketKey::new(1)));
        assert_eq!(inventory.len(), 1);
    }

    #[test]
    fn it_looks_after_a_loss_and_when_it_is_time_and_else_not() {
        let mut reconcile = after_the_first();
        assert!(!reconcile.is_due());
        reconcile.regular();
        assert!(reconcile.is_due() && !reconcile.is_due());
        reconcile.lost();
        assert_eq!((0..9).filter(|_| reconcile.is_due()).count(), 5);
        assert!(is_missed("ring_unlisten") && is_missed("ring_listen") && !is_missed("stdout"));
    }
}
