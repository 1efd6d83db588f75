//! A rule: which sockets, what happened there, how bad it is, and what its alerts say.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{Automatic, Facts, Reach, Selector, Template, says_the_same, selector::Fit};
use crate::{event::Kind, registry::PortSpec};

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
    /// A bind that succeeded; that of a UDP socket is a listener, and no bind.
    Bind,
    /// A bind that failed.
    BindFailed,
    /// A connect, whatever came of it.
    Connect,
    /// An accepted connection.
    Accept,
}

impl On {
    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Bind => "bind",
            Self::BindFailed => "bind_failed",
            Self::Connect => "connect",
            Self::Accept => "accept",
        }
    }

    /// Whether the port that it is about can be known to be automatic. A connect and an accept do not say so, and a bind that
    /// was refused an automatic port has none that a rule could name.
    pub const fn can_be_automatic(self) -> bool {
        matches!(self, Self::Listen | Self::Bind)
    }

    /// Whether its address can be the wildcard: the kernel connects to loopback where that is asked for.
    pub const fn can_be_wildcard(self) -> bool {
        !matches!(self, Self::Connect)
    }

    /// Whether this is what happened.
    pub fn is(self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Listen => facts.kind == Kind::Listen,
            Self::Bind => facts.kind == Kind::Bind && !facts.failed,
            Self::BindFailed => facts.kind == Kind::Bind && facts.failed,
            Self::Connect => facts.kind == Kind::Connect,
            Self::Accept => facts.kind == Kind::Accept,
        }
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name: the label of its alerts.
    pub name: String,
    /// Which sockets it is about.
    pub selector: Selector,
    /// What it waits for.
    pub on: Vec<On>,
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

/// Name of the rule on listeners that are unexpected though no other rule matches.
pub const UNEXPECTED: &str = "unexpected-listener";

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
            selector: Selector::on(vec![any(1990, 1992), any(1994, 1994)]),
            on: vec![On::Listen],
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
            selector: Selector::on(ports),
            severity: Severity::Warning,
            automatic_severity: None,
            ..Self::dormant_port()
        }
    }

    /// The built-in rule on listeners that no expectation takes though it should: see [`super::Policy::judge`].
    pub fn unexpected() -> Self {
        Self {
            name: UNEXPECTED.into(),
            selector: Selector::all(),
            severity: Severity::Warning,
            automatic_severity: None,
            ..Self::dormant_port()
        }
    }

    /// Whether it waits for the first expectation. On a host of which nobody said what may be there, all that is exposed, or
    /// that some user runs, would be a finding.
    pub fn waits(&self) -> bool {
        self.selector.scope == Reach::Exposed || self.selector.ports.is_empty()
    }

    /// Whether it has ports, and tells of whoever asks for one of them and listens there.
    pub fn tells_of_whoever(&self) -> bool {
        let asked = &self.selector;
        self.on.contains(&On::Listen)
            && !asked.ports.is_empty()
            && asked.user.is_empty()
            && [&asked.exe, &asked.unit, &asked.container]
                .iter()
                .all(|globs| globs.is_empty())
            && asked.automatic != Automatic::Only(true)
    }

    /// Whether another rule says the same but for its name, however both are written.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let rest = |rule: &Self| Self {
            name: String::new(),
            selector: Selector::all(),
            on: Vec::new(),
            automatic_severity: rule.automatic_severity.filter(|severity| *severity != rule.severity),
            ..rule.clone()
        };
        let has = |these: &[On], those: &[On]| those.iter().all(|on| these.contains(on));
        has(&self.on, &other.on)
            && has(&other.on, &self.on)
            && says_the_same(&self.selector, &other.selector)
            && rest(self) == rest(other)
    }

    /// Whether the rule matches.
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        // A port that may have been asked for is the more severe case.
        self.on.iter().any(|on| on.is(facts)) && self.selector.fit(facts, Some(false)) == Fit::Full
    }

    /// How bad this one is.
    pub fn severity_of(&self, facts: &Facts<'_>) -> Severity {
        self.automatic_severity
            .filter(|_| facts.automatic == Some(true))
            .unwrap_or(self.severity)
    }
}
