//! Every family of the metrics page: its name and type, what it counts and in what, and when its series are there.
//!
//! The families are made from this list, and `cargo xtask metrics` writes the table of docs/metrics.md from it; xtask takes this
//! file by its path, so it needs nothing but the standard library.

/// What a family's values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// It only grows, from 0 at the agent's start.
    Counter,
    /// It goes up and down.
    Gauge,
}

impl Type {
    /// As the text format names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// A family of series.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
    /// What its values count; `none` for one that is only ever 0 or 1.
    pub unit: &'static str,
    /// Its labels, in their order.
    pub labels: &'static [&'static str],
    /// When its series are there. What begins with `from the start` is there before the agent is ready.
    pub exists: &'static str,
    /// The help text on the page.
    pub help: &'static str,
    /// What docs/metrics.md says beyond that.
    pub more: &'static str,
}

use Type::{Counter, Gauge};

const WATCHED: &str = "from the start, for each watched port";
const OPEN: &str = "while at least one such listener is open";
const CALLED: &str = "from the first such call on";
const RULED: &str = "from the start, for each rule and each severity it can have";
const START: &str = "from the start";
const ARMED: &str = "once the hooks are attached";

/// All families, in the order of docs/metrics.md.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "portreeve_watched_port_listeners",
        kind: Gauge,
        unit: "sockets",
        labels: &["protocol", "port"],
        exists: WATCHED,
        help: "Open listening sockets on a port that a rule or the watch list names.",
        more: "",
    },
    Family {
        name: "portreeve_watched_port_listens_total",
        kind: Counter,
        unit: "listeners",
        labels: &["protocol", "port"],
        exists: WATCHED,
        help: "Listeners that opened on a port that a rule or the watch list names, since the agent started.",
        more: "A listen that failed does not count, nor what listened before the agent started; what a look found later does.",
    },
    Family {
        name: "portreeve_listeners",
        kind: Gauge,
        unit: "sockets",
        labels: &[
            "protocol",
            "port",
            "registration",
            "scope",
            "netns",
            "process",
            "verdict",
        ],
        exists: OPEN,
        help: "Open listening sockets.",
        more: "",
    },
    Family {
        name: "portreeve_listener_opened_timestamp_seconds",
        kind: Gauge,
        unit: "seconds",
        labels: &["protocol", "port", "netns", "process"],
        exists: OPEN,
        help: "When the newest of these listeners opened, in seconds since the epoch.",
        more: "It does not go back when that one closes before the others.",
    },
    Family {
        name: "portreeve_listens_total",
        kind: Counter,
        unit: "calls",
        labels: &["protocol", "port", "process", "result"],
        exists: CALLED,
        help: "Calls of listen(), by result: ok, error, or unknown where it could not be learned.",
        more: "",
    },
    Family {
        name: "portreeve_binds_total",
        kind: Counter,
        unit: "calls",
        labels: &["protocol", "result", "errno"],
        exists: CALLED,
        help: "Calls of bind() to a port that a rule or the watch list names, and binds of UDP sockets that count as listeners.",
        more: "`errno` is empty where it succeeded.",
    },
    Family {
        name: "portreeve_watched_port_binds_total",
        kind: Counter,
        unit: "calls",
        labels: &["protocol", "port", "result"],
        exists: WATCHED,
        help: "Calls of bind() to a watched port.",
        more: "`result` is `ok` or `error`.",
    },
    Family {
        name: "portreeve_connects_total",
        kind: Counter,
        unit: "connections",
        labels: &["protocol", "port", "process", "result"],
        exists: CALLED,
        help: "TCP connections tried to a port that a rule or the watch list names, by outcome.",
        more: "`result` is `ok`, `refused`, `timeout`, `unreachable` or `error`. The peer that a UDP socket is given is no connection and never counts.",
    },
    Family {
        name: "portreeve_accepts_total",
        kind: Counter,
        unit: "connections",
        labels: &["protocol", "port", "process"],
        exists: CALLED,
        help: "Connections accepted on a port that a rule or the watch list names.",
        more: "",
    },
    Family {
        name: "portreeve_port_info",
        kind: Gauge,
        unit: "none",
        labels: &[
            "protocol",
            "port",
            "registration",
            "description",
            "status",
            "registrations",
        ],
        exists: "from the start for each watched port; for others from their first listener on, but not for `ephemeral`",
        help: "What the port registry says of a port that is ruled or in use; always 1.",
        more: "Names, descriptions (separated by `; `), `status` (`dormant`, `unauthorised`, `assigned`, `reserved` or `unassigned`; see [registry.md](registry.md#status)), and the number of names.",
    },
    Family {
        name: "portreeve_alerts",
        kind: Gauge,
        unit: "alerts",
        labels: &["rule", "severity"],
        exists: RULED,
        help: "Alerts that fire now.",
        more: "",
    },
    Family {
        name: "portreeve_alerts_fired_total",
        kind: Counter,
        unit: "alerts",
        labels: &["rule", "severity"],
        exists: RULED,
        help: "Alerts that fired since the agent started.",
        more: "By the severity they began with.",
    },
    Family {
        name: "portreeve_alerts_held_back_total",
        kind: Counter,
        unit: "alerts",
        labels: &["rule"],
        exists: "from the start, for each rule",
        help: "Alerts that did not fire when they should have, since their rule fired too many within a minute.",
        more: "That is 60. They fire later if their listeners are open then.",
    },
    Family {
        name: "portreeve_expectations",
        kind: Gauge,
        unit: "expectations",
        labels: &[],
        exists: START,
        help: "Expectations in force, [[expect]] of the configuration.",
        more: "",
    },
    Family {
        name: "portreeve_notifications_total",
        kind: Counter,
        unit: "alerts",
        labels: &["receiver", "result"],
        exists: "from the start, for each receiver and result",
        help: "Alerts in messages to a receiver, by what came of the message: ok, error, or dropped for want of room.",
        more: "After `error` the message is sent again, and counts again; `dropped` is an end that there was no room to remember.",
    },
    Family {
        name: "portreeve_notification_queue_length",
        kind: Gauge,
        unit: "alerts",
        labels: &["receiver"],
        exists: "from the start, for each receiver",
        help: "Alerts that a receiver has not been told of yet.",
        more: "Once a second.",
    },
    Family {
        name: "portreeve_build_info",
        kind: Gauge,
        unit: "none",
        labels: &["version", "schema"],
        exists: START,
        help: "The agent's version; always 1.",
        more: "`schema` is the version of the shape of event lines.",
    },
    Family {
        name: "portreeve_probe_info",
        kind: Gauge,
        unit: "none",
        labels: &["backend", "kernel"],
        exists: ARMED,
        help: "The backend that reports and the kernel that it runs in; always 1.",
        more: "`backend` is `fexit`, `kprobe` or `tracepoint`, `kernel` the kernel's release.",
    },
    Family {
        name: "portreeve_hook_attached",
        kind: Gauge,
        unit: "none",
        labels: &["hook"],
        exists: ARMED,
        help: "Whether a hook is attached: 1, or 0 for one that is needed and refused.",
        more: "Each place in the kernel by the name of the function or tracepoint.",
    },
    Family {
        name: "portreeve_hook_runs_total",
        kind: Counter,
        unit: "runs",
        labels: &["hook"],
        exists: START,
        help: "Runs of a hook that had something to report or to decide.",
        more: "On a listen (`hook=\"listen\"`), on the end of a listener (`unlisten`), a bind, a connect or its outcome, or an accept.",
    },
    Family {
        name: "portreeve_hook_seconds_total",
        kind: Counter,
        unit: "seconds",
        labels: &["hook"],
        exists: "once the hooks are attached, with `--probe.stats` alone",
        help: "Time that the programs of a hook ran, in seconds, by the kernel's own statistics.",
        more: "See [below](#what-the-hooks-cost).",
    },
    Family {
        name: "portreeve_hook_misses_total",
        kind: Counter,
        unit: "calls",
        labels: &["hook"],
        exists: ARMED,
        help: "Calls that a hook was not run for, or whose return it did not see.",
        more: "It ran on that processor already (or, of kprobes, too many returns were awaited). Linux counts what it left out of trampolines since 5.12 and of other programs later: before, this is the least it can be. Those of listens and their ends are also an edge below.",
    },
    Family {
        name: "portreeve_blind_spot",
        kind: Gauge,
        unit: "none",
        labels: &["situation"],
        exists: ARMED,
        help: "1 for each thing that this kernel and backend cannot see.",
        more: "`portreeve doctor` explains each.",
    },
    Family {
        name: "portreeve_events_total",
        kind: Counter,
        unit: "events",
        labels: &["event"],
        exists: START,
        help: "Events that arrived from the kernel side.",
        more: "Once their result is as known as it will be, without the agent's own self-test.",
    },
    Family {
        name: "portreeve_events_lost_total",
        kind: Counter,
        unit: "events",
        labels: &["edge"],
        exists: "from the start, for each edge below",
        help: "Events or their consequences that were lost, by the edge at which that happened.",
        more: "",
    },
    Family {
        name: "portreeve_inventory_drift_total",
        kind: Counter,
        unit: "listeners",
        labels: &["kind"],
        exists: START,
        help: "Listeners that the inventory had wrong, found by a look at what listens: missed ones, and ended ones.",
        more: "`missed`: it listens, and no event told; `ended`: it is gone, and no event told. Each is also a line of the event stream, as `reconciled`; not each such line is counted here.",
    },
    Family {
        name: "portreeve_identity_incomplete_total",
        kind: Counter,
        unit: "events",
        labels: &["field"],
        exists: START,
        help: "Events of which a field could not be learned: of its process, or its result.",
        more: "`exe`, `cmdline`, `user`, `cgroup` or `ancestors` of the process, the `result`, or the `errno` of a connect.",
    },
    Family {
        name: "portreeve_snapshot_duration_seconds",
        kind: Gauge,
        unit: "seconds",
        labels: &[],
        exists: START,
        help: "What the last look at all that listens took, in seconds.",
        more: "0 before the first.",
    },
    Family {
        name: "portreeve_last_snapshot_timestamp_seconds",
        kind: Gauge,
        unit: "seconds",
        labels: &[],
        exists: START,
        help: "When all that listens was last looked at, in seconds since the epoch.",
        more: "0 before the first look.",
    },
    Family {
        name: "portreeve_selftest_last_success_timestamp_seconds",
        kind: Gauge,
        unit: "seconds",
        labels: &[],
        exists: START,
        help: "When the agent last saw a listener of its own, in seconds since the epoch; 0 for never.",
        more: "It tries every 300 s.",
    },
    Family {
        name: "portreeve_config_last_reload_successful",
        kind: Gauge,
        unit: "none",
        labels: &[],
        exists: START,
        help: "Whether the last attempt to read the configuration succeeded: 1, or 0 while the old one is in use.",
        more: "At the start or at a reload.",
    },
    Family {
        name: "portreeve_config_last_reload_success_timestamp_seconds",
        kind: Gauge,
        unit: "seconds",
        labels: &[],
        exists: START,
        help: "When the configuration was last read successfully, in seconds since the epoch.",
        more: "",
    },
    Family {
        name: "portreeve_web_config_last_reload_successful",
        kind: Gauge,
        unit: "none",
        labels: &[],
        exists: START,
        help: "Whether the last attempt to read the web configuration and its certificates succeeded: 1, or 0 while the old one is in use.",
        more: "Also 1 where there is [none](http.md#web-configuration).",
    },
    Family {
        name: "portreeve_registry_info",
        kind: Gauge,
        unit: "none",
        labels: &["source", "updated"],
        exists: START,
        help: "The port registry in use; always 1.",
        more: "Where IANA's rows come from (the crate that was built in, or the file that `portreeve registry update` took), and the newest date in them. Follows a reload.",
    },
    Family {
        name: "portreeve_registry_records",
        kind: Gauge,
        unit: "records",
        labels: &[],
        exists: START,
        help: "Records of the port registry in use.",
        more: "IANA's rows, without the names of the site and of /etc/services. Follows a reload.",
    },
    Family {
        name: "portreeve_history_errors_total",
        kind: Counter,
        unit: "errors",
        labels: &["kind"],
        exists: START,
        help: "Failures to open or write the history of listeners, by what was wrong.",
        more: "`full`, `damaged`, `locked`, `foreign`, `newer` or `io`; see [history.md](history.md).",
    },
    Family {
        name: "portreeve_history_bytes",
        kind: Gauge,
        unit: "bytes",
        labels: &[],
        exists: START,
        help: "Size of the history of listeners with the log beside it, in bytes, as of the last minute.",
        more: "0 where none is kept.",
    },
    Family {
        name: "portreeve_series_limited_total",
        kind: Counter,
        unit: "times",
        labels: &["metric"],
        exists: "from the start, for each metric with a budget",
        help: "Times that a series was folded into process=\"other\", or left out, because the budget was spent.",
        more: "",
    },
];
