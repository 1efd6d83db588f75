//! Which sockets a rule or an expectation is about.

use std::fmt;

use serde::Deserialize;

use super::{Facts, Glob};
use crate::{
    event::{Protocol, Scope},
    registry::PortSpec,
};

/// What a selector asks: all that is given must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The ports; empty for all. Of a rule on a status those that had it when the configuration was read.
    pub ports: Vec<PortSpec>,
    /// Whether it names its ports: to the kernel side, which then reports all that happens on them, and to the metrics.
    /// A rule on all that is assigned, or on all that is not, names none: it judges listeners, which are always
    /// reported, and every connection to 443 or from an automatic port would come on top.
    pub names_ports: bool,
    /// The protocols.
    pub protocols: Vec<Protocol>,
    /// Whom the listener serves.
    pub scope: Reach,
    /// Whose network namespace it is in.
    pub namespace: Namespace,
    /// Who chose the port.
    pub automatic: Automatic,
    /// The executable is one of these; empty for any.
    pub exe: Vec<Glob>,
    /// The user is one of these; empty for any.
    pub user: Vec<UserIs>,
    /// The unit, or the service that a socket unit starts, is one of these; empty for any.
    pub unit: Vec<Glob>,
    /// The container's id, or its first twelve letters, is one of these; empty for any.
    pub container: Vec<Glob>,
}

/// Whom a listener must be able to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Any.
    Any,
    /// Not loopback, and in the host's namespace.
    Exposed,
    /// This host alone.
    Loopback,
    /// Every address of its namespace.
    Wildcard,
}

/// Whose network namespace a socket is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    /// Any.
    Any,
    /// The host's.
    Host,
    /// Any but the host's.
    Other,
}

/// Whether it matters who chose the port. In the configuration: `"any"`, `true` or `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Automatic {
    /// Any.
    Any,
    /// Only a port that the kernel chose (`true`), or only one that was asked for (`false`).
    Only(bool),
}

impl Reach {
    /// Whether it takes a listener of this scope, in the host's network namespace or in another one.
    pub(super) fn takes(self, scope: Scope, host_netns: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Exposed => scope != Scope::Loopback && host_netns,
            Self::Loopback => scope == Scope::Loopback,
            Self::Wildcard => scope == Scope::Wildcard,
        }
    }
}

impl Namespace {
    pub(super) const fn takes(self, host_netns: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Host => host_netns,
            Self::Other => !host_netns,
        }
    }
}

impl Automatic {
    pub(super) fn takes(self, automatic: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Only(wanted) => wanted == automatic,
        }
    }
}

/// A user, by number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserIs {
    /// This number.
    Uid(u32),
    /// This name.
    Name(String),
}

/// Letters of a container's id that tools show.
const CONTAINER_SHORT: usize = 12;

/// How well a selector fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// Something that is known speaks against it.
    No,
    /// What is known fits, and the rest belongs to a process that may not be seen.
    Open,
    /// All that it asks holds.
    Full,
}

impl Selector {
    /// Every socket.
    pub fn all() -> Self {
        Self {
            ports: Vec::new(),
            names_ports: false,
            protocols: vec![Protocol::Tcp, Protocol::Udp],
            scope: Reach::Any,
            namespace: Namespace::Any,
            automatic: Automatic::Any,
            exe: Vec::new(),
            user: Vec::new(),
            unit: Vec::new(),
            container: Vec::new(),
        }
    }

    /// Every socket on these ports.
    pub fn on(ports: Vec<PortSpec>) -> Self {
        Self {
            names_ports: true,
            ports,
            ..Self::all()
        }
    }

    /// Whether it asks anything beside ports and protocols.
    pub fn narrows(&self) -> bool {
        let identity = [&self.exe, &self.unit, &self.container];
        self.scope != Reach::Any
            || self.namespace != Namespace::Any
            || self.automatic != Automatic::Any
            || !self.user.is_empty()
            || identity.iter().any(|globs| !globs.is_empty())
    }

    /// The ports that it names.
    pub fn named(&self) -> &[PortSpec] {
        if self.names_ports { &self.ports } else { &[] }
    }

    /// Whether it names this port.
    pub fn names(&self, protocol: Protocol, port: u16) -> bool {
        self.names_ports && self.covers(protocol, port)
    }

    /// Whether it takes sockets on this port.
    pub fn covers(&self, protocol: Protocol, port: u16) -> bool {
        self.protocols.contains(&protocol)
            && (self.ports.is_empty() || self.ports.iter().any(|spec| covers(spec, protocol, port)))
    }

    /// How well it fits. Where nobody knows who chose the port, `otherwise` is taken for true.
    pub fn fit(&self, facts: &Facts<'_>, otherwise: Option<bool>) -> Fit {
        let automatic = facts
            .automatic
            .or(otherwise)
            .is_none_or(|automatic| self.automatic.takes(automatic));
        let place = self.namespace.takes(facts.host_netns) && self.scope.takes(facts.scope, facts.host_netns);
        if !(automatic && place && self.covers(facts.protocol, facts.port)) {
            return Fit::No;
        }
        let container = facts.container.map(|id| [id, id.get(..CONTAINER_SHORT).unwrap_or(id)]);
        let identity = [
            one_of(&self.exe, facts.exe.as_slice()),
            one_of(
                &self.unit,
                facts
                    .unit
                    .into_iter()
                    .chain(facts.service)
                    .collect::<Vec<_>>()
                    .as_slice(),
            ),
            one_of(
                &self.container,
                container.as_ref().map_or(&[], |names| names.as_slice()),
            ),
            self.user_fits(facts),
        ];
        let worst = identity.into_iter().min().unwrap_or(Fit::Full);
        // Only what may not be seen is open: what could not be learned of a process that may be is no proof.
        if worst == Fit::Open && !facts.hidden {
            Fit::No
        } else {
            worst
        }
    }

    fn user_fits(&self, facts: &Facts<'_>) -> Fit {
        let fits = |user: &UserIs| {
            let by_name = matches!(user, UserIs::Name(name) if facts.user == Some(name));
            by_name || (facts.uid.is_some() && user.uid() == facts.uid)
        };
        if self.user.is_empty() || self.user.iter().any(fits) {
            Fit::Full
        } else if facts.uid.is_none() {
            Fit::Open
        } else {
            Fit::No
        }
    }

    /// Whether there is a port and a protocol that it takes.
    pub fn takes_any(&self) -> bool {
        self.protocols.iter().any(|protocol| self.takes_some_of(*protocol))
    }

    /// Whether there is a port that it takes of this protocol.
    pub fn takes_some_of(&self, protocol: Protocol) -> bool {
        self.protocols.contains(&protocol)
            && (self.ports.is_empty() || self.ports.iter().any(|spec| covers(spec, protocol, spec.first)))
    }
}

/// Whether one of the patterns takes one of the names, which are what is known.
fn one_of(patterns: &[Glob], names: &[&str]) -> Fit {
    if patterns.is_empty()
        || names
            .iter()
            .any(|name| patterns.iter().any(|pattern| pattern.takes(name)))
    {
        Fit::Full
    } else if names.is_empty() {
        Fit::Open
    } else {
        Fit::No
    }
}

/// Whether a port specification covers a port of this protocol.
pub fn covers(spec: &PortSpec, protocol: Protocol, port: u16) -> bool {
    (spec.first..=spec.last).contains(&port) && spec.transport.is_none_or(|asked| asked == protocol.into())
}

impl UserIs {
    /// The number, where it is the same on every host: that of root is 0 by the kernel, others are one host's affair.
    fn uid(&self) -> Option<u32> {
        match self {
            Self::Uid(uid) => Some(*uid),
            Self::Name(name) => (name == "root").then_some(0),
        }
    }

    /// Whether both are one user, on every host.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self == other || (self.uid().is_some() && self.uid() == other.uid())
    }
}

impl fmt::Display for UserIs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "{uid}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}
