//! What a registration is worth today: whether anybody still speaks the protocol, and whether the port is free.
//!
//! The registry records what was once asked for. It does not say what has died since, so [`dormant`] does, reviewed by
//! hand. This module turns both into one word that a rule can ask for.

pub mod dormant;

pub use dormant::Dormancy;

use super::Registry;
use super::ports::PortSpec;
use super::registration::{Ports, Registration, Status, Transport};

/// The standing of a registration, and of a port: exactly one each. The order is that of precedence on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Meaning {
    /// Registered for protocols that nobody speaks any more. A port is dormant where all its services are.
    Dormant,
    /// IANA was told of use without a registration.
    Unauthorised,
    /// Registered for a use.
    Assigned,
    /// Held by IANA.
    Reserved,
    /// Registered for nothing. Dynamic ports, which IANA never assigns, are among these.
    Unassigned,
}

impl Meaning {
    /// All, in the order of precedence.
    pub const ALL: [Self; 5] = [
        Self::Dormant,
        Self::Unauthorised,
        Self::Assigned,
        Self::Reserved,
        Self::Unassigned,
    ];

    /// The word in rules, metrics and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dormant => "dormant",
            Self::Unauthorised => "unauthorised",
            Self::Assigned => Status::Assigned.name(),
            Self::Reserved => Status::Reserved.name(),
            Self::Unassigned => Status::Unassigned.name(),
        }
    }

    /// The meaning of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|meaning| meaning.name() == name)
    }

    /// Whether so many ports have it, and such busy ones, that a rule on it does not name each of them to the kernel
    /// side: every connection to 443 would be reported, and every automatic port.
    #[must_use]
    pub const fn is_common(self) -> bool {
        matches!(self, Self::Assigned | Self::Unassigned)
    }

    /// The meaning of one row, whatever ports of it are asked for.
    #[must_use]
    pub fn of(row: &Registration<'_>) -> Self {
        Self::with_use(row, row.unauthorized_use())
    }

    fn with_use(row: &Registration<'_>, unauthorized: Option<&str>) -> Self {
        if Dormancy::of(row).is_some() {
            Self::Dormant
        } else if unauthorized.is_some() {
            Self::Unauthorised
        } else {
            match row.status() {
                Status::Assigned => Self::Assigned,
                Status::Reserved => Self::Reserved,
                Status::Unassigned => Self::Unassigned,
            }
        }
    }

    /// The meaning of a port that these rows are about. One service that lives makes a port live.
    pub fn of_rows<'a>(rows: impl Iterator<Item = Registration<'a>>, port: u16) -> Self {
        let mut dormant = false;
        let mut least = Self::Unassigned;
        for meaning in rows.map(|row| Self::with_use(&row, row.unauthorized_use_of(port))) {
            if meaning == Self::Dormant {
                dormant = true;
            } else {
                least = least.min(meaning);
            }
        }
        if dormant && least > Self::Assigned {
            Self::Dormant
        } else {
            least
        }
    }
}

impl Registry {
    /// The meaning of a port of a transport.
    #[must_use]
    pub fn meaning(&self, transport: Transport, port: u16) -> Meaning {
        Meaning::of_rows(self.lookup(transport, port), port)
    }

    /// The TCP and UDP ports that have one of these meanings, port 0 left out, as stretches: TCP first, lowest first.
    /// Where `within` is given, only those of its ports.
    #[must_use]
    pub fn ports_of(&self, meanings: &[Meaning], within: Option<&[PortSpec]>) -> Vec<PortSpec> {
        let mut specs: Vec<PortSpec> = Vec::new();
        for transport in [Transport::Tcp, Transport::Udp] {
            let mut open: Option<Ports> = None;
            let asked = |port: u16| {
                within.is_none_or(|within| {
                    within.iter().any(|spec| {
                        (spec.first..=spec.last).contains(&port)
                            && spec.transport.is_none_or(|asked| asked == transport)
                    })
                })
            };
            let mut close = |stretch: Option<Ports>| {
                specs.extend(stretch.map(|Ports { first, last }| PortSpec {
                    transport: Some(transport),
                    first,
                    last,
                }));
            };
            for port in 1..=u16::MAX {
                if !asked(port) || !meanings.contains(&self.meaning(transport, port)) {
                    close(open.take());
                    continue;
                }
                open = Some(Ports {
                    first: open.map_or(port, |stretch| stretch.first),
                    last: port,
                });
            }
            close(open);
        }
        specs
    }
}

#[cfg(test)]
mod tests;
