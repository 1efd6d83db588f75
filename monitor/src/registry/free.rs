//! Which ports are good to pick, and why others are not.

use super::Registry;
use super::defaults::Default;
use super::meaning::Meaning;
use super::registration::{Ports, Registration, Transport, service_names};

/// How near to a known service a port should not be, where others are left: who picks by hand counts up from a known one.
pub const APART: u16 = 5;

/// What a host does with its ports.
#[derive(Clone, Debug, std::default::Default, PartialEq, Eq)]
pub struct Host {
    /// From which the kernel takes automatic ports (`net.ipv4.ip_local_port_range`).
    pub automatic: Option<Ports>,
    /// Which the administrator set aside (`net.ipv4.ip_local_reserved_ports`).
    pub reserved: Vec<Ports>,
    /// On which something listens now, sorted.
    pub used: Vec<(Transport, u16)>,
    /// On which whatever listens is told, by a rule.
    pub ruled: Vec<Ruled>,
}

/// Ports of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruled {
    rule: String,
    transport: Transport,
    /// In their order, none touching another: a rule on a status has thousands.
    ports: Vec<Ports>,
}

impl Ruled {
    /// The ports of one protocol that a rule of this name is on.
    #[must_use]
    pub fn new(rule: &str, transport: Transport, ports: Vec<Ports>) -> Self {
        Self {
            rule: rule.to_owned(),
            transport,
            ports: merged(ports),
        }
    }

    fn has(&self, port: u16) -> bool {
        let after = self.ports.partition_point(|ports| ports.first <= port);
        let before = after.checked_sub(1).and_then(|index| self.ports.get(index));
        before.is_some_and(|ports| ports.contains(port))
    }
}

impl Host {
    /// Whether the kernel hands a port out by itself.
    #[must_use]
    pub fn is_automatic(&self, port: u16) -> bool {
        self.automatic.is_some_and(|range| range.contains(port)) && !self.is_reserved(port)
    }

    /// Whether the administrator set it aside.
    #[must_use]
    pub fn is_reserved(&self, port: u16) -> bool {
        self.reserved.iter().any(|ports| ports.contains(port))
    }

    /// The first rule on one of these protocols that tells of whatever listens on a port.
    #[must_use]
    pub fn rule_on(&self, port: u16, transports: &[Transport]) -> Option<&str> {
        let takes = |ruled: &&Ruled| transports.contains(&ruled.transport) && ruled.has(port);
        self.ruled.iter().find(takes).map(|ruled| ruled.rule.as_str())
    }

    fn is_used(&self, transport: Transport, port: u16) -> bool {
        self.used.binary_search(&(transport, port)).is_ok()
    }
}

/// Why a port is not good to pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Obstacle {
    /// Something listens on it.
    Used,
    /// A rule tells of whatever listens on it.
    Ruled,
    /// It is registered, or IANA holds it, or knows of a use.
    Registered,
    /// A widespread program takes it without a registration.
    Default,
    /// It lies in the range of automatic ports.
    Automatic,
    /// The administrator set it aside.
    SetAside,
}

impl Obstacle {
    /// All, the most important first.
    pub const ALL: [Self; 6] = [
        Self::Used,
        Self::Ruled,
        Self::Registered,
        Self::Default,
        Self::Automatic,
        Self::SetAside,
    ];

    /// The name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Ruled => "ruled",
            Self::Registered => "registered",
            Self::Default => "default",
            Self::Automatic => "automatic",
            Self::SetAside => "reserved",
        }
    }

    /// What is so about a port that has it: `3 …`.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Used => "in use",
            Self::Ruled => "of a rule that alerts",
            Self::Registered => "registered, reserved or in known use at IANA",
            Self::Default => "a widespread default",
            Self::Automatic => "in the range of automatic ports",
            Self::SetAside => "set aside by ip_local_reserved_ports",
        }
    }
}

/// What keeps a port from being a good one, the most important first. `transports` are those that count.
#[must_use]
pub fn obstacles(registry: &Registry, host: &Host, port: u16, transports: &[Transport]) -> Vec<Obstacle> {
    let any = |holds: &dyn Fn(Transport) -> bool| transports.iter().any(|transport| holds(*transport));
    let found = [
        (Obstacle::Used, any(&|transport| host.is_used(transport, port))),
        (Obstacle::Ruled, host.rule_on(port, transports).is_some()),
        (
            Obstacle::Registered,
            any(&|transport| registry.meaning(transport, port) != Meaning::Unassigned),
        ),
        (Obstacle::Default, Default::of(port).is_some()),
        (Obstacle::Automatic, host.is_automatic(port)),
        (Obstacle::SetAside, host.is_reserved(port)),
    ];
    found
        .into_iter()
        .filter(|(_, holds)| *holds)
        .map(|(obstacle, _)| obstacle)
        .collect()
}

/// A known service beside a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    /// How many ports away.
    pub distance: u16,
    /// Its port.
    pub port: u16,
    /// Its names, or who uses it.
    pub name: String,
}

/// A port that is good to pick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The port.
    pub port: u16,
    /// The nearest port with a registered service, or a widespread default.
    pub nearest: Option<Near>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestions {
    /// The best first.
    pub ports: Vec<Suggestion>,
    /// How many ports have no obstacle.
    pub free: usize,
    /// How many have one, by the most important; only those that some port has.
    pub obstacles: Vec<(Obstacle, usize)>,
}

/// Chooses up to `count` ports from `range`: first those far from every known service and from each other, lowest first;
/// then those far from known services; then the others, the farthest first. On an unchanged host it is always the same.
#[must_use]
pub fn suggest(registry: &Registry, host: &Host, range: Ports, transports: &[Transport], count: usize) -> Suggestions {
    let known = known(registry);
    let mut free: Vec<(u16, u16)> = Vec::new();
    let mut counts = Obstacle::ALL.map(|obstacle| (obstacle, 0));
    for port in range.first..=range.last {
        match obstacles(registry, host, port, transports).first() {
            None => free.push((port, distance(&known, port).map_or(u16::MAX, |(distance, _)| distance))),
            Some(found) => {
                if let Some((_, count)) = counts.iter_mut().find(|(obstacle, _)| obstacle == found) {
                    *count += 1;
                }
            }
        }
    }
    let (far, near): (Vec<_>, Vec<_>) = free.iter().copied().partition(|(_, distance)| *distance > APART);
    let (mut alone, mut beside): (Vec<u16>, Vec<u16>) = (Vec::new(), Vec::new());
    for (port, _) in far {
        if alone.last().is_none_or(|last| port - last > APART) {
            alone.push(port);
        } else {
            beside.push(port);
        }
    }
    let mut near = near;
    near.sort_by_key(|(port, distance)| (std::cmp::Reverse(*distance), *port));
    let ports = alone
        .into_iter()
        .chain(beside)
        .chain(near.into_iter().map(|(port, _)| port))
        .take(count)
        .map(|port| Suggestion {
            port,
            nearest: nearest(registry, &known, port),
        });
    Suggestions {
        ports: ports.collect(),
        free: free.len(),
        obstacles: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
    }
}

/// The stretches of ports with a registered service or a widespread default, merged and sorted. Rows that cover more
/// than they can mean (a block for one service of hundreds) count as well: they are registered.
fn known(registry: &Registry) -> Vec<Ports> {
    let registered = registry
        .rows()
        .filter(|row| row.service().is_some())
        .filter_map(|row| row.ports());
    merged(registered.chain(Default::all().map(|default| default.ports)).collect())
}

/// The same ports in their order, each once.
fn merged(mut all: Vec<Ports>) -> Vec<Ports> {
    all.sort_unstable();
    let mut merged: Vec<Ports> = Vec::new();
    for ports in all {
        match merged.last_mut() {
            Some(last) if ports.first <= last.last => last.last = last.last.max(ports.last),
            _ => merged.push(ports),
        }
    }
    merged
}

/// How far the nearest known port is, and which it is; the lower of two.
fn distance(known: &[Ports], port: u16) -> Option<(u16, u16)> {
    let after = known.partition_point(|ports| ports.first <= port);
    let below = after
        .checked_sub(1)
        .and_then(|index| known.get(index))
        .map(|ports| ports.last.min(port));
    let above = known.get(after).map(|ports| ports.first);
    below
        .into_iter()
        .chain(above)
        .map(|there| (there.abs_diff(port), there))
        .min()
}

fn nearest(registry: &Registry, known: &[Ports], port: u16) -> Option<Near> {
    let (distance, there) = distance(known, port)?;
    let rows: Vec<Registration<'_>> = registry.by_port(there).collect();
    let names = service_names(rows.iter().copied()).join(", ");
    let name = match Default::of(there) {
        Some(default) if names.is_empty() => default.user.to_owned(),
        _ => names,
    };
    Some(Near {
        distance,
        port: there,
        name,
    })
}

#[cfg(test)]
mod tests;
