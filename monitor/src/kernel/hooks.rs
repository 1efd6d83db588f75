//! The places in the kernel that are hooked, and the programs for each: one table for every backend.
//!
//! A subject is served whole or not at all: a listener whose end is not seen would stay for ever, and so would a UDP
//! socket whose connect is not.

use serde::Serialize;

use super::backend::Backend;

/// What is reported together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// TCP listeners: their start and their end. Without it a backend is of no use.
    Listens,
    /// Binds of TCP and UDP, and the end of what a bound UDP socket takes.
    Binds,
    /// Connects and their outcome.
    Connects,
    /// Accepts.
    Accepts,
}

impl Subject {
    /// All, the one that decides about a backend first.
    pub const ALL: [Self; 4] = [Self::Listens, Self::Binds, Self::Connects, Self::Accepts];

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listens => "listens",
            Self::Binds => "binds",
            Self::Connects => "connects",
            Self::Accepts => "accepts",
        }
    }

    /// What is not seen without it.
    pub const fn loss(self) -> &'static str {
        match self {
            Self::Listens => "listeners",
            Self::Binds => "binds, and UDP sockets",
            Self::Connects => "connects",
            Self::Accepts => "accepts",
        }
    }
}

/// A program, or two, at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The kernel's function or tracepoint: the name in metrics, in `doctor` and in the log.
    pub name: &'static str,
    pub(super) way: Way,
    /// Whether a kernel may be without the function, since it is without what the function serves.
    pub(super) if_present: bool,
}

/// How a hook is attached, with the names of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// At the exit of a function; which program depends on how many parameters it has here.
    Fexit(&'static [(usize, &'static str)]),
    /// At the entry of a function, by a trampoline.
    Fentry(&'static str),
    /// At the entry of a function, by a kprobe.
    Kprobe(&'static str),
    /// At entry and return of a function, by a kprobe and a kretprobe.
    KprobePair(&'static str, &'static str),
    /// At a raw tracepoint, with typed arguments.
    RawTracepoint(&'static str),
}

impl Way {
    /// All programs that can serve.
    pub(super) fn programs(self) -> Vec<&'static str> {
        match self {
            Self::Fexit(programs) => programs.iter().map(|(_, program)| *program).collect(),
            Self::Fentry(program) | Self::Kprobe(program) | Self::RawTracepoint(program) => vec![program],
            Self::KprobePair(entry, exit) => vec![entry, exit],
        }
    }
}

const fn always(name: &'static str, way: Way) -> Hook {
    Hook {
        name,
        way,
        if_present: false,
    }
}

/// IPv6 can be left out of a kernel, or be a module that is not loaded.
const fn ipv6(name: &'static str, way: Way) -> Hook {
    Hook {
        name,
        way,
        if_present: true,
    }
}

const LISTEN_START: &str = "inet_csk_listen_start";
const LISTEN_STOP: &str = "inet_csk_listen_stop";
const LISTEN_SK: &str = "__inet_listen_sk";
const BIND4: &str = "__inet_bind";
const BIND6: &str = "__inet6_bind";
const UDP_UNHASH: &str = "udp_lib_unhash";
const UDP_CONNECT4: &str = "__ip4_datagram_connect";
const UDP_CONNECT6: &str = "__ip6_datagram_connect";
const CONNECT4: &str = "tcp_v4_connect";
const CONNECT6: &str = "tcp_v6_connect";
const ACCEPT: &str = "inet_csk_accept";
const SOCK_GRAFT: &str = "security_sock_graft";
const SET_STATE: &str = "inet_sock_set_state";

/// The functions that trampolines are attached to: whose presence and prototype decide something.
pub const FUNCTIONS: &[&str] = &[
    LISTEN_START,
    LISTEN_STOP,
    BIND4,
    BIND6,
    UDP_UNHASH,
    UDP_CONNECT4,
    UDP_CONNECT6,
    CONNECT4,
    CONNECT6,
    ACCEPT,
];

/// What the kernel's BTF calls the tracepoints.
pub const TRACEPOINT_TYPES: &[&str] = &["btf_trace_inet_sock_set_state"];

/// The functions hooked at both ends, in the order of `monitor_common::CALL_*`.
pub const CALLS: [&str; monitor_common::CALLS] = [
    LISTEN_START,
    BIND4,
    BIND6,
    CONNECT4,
    CONNECT6,
    UDP_CONNECT4,
    UDP_CONNECT6,
];

/// Whether what is left out at this hook is a listen, or the end of a listener, and nothing else.
pub fn is_of_listens(hook: &str) -> bool {
    matches!(hook, LISTEN_START | LISTEN_SK | LISTEN_STOP)
}

/// Hooks that serve a subject together.
pub type Group = &'static [Hook];

// In these, what ends something comes first: hooks are attached in this order, one after the other, and what began to listen
// between two of them would otherwise be known and its end would not.

const FEXIT_LISTENS: &[Group] = &[&[
    always(LISTEN_STOP, Way::Fentry("listen_stop")),
    always(
        LISTEN_START,
        Way::Fexit(&[(1, "listen_start"), (2, "listen_start_with_backlog")]),
    ),
]];

const FEXIT_BINDS: &[Group] = &[&[
    always(UDP_UNHASH, Way::Fentry("udp_unhash")),
    always(UDP_CONNECT4, Way::Fexit(&[(3, "udp_connect4")])),
    ipv6(UDP_CONNECT6, Way::Fexit(&[(3, "udp_connect6")])),
    always(BIND4, Way::Fexit(&[(4, "bind4")])),
    ipv6(BIND6, Way::Fexit(&[(4, "bind6")])),
]];

const FEXIT_CONNECTS: &[Group] = &[&[
    always(CONNECT4, Way::Fexit(&[(3, "connect4")])),
    ipv6(CONNECT6, Way::Fexit(&[(3, "connect6")])),
    always(SET_STATE, Way::RawTracepoint("connect_outcome")),
]];

const FEXIT_ACCEPTS: &[Group] = &[&[always(
    ACCEPT,
    Way::Fexit(&[(4, "accept_with_flags"), (2, "accept_with_arg")]),
)]];

const KPROBE_LISTENS: &[Group] = &[
    &[
        always(LISTEN_STOP, Way::Kprobe("listen_stop_entry")),
        always(LISTEN_START, Way::KprobePair("listen_entry", "listen_return")),
    ],
    &[
        always(LISTEN_STOP, Way::Kprobe("listen_stop_entry")),
        always(LISTEN_SK, Way::KprobePair("inet_listen_entry", "listen_return")),
    ],
];

const KPROBE_BINDS: &[Group] = &[&[
    always(UDP_UNHASH, Way::Kprobe("udp_unhash_entry")),
    always(
        UDP_CONNECT4,
        Way::KprobePair("udp_connect4_entry", "udp_connect4_return"),
    ),
    ipv6(
        UDP_CONNECT6,
        Way::KprobePair("udp_connect6_entry", "udp_connect6_return"),
    ),
    always(BIND4, Way::KprobePair("bind4_entry", "bind4_return")),
    ipv6(BIND6, Way::KprobePair("bind6_entry", "bind6_return")),
]];

const KPROBE_CONNECTS: &[Group] = &[&[
    always(CONNECT4, Way::KprobePair("connect4_entry", "connect4_return")),
    ipv6(CONNECT6, Way::KprobePair("connect6_entry", "connect6_return")),
    always(SET_STATE, Way::RawTracepoint("connect_outcome")),
]];

const KPROBE_ACCEPTS: &[Group] = &[&[
    always(ACCEPT, Way::Kprobe("accept_entry")),
    always(SOCK_GRAFT, Way::Kprobe("sock_graft_entry")),
]];

const TRACEPOINT_LISTENS: &[Group] = &[&[always(SET_STATE, Way::RawTracepoint("set_state"))]];

/// As the backend it has the program above, which does both.
const TRACEPOINT_CONNECTS: &[Group] = &[&[always(SET_STATE, Way::RawTracepoint("connect_state"))]];

impl Backend {
    /// The ways to serve a subject, the best first; none where this backend cannot.
    pub(super) const fn groups(self, subject: Subject) -> &'static [Group] {
        match (self, subject) {
            (Self::Fexit, Subject::Listens) => FEXIT_LISTENS,
            (Self::Fexit, Subject::Binds) => FEXIT_BINDS,
            (Self::Fexit, Subject::Connects) => FEXIT_CONNECTS,
            (Self::Fexit, Subject::Accepts) => FEXIT_ACCEPTS,
            (Self::Kprobe, Subject::Listens) => KPROBE_LISTENS,
            (Self::Kprobe, Subject::Binds) => KPROBE_BINDS,
            (Self::Kprobe, Subject::Connects) => KPROBE_CONNECTS,
            (Self::Kprobe, Subject::Accepts) => KPROBE_ACCEPTS,
            (Self::Tracepoint, Subject::Listens) => TRACEPOINT_LISTENS,
            (Self::Tracepoint, Subject::Connects) => TRACEPOINT_CONNECTS,
            (Self::Tracepoint, Subject::Binds | Subject::Accepts) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_that_a_trampoline_is_attached_to_is_looked_up_in_the_btf() {
        for subject in Subject::ALL {
            for hook in Backend::Fexit.groups(subject).iter().copied().flatten() {
                let by_trampoline = matches!(hook.way, Way::Fexit(_) | Way::Fentry(_));
                assert_eq!(by_trampoline, FUNCTIONS.contains(&hook.name), "{}", hook.name);
            }
        }
    }

    #[test]
    fn every_tracepoint_is_looked_up_in_the_btf() {
        let hooks = Backend::ALL
            .iter()
            .flat_map(|backend| Subject::ALL.map(|subject| backend.groups(subject)));
        for hook in hooks.flatten().copied().flatten() {
            if matches!(hook.way, Way::RawTracepoint(_)) {
                assert!(TRACEPOINT_TYPES.contains(&format!("btf_trace_{}", hook.name).as_str()));
            }
        }
    }

    #[test]
    fn nothing_that_waits_for_its_caller_is_hooked_at_its_return_by_a_kprobe() {
        for subject in Subject::ALL {
            for hook in Backend::Kprobe.groups(subject).iter().copied().flatten() {
                assert!(hook.name != ACCEPT || matches!(hook.way, Way::Kprobe(_)));
            }
        }
    }
}
