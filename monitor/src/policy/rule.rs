//! A rule: which ports, what happened there, and how bad it is.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{Facts, Template};
use crate::{
    event::{Kind, Protocol, Scope},
    registry::PortSpec,
};

/// How bad it is; the names of Prometheus's usual severities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look today.
    Warning,
    /// Worth a look now.
    Critical,
}

impl Severity {
    /// The name in alerts and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What a rule waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// A listener.
    Listen,
    /// A bind that succeeded. That of a UDP socket is a listener, and no bind.
    Bind,
    /// A bind that failed.
    BindFailed,
    /// A connect, whatever came of it.
    Connect,
    /// An accepted connection.
    Accept,
}

impl On {
    /// Whether this is what happened.
    pub fn is(self, facts: &Facts) -> bool {
        match self {
            Self::Listen => facts.kind == Kind::Listen,
            Self::Bind => facts.kind == Kind::Bind && !facts.failed,
            Self::BindFailed => facts.kind == Kind::Bind && facts.failed,
            Self::Connect => facts.kind == Kind::Connect,
            Self::Accept => facts.kind == Kind::Accept,
        }
    }
}

/// Whom a listener must be able to serve for a rule to care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Any.
    Any,
    /// Not loopback, and in the host's namespace.
    Exposed,
}

/// Whether a rule cares who chose the port. In the configuration: `"any"`, `true` or `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Automatic {
    /// Any.
    Any,
    /// Only a port that the kernel chose (`true`), or only one that was asked for (`false`).
    Only(bool),
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name: the label of its alerts.
    pub name: String,
    /// The ports; of a rule on a status those that had it when the configuration was read.
    pub ports: Vec<PortSpec>,
    /// Whether it names its ports: to the kernel side, which then reports all that happens on them, and to the metrics.
    /// A rule on all that is assigned, or on all that is not, names none: it judges listeners, which are always
    /// reported, and every connection to 443 or from an automatic port would come on top.
    pub names_ports: bool,
    /// The protocols.
    pub protocols: Vec<Protocol>,
    /// What it waits for.
    pub on: Vec<On>,
    /// Whom the listener serves.
    pub scope: Reach,
    /// Who chose the port.
    pub automatic: Automatic,
    /// How bad it is.
    pub severity: Severity,
    /// How bad it is where the kernel chose the port; `None` for no difference.
    pub automatic_severity: Option<Severity>,
    /// How long a listener must be there before its alert fires; until then the alert is pending.
    pub for_: Duration,
    /// How long an alert stays, from the first time it was delivered.
    pub keep_firing_for: Duration,
    /// What an alert says in one sentence; `None` for the usual one.
    pub summary: Option<Template>,
    /// What else an alert says.
    pub description: Option<Template>,
    /// Where to read what to do: an http or https URL.
    pub runbook: Option<String>,
    /// Labels that its alerts have beside the usual ones, none of which is among them.
    pub labels: BTreeMap<String, String>,
}

/// Labels that each alert has, so that no rule may set them.
pub const RESERVED_LABELS: [&str; 8] = [
    "alertname",
    "rule",
    "severity",
    "instance",
    "protocol",
    "port",
    "process",
    "netns",
];

/// Longer than Alertmanager's usual group_interval, or a short listener would never be sent as firing.
pub const KEEP_FIRING_FOR: Duration = Duration::from_secs(15 * 60);

/// Name of the rule that `--watch` and `[watch]` bring along.
pub const WATCHED: &str = "watched-port";

impl Rule {
    /// The built-in rule: ports whose registered services are all dead.
    pub fn dormant_port() -> Self {
        let any = |first, last| PortSpec {
            transport: None,
            first,
            last,
        };
        Self {
            name: "dormant-port".into(),
            ports: vec![any(1990, 1992), any(1994, 1994)],
            names_ports: true,
            protocols: vec![Protocol::Tcp, Protocol::Udp],
            on: vec![On::Listen],
            scope: Reach::Any,
            automatic: Automatic::Any,
            severity: Severity::Critical,
            automatic_severity: Some(Severity::Warning),
            for_: Duration::ZERO,
            keep_firing_for: KEEP_FIRING_FOR,
            summary: None,
            description: None,
            runbook: None,
            labels: BTreeMap::new(),
        }
    }

    /// The rule that `--watch` and `[watch]` bring along.
    pub fn watched(ports: Vec<PortSpec>) -> Self {
        Self {
            name: WATCHED.into(),
            ports,
            severity: Severity::Warning,
            automatic_severity: None,
            ..Self::dormant_port()
        }
    }

    /// Whether the rule names this port.
    pub fn names(&self, protocol: Protocol, port: u16) -> bool {
        self.names_ports && self.covers(protocol, port)
    }

    /// The ports that the rule names.
    pub fn named(&self) -> &[PortSpec] {
        if self.names_ports { &self.ports } else { &[] }
    }

    fn covers(&self, protocol: Protocol, port: u16) -> bool {
        self.protocols.contains(&protocol) && self.ports.iter().any(|spec| covers(spec, protocol, port))
    }

    /// Whether the rule matches.
    pub fn matches(&self, facts: &Facts) -> bool {
        let awaited = self.on.iter().any(|on| on.is(facts));
        let reached = match self.scope {
            Reach::Any => true,
            Reach::Exposed => facts.scope != Scope::Loopback && facts.host_netns,
        };
        let chosen = match self.automatic {
            Automatic::Any => true,
            Automatic::Only(automatic) => automatic == facts.automatic,
        };
        awaited && reached && chosen && self.covers(facts.protocol, facts.port)
    }

    /// How bad this one is.
    pub fn severity_of(&self, facts: &Facts) -> Severity {
        self.automatic_severity
            .filter(|_| facts.automatic)
            .unwrap_or(self.severity)
    }
}

/// Whether a port specification covers a port of this protocol.
pub fn covers(spec: &PortSpec, protocol: Protocol, port: u16) -> bool {
    (spec.first..=spec.last).contains(&port) && spec.transport.is_none_or(|asked| asked == protocol.into())
}
