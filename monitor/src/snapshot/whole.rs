//! The look at everything that listens, in every network namespace, without any BPF.
//!
//! The tables of the sockets come first, one dump each; then, where it is asked for, who holds them. It is not one
//! moment: a socket may end, or pass to another process, between the two.

use std::collections::HashSet;
use std::num::NonZero;
use std::thread;

use super::entrances::{self, Entrance, MAX_NAMESPACES};
use super::here::{Here, Table};
use super::namespaces::{self, Namespaces};
use super::{Holder, ListeningSocket, MAX_SOCKETS, Rows, Unseen, holders};
use crate::identity::Paths;

/// Threads of a walk at most: they wait for the same locks of the kernel now and then.
const THREADS_MAX: NonZero<usize> = NonZero::new(4).unwrap();

/// What listens, where, and who holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// By namespace, protocol, port and address.
    pub sockets: Vec<Found>,
    /// All namespaces, the own one first.
    pub namespaces: Vec<Namespace>,
    /// Processes whose descriptors may not be read (CAP_SYS_PTRACE; a few refuse root too). Where there are any, a socket
    /// without a holder may be theirs.
    pub refused: u32,
}

/// A socket and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Inode of its network namespace.
    pub netns: u32,
    /// The socket.
    pub socket: ListeningSocket,
    /// The processes that have a descriptor of it, lowest pid first. None: the kernel itself listens, the socket is in
    /// flight between processes or held by an io_uring, or see [`Whole::refused`].
    pub holders: Vec<Holder>,
}

/// The sockets alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Each with the inode of its network namespace; in the order of [`Whole::sockets`].
    pub sockets: Vec<(u32, ListeningSocket)>,
    /// All namespaces, the own one first.
    pub namespaces: Vec<Namespace>,
}

impl From<Sockets> for Whole {
    /// As if nobody held them: for whoever learns that in another way, or need not know.
    fn from(Sockets { sockets, namespaces }: Sockets) -> Self {
        let sockets = sockets.into_iter().map(|(netns, socket)| Found {
            netns,
            socket,
            holders: Vec::new(),
        });
        Self {
            sockets: sockets.collect(),
            namespaces,
            refused: 0,
        }
    }
}

/// A network namespace, and whether it was looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its inode; 0 for one whose number may not be seen either.
    pub netns: u32,
    /// The way it was seen. With an error some of its sockets may have been seen, and what is missing may be there.
    pub seen: Result<Way, Unseen>,
}

/// How a namespace was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All by sock_diag.
    SockDiag,
    /// From /proc, at least one of the protocols.
    ProcNet,
}

/// Looks at all namespaces. It must be made, and asked, on threads that are in the agent's own network namespace.
#[derive(Debug)]
pub struct Looker {
    paths: Paths,
    own: Option<u32>,
    here: Here,
    /// For other namespaces: what it learned of the kernel is true in each.
    elsewhere: Here,
    /// The namespaces that the last look at all of them found, as far as they live.
    known: Vec<Entrance>,
    /// For the walk over all processes.
    threads: NonZero<usize>,
}

impl Looker {
    /// Cannot fail: what is not to be had is met again, and told, in the looks.
    #[must_use]
    pub fn new(paths: &Paths) -> Self {
        Self {
            paths: paths.clone(),
            own: Namespaces::new(paths).own().ok(),
            here: Here::new(paths),
            elsewhere: Here::new(paths),
            known: Vec::new(),
            threads: NonZero::<usize>::MIN,
        }
    }

    /// The same, with a few threads for the processes where there are processors for them: for somebody who waits.
    #[must_use]
    pub fn in_a_hurry(mut self) -> Self {
        self.threads = thread::available_parallelism().map_or(self.threads, |count| count.min(THREADS_MAX));
        self
    }

    /// All namespaces but the agent's own, by number, with what leads into each.
    pub fn namespaces(&mut self) -> Vec<Entrance> {
        entrances::all(&self.paths, self.own)
    }

    /// The sockets of all namespaces, without their holders: quick enough for once a minute.
    pub fn sockets(&mut self) -> Sockets {
        let mut look = Sockets::default();
        // Before the list is made: a namespace that is new by then is in it.
        if let Some(own) = self.own {
            look.add(own, self.here.all());
        }
        self.known = self.namespaces();
        let gone = self.visit(self.known.clone(), &mut look);
        if !gone.is_empty() {
            // A namespace lives on where a task left it to another one.
            let mut again = self.namespaces();
            again.retain(|entrance| gone.contains(&entrance.netns));
            let numbers: HashSet<u32> = again.iter().map(|entrance| entrance.netns).collect();
            let lost = self.visit(again, &mut look);
            for netns in lost.intersection(&numbers) {
                look.unseen(*netns, Unseen::NoWay);
            }
        }
        look.sockets.sort_unstable_by_key(|(netns, socket)| {
            (*netns, socket.protocol, socket.port, socket.address, socket.inode)
        });
        look
    }

    /// The same of the namespaces that [`Looker::sockets`] found the last time and of those that somebody else knows of, each
    /// with a task in it. To find all of them means to ask each process, which takes ten times as long as all the rest.
    pub fn sockets_of_known(&mut self, led: impl IntoIterator<Item = (u32, u32)>) -> Sockets {
        let mut look = Sockets::default();
        if let Some(own) = self.own {
            look.add(own, self.here.all());
        }
        for (netns, task) in led {
            if Some(netns) != self.own && self.known.iter().all(|entrance| entrance.netns != netns) {
                self.known.push(Entrance {
                    netns,
                    tasks: vec![task],
                    files: Vec::new(),
                });
            }
        }
        // What is behind those that nothing leads into any more, the next look at all of them says.
        let gone = self.visit(self.known.clone(), &mut look);
        self.known.retain(|entrance| !gone.contains(&entrance.netns));
        look
    }

    /// The sockets of all namespaces, and who holds each.
    pub fn look(&mut self) -> Whole {
        let Sockets { sockets, namespaces } = self.sockets();
        let wanted: HashSet<u64> = sockets
            .iter()
            .map(|(_, socket)| socket.inode)
            .filter(|inode| *inode != 0)
            .collect();
        let found = holders::walk(&self.paths.procfs, &wanted, self.threads);
        let sockets = sockets.into_iter().map(|(netns, socket)| Found {
            netns,
            holders: found.by_inode.get(&socket.inode).cloned().unwrap_or_default(),
            socket,
        });
        Whole {
            sockets: sockets.collect(),
            namespaces,
            refused: found.refused,
        }
    }

    /// Goes into one after the other, all with one thread, and returns those that nothing leads into any more.
    fn visit(&mut self, entrances: Vec<Entrance>, look: &mut Sockets) -> HashSet<u32> {
        let mut gone = HashSet::new();
        if entrances.is_empty() {
            return gone;
        }
        let (paths, here) = (&self.paths, &mut self.elsewhere);
        let mut left = entrances.iter();
        let visited = namespaces::apart(|| {
            for entrance in left.by_ref() {
                if entrance.netns == 0 {
                    look.unseen(0, Unseen::Denied);
                } else if look.namespaces.len() >= MAX_NAMESPACES {
                    look.unseen(entrance.netns, Unseen::TooMany);
                } else if let Some(table) = namespaces::visit(paths, entrance, here) {
                    look.add(entrance.netns, table);
                } else {
                    gone.insert(entrance.netns);
                }
            }
            // It belongs to the last of these namespaces, and would keep that one.
            here.moved();
        });
        if visited.is_none() {
            for entrance in left {
                let reason = "no thread was to be had that enters its network namespace".to_owned();
                look.unseen(entrance.netns, Unseen::Failed(reason));
            }
        }
        gone
    }
}

impl Sockets {
    fn add(&mut self, netns: u32, table: Table) {
        let Rows { sockets, .. } = table.rows;
        let room = MAX_SOCKETS.saturating_sub(self.sockets.len());
        let seen = if sockets.len() > room {
            Err(Unseen::TooMany)
        } else {
            table.seen
        };
        let sockets = sockets.into_iter().take(room);
        self.sockets.extend(sockets.map(|socket| (netns, socket)));
        self.namespaces.push(Namespace { netns, seen });
    }

    fn unseen(&mut self, netns: u32, reason: Unseen) {
        self.namespaces.push(Namespace {
            netns,
            seen: Err(reason),
        });
    }
}
