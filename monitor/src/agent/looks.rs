//! Looks at all that listens, on a thread of its own: what is asked of the kernel may take its time, and events do not wait for
//! it. No other thread may enter namespaces, unless the backend has to.

use std::{
    collections::HashMap,
    future,
    sync::{Arc, mpsc},
    thread,
};

use monitor_common::WATCH_BIND;
use tokio::sync::oneshot;

use super::decode;
use crate::{
    confinement::{self, Part},
    event::{Actor, Event, Holder, Kind, Outcome, Protocol, Socket, SocketKey, Source},
    identity::{Paths, TICK, clock},
    inventory::reconcile::{Look, Sighted},
    kernel::{Armed, Filter, FoundFiles, OpenFiles, capability::in_initial_pid_namespace},
    snapshot::{
        ListeningSocket,
        whole::{Looker, Whole},
    },
};

/// One look in so many finds all network namespaces anew, by asking each process. The others know those in which a process
/// holds a listener, and those that were found before.
const THOROUGH: u64 = 5;

/// Makes looks, one at a time.
pub(super) struct Looks {
    /// Away while a look is under way.
    looker: Option<Looker>,
    running: Option<oneshot::Receiver<(Looker, Done)>>,
    thread: Option<mpsc::Sender<Job>>,
    /// Which ports are named: a UDP socket on another one may be there for a single query.
    named: Arc<Filter>,
    /// Inode of the agent's own network namespace.
    own_netns: Option<u32>,
    by_files: bool,
    /// Looks that were started.
    looks: u64,
}

/// A look, as the thread takes it.
type Job = Box<dyn FnOnce() + Send>;

/// What came of a look.
pub(super) struct Done {
    pub(super) look: Look,
    /// Records that could not be decoded.
    pub(super) undecodable: u64,
    /// Nanoseconds that it took.
    pub(super) took: u64,
    /// Namespaces that could not be looked into.
    pub(super) unseen: Vec<String>,
    /// Whether the kernel side's look at all files is blind here.
    blind: bool,
}

impl Looks {
    pub(super) fn new(paths: &Paths, own_netns: Option<u32>, named: Box<Filter>) -> Self {
        if !in_initial_pid_namespace(&paths.procfs) {
            ::log::warn!(
                "this is not the host's pid namespace: who holds a socket is not known of processes outside of it, nor are \
                 command lines and executables that the kernel side did not take (give the agent the host's: hostPID, --pid=host)"
            );
        }
        Self {
            looker: Some(Looker::new(paths)),
            running: None,
            thread: start_thread(),
            named: Arc::from(named),
            own_netns,
            by_files: true,
            looks: 0,
        }
    }

    /// These ports are named from now on.
    pub(super) fn watch(&mut self, named: Box<Filter>) {
        self.named = Arc::from(named);
    }

    /// Whether the kernel side looks at all files; else /proc says who holds what.
    pub(super) fn by_files(&self) -> bool {
        self.by_files
    }

    /// Whether a look is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.running.is_some()
    }

    /// Starts a look, unless one is under way.
    pub(super) fn start(&mut self, armed: &mut Armed) {
        let Some(mut looker) = self.looker.take() else {
            return;
        };
        let files = if self.by_files {
            armed
                .open_files()
                .inspect_err(|error| {
                    ::log::info!("all open files are looked at by way of /proc, which takes longer: {error:#}");
                    self.by_files = false;
                })
                .ok()
        } else {
            None
        };
        let thorough = self.looks.is_multiple_of(THOROUGH);
        self.looks += 1;
        let (named, own_netns) = (Arc::clone(&self.named), self.own_netns);
        let (ended, running) = oneshot::channel();
        self.running = Some(running);
        let job: Job = Box::new(move || {
            let done = look(&mut looker, files, &named, own_netns, thorough);
            // Whoever waits for it may be gone, at the end.
            let _ = ended.send((looker, done));
        });
        // Where the thread broke off, or none was to be had, another one is tried; it may enter no namespace.
        let refused = match &self.thread {
            Some(thread) => thread.send(job).err().map(|mpsc::SendError(job)| job),
            None => Some(job),
        };
        if let Some(job) = refused {
            self.thread = start_thread();
            // Without a thread this look breaks off too, which is said.
            let _ = self.thread.as_ref().map(|thread| thread.send(job));
        }
    }

    /// Waits for the look that is under way; for ever where there is none. `None` where it broke off.
    pub(super) async fn done(&mut self, paths: &Paths) -> Option<Done> {
        let Some(running) = &mut self.running else {
            return future::pending().await;
        };
        let ended = running.await;
        self.running = None;
        match ended {
            Ok((looker, done)) => {
                self.looker = Some(looker);
                if done.blind {
                    ::log::warn!(
                        "the kernel side's look at all open files shows none of this host's listeners, as in a pid namespace of \
                         the agent's own: /proc is read instead (give the agent the host's pid namespace)"
                    );
                    self.by_files = false;
                }
                Some(done)
            }
            Err(error) => {
                ::log::error!("a look at what listens broke off: {error}");
                self.looker = Some(Looker::new(paths));
                None
            }
        }
    }
}

/// The thread that looks, for as long as there is somebody to ask it.
fn start_thread() -> Option<mpsc::Sender<Job>> {
    let (jobs, asked) = mpsc::channel::<Job>();
    let thread = thread::Builder::new().name("looks".to_owned()).spawn(move || {
        confinement::give_up(Part::Looks);
        asked.into_iter().for_each(|job| job());
    });
    thread.is_ok().then_some(jobs)
}

fn look(looker: &mut Looker, files: Option<OpenFiles>, named: &Filter, own_netns: Option<u32>, thorough: bool) -> Done {
    let began = clock::boot_now();
    let mut undecodable = 0;
    let mut by_files = files.and_then(|files| match files.read() {
        Ok(found) => Some(of_files(found, &mut undecodable)),
        Err(error) => {
            ::log::warn!("{error:#}; /proc is read instead");
            None
        }
    });
    let mut whole = match &by_files {
        Some(_) if thorough => looker.sockets().into(),
        Some(found) => {
            let led = found.values().map(|sighted| {
                let event = &sighted.event;
                (event.socket.netns, event.opener.tid)
            });
            looker.sockets_of_known(led).into()
        }
        None => looker.look(),
    };
    let blind = by_files
        .as_ref()
        .is_some_and(|found| is_blind(found, &whole, own_netns));
    if blind {
        by_files = None;
        whole = looker.look();
    }
    let saw_all_files = by_files.is_some();
    let unseen = whole.namespaces.iter().filter_map(|namespace| {
        let reason = namespace.seen.as_ref().err()?;
        // Of a process that may not be looked at not even the number is known.
        let number = Some(namespace.netns).filter(|netns| *netns != 0);
        let number = number.map_or_else(|| "unknown".to_owned(), |netns| netns.to_string());
        Some(format!("{number}: {reason}"))
    });
    let unseen = unseen.collect();
    let namespaces = whole
        .namespaces
        .iter()
        .filter(|namespace| namespace.seen.is_ok())
        .map(|namespace| namespace.netns);
    let namespaces = namespaces.collect();
    let sockets = with_tables(by_files.unwrap_or_default(), whole, named);
    Done {
        look: Look {
            began,
            sockets,
            saw_all_files,
            namespaces,
        },
        undecodable,
        took: clock::boot_now().saturating_sub(began),
        unseen,
        blind,
    }
}

/// Whether the kernel side saw nothing where the tables show that there is something: in a pid namespace of its own the
/// iterator goes through no process of the host, and says nothing of it.
fn is_blind(found: &HashMap<SocketKey, Sighted>, whole: &Whole, own_netns: Option<u32>) -> bool {
    let here = |netns: u32| own_netns.is_none_or(|own| own == netns);
    let shown = found.values().any(|sighted| here(sighted.event.socket.netns));
    !shown
        && whole
            .sockets
            .iter()
            .any(|found| here(found.netns) && found.socket.inode != 0)
}

/// The sockets of the records, each once, as the one of its holders tells it who has lived longest: who opened it, where that
/// one still has it.
fn of_files(found: FoundFiles, undecodable: &mut u64) -> HashMap<SocketKey, Sighted> {
    let mut sockets: HashMap<SocketKey, Sighted> = HashMap::new();
    for record in found.records() {
        let Some(event) = decode(record) else {
            *undecodable += 1;
            continue;
        };
        let holder = Holder {
            pid: event.opener.tgid,
            comm: event.opener.comm.clone(),
            start_time: event.opener.start_time,
        };
        let age = |event: &Event| (event.opener.start_time, event.opener.tgid);
        match sockets.get_mut(&event.socket.key) {
            None => {
                let holders = vec![holder];
                sockets.insert(event.socket.key, Sighted { event, holders });
            }
            Some(known) => {
                if !known.holders.contains(&holder) {
                    known.holders.push(holder);
                }
                if age(&event) < age(&known.event) {
                    known.event = event;
                }
            }
        }
    }
    sockets
}

/// What the files showed, with what only the kernel's tables know: cookies, and sockets that no file holds.
fn with_tables(found: HashMap<SocketKey, Sighted>, whole: Whole, named: &Filter) -> Vec<Sighted> {
    let mut sockets: Vec<Sighted> = found.into_values().collect();
    let places: HashMap<(u32, u64), usize> = sockets
        .iter()
        .enumerate()
        .map(|(place, sighted)| ((sighted.event.socket.netns, sighted.event.socket.inode), place))
        .collect();
    let now = clock::boot_now();
    for listed in whole.sockets {
        let place = places.get(&(listed.netns, listed.socket.inode));
        match place.and_then(|place| sockets.get_mut(*place)) {
            Some(sighted) => sighted.event.socket.cookie = sighted.event.socket.cookie.or(listed.socket.cookie),
            None => {
                let holders = listed.holders.into_iter().map(|holder| Holder {
                    pid: holder.pid,
                    comm: holder.comm,
                    start_time: holder.start_ticks.saturating_mul(TICK),
                });
                let mut holders: Vec<_> = holders.collect();
                holders.sort_by_key(|holder| (holder.start_time, holder.pid));
                let event = of_tables(listed.netns, &listed.socket, holders.first(), named, now);
                sockets.push(Sighted { event, holders });
            }
        }
    }
    sockets
}

/// A socket of the kernel's tables, as if its opening was told now.
fn of_tables(netns: u32, listed: &ListeningSocket, opener: Option<&Holder>, named: &Filter, now: u64) -> Event {
    let is_named = named
        .get(usize::from(listed.port))
        .is_some_and(|watched| watched & WATCH_BIND != 0);
    let opener = opener.map_or_else(Actor::unknown, |holder| Actor {
        tgid: holder.pid,
        tid: holder.pid,
        uid: listed.uid,
        start_time: holder.start_time,
        comm: holder.comm.clone(),
        thread: holder.comm.clone(),
        ..Actor::unknown()
    });
    Event {
        kind: match listed.protocol {
            Protocol::Tcp => Kind::Listen,
            Protocol::Udp => Kind::Bind,
        },
        time: now,
        opened: now,
        outcome: Outcome::Succeeded,
        socket: Socket {
            key: SocketKey::of_tables(listed.cookie, netns, listed.inode),
            inode: listed.inode,
            cookie: listed.cookie,
            netns,
            family: listed.family,
            protocol: listed.protocol,
            address: listed.address.to_canonical(),
            port: listed.port,
            automatic: false,
            v6only: listed.v6only.unwrap_or(false),
            reuseport: false,
            mptcp: false,
            kernel: false,
            backlog: listed.backlog.unwrap_or(0),
        },
        peer: None,
        opener,
        cgroup: 0,
        holder: (0, String::new()),
        listened: true,
        refused: false,
        connected: false,
        late: listed.protocol == Protocol::Udp && !is_named,
        source: Source::Tables,
    }
}
