//! Which ports have series of their own, and what the page says of a port.

use std::collections::HashSet;

use crate::{
    event::Protocol,
    policy::{Policy, covers},
    registry::{Meaning, Registry},
};

/// Ports that get series of their own from the start.
const WATCHED_MAX: usize = 256;

/// What stands for a port that nobody chose.
pub(super) const EPHEMERAL: &str = "ephemeral";

/// The ports that rules name, each with its protocols: the first 256 ports, and how many more there are.
pub(super) fn watched(policy: &Policy) -> (Vec<(Protocol, u16)>, usize) {
    let (mut watched, mut ports, mut more) = (Vec::new(), HashSet::new(), HashSet::new());
    for rule in policy.rules() {
        for spec in rule.selector.named() {
            for port in spec.first..=spec.last {
                for protocol in rule
                    .selector
                    .protocols
                    .iter()
                    .copied()
                    .filter(|protocol| covers(spec, *protocol, port))
                {
                    if ports.len() == WATCHED_MAX && !ports.contains(&port) {
                        more.insert(port);
                    } else if !watched.contains(&(protocol, port)) {
                        ports.insert(port);
                        watched.push((protocol, port));
                    }
                }
            }
        }
    }
    (watched, more.len())
}

/// The label `port`: the number, unless nobody chose the port and nothing names it. `range` is the host's range of
/// automatic ports.
pub(super) fn label(port: u16, automatic: bool, named: bool, range: Option<(u16, u16)>) -> String {
    let in_range = range.is_some_and(|(first, last)| (first..=last).contains(&port));
    if (automatic || in_range) && !named {
        EPHEMERAL.to_owned()
    } else {
        port.to_string()
    }
}

/// The labels of `portreeve_port_info`: protocol, port, registration, description, status, registrations.
pub(super) fn described(registry: &Registry, protocol: Protocol, port: u16) -> [String; 6] {
    let rows: Vec<_> = registry.lookup(protocol.into(), port).collect();
    // Each name once, as `portreeve_listeners` has them: the label is there to join the two.
    let mut names = Vec::new();
    for name in rows.iter().filter_map(|row| row.service()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let descriptions: Vec<_> = rows.iter().filter_map(|row| row.description()).collect();
    let status = Meaning::of_rows(rows.iter().copied(), port);
    [
        protocol.as_str().to_owned(),
        port.to_string(),
        names.join(","),
        descriptions.join("; "),
        status.name().to_owned(),
        names.len().to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples::{listen_on, report};

    #[test]
    fn on_every_port_both_families_write_the_registration_alike() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for port in 0..=u16::MAX {
                let mut event = listen_on(port);
                event.socket.protocol = protocol;
                let [_, _, names, ..] = described(Registry::embedded(), protocol, port);
                assert_eq!(names, report(&event).names().join(","), "{port}/{protocol}");
            }
        }
    }
}
