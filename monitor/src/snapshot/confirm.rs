//! Did that `listen()` succeed? The tracepoint does not say; the tables of listening sockets do.
//!
//! One dump a network namespace answers every socket that waits, matched by inode. The own namespace is asked by
//! sock_diag, or read from /proc where the kernel has none; for other namespaces see [`super::namespaces`].

use std::collections::HashMap;
use std::fmt;

use super::entrances::MAX_NAMESPACES;
use super::here::Here;
use super::namespaces::{Namespaces, NoEntry};
use super::{ListeningSocket, MAX_SOCKETS, Protocol, Rows};
use crate::identity::Paths;

/// A socket that was seen on its way to LISTEN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Inode of its network namespace.
    pub netns: u32,
    /// Inode of the socket.
    pub inode: u64,
    /// The task that called `listen()`: a way into the namespace.
    pub tid: u32,
    /// Its port, where that is known already; else 0.
    pub port: u16,
}

/// What the tables say of one [`Query`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It listens, here and so.
    Listening(ListeningSocket),
    /// The namespace was read and the socket is not in it: the listen failed, has not ended yet, or is over.
    NotListening,
    /// Nothing could be learned.
    Unknown(Unseen),
}

/// Why nothing could be learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// The socket has no inode to be known by: it is the kernel's own.
    NoInode,
    /// No living task and no file of its namespace was found.
    NoWay,
    /// Its namespace may not be looked into: CAP_SYS_PTRACE, CAP_SYS_ADMIN.
    Denied,
    /// There are more than [`MAX_SOCKETS`] sockets, or more namespaces than one look takes: some were left out.
    TooMany,
    /// The tables could not be read.
    Failed(String),
}

impl Unseen {
    /// A word for counters and logs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoInode => "no_inode",
            Self::NoWay => "no_way",
            Self::Denied => "denied",
            Self::TooMany => "too_many",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInode => f.write_str("the socket has no inode"),
            Self::NoWay => f.write_str("no living task was found in its network namespace"),
            Self::Denied => f.write_str(
                "its network namespace may not be looked into; give the agent CAP_SYS_PTRACE, or CAP_SYS_ADMIN to enter it",
            ),
            Self::TooMany => write!(
                f,
                "there are more than {MAX_SOCKETS} sockets, or more than {MAX_NAMESPACES} network namespaces; some were left out"
            ),
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

impl From<NoEntry> for Unseen {
    fn from(reason: NoEntry) -> Self {
        match reason {
            NoEntry::NotFound => Self::NoWay,
            NoEntry::Denied => Self::Denied,
            NoEntry::Dump(error) => Self::Failed(error.to_string()),
        }
    }
}

/// Answers [`Query`]s. It must be made on a thread that is in the agent's own network namespace.
#[derive(Debug)]
pub struct Confirmer {
    own: Option<u32>,
    here: Here,
    namespaces: Namespaces,
}

impl Confirmer {
    /// Cannot fail: what is not to be had is met again, and told, in the answers.
    #[must_use]
    pub fn new(paths: &Paths) -> Self {
        let namespaces = Namespaces::new(paths);
        Self {
            own: namespaces.own().ok(),
            here: Here::new(paths),
            namespaces,
        }
    }

    /// One answer for each query, in their order. Costs one dump for each namespace among them.
    pub fn look(&mut self, queries: &[Query]) -> Vec<Answer> {
        let mut by_namespace: HashMap<u32, Asked> = HashMap::new();
        for query in queries.iter().filter(|query| query.inode != 0) {
            let asked = by_namespace.entry(query.netns).or_default();
            asked.inodes.push(query.inode);
            asked.ports.push(query.port);
            if !asked.tids.contains(&query.tid) && asked.tids.len() < MAX_TIDS {
                asked.tids.push(query.tid);
            }
        }
        let found: HashMap<u32, Found> = by_namespace
            .into_iter()
            .map(|(netns, asked)| (netns, self.namespace(netns, asked)))
            .collect();
        let answer = |query: &Query| match found.get(&query.netns) {
            _ if query.inode == 0 => Answer::Unknown(Unseen::NoInode),
            Some(Ok(sockets)) => sockets
                .get(&query.inode)
                .cloned()
                .map_or(Answer::NotListening, Answer::Listening),
            Some(Err(reason)) => Answer::Unknown(reason.clone()),
            None => Answer::Unknown(Unseen::NoWay),
        };
        queries.iter().map(answer).collect()
    }

    /// The listening TCP sockets of the own namespace: on these ports, or all where no port is named.
    ///
    /// # Errors
    /// Where neither sock_diag nor /proc answers.
    pub fn own_namespace(&mut self, ports: &[u16]) -> Result<Vec<ListeningSocket>, Unseen> {
        self.here.sockets(Protocol::Tcp, ports).map(|(rows, _)| rows.sockets)
    }

    fn namespace(&mut self, netns: u32, mut asked: Asked) -> Found {
        let rows = if self.own == Some(netns) {
            self.here.sockets(Protocol::Tcp, asked.few_ports())?.0
        } else {
            self.namespaces.listening(netns, &asked.tids)?
        };
        let Rows { sockets, more, .. } = rows;
        if more {
            return Err(Unseen::TooMany);
        }
        asked.inodes.sort_unstable();
        let wanted = |socket: &ListeningSocket| asked.inodes.binary_search(&socket.inode).is_ok();
        Ok(sockets
            .into_iter()
            .filter(wanted)
            .map(|socket| (socket.inode, socket))
            .collect())
    }
}

/// Openers that are tried as ways into one namespace.
const MAX_TIDS: usize = 16;

/// What is asked of one namespace.
#[derive(Debug, Default)]
struct Asked {
    inodes: Vec<u64>,
    tids: Vec<u32>,
    ports: Vec<u16>,
}

/// Ports that are asked for one by one: the kernel then fills in a few sockets and not ten thousand. Past it, one dump of
/// all costs less.
const FEW_PORTS: usize = 8;

impl Asked {
    /// The ports to ask for; none where one of them is not known, or they are too many.
    fn few_ports(&mut self) -> &[u16] {
        self.ports.sort_unstable();
        self.ports.dedup();
        match self.ports.as_slice() {
            [0, ..] => &[],
            ports if ports.len() > FEW_PORTS => &[],
            ports => ports,
        }
    }
}

/// What one namespace answered, by inode.
type Found = Result<HashMap<u64, ListeningSocket>, Unseen>;
