//! Real listeners, in this network namespace and in one that a child of the test owns.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::thread::{CapabilitySet, LinkNameSpaceType, move_into_link_name_space};

use super::namespaces::{Namespaces, NoEntry, enter};
use super::*;
use crate::identity::Paths;

mod whole;

fn inode_of(socket: impl AsFd) -> u64 {
    rustix::fs::fstat(socket).unwrap().st_ino
}

fn netns_of(pid: u32) -> u32 {
    rustix::fs::stat(format!("/proc/{pid}/ns/net"))
        .unwrap()
        .st_ino
        .try_into()
        .unwrap()
}

fn own_netns() -> u32 {
    netns_of(std::process::id())
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 10 s in vain until {what}");
        std::thread::yield_now();
    }
}

/// A child that sleeps, in a network namespace of its own or with a listener; killed by its pid at the end.
struct Elsewhere(Child);

impl Elsewhere {
    fn new() -> Self {
        // unshare(1) becomes the program itself, so the pid is that of the sleeper.
        let child = Command::new("unshare").args(["--net", "sleep", "600"]).spawn();
        let elsewhere = Self(child.expect("unshare(1) of util-linux is needed for tests of network namespaces"));
        let comm = format!("/proc/{}/comm", elsewhere.pid());
        until("unshare has become sleep (this test needs root: CAP_SYS_ADMIN)", || {
            fs::read_to_string(&comm).is_ok_and(|comm| comm == "sleep\n")
        });
        assert_ne!(elsewhere.netns(), own_netns());
        elsewhere
    }

    /// One here, which as a server's worker does inherits the listener as its standard input.
    fn holding(listener: TcpListener) -> Self {
        let mut sleep = Command::new("sleep");
        Self(sleep.arg("600").stdin(OwnedFd::from(listener)).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn netns(&self) -> u32 {
        netns_of(self.pid())
    }

    fn way(&self) -> OwnedFd {
        File::open(format!("/proc/{}/ns/net", self.pid())).unwrap().into()
    }

    /// Does this inside, on a thread that has ended when this returns.
    fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let way = self.way();
        std::thread::spawn(move || {
            move_into_link_name_space(way.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("this test needs root: CAP_SYS_ADMIN to enter a network namespace");
            work()
        })
        .join()
        .unwrap()
    }

    fn listen(&self) -> TcpListener {
        self.inside(|| TcpListener::bind(("0.0.0.0", 1992)).unwrap())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A thread id that no task has.
fn gone() -> u32 {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap())
        .join()
        .unwrap();
    let tid = receive.recv().unwrap().try_into().unwrap();
    until("the thread has left /proc", || {
        !Path::new(&format!("/proc/{tid}")).exists()
    });
    tid
}

fn with_capabilities<T: Send + 'static>(kept: CapabilitySet, work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(move || {
        let mut sets = rustix::thread::capabilities(None).unwrap();
        assert!(
            sets.effective.contains(CapabilitySet::SYS_ADMIN),
            "this test needs root: it gives capabilities up"
        );
        sets.effective = kept;
        rustix::thread::set_capabilities(None, sets).unwrap();
        work()
    })
    .join()
    .unwrap()
}

fn find(sockets: &[ListeningSocket], inode: u64) -> &ListeningSocket {
    let found: Vec<_> = sockets.iter().filter(|socket| socket.inode == inode).collect();
    assert_eq!(found.len(), 1, "socket {inode} in {sockets:?}");
    found[0]
}

#[test]
fn sock_diag_and_proc_agree_with_the_sockets_themselves() {
    let listeners = ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0", "[::ffff:127.0.0.1]:0"]
        .map(|address| TcpListener::bind(address).unwrap_or_else(|error| panic!("cannot bind {address}: {error}")));
    // A connection on the same port is no listener.
    let client = TcpStream::connect(listeners[0].local_addr().unwrap()).unwrap();

    let all = listeners.each_ref().map(inode_of);
    let dumped = until_all(&all, || Dumper::new().unwrap().listening().unwrap());
    let read = proc_net::listening(Path::new("/proc/self/net")).unwrap();
    assert_eq!(read.unread, 0);
    let read = until_all(&all, || {
        proc_net::listening(Path::new("/proc/self/net")).unwrap().sockets
    });
    for listener in &listeners {
        let local = listener.local_addr().unwrap();
        let family = if local.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        let by_dump = find(&dumped, inode_of(listener));
        let by_proc = find(&read, inode_of(listener));
        for socket in [by_dump, by_proc] {
            assert_eq!(
                (socket.family, socket.address, socket.port),
                (family, local.ip(), local.port())
            );
            assert_eq!(socket.uid, rustix::process::getuid().as_raw());
        }
        // The standard library asks for 4096 at most, and the kernel cuts it to somaxconn.
        assert!(by_dump.backlog.is_some_and(|backlog| backlog > 0));
        let cookie = rustix::net::sockopt::socket_cookie(listener).unwrap();
        assert_eq!(by_dump.cookie, Some(cookie));
        assert_eq!((by_proc.cookie, by_proc.backlog), (None, None));
    }
    assert!(
        !dumped
            .iter()
            .chain(&read)
            .any(|socket| socket.inode == inode_of(&client))
    );
}

#[test]
fn a_dumper_is_used_again_and_can_ask_for_one_port() {
    let mut dumper = Dumper::new().unwrap();
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    find(&dumper.listening().unwrap(), inode_of(&first));
    let port = first.local_addr().unwrap().port();
    assert!(
        dumper
            .listening_at(port)
            .unwrap()
            .iter()
            .all(|socket| socket.port == port)
    );
    find(&dumper.listening_at(port).unwrap(), inode_of(&first));
    let inode = inode_of(&first);
    drop(first);
    // A child that another test is about to start may have it for an instant.
    until("it is gone", || {
        !dumper.listening().unwrap().iter().any(|socket| socket.inode == inode)
    });
}

#[test]
fn two_thousand_listeners_come_whole_by_both_ways() {
    let listeners: Vec<_> = (0..2000).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let expected: Vec<u64> = listeners.iter().map(inode_of).collect();
    for (way, sockets) in [
        (
            "sock_diag",
            until_all(&expected, || Dumper::new().unwrap().listening().unwrap()),
        ),
        (
            "/proc/net",
            until_all(&expected, || {
                proc_net::listening(Path::new("/proc/self/net")).unwrap().sockets
            }),
        ),
    ] {
        let mut inodes: Vec<u64> = sockets
            .iter()
            .map(|socket| socket.inode)
            .filter(|inode| *inode != 0)
            .collect();
        let all = inodes.len();
        inodes.sort_unstable();
        inodes.dedup();
        assert_eq!(inodes.len(), all, "{way} shows a socket twice");
    }
}

/// Reads until all these sockets are seen: where other programs open and close listeners meanwhile, one reading may leave
/// some out.
fn until_all(inodes: &[u64], read: impl Fn() -> Vec<ListeningSocket>) -> Vec<ListeningSocket> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let sockets = read();
        let seen: HashSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
        let missing = inodes.iter().filter(|inode| !seen.contains(inode)).count();
        if missing == 0 {
            return sockets;
        }
        assert!(
            Instant::now() < deadline,
            "{missing} of {} listeners are never seen",
            inodes.len()
        );
    }
}

#[test]
fn a_batch_is_answered_in_its_order() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let bound = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    let query = |inode| Query {
        netns: own_netns(),
        inode,
        tid: std::process::id(),
        port: 0,
    };
    let answers = Confirmer::new(&Paths::default()).look(&[
        query(inode_of(&bound)),
        query(inode_of(&listener)),
        query(0),
        query(inode_of(&listener)),
    ]);
    let [
        Answer::NotListening,
        Answer::Listening(one),
        Answer::Unknown(Unseen::NoInode),
        Answer::Listening(two),
    ] = &answers[..]
    else {
        panic!("{answers:?}");
    };
    assert_eq!((one.port, one), (port, two));
    assert_eq!(Confirmer::new(&Paths::default()).look(&[]), []);
}

#[test]
fn another_namespace_is_entered_through_its_task_and_the_port_there_is_not_ours() {
    let elsewhere = Elsewhere::new();
    let listener = elsewhere.listen();
    let mut confirmer = Confirmer::new(&Paths::default());
    let query = Query {
        netns: elsewhere.netns(),
        inode: inode_of(&listener),
        tid: elsewhere.pid(),
        port: 0,
    };
    let misplaced = Query {
        netns: own_netns(),
        ..query
    };
    let answers = confirmer.look(&[query, misplaced]);
    let [Answer::Listening(socket), Answer::NotListening] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!((socket.port, socket.inode), (1992, inode_of(&listener)));
}

#[test]
fn an_opener_that_is_gone_or_has_left_is_replaced_by_another_task_of_the_namespace() {
    let elsewhere = Elsewhere::new();
    let listener = elsewhere.listen();
    for tid in [gone(), std::process::id()] {
        let query = Query {
            netns: elsewhere.netns(),
            inode: inode_of(&listener),
            tid,
            port: 0,
        };
        let answers = Confirmer::new(&Paths::default()).look(&[query]);
        assert!(
            matches!(&answers[..], [Answer::Listening(socket)] if socket.port == 1992),
            "through {tid}: {answers:?}"
        );
    }
}

#[test]
fn a_namespace_without_tasks_is_unknown_unless_a_file_keeps_it() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run/netns");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("unrelated"), "").unwrap();
    let kept = folder.join("kept");
    let paths = Paths {
        rootfs: root.path().to_owned(),
        ..Paths::default()
    };

    let elsewhere = Elsewhere::new();
    let listener = elsewhere.listen();
    let query = Query {
        netns: elsewhere.netns(),
        inode: inode_of(&listener),
        tid: gone(),
        port: 0,
    };
    let mount = Mounted::new(&PathBuf::from(format!("/proc/{}/ns/net", elsewhere.pid())), kept);
    drop(elsewhere);

    let answers = Confirmer::new(&paths).look(&[query]);
    assert!(
        matches!(&answers[..], [Answer::Listening(socket)] if socket.port == 1992),
        "{answers:?}"
    );
    drop(mount);
    assert_eq!(Confirmer::new(&paths).look(&[query]), [Answer::Unknown(Unseen::NoWay)]);
}

/// A bind mount in the test's own folder, as `ip netns add` makes one.
struct Mounted(PathBuf);

impl Mounted {
    fn new(from: &Path, to: PathBuf) -> Self {
        File::create(&to).unwrap();
        let status = Command::new("mount").arg("--bind").args([from, &to]).status().unwrap();
        assert!(status.success(), "this test needs root: mount --bind of a namespace");
        Self(to)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_namespace_that_is_entered_shows_the_same_as_its_proc_files() {
    let elsewhere = Elsewhere::new();
    let listener = elsewhere.listen();
    let entered = enter(elsewhere.way(), elsewhere.netns()).unwrap().sockets;
    let [socket] = &entered[..] else { panic!("{entered:?}") };
    let read = proc_net::listening(Path::new(&format!("/proc/{}/net", elsewhere.pid()))).unwrap();
    let stripped = ListeningSocket {
        cookie: None,
        backlog: None,
        v6only: None,
        ..socket.clone()
    };
    assert_eq!((read.sockets, socket.inode), (vec![stripped], inode_of(&listener)));
    // The test's own threads are where they were.
    assert_eq!(
        inode_of(File::open("/proc/thread-self/ns/net").unwrap()),
        u64::from(own_netns())
    );
}

#[test]
fn a_way_into_another_namespace_than_the_wanted_one_is_not_taken() {
    let elsewhere = Elsewhere::new();
    assert_eq!(enter(elsewhere.way(), own_netns()), Err(NoEntry::NotFound));
    assert_eq!(
        enter(File::open("/dev/null").unwrap().into(), own_netns()),
        Err(NoEntry::NotFound)
    );
}

#[test]
fn without_capabilities_another_namespace_is_unseen_and_the_own_one_is_not() {
    let elsewhere = Elsewhere::new();
    let outside = elsewhere.listen();
    let inside = TcpListener::bind("127.0.0.1:0").unwrap();
    let query = Query {
        netns: elsewhere.netns(),
        inode: inode_of(&outside),
        tid: elsewhere.pid(),
        port: 0,
    };
    let own = Query {
        netns: own_netns(),
        inode: inode_of(&inside),
        tid: std::process::id(),
        port: 0,
    };
    let way = elsewhere.way();
    let (answers, entered) = with_capabilities(CapabilitySet::empty(), move || {
        (
            Confirmer::new(&Paths::default()).look(&[query, own]),
            enter(way, query.netns),
        )
    });
    assert!(
        matches!(&answers[..], [Answer::Unknown(Unseen::Denied), Answer::Listening(_)]),
        "{answers:?}"
    );
    assert_eq!(entered, Err(NoEntry::Denied));
}

#[test]
fn a_namespace_that_may_be_seen_and_not_entered_is_read_from_proc() {
    let elsewhere = Elsewhere::new();
    let listener = elsewhere.listen();
    let query = Query {
        netns: elsewhere.netns(),
        inode: inode_of(&listener),
        tid: elsewhere.pid(),
        port: 0,
    };
    let answers = with_capabilities(CapabilitySet::SYS_PTRACE, move || {
        Confirmer::new(&Paths::default()).look(&[query])
    });
    // From /proc, so without a backlog.
    assert!(
        matches!(&answers[..], [Answer::Listening(socket)] if socket.port == 1992 && socket.backlog.is_none()),
        "{answers:?}"
    );
}

#[test]
fn the_own_namespace_is_known_without_its_task() {
    assert_eq!(Namespaces::new(&Paths::default()).own(), Ok(own_netns()));
}

#[test]
fn who_has_a_port_is_said_by_name_pid_and_user() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let paths = Paths::default();
    let who = |address: [u8; 4]| owners::who_listens(&paths, port, address.into());
    // Children of other tests may hold a copy of the descriptor for the moment between fork and exec: the agent's own
    // pid may not be the lowest then.
    until("it is this process's own", || {
        who([127, 0, 0, 1]).as_deref() == Some("this agent itself, on another of its addresses,")
    });
    assert_eq!(who([127, 0, 0, 2]), None);
    assert!(who([0, 0, 0, 0]).is_some());

    let child = Elsewhere::holding(listener);
    let expected = format!("sleep (pid {}, user root)", child.pid());
    until("it is the child's alone", || {
        who([127, 0, 0, 1]).as_deref() == Some(&*expected)
    });
}

#[test]
fn everyone_who_holds_a_socket_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let inode = inode_of(&listener);
    let child = Elsewhere::holding(listener);
    let descriptor = format!("/proc/{}/fd/0", child.pid());
    until("the child has the socket", || {
        fs::read_link(&descriptor).is_ok_and(|link| link.as_os_str() == format!("socket:[{inode}]").as_str())
    });
    until("it is called sleep and alone", || {
        let holders = owners::holders_of(Path::new("/proc"), inode);
        matches!(&holders[..], [holder] if (holder.pid, &*holder.comm) == (child.pid(), "sleep"))
    });
    assert_eq!(owners::holders_of(Path::new("/proc"), 0), []);
}
