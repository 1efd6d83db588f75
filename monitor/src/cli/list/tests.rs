use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use super::{
    row::{Identified, Owner, Process, Unseen, User, What},
    *,
};
use crate::{
    event::{Family, Protocol},
    identity::{Container, ExeState, Runtime},
    policy::Rule,
    registry::Registry,
    snapshot::{Found, Holder, ListeningSocket},
};

pub(in crate::cli) const HOST: u32 = 4_026_531_840;
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

pub(in crate::cli) fn policy() -> Policy {
    Policy::new(vec![Rule::dormant_port()], Verdict::Unruled)
}

pub(in crate::cli) fn row((found, identified): (Found, Identified)) -> Row {
    Row::new(found, identified, Some(HOST), &Arc::new(Registry::builtin()), &policy())
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A TCP listener of a process that runs as root.
fn listener(address: impl Into<IpAddr>, port: u16, pid: u32, exe: &str) -> (Found, Identified) {
    let address = address.into();
    let comm = exe.rsplit('/').next().unwrap_or_default().to_owned();
    let root = User {
        uid: 0,
        name: Some("root".to_owned()),
    };
    let found = Found {
        netns: HOST,
        holders: vec![Holder {
            pid,
            comm: comm.clone(),
            start_ticks: 100,
        }],
        socket: ListeningSocket {
            protocol: Protocol::Tcp,
            v6only: Some(false),
            inode: u64::from(port) * 10 + u64::from(address.is_ipv6()),
            family: if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 },
            address,
            port,
            uid: 0,
            cookie: Some(7),
            backlog: Some(128),
        },
    };
    let process = Process {
        pid,
        comm,
        exe: Some(exe.to_owned()),
        exe_state: Some(ExeState::File),
        cmdline: Some(vec![exe.to_owned()]),
        started: Some(time("2026-11-23T03:00:00Z")),
        user: root.clone(),
        ancestors: None,
    };
    let identified = Identified {
        owner: Owner::Process(Box::new(process)),
        user: root,
        unit: None,
        service: None,
        container: None,
        cgroup: None,
        package: None,
        own: false,
        since: None,
        missing: Vec::new(),
    };
    (found, identified)
}

fn by(user: &str, uid: u32, (mut found, mut identified): (Found, Identified)) -> (Found, Identified) {
    let user = User {
        uid,
        name: Some(user.to_owned()),
    };
    found.socket.uid = uid;
    identified.user = user.clone();
    if let Owner::Process(process) = &mut identified.owner {
        process.user = user;
    }
    (found, identified)
}

pub(in crate::cli) fn nc() -> (Found, Identified) {
    let (found, mut identified) = by("alice", 1000, listener(Ipv4Addr::UNSPECIFIED, 1992, 812, "/usr/bin/nc"));
    identified.unit = Some("user@1000.service".to_owned());
    identified.since = Some(time("2026-11-23T03:07:00Z"));
    identified.package = Some("netcat-openbsd".to_owned());
    (found, identified)
}

pub(in crate::cli) fn sshd() -> (Found, Identified) {
    let (found, mut identified) = listener(Ipv4Addr::UNSPECIFIED, 22, 700, "/usr/sbin/sshd");
    identified.unit = Some("ssh.service".to_owned());
    (found, identified)
}

fn sshd_v6() -> (Found, Identified) {
    let (mut found, identified) = sshd();
    found.socket.address = ANY6;
    found.socket.family = Family::Ipv6;
    found.socket.inode += 1;
    (found, identified)
}

/// A UDP socket on an automatic port.
pub(in crate::cli) fn resolver() -> (Found, Identified) {
    let (mut found, identified) = by(
        "dns",
        101,
        listener(Ipv4Addr::UNSPECIFIED, 45_123, 650, "/usr/bin/resolver"),
    );
    found.socket.protocol = Protocol::Udp;
    (found, identified)
}

/// Four sockets with SO_REUSEPORT, each held by master and workers.
fn nginx() -> Vec<(Found, Identified)> {
    let sockets = (0..4).map(|index| {
        let (mut found, mut identified) = listener(Ipv4Addr::UNSPECIFIED, 8080, 900, "/usr/sbin/nginx");
        found.socket.inode += index;
        found.holders.extend([901, 902].map(|pid| Holder {
            pid,
            comm: "nginx".to_owned(),
            start_ticks: 101,
        }));
        identified.container = Some(Container {
            runtime: Runtime::Docker,
            id: "1f0c".repeat(16),
            pod_uid: None,
            pod: None,
            image: None,
        });
        (found, identified)
    });
    sockets.collect()
}

fn of_nobody() -> (Found, Identified) {
    let (mut found, mut identified) = listener(Ipv4Addr::UNSPECIFIED, 2049, 0, "");
    (found.holders, identified.owner) = (Vec::new(), Owner::Nobody);
    (found, identified)
}

/// One whose name wants to take the terminal over, in a namespace of its own.
fn stranger() -> (Found, Identified) {
    let (mut found, identified) = listener(Ipv6Addr::LOCALHOST, 5432, 77, "/tmp/\u{1b}[31m日本\n\u{202e}x");
    found.netns = 4_026_532_000;
    (found, identified)
}

fn hidden() -> (Found, Identified) {
    let (mut found, mut identified) = listener(Ipv4Addr::LOCALHOST, 631, 0, "");
    (found.holders, identified.owner) = (Vec::new(), Owner::Hidden);
    (found, identified)
}

fn listing(found: impl IntoIterator<Item = (Found, Identified)>) -> Listing {
    let mut rows: Vec<_> = found.into_iter().map(row).collect();
    rows.sort_by_cached_key(Row::order);
    Listing {
        host: "web-7".to_owned(),
        time: time("2026-11-23T03:20:00Z"),
        rows,
        left_out: 0,
        unseen: Vec::new(),
    }
}

fn usual() -> Listing {
    let sockets = [sshd(), sshd_v6(), nc(), of_nobody(), hidden()];
    let mut listing = listing(sockets.into_iter().chain(nginx()));
    listing.left_out = 2;
    listing.unseen = vec![Unseen {
        what: What::Processes,
        netns: None,
        listeners: Some(1),
        reason: "run as root to see those of other users".to_owned(),
    }];
    listing
}

fn rendered(listing: &Listing, width: Option<usize>) -> String {
    let options = Options {
        width,
        ..Options::default()
    };
    text::render(listing, &options)
}

#[test]
fn a_table_of_120_columns() {
    let expected = "\
PROTO  ADDRESS:PORT     SCOPE     SERVICE            PROCESS        USER   UNIT/CONTAINER       SINCE  VERDICT
tcp    0.0.0.0:1992     wildcard  stun-p3,ipsendmsg  nc[812]        alice  user@1000.service    13m    unexpected
tcp    0.0.0.0,[::]:22  wildcard  ssh                sshd[700]      root   ssh.service          -      unruled
tcp    127.0.0.1:631    loopback  ipp,ipps           ?              root   -                    -      unruled
tcp    0.0.0.0:2049     wildcard  shilp,nfs          (none)         root   -                    -      unruled
tcp    0.0.0.0:8080 ×4  wildcard  http-alt           nginx[900] +2  root   docker:1f0c1f0c1f0c  -      unruled

9 listeners, 1 unexpected; 2 UDP sockets on automatic ports left out (--all shows them); the process of 1 listener is
not shown: run as root to see those of other users
";
    assert_eq!(rendered(&usual(), Some(120)), expected);
    // Nothing had to be cut for that; where nothing has to fit, what is below the table is one line.
    let (table, _) = expected.split_once("\n\n").unwrap();
    let endless = rendered(&usual(), None);
    assert!(endless.starts_with(&format!("{table}\n\n9 listeners")), "{endless}");
    assert_eq!(endless.lines().count(), 8);
}

#[test]
fn a_table_of_80_columns_leaves_out_columns_before_it_cuts_a_cell() {
    let expected = "\
PROTO ADDRESS:PORT    SCOPE    SERVICE           PROCESS       USER  VERDICT
tcp   0.0.0.0:1992    wildcard stun-p3,ipsendmsg nc[812]       alice unexpected
tcp   0.0.0.0,[::]:22 wildcard ssh               sshd[700]     root  unruled
tcp   127.0.0.1:631   loopback ipp,ipps          ?             root  unruled
tcp   0.0.0.0:2049    wildcard shilp,nfs         (none)        root  unruled
tcp   0.0.0.0:8080 ×4 wildcard http-alt          nginx[900] +2 root  unruled
";
    let table = rendered(&usual(), Some(80));
    assert!(table.starts_with(expected), "{table}");
}

#[test]
fn a_table_of_40_columns_keeps_ports_processes_and_verdicts() {
    let expected = "\
PROTO ADDRESS:… PROCESS       VERDICT
tcp   0.0…:1992 nc[812]       unexpected
tcp   0.0.0…:22 sshd[700]     unruled
tcp   127.…:631 ?             unruled
tcp   0.0…:2049 (none)        unruled
tcp   0.0…:8080 nginx[900] +2 unruled

9 listeners, 1 unexpected; 2 UDP sockets
on automatic ports left out (--all shows
them); the process of 1 listener is not
shown: run as root to see those of other
users
";
    assert_eq!(rendered(&usual(), Some(40)), expected);
}

#[test]
fn ports_and_verdicts_are_in_each_line_and_nothing_is_wider_than_the_terminal() {
    let mut listing = usual();
    listing.rows.extend([stranger(), resolver()].map(row));
    let mut far = sshd();
    far.0.socket.address = "2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap();
    far.0.socket.port = 65_535;
    listing.rows.push(row(far));
    for width in [120, 80, 60, 40, 20] {
        let text = rendered(&listing, Some(width));
        let (table, below) = text.split_once("\n\n").unwrap();
        for (line, port) in table
            .lines()
            .skip(1)
            .zip([1992, 22, 631, 2049, 8080, 5432, 45_123, 65_535])
        {
            assert!(terminal::columns(line) <= width, "{width}: {line}");
            assert!(line.contains(&format!(":{port} ")), "{width}: {line}");
            assert!(
                line.ends_with("unruled") || line.ends_with("unexpected"),
                "{width}: {line}"
            );
        }
        assert_eq!(table.lines().count(), 9);
        assert!(
            below.lines().all(|line| line.len() <= width.max(40)),
            "{width}: {below}"
        );
        // A part of a namespace's number says nothing.
        assert_eq!(text.contains("NETNS"), text.contains("4026532000"), "{width}: {text}");
        if width >= 40 {
            assert!(text.contains("nc[812]") && text.contains("[700]"), "{width}: {text}");
        }
    }
}

#[test]
fn a_column_that_is_empty_in_all_lines_is_left_out_first() {
    let mut found = [nc(), sshd()];
    for (_, identified) in &mut found {
        identified.since = None;
    }
    let listing = listing(found);
    let all = rendered(&listing, None).lines().next().unwrap().len();
    let head = |width| rendered(&listing, Some(width)).lines().next().unwrap().to_owned();
    // One less than the columns take side by side.
    let head = head(all + "unexpected".len() - "VERDICT".len() - 9);
    assert!(head.contains("UNIT/CONTAINER") && !head.contains("SINCE"), "{head}");
}

#[test]
fn the_lines_of_watch_fit_the_terminal() {
    let time = time("2026-11-23T03:20:00Z");
    for width in [160, 120, 80, 60, 40, 20] {
        let lines = text::Lines::new(Some(width), false);
        assert!(lines.head().trim_end().len() <= width, "{width}: {}", lines.head());
        for (found, port) in [(nc(), 1992), (stranger(), 5432), (resolver(), 45_123)] {
            let line = lines.of(&row(found), time);
            assert!(terminal::columns(line.trim_end()) <= width, "{width}: {line}");
            assert!(line.contains(&format!(":{port} ")), "{width}: {line}");
            assert!(
                line.ends_with("unruled\n") || line.ends_with("unexpected\n"),
                "{width}: {line}"
            );
        }
    }
    // A line takes what it can spare before a cell is cut.
    let line = text::Lines::new(Some(170), false).of(&row(stranger()), time);
    assert!(line.contains("\\u{202e}x[77]") && !line.contains('…'), "{line}");
}

#[test]
fn a_table_of_200_columns_shows_a_namespace_where_there_are_several_and_does_nothing_that_a_name_wants() {
    let expected = "\
PROTO  ADDRESS:PORT  SCOPE     SERVICE            PROCESS                        USER   UNIT/CONTAINER     SINCE  NETNS       VERDICT
tcp    0.0.0.0:1992  wildcard  stun-p3,ipsendmsg  nc[812]                        alice  user@1000.service  13m    host        unexpected
tcp    [::1]:5432    loopback  postgresql         \\u{1b}[31m日本\\n\\u{202e}x[77]  root   -                  -      4026532000  unruled

2 listeners, 1 unexpected
";
    let table = rendered(&listing([nc(), stranger()]), Some(200));
    assert_eq!(table, expected);
}

#[test]
fn each_line_fits_whatever_the_width() {
    let mut listing = usual();
    listing.rows.push(row(stranger()));
    for width in 20..140 {
        let table = rendered(&listing, Some(width));
        let (table, _) = table.split_once("\n\n").unwrap();
        for line in table.lines() {
            assert!(terminal::columns(line) <= width, "{width}: {line}");
        }
    }
}

#[test]
fn colours_stand_around_words_and_change_no_width() {
    let options = Options {
        color: true,
        width: Some(100),
        wide: false,
    };
    let painted = text::render(&usual(), &options);
    assert!(painted.contains("\u{1b}[1;31munexpected\u{1b}[0m\n"), "{painted}");
    assert!(painted.contains("\u{1b}[33m?\u{1b}[0m"), "{painted}");
    let mut plain = painted;
    for code in ["1", "2", "33", "1;31", "0"] {
        plain = plain.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(plain, rendered(&usual(), Some(100)));
}

#[test]
fn the_wide_table_shows_each_socket_uncut_with_all_holders() {
    let options = Options {
        wide: true,
        width: None,
        color: false,
    };
    let table = text::render(&usual(), &options);
    assert_eq!(table.matches("0.0.0.0:8080").count(), 4);
    for part in [
        "nginx[900],nginx[901],nginx[902]",
        "wildcard (ipv4 too)",
        "unexpected (dormant-port)",
        "stun-p3,ipsendmsg (not this process)",
        "2026-11-23T03:07:00Z",
        "netcat-openbsd  /usr/bin/nc\n",
        "NETNS",
    ] {
        assert!(table.contains(part), "{part} in\n{table}");
    }
}

#[test]
fn sockets_are_one_line_only_where_they_are_one_service() {
    let table = |found: Vec<_>| rendered(&listing(found), None).lines().count() - 3;
    assert_eq!(table(vec![sshd(), sshd_v6()]), 1);
    // Of another process, on another address of the same family, or with another reach.
    let mut other = sshd_v6();
    if let Owner::Process(process) = &mut other.1.owner {
        process.pid = 701;
    }
    assert_eq!(table(vec![sshd(), other]), 2);
    let mut second = sshd();
    second.0.socket.address = Ipv4Addr::LOCALHOST.into();
    assert_eq!(table(vec![sshd(), second]), 2);
    let at = |last| {
        let mut found = sshd();
        found.0.socket.address = Ipv4Addr::new(192, 0, 2, last).into();
        found
    };
    assert_eq!(table(vec![at(1), at(2)]), 2);
}

#[test]
fn nothing_found_is_a_sentence_and_not_an_empty_table() {
    assert_eq!(rendered(&listing([]), Some(80)), "no listeners\n");
}

#[test]
fn namespaces_that_could_not_be_looked_into_are_counted_by_reason() {
    let mut listing = listing([sshd()]);
    let closed = |netns, reason: &str| Unseen {
        what: What::Namespace,
        netns: Some(netns),
        listeners: None,
        reason: reason.to_owned(),
    };
    listing.unseen = vec![
        closed(1, "it is closed"),
        closed(2, "it is closed"),
        closed(3, "it is\ngone"),
    ];
    assert_eq!(
        text::summary(&listing),
        "1 listener, none unexpected; 1 network namespace could not be looked into: it is\\ngone; \
         2 network namespaces could not be looked into: it is closed"
    );
}

#[test]
fn the_document_has_the_keys_of_events_and_names_what_is_missing() {
    let document: serde_json::Value = serde_json::from_str(&json::render(&usual()).unwrap()).unwrap();
    assert_eq!(document["schema"], 1);
    assert_eq!((&document["host"], &document["left_out"]), (&"web-7".into(), &2.into()));
    assert_eq!(document["time"], "2026-11-23T03:20:00.000000000Z");
    assert_eq!(document["unseen"][0]["what"], "processes");
    let nc = &document["listeners"][0];
    let expected = serde_json::json!({
        "protocol": "tcp", "family": "ipv4", "address": "0.0.0.0", "port": 1992, "automatic": null,
        "scope": "wildcard", "dual_stack": null, "backlog": 128, "reuseport": null, "mptcp": null,
        "netns": HOST, "host_netns": true, "socket": 19_920, "cookie": "7",
        "since": "2026-11-23T03:07:00.000000000Z", "uid": 1000, "user": "alice",
        "process": {
            "pid": 812, "comm": "nc", "exe": "/usr/bin/nc", "exe_state": "file", "cmdline": ["/usr/bin/nc"],
            "started": "2026-11-23T03:00:00.000000000Z", "uid": 1000, "user": "alice", "ancestors": null,
        },
        "holders": [{"pid": 812, "comm": "nc"}], "kernel_thread": false, "container": null,
        "unit": "user@1000.service", "service": null, "cgroup": null, "package": "netcat-openbsd",
        "registry": nc["registry"], "name_matches_process": false, "verdict": "unexpected", "rule": "dormant-port",
        "missing": ["automatic", "reuseport", "mptcp"],
    });
    assert_eq!(*nc, expected);
    assert_eq!(nc["registry"][1]["service"], "ipsendmsg");
    let by_port = |port: u16| {
        let all = document["listeners"].as_array().unwrap();
        all.iter().find(|listener| listener["port"] == port).unwrap().clone()
    };
    assert_eq!(
        (&by_port(2049)["process"], &by_port(2049)["kernel_thread"]),
        (&().into(), &().into())
    );
    let hidden = by_port(631);
    assert_eq!((&hidden["process"], &hidden["kernel_thread"]), (&().into(), &().into()));
    assert!(hidden["missing"].as_array().unwrap().contains(&"process".into()));
}

#[test]
fn what_is_unexpected_comes_first_then_the_order_is_by_port() {
    let filters = Filters::new(&FilterArgs::default(), Registry::embedded(), Some((32_768, 60_999))).unwrap();
    let rows = [resolver(), sshd(), nc(), of_nobody()].map(row);
    let (rows, left_out) = select(rows.to_vec(), &filters, &policy());
    let ports: Vec<_> = rows.iter().map(|row| row.port).collect();
    assert_eq!((ports, left_out), (vec![1992, 22, 2049], 1));
}

#[test]
fn a_script_is_told_the_first_finding_and_how_many_more_there_are() {
    let rows = |found: Vec<_>| listing(found).rows;
    let all = rows(vec![nc(), sshd(), of_nobody()]);
    assert_eq!(
        finding(&all, FailOn::Unexpected).as_deref(),
        Some("unexpected: tcp 0.0.0.0:1992 of nc[812] (rule dormant-port)")
    );
    assert_eq!(
        finding(&all, FailOn::Unruled).as_deref(),
        Some("unexpected: tcp 0.0.0.0:1992 of nc[812] (rule dormant-port), and 2 more")
    );
    assert_eq!(finding(&rows(vec![sshd()]), FailOn::Unexpected), None);
}

#[test]
fn an_address_that_is_mapped_is_shown_as_ipv4_and_the_family_stays() {
    let mut mapped = sshd_v6();
    mapped.0.socket.address = Ipv4Addr::LOCALHOST.to_ipv6_mapped().into();
    let row = row(mapped);
    assert_eq!((row.place().as_str(), row.family), ("tcp 127.0.0.1:22", Family::Ipv6));
    assert_eq!((row.scope.as_str(), row.dual_stack), ("loopback", None));
}
