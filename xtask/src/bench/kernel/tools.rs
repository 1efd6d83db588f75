//! The tools whose hooks are compared, and how the line looks that each writes of a call.

use std::path::PathBuf;

use anyhow::Result;
use workload::calls::Kind;
use workload::plan::{Port, Sight, Tool};

use crate::command::find_program;
use crate::setup::apt::{self, Package};
use crate::workspace::Workspace;

/// The port that tools are told to look at: the first case of all, and nobody else's.
pub(super) const NAMED: u16 = 1992;

/// A port that nobody names.
pub(super) const OTHER: u16 = 2992;

/// What the agent's name begins with in tables.
const OURS: &str = "portreeve ";

/// The agent's backends, each a tool of its own.
const BACKENDS: [&str; 3] = ["fexit", "kprobe", "tracepoint"];

/// What the agent is told to watch: how it is called in tables, the flag, and the ports that it must tell binds, connects
/// and accepts of.
const WATCHED: [(&str, &str, &[Port]); 2] = [
    ("one port named", "1992", &[Port::Named]),
    ("all ports named", "1-65535", &Port::ALL),
];

/// Whether a tool is the agent, and not a peer.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(OURS)
}

/// The agent with one backend, watching one port.
pub(super) fn with_one_port(backend: &str) -> String {
    name_of(backend, "one port named")
}

/// The agent with one backend, watching all ports.
pub(super) fn with_all_ports(backend: &str) -> String {
    name_of(backend, "all ports named")
}

/// The agent's backends.
pub(super) fn backends() -> impl Iterator<Item = &'static str> {
    BACKENDS.into_iter()
}

fn name_of(backend: &str, watched: &str) -> String {
    format!("{OURS}{backend}, {watched}")
}

/// An agent in each way that it is measured; `which` ends its name in tables.
pub(super) fn agents(path: &str, which: &str) -> Vec<Tool> {
    let each = BACKENDS
        .into_iter()
        .flat_map(|backend| WATCHED.map(|watched| (backend, watched)));
    each.map(|(backend, (watched, flag, named))| Tool {
        name: name_of(backend, watched) + which,
        command: words(&[path, "run", "--events=json", "--backend", backend, "--watch", flag]),
        says: Some("armed: listeners are reported".to_owned()),
        sights: Kind::ALL.map(|kind| agents_sight(kind, named)).to_vec(),
    })
    .collect()
}

fn agents_sight(kind: Kind, named: &[Port]) -> Sight {
    let (event, protocol) = match kind {
        Kind::Listen => ("listen", "tcp"),
        Kind::Bind => ("bind", "tcp"),
        Kind::UdpBind => ("bind", "udp"),
        Kind::Connect => ("connect", "tcp"),
        Kind::Accept => ("accept", "tcp"),
    };
    Sight {
        kind,
        line: vec![
            format!("\"event\":\"{event}\""),
            format!("\"protocol\":\"{protocol}\""),
            "\"address\":\"{address}\",\"port\":{port},".to_owned(),
        ],
        // All listens are told.
        tells: if kind == Kind::Listen {
            Port::ALL.to_vec()
        } else {
            named.to_vec()
        },
        // It says when everything is attached, and not every backend sees everything.
        probed: kind == Kind::Listen,
    }
}

/// A peer: its program, its arguments, and what it sees.
struct Peer {
    name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    sights: &'static [(Kind, &'static [&'static str])],
    /// The ports that it tells calls of.
    tells: &'static [Port],
}

const PEERS: &[Peer] = &[
    Peer {
        name: "solisten",
        program: "solisten",
        arguments: &[],
        sights: &[(Kind::Listen, &[" {port} {address} "])],
        tells: &Port::ALL,
    },
    // Of an accept it tells the state that the handshake's last packet brings, and whoever ran then: not who accepts.
    Peer {
        name: "tcpstates",
        program: "tcpstates",
        arguments: &[],
        sights: &[
            (Kind::Listen, &[" {address} {port} ", " CLOSE -> LISTEN "]),
            (Kind::Connect, &[" {address} {port} SYN_SENT -> ESTABLISHED "]),
        ],
        tells: &Port::ALL,
    },
    Peer {
        name: "bindsnoop -P 1992",
        program: "bindsnoop",
        arguments: &["-P", "1992"],
        sights: &[
            (Kind::Bind, &[" TCP ", " {port} {address} "]),
            (Kind::UdpBind, &[" UDP ", " {port} {address} "]),
        ],
        tells: &[Port::Named],
    },
    Peer {
        name: "tcpconnect -P 1992",
        program: "tcpconnect",
        arguments: &["-P", "1992"],
        sights: &[(Kind::Connect, &[" {address} {port} "])],
        tells: &[Port::Named],
    },
    Peer {
        name: "tcptracer",
        program: "tcptracer",
        arguments: &[],
        sights: &[
            (Kind::Connect, &[" C ", " 127.0.0.1 {address} ", " {port} "]),
            (Kind::Accept, &[" A ", " {address} 127.0.0.1 {port} "]),
        ],
        tells: &Port::ALL,
    },
    Peer {
        name: "bpftrace listen",
        program: "bpftrace",
        arguments: &["-e", LISTENS],
        sights: &[(Kind::Listen, &[" listen {address} {port} "])],
        tells: &Port::ALL,
    },
    Peer {
        name: "bpftrace bind",
        program: "bpftrace",
        arguments: &["-e", BINDS],
        sights: &[
            (Kind::Bind, &[" bind 1 {address} {port} "]),
            (Kind::UdpBind, &[" bind 2 {address} {port} "]),
        ],
        tells: &Port::ALL,
    },
    Peer {
        name: "bpftrace connect",
        program: "bpftrace",
        arguments: &["-e", CONNECTS],
        sights: &[(Kind::Connect, &[" connect {address} {port} "])],
        tells: &Port::ALL,
    },
    Peer {
        name: "bpftrace accept",
        program: "bpftrace",
        arguments: &["-e", ACCEPTS],
        sights: &[(Kind::Accept, &[" accept {address} {port} "])],
        tells: &Port::ALL,
    },
];

/// Port and result are known at the return; the socket only at the entry.
const LISTENS: &str = r#"
kprobe:inet_csk_listen_start { @sk[tid] = arg0; }
kretprobe:inet_csk_listen_start /@sk[tid]/ {
  $sk = (struct sock *)@sk[tid];
  printf("listen %s %d %d %d %s\n", ntop(2, $sk->__sk_common.skc_rcv_saddr), $sk->__sk_common.skc_num, retval, pid, comm);
  delete(@sk[tid]);
}"#;

const BINDS: &str = r#"
kprobe:inet_bind { @sock[tid] = arg0; @address[tid] = arg1; }
kretprobe:inet_bind /@sock[tid]/ {
  $sock = (struct socket *)@sock[tid];
  $in = (struct sockaddr_in *)@address[tid];
  $port = $in->sin_port;
  printf("bind %d %s %d %d %d %s\n", $sock->type, ntop(2, $in->sin_addr.s_addr), ($port >> 8) | (($port << 8) & 0xff00),
    retval, pid, comm);
  delete(@sock[tid]);
  delete(@address[tid]);
}"#;

const CONNECTS: &str = r#"
kprobe:tcp_v4_connect { @sk[tid] = arg0; }
kretprobe:tcp_v4_connect /@sk[tid]/ {
  $sk = (struct sock *)@sk[tid];
  $port = $sk->__sk_common.skc_dport;
  printf("connect %s %d %d %d %s\n", ntop(2, $sk->__sk_common.skc_daddr), ($port >> 8) | (($port << 8) & 0xff00), retval,
    pid, comm);
  delete(@sk[tid]);
}"#;

const ACCEPTS: &str = r#"
kretprobe:inet_csk_accept /retval != 0/ {
  $sk = (struct sock *)retval;
  printf("accept %s %d %d %s\n", ntop(2, $sk->__sk_common.skc_rcv_saddr), $sk->__sk_common.skc_num, pid, comm);
}"#;

/// The peers with the places of their programs on this machine, installed where they are missing.
///
/// # Errors
/// One sentence with what to install.
pub(super) fn peers(workspace: &Workspace) -> Result<(Vec<Tool>, Vec<PathBuf>)> {
    apt::ensure(
        workspace,
        &[
            Package::new("libbpf-tools", "tcptracer"),
            Package::new("bpftrace", "bpftrace"),
        ],
        "comparing the agent's hooks with its peers'",
    )?;
    let (mut tools, mut programs) = (Vec::new(), Vec::new());
    for peer in PEERS {
        // One that a later package leaves out is refused in the guest, by name, as one that does not load.
        let program = find_program(peer.program);
        let path = program
            .as_ref()
            .map_or(peer.program.to_owned(), |path| path.display().to_string());
        tools.push(peer.tool(&path));
        programs.extend(program);
    }
    programs.sort();
    programs.dedup();
    Ok((tools, programs))
}

impl Peer {
    fn tool(&self, path: &str) -> Tool {
        let sights = self.sights.iter().map(|(kind, line)| Sight {
            kind: *kind,
            line: words(line),
            tells: self.tells.to_vec(),
            probed: true,
        });
        Tool {
            name: self.name.to_owned(),
            command: std::iter::once(path)
                .chain(self.arguments.iter().copied())
                .map(str::to_owned)
                .collect(),
            says: None,
            sights: sights.collect(),
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use workload::calls::Kind;
    use workload::plan::{Port, is_about};

    use super::{NAMED, PEERS, agents, is_ours, with_all_ports, with_one_port};

    #[test]
    fn every_call_has_a_peer_and_no_name_is_there_twice() {
        for kind in Kind::ALL {
            assert!(
                PEERS
                    .iter()
                    .any(|peer| peer.sights.iter().any(|(sees, _)| *sees == kind))
            );
        }
        let agents = agents("/payload/portreeve", "");
        let names = agents.iter().map(|tool| tool.name.as_str());
        let names: BTreeSet<&str> = names.chain(PEERS.iter().map(|peer| peer.name)).collect();
        assert_eq!(names.len(), agents.len() + PEERS.len());
        assert_eq!(names.iter().filter(|name| is_ours(name)).count(), agents.len());
        assert!(names.contains(with_one_port("fexit").as_str()) && names.contains(with_all_ports("kprobe").as_str()));
    }

    #[test]
    fn the_agent_tells_all_listens_and_binds_of_the_named_port() {
        let agents = agents("/payload/portreeve", "");
        let one = agents.first().unwrap();
        let sight = |kind: Kind| one.sights.iter().find(|sight| sight.kind == kind).unwrap();
        assert_eq!(sight(Kind::Listen).tells, Port::ALL);
        assert_eq!(sight(Kind::UdpBind).tells, [Port::Named]);
        let line = r#"{"event":"bind","result":"ok","protocol":"udp","family":"ipv4","address":"127.0.0.1","port":1992,"x":0}"#;
        assert!(is_about(line, &sight(Kind::UdpBind).line, Ipv4Addr::LOCALHOST, NAMED));
        assert!(!is_about(line, &sight(Kind::Bind).line, Ipv4Addr::LOCALHOST, NAMED));
    }

    #[test]
    fn lines_of_peers_are_known() {
        let about = |peer: &str, kind: Kind, line: &str| {
            let peer = PEERS.iter().find(|found| found.name == peer).unwrap().tool("x");
            let sight = peer.sights.into_iter().find(|sight| sight.kind == kind).unwrap();
            is_about(line, &sight.line, Ipv4Addr::LOCALHOST, NAMED)
        };
        let listen = "ffff8d28c33c8000 71  workload  127.0.0.1  1992  0.0.0.0  0  CLOSE -> LISTEN 0.000";
        assert!(about("tcpstates", Kind::Listen, listen));
        assert!(!about("tcpstates", Kind::Connect, listen));
        let connect = "C  120  workload  4  127.0.0.1  127.0.0.1  40000  1992";
        assert!(about("tcptracer", Kind::Connect, connect));
        assert!(!about("tcptracer", Kind::Accept, connect));
    }
}
