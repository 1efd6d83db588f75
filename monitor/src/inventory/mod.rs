//! The truth about now: which sockets listen. Pure: events come in, changes come out, the clock is passed in.
//!
//! [`pending`] holds listens whose result the kernel side could not know; the inventory itself takes only what is
//! settled.

pub mod pending;
pub mod reconcile;

use std::{collections::HashMap, sync::Arc};

use crate::event::{Event, Holder, Kind, Outcome, Socket, SocketKey};

/// Listeners that are kept at most. The kernel side reports ends for 16,384; more can only come from lost ends.
pub const LISTENERS_MAX: usize = 65_536;

/// A listener, with what later stages learned about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener<T> {
    /// The listen that opened it.
    pub opened: Event,
    /// What identity, registry and policy said then.
    pub known: T,
    /// Who holds it now, as the last look found: the opener may have passed it on.
    pub holders: Vec<Holder>,
}

impl<T> Listener<T> {
    /// One that was just opened: its opener holds it.
    pub fn new(opened: Event, known: T) -> Self {
        let opener = &opened.opener;
        let holders = opener.is_known().then(|| Holder {
            pid: opener.tgid,
            comm: opener.comm.clone(),
            start_time: opener.start_time,
        });
        Self {
            holders: holders.into_iter().collect(),
            opened,
            known,
        }
    }
}

/// What an event means for the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<T> {
    /// A socket listens. `replaced` is a listener whose end was lost: the kernel gave its memory to this socket.
    Opened {
        /// The listen.
        event: Box<Event>,
        /// The listener that must have ended before.
        replaced: Option<Box<Listener<T>>>,
    },
    /// It is there already: a look found it before its event was read.
    Known(SocketKey),
    /// A listen failed: there is no listener.
    Failed(Box<Event>),
    /// A listener ended.
    Closed {
        /// The end.
        event: Box<Event>,
        /// The listener; `None` where its listen was lost.
        listener: Option<Box<Listener<T>>>,
        /// As of one that opened, where both its listen and that listener's end were lost.
        replaced: Option<Box<Listener<T>>>,
    },
    /// Something happened that opens and ends no listener: a bind of TCP, or one that failed, a connect, an accept.
    Happened(Box<Event>),
    /// Nothing that this version knows.
    Ignored(Kind),
}

/// The listeners of this host, by socket.
#[derive(Debug)]
pub struct Inventory<T> {
    /// Shared, so that whoever asks for all of them is given them at once.
    listeners: HashMap<SocketKey, Arc<Listener<T>>>,
    /// The same by namespace and inode: a look through the kernel's tables knows no addresses.
    by_inode: HashMap<(u32, u64), SocketKey>,
}

impl<T> Default for Inventory<T> {
    fn default() -> Self {
        Self {
            listeners: HashMap::new(),
            by_inode: HashMap::new(),
        }
    }
}

impl<T: Clone> Inventory<T> {
    /// Says what an event changes. A socket that opened is in the inventory once [`Inventory::keep`] was called.
    pub fn apply(&mut self, event: Event) -> Change<T> {
        match event.kind {
            Kind::Listen if matches!(event.outcome, Outcome::Failed(_)) => Change::Failed(Box::new(event)),
            _ if event.opens_listener() => {
                if let Some(known) = self.same(&event) {
                    return Change::Known(known);
                }
                let replaced = self.remove(event.socket.key).map(Box::new);
                Change::Opened {
                    event: Box::new(event),
                    replaced,
                }
            }
            Kind::Unlisten => {
                let listener = self.take(&event.socket).map(Box::new);
                let replaced = self.remove(event.socket.key).map(Box::new);
                Change::Closed {
                    event: Box::new(event),
                    listener,
                    replaced,
                }
            }
            Kind::Bind | Kind::Connect | Kind::Accept => Change::Happened(Box::new(event)),
            kind => Change::Ignored(kind),
        }
    }

    /// Whether this socket is there.
    pub fn contains(&self, key: SocketKey) -> bool {
        self.listeners.contains_key(&key)
    }

    /// Keeps a socket that opened, with what became known about it. The caller asks [`Inventory::is_full`] first.
    pub fn keep(&mut self, listener: Listener<T>) {
        let socket = &listener.opened.socket;
        if socket.inode != 0 {
            self.by_inode.insert((socket.netns, socket.inode), socket.key);
        }
        self.listeners.insert(socket.key, Arc::new(listener));
    }

    /// The listener that is this socket: by its key, else by namespace and inode. One that had the same memory before it is
    /// another one: its end was lost.
    pub fn find(&self, socket: &Socket) -> Option<SocketKey> {
        let by_key = self.listeners.get(&socket.key);
        if by_key.is_some_and(|listener| listener.opened.socket.may_be(socket)) {
            return Some(socket.key);
        }
        self.by_inode.get(&(socket.netns, socket.inode)).copied()
    }

    /// The listener that a look found and whose event comes after it, or the other way round.
    fn same(&self, event: &Event) -> Option<SocketKey> {
        let key = self.find(&event.socket)?;
        let known = &self.listeners.get(&key)?.opened;
        let is_same = known.socket.inode == event.socket.inode && known.socket.netns == event.socket.netns;
        (is_same && event.socket.inode != 0 && known.is_found() != event.is_found()).then_some(key)
    }

    /// Says who holds a listener now.
    pub fn held_by(&mut self, key: SocketKey, holders: Vec<Holder>) {
        if let Some(listener) = self.listeners.get_mut(&key) {
            Arc::make_mut(listener).holders = holders;
        }
    }

    /// Every listener, with what is known about it, to be changed.
    pub fn known_mut(&mut self) -> impl Iterator<Item = (&Event, &mut T)> {
        self.listeners.values_mut().map(|listener| {
            let listener = Arc::make_mut(listener);
            (&listener.opened, &mut listener.known)
        })
    }

    /// Takes out a listener whose end was not reported.
    pub fn remove(&mut self, key: SocketKey) -> Option<Listener<T>> {
        let listener = self.listeners.remove(&key)?;
        let socket = &listener.opened.socket;
        self.by_inode.remove(&(socket.netns, socket.inode));
        Some(Arc::unwrap_or_clone(listener))
    }

    /// Takes out the listener that is this socket.
    pub fn take(&mut self, socket: &Socket) -> Option<Listener<T>> {
        self.find(socket).and_then(|key| self.remove(key))
    }

    /// Gives back room that is not needed now.
    pub fn shrink(&mut self) {
        self.listeners.shrink_to_fit();
        self.by_inode.shrink_to_fit();
    }

    /// Whether there is no place for a further listener.
    pub fn is_full(&self) -> bool {
        self.listeners.len() >= LISTENERS_MAX
    }

    /// How many sockets listen.
    pub fn len(&self) -> usize {
        self.listeners.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// All listeners, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Listener<T>> {
        self.listeners.values().map(Arc::as_ref)
    }

    /// All listeners, in no order, for somebody who takes their time.
    pub fn all(&self) -> Vec<Arc<Listener<T>>> {
        self.listeners.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use monitor_common::{KIND_UNLISTEN, Record};

    use super::*;
    use crate::event::{Protocol, tests::RecordBytes};

    fn listen(socket: u64) -> Event {
        let mut record = RecordBytes::listen();
        record.put(offset_of!(Record, socket), &socket.to_ne_bytes());
        record.decode()
    }

    fn unlisten(socket: u64) -> Event {
        let mut record = RecordBytes::listen();
        record.put(offset_of!(Record, socket), &socket.to_ne_bytes());
        record.put(offset_of!(Record, kind), &KIND_UNLISTEN.to_ne_bytes());
        record.decode()
    }

    fn with(sockets: &[u64]) -> Inventory<&'static str> {
        let mut inventory = Inventory::default();
        for socket in sockets {
            assert!(matches!(
                inventory.apply(listen(*socket)),
                Change::Opened { replaced: None, .. }
            ));
            inventory.keep(Listener::new(listen(*socket), "first"));
        }
        inventory
    }

    #[test]
    fn a_listener_stays_until_its_socket_ends() {
        let mut inventory = with(&[1, 2]);
        assert_eq!(inventory.len(), 2);
        let Change::Closed {
            listener: Some(listener),
            ..
        } = inventory.apply(unlisten(1))
        else {
            panic!()
        };
        assert_eq!((listener.known, inventory.len()), ("first", 1));
    }

    #[test]
    fn an_end_without_a_known_listener_is_still_reported() {
        let mut inventory = with(&[]);
        assert!(matches!(
            inventory.apply(unlisten(9)),
            Change::Closed { listener: None, .. }
        ));
    }

    #[test]
    fn a_listen_on_a_kept_socket_means_that_its_end_was_lost() {
        let mut inventory = with(&[1]);
        let Change::Opened {
            replaced: Some(lost), ..
        } = inventory.apply(listen(1))
        else {
            panic!()
        };
        assert_eq!(lost.known, "first");
        assert!(inventory.is_empty());
    }

    #[test]
    fn the_end_of_another_socket_in_the_same_memory_is_not_that_of_a_listener() {
        let mut inventory = with(&[1]);
        let mut next = unlisten(1);
        next.socket.inode += 1;
        let Change::Closed {
            listener: None,
            replaced: Some(lost),
            ..
        } = inventory.apply(next)
        else {
            panic!()
        };
        assert_eq!((lost.known, inventory.len()), ("first", 0));
        let mut inventory = with(&[1]);
        let mut orphan = unlisten(1);
        orphan.socket.inode = 0;
        let change = inventory.apply(orphan);
        assert!(
            matches!(
                change,
                Change::Closed {
                    listener: Some(_),
                    replaced: None,
                    ..
                }
            ),
            "one without an inode is told by its key alone"
        );
    }

    #[test]
    fn a_listen_that_failed_is_no_listener() {
        let mut inventory = with(&[]);
        let mut failed = listen(1);
        failed.outcome = Outcome::Failed(Some(98));
        assert!(matches!(inventory.apply(failed), Change::Failed(_)));
        assert!(inventory.is_empty());
    }

    #[test]
    fn a_listen_whose_result_stays_unknown_counts_as_a_listener() {
        let mut inventory = with(&[]);
        let mut unknown = listen(1);
        unknown.outcome = Outcome::Unconfirmed;
        assert!(matches!(inventory.apply(unknown), Change::Opened { .. }));
    }

    #[test]
    fn a_bound_udp_socket_is_a_listener_and_a_bound_tcp_socket_is_none() {
        let mut inventory = with(&[]);
        let mut bind = listen(1);
        bind.kind = Kind::Bind;
        assert!(matches!(inventory.apply(bind.clone()), Change::Happened(_)));
        bind.socket.protocol = Protocol::Udp;
        assert!(matches!(inventory.apply(bind.clone()), Change::Opened { .. }));
        bind.outcome = Outcome::Failed(Some(98));
        assert!(matches!(inventory.apply(bind), Change::Happened(_)));
    }

    #[test]
    fn an_unknown_kind_changes_nothing() {
        let mut inventory = with(&[1]);
        let mut event = listen(2);
        event.kind = Kind::Unknown(77);
        assert_eq!(inventory.apply(event), Change::Ignored(Kind::Unknown(77)));
        assert_eq!(inventory.len(), 1);
    }
}
