//! The look at everything, compared with `ss`, and what `ss` does not see.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType, ipproto, sockopt};
use rustix::thread::UnshareFlags;

use super::super::entrances::Entrance;
use super::super::here::Here;
use super::super::namespaces::{apart, visit};
use super::super::whole::{Found, Namespace};
use super::*;

/// Says why a test cannot run here, and whether it cannot.
fn not_run(what: &str, possible: bool) -> bool {
    if !possible {
        eprintln!("not run: {what}");
    }
    !possible
}

fn not_root() -> bool {
    let sets = rustix::thread::capabilities(None).unwrap();
    let enough = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE;
    not_run(
        "network namespaces need root (CAP_SYS_ADMIN, CAP_SYS_PTRACE)",
        sets.effective.contains(enough),
    )
}

fn has(tool: &str) -> bool {
    let version = Command::new(tool).arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

fn look() -> Whole {
    Looker::new(&Paths::default()).look()
}

fn socket(
    family: AddressFamily,
    kind: SocketType,
    protocol: Option<rustix::net::Protocol>,
) -> Result<OwnedFd, rustix::io::Errno> {
    // Children of other tests must not inherit it.
    rustix::net::socket_with(family, kind, rustix::net::SocketFlags::CLOEXEC, protocol)
}

/// Sockets of each sort on the wildcards; the last has a peer.
fn sockets_of_each_sort() -> Vec<OwnedFd> {
    let mut sockets: Vec<OwnedFd> = vec![
        TcpListener::bind("0.0.0.0:0").unwrap().into(),
        TcpListener::bind("[::]:0").unwrap().into(),
        UdpSocket::bind("0.0.0.0:0").unwrap().into(),
        UdpSocket::bind("[::]:0").unwrap().into(),
    ];
    let wildcard = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    for kind in [SocketType::STREAM, SocketType::DGRAM] {
        let only = socket(AddressFamily::INET6, kind, None).unwrap();
        sockopt::set_ipv6_v6only(&only, true).unwrap();
        rustix::net::bind(&only, &wildcard).unwrap();
        if kind == SocketType::STREAM {
            rustix::net::listen(&only, 7).unwrap();
        }
        sockets.push(only);
    }
    // A kernel may have no MPTCP, or not allow it.
    if let Ok(both) = socket(AddressFamily::INET6, SocketType::STREAM, Some(ipproto::MPTCP)) {
        rustix::net::bind(&both, &wildcard).unwrap();
        rustix::net::listen(&both, 7).unwrap();
        sockets.push(both);
    }
    sockets
}

/// A socket as `ss` shows it: protocol, address and port, inode, processes.
type Row = (String, String, u64, BTreeSet<u32>);

/// What `ss` says in this process's namespace, or in that of a process.
fn ss(inside: Option<u32>) -> BTreeSet<Row> {
    let mut command = Command::new(if inside.is_some() { "nsenter" } else { "ss" });
    if let Some(pid) = inside {
        command.arg(format!("--net=/proc/{pid}/ns/net")).arg("ss");
    }
    let output = command.arg("-Hltunpe").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // A name with a line feed in it makes two lines of one, of which this reads the first.
    text.lines().filter_map(row_of_ss).collect()
}

/// `tcp LISTEN 0 128 127.0.0.53%lo:53 0.0.0.0:* users:(("a",pid=812,fd=4)) ino:777 sk:1 <->`.
fn row_of_ss(line: &str) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace();
    let (protocol, local) = (fields.next()?, fields.nth(3)?);
    let (address, port) = local.rsplit_once(":")?;
    // `127.0.0.53%lo` and `[fe80::1]%eth0`.
    let address = address.split('%').next().unwrap();
    let number = |text: &str| -> u64 {
        let digits = text.split(|letter: char| !letter.is_ascii_digit()).next();
        digits.unwrap().parse().unwrap()
    };
    let pids = line.split(",pid=").skip(1).map(|rest| number(rest).try_into().unwrap());
    let inode = line.split(" ino:").nth(1).map_or(0, number);
    Some((protocol.to_owned(), format!("{address}:{port}"), inode, pids.collect()))
}

fn row_of(found: &Found) -> Row {
    let socket = &found.socket;
    let address = match (socket.address, socket.v6only) {
        (IpAddr::V6(address), Some(false)) if address.is_unspecified() => "*".to_owned(),
        (IpAddr::V6(address), _) => format!("[{address}]"),
        (IpAddr::V4(address), _) => address.to_string(),
    };
    (
        socket.protocol.as_str().to_owned(),
        format!("{address}:{}", socket.port),
        socket.inode,
        found.holders.iter().map(|holder| holder.pid).collect(),
    )
}

fn rows(whole: &Whole, netns: u32) -> BTreeSet<Row> {
    let here = whole.sockets.iter().filter(|found| found.netns == netns);
    here.map(row_of).collect()
}

/// Compares with `ss` before and after the look, since other programs and other tests open and close sockets meanwhile.
fn agrees_with_ss(netns: u32, inside: Option<u32>) -> Whole {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (mut before, whole, mut after) = (ss(inside), look(), ss(inside));
        let mut ours = rows(&whole, netns);
        if inside.is_none() {
            // Of the host's namespace what this process has: `ss` shows no line that could be read of a program whose name
            // has a line feed in it.
            for rows in [&mut before, &mut after, &mut ours] {
                rows.retain(|(.., pids)| pids.contains(&std::process::id()));
            }
        }
        let missing: Vec<_> = before.intersection(&after).filter(|row| !ours.contains(*row)).collect();
        let invented: Vec<_> = ours
            .iter()
            .filter(|row| !before.contains(*row) && !after.contains(*row))
            .collect();
        if missing.is_empty() && invented.is_empty() {
            return whole;
        }
        assert!(
            Instant::now() < deadline,
            "ss shows and the look does not: {missing:?}; the other way: {invented:?}"
        );
    }
}

fn seen(whole: &Whole, netns: u32) -> &Result<Way, Unseen> {
    let found: Vec<_> = whole
        .namespaces
        .iter()
        .filter(|namespace| namespace.netns == netns)
        .collect();
    assert_eq!(found.len(), 1, "{netns} in {:?}", whole.namespaces);
    &found[0].seen
}

fn found(whole: &Whole, inode: u64) -> &Found {
    let found: Vec<_> = whole
        .sockets
        .iter()
        .filter(|found| found.socket.inode == inode)
        .collect();
    assert_eq!(found.len(), 1, "socket {inode} in {:?}", whole.sockets);
    found[0]
}

/// A child that has this socket as its standard input, as a server's worker inherits it.
fn heir(socket: OwnedFd) -> Elsewhere {
    let child = Elsewhere(Command::new("sleep").arg("600").stdin(socket).spawn().unwrap());
    let comm = format!("/proc/{}/comm", child.pid());
    until("the child is called sleep", || {
        fs::read_to_string(&comm).is_ok_and(|comm| comm == "sleep\n")
    });
    child
}

/// Sends the socket to itself, so to speak: it lies in the queue of the first of these, and no process holds it.
fn in_flight(socket: OwnedFd) -> (UnixStream, UnixStream) {
    let (receiver, sender) = UnixStream::pair().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    let descriptors = [socket.as_fd()];
    assert!(message.push(SendAncillaryMessage::ScmRights(&descriptors)));
    rustix::net::sendmsg(
        &sender,
        &[std::io::IoSlice::new(b"x")],
        &mut message,
        SendFlags::empty(),
    )
    .unwrap();
    (receiver, sender)
}

#[test]
fn the_look_shows_in_each_namespace_what_ss_shows() {
    if not_root() || not_run("there is no ss, or no nsenter", has("ss") && has("nsenter")) {
        return;
    }
    let spaces = [Elsewhere::new(), Elsewhere::new()];
    let held: Vec<Vec<OwnedFd>> = spaces.iter().map(|space| space.inside(sockets_of_each_sort)).collect();
    let own = sockets_of_each_sort();
    let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
    connected.connect("127.0.0.1:9").unwrap();
    let workers: Vec<_> = [&own[0], &own[3], &held[0][1]]
        .map(|socket| heir(socket.try_clone().unwrap()))
        .into();
    let sent = spaces[1].inside(|| TcpListener::bind("0.0.0.0:0").unwrap());
    let (sent_inode, _queue) = (inode_of(&sent), in_flight(sent.into()));

    for (space, held) in spaces.iter().zip(&held) {
        let whole = agrees_with_ss(space.netns(), Some(space.pid()));
        assert_eq!(seen(&whole, space.netns()), &Ok(Way::SockDiag));
        let inodes: BTreeSet<u64> = rows(&whole, space.netns()).iter().map(|row| row.2).collect();
        let mut expected: BTreeSet<u64> = held.iter().map(inode_of).collect();
        if space.pid() == spaces[1].pid() {
            expected.insert(sent_inode);
        }
        assert_eq!(inodes, expected);
    }
    let whole = agrees_with_ss(own_netns(), None);
    assert_eq!(whole.namespaces[0].netns, own_netns());
    assert_eq!(found(&whole, sent_inode).holders, []);
    assert!(
        whole
            .sockets
            .iter()
            .all(|found| found.socket.inode != inode_of(&connected))
    );
    for (worker, socket) in workers.iter().zip([&own[0], &own[3], &held[0][1]]) {
        until("both hold it, and nobody else", || {
            let whole = look();
            let holders = &found(&whole, inode_of(socket)).holders;
            // By their numbers, which may have begun anew between the two.
            let pids: BTreeSet<u32> = holders.iter().map(|holder| holder.pid).collect();
            let heir = holders.iter().find(|holder| holder.pid == worker.pid());
            pids == BTreeSet::from([std::process::id(), worker.pid()])
                && heir.is_some_and(|heir| heir.comm == "sleep" && heir.start_ticks > 0)
        });
    }
}

#[test]
fn a_namespace_that_may_be_seen_and_not_entered_shows_the_same_from_proc() {
    if not_root() {
        return;
    }
    let elsewhere = Elsewhere::new();
    let held = elsewhere.inside(sockets_of_each_sort);
    let netns = elsewhere.netns();
    let entered = look();
    let read = with_capabilities(CapabilitySet::SYS_PTRACE, look);
    assert_eq!(
        (seen(&entered, netns), seen(&read, netns)),
        (&Ok(Way::SockDiag), &Ok(Way::ProcNet))
    );
    // Their own part: /proc knows nothing of IPV6_V6ONLY.
    let plain = |whole: &Whole| -> BTreeSet<Row> {
        let same = |row: Row| (row.0, row.1.replace('*', "[::]"), row.2, BTreeSet::new());
        rows(whole, netns).into_iter().map(same).collect()
    };
    assert_eq!(plain(&entered), plain(&read));
    assert_eq!(plain(&read).len(), held.len());
}

#[test]
fn a_namespace_that_may_not_be_seen_is_listed_with_its_reason() {
    if not_root() {
        return;
    }
    let elsewhere = Elsewhere::new();
    let outside = elsewhere.listen();
    let inside = TcpListener::bind("127.0.0.1:0").unwrap();
    let whole = with_capabilities(CapabilitySet::empty(), look);
    assert!(
        whole
            .sockets
            .iter()
            .all(|found| found.socket.inode != inode_of(&outside))
    );
    assert_eq!(found(&whole, inode_of(&inside)).netns, own_netns());
    assert_eq!(seen(&whole, own_netns()), &Ok(Way::SockDiag));
    let hidden = Namespace {
        netns: 0,
        seen: Err(Unseen::Denied),
    };
    assert!(
        whole.namespaces.contains(&hidden) && whole.refused > 0,
        "{:?}",
        whole.namespaces
    );
}

#[test]
fn a_namespace_of_a_thread_alone_or_of_a_file_alone_is_found_and_one_that_is_gone_is_not() {
    if not_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run/docker/netns");
    fs::create_dir_all(&folder).unwrap();
    let fifo = rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.join("fifo"),
        rustix::fs::FileType::Fifo,
        Mode::RUSR,
        0,
    );
    fifo.unwrap();
    std::os::unix::fs::symlink("/proc/1/ns/net", folder.join("outward")).unwrap();
    let paths = Paths {
        rootfs: root.path().to_owned(),
        ..Paths::default()
    };
    let (threads, kept) = (Elsewhere::new(), Elsewhere::new());
    let listeners = [threads.listen(), kept.listen()];
    let numbers = [threads.netns(), kept.netns()];
    let (stop, stopped) = mpsc::channel::<()>();
    let (ready, is_ready) = mpsc::channel();
    let way = threads.way();
    let thread = std::thread::spawn(move || {
        move_into_link_name_space(way.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        ready.send(()).unwrap();
        stopped.recv()
    });
    is_ready.recv().unwrap();
    let mount = Mounted::new(
        &PathBuf::from(format!("/proc/{}/ns/net", kept.pid())),
        folder.join("kept"),
    );
    let gone = Entrance {
        netns: kept.netns(),
        tasks: vec![kept.pid()],
        files: Vec::new(),
    };
    drop((threads, kept));

    let whole = Looker::new(&paths).look();
    for (netns, listener) in numbers.iter().zip(&listeners) {
        assert_eq!(seen(&whole, *netns), &Ok(Way::SockDiag));
        assert_eq!(found(&whole, inode_of(listener)).netns, *netns);
    }
    drop(stop);
    thread.join().unwrap().unwrap_err();
    drop(mount);
    let table = apart(|| visit(&paths, &gone, &mut Here::new(&paths))).unwrap();
    assert!(table.is_none());
    until("nothing leads there", || {
        let whole = Looker::new(&paths).sockets();
        whole
            .namespaces
            .iter()
            .all(|namespace| !numbers.contains(&namespace.netns))
    });
}

#[test]
fn it_can_be_made_here_and_look_on_another_thread() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut looker = Looker::new(&Paths::default());
    let sockets = std::thread::spawn(move || looker.sockets()).join().unwrap().sockets;
    let inode = inode_of(&listener);
    assert!(
        sockets
            .iter()
            .any(|(netns, socket)| (*netns, socket.inode) == (own_netns(), inode))
    );
}

#[test]
fn what_is_past_the_bound_is_left_out_and_it_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = Dumper::new().unwrap().listening().unwrap();
    let socket = find(&sockets, inode_of(&listener));
    let mut rows = Rows::default();
    for _ in 0..MAX_SOCKETS {
        rows.push(socket.clone());
    }
    assert!(!rows.more);
    rows.push(socket.clone());
    assert_eq!((rows.sockets.len(), rows.more), (MAX_SOCKETS, true));
}

#[test]
fn a_thread_with_a_table_of_its_own_holds_what_is_in_it() {
    let (tell, told) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        // The safe form: rustix has deprecated it, since descriptors of one table mean nothing in another. Here they
        // do not leave the thread.
        #[allow(deprecated, reason = "the other form is unsafe")]
        rustix::thread::unshare(UnshareFlags::FILES).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        tell.send(inode_of(&listener)).unwrap();
        stopped.recv()
    });
    let inode = told.recv().unwrap();
    until("this process alone holds it", || {
        let whole = look();
        let holders = &found(&whole, inode).holders;
        matches!(&holders[..], [holder] if holder.pid == std::process::id())
    });
    drop(stop);
    thread.join().unwrap().unwrap_err();
}

#[test]
fn a_descriptor_that_only_names_the_socket_does_not_hold_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let inode = inode_of(&listener);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&listener));
    let named = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let child = heir(named);
    // Its standard input is no socket that it can use; the look does not count it.
    until("this process alone holds it", || {
        let whole = look();
        let holders = &found(&whole, inode).holders;
        matches!(&holders[..], [holder] if holder.pid == std::process::id())
    });
    assert_eq!(
        fs::read_link(format!("/proc/{}/fd/0", child.pid()))
            .unwrap()
            .as_os_str(),
        format!("socket:[{inode}]").as_str()
    );
}

#[test]
fn threads_whose_leader_has_exited_hold_their_sockets() {
    if not_run("there is no python3", has("python3")) {
        return;
    }
    // Through libc's syscall(2): SYS_exit ends the calling thread alone. 60 on x86-64, 93 on arm64 and riscv64.
    let exit = if cfg!(target_arch = "x86_64") { 60 } else { 93 };
    let program = format!(
        "import ctypes,socket,threading,time\n\
         s=socket.create_server(('127.0.0.1',0))\n\
         threading.Thread(target=time.sleep,args=(600,)).start()\n\
         print(__import__('os').fstat(s.fileno()).st_ino,flush=True)\n\
         ctypes.PyDLL(None).syscall({exit},0)\n"
    );
    let child = Command::new("python3")
        .arg("-c")
        .arg(program)
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Elsewhere(child.unwrap());
    let mut line = String::new();
    let output = child.0.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
    let inode: u64 = line.trim().parse().unwrap();
    let stat = format!("/proc/{}/stat", child.pid());
    until("the leader is a zombie", || {
        fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "))
    });
    let whole = look();
    let holders = &found(&whole, inode).holders;
    assert!(
        matches!(&holders[..], [holder] if holder.pid == child.pid() && holder.comm == "python3"),
        "{holders:?}"
    );
}
