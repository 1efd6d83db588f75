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

/// The ports that rules name.
#[derive(PartialEq, Eq)]
struct Named {
    /// The first 256 of them, each with its protocols.
    watched: Vec<(Protocol, u16)>,
    /// The others.
    without_series: HashSet<u16>,
}

impl Named {
    fn of(policy: &Policy) -> Self {
        let (mut watched, mut ports, mut without_series) = (Vec::new(), HashSet::new(), HashSet::new());
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
                            without_series.insert(port);
                        } else if !watched.contains(&(protocol, port)) {
                            ports.insert(port);
                            watched.push((protocol, port));
                        }
                    }
                }
            }
        }
        Self {
            watched,
            without_series,
        }
    }
}

/// The ports with series of their own. Where others have none, and these are not those of the rules before, it is said how many.
pub(super) fn with_series(policy: &Policy, before: Option<&Policy>) -> Vec<(Protocol, u16)> {
    let named = Named::of(policy);
    if let Some(sentence) = left_out(&named, before) {
        ::log::warn!("{sentence}");
    }
    named.watched
}

fn left_out(named: &Named, before: Option<&Policy>) -> Option<String> {
    let others = &named.without_series;
    if others.is_empty() || before.is_some_and(|before| Named::of(before).without_series == *others) {
        return None;
    }
    let (count, have) = match others.len() {
        1 => ("one".to_owned(), "has"),
        several => (several.to_string(), "have"),
    };
    Some(format!(
        "rules and [watch] name more than {WATCHED_MAX} ports: {count} of them {have} no series in portreeve_watched_port_*, \
         and alerts all the same"
    ))
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
    use crate::{
        output::samples::{listen_on, report},
        policy::{Rule, Verdict},
        registry::PortSpec,
    };

    #[test]
    fn that_ports_have_no_series_is_said_where_it_is_so_and_not_again() {
        let policy = |first, last| {
            let ports = PortSpec {
                transport: None,
                first,
                last,
            };
            Policy::new(vec![Rule::watched(vec![ports])], Verdict::Unruled)
        };
        let said = |policy: &Policy, before: Option<&Policy>| left_out(&Named::of(policy), before);
        let (few, one, more) = (policy(1, 256), policy(1, 257), policy(1, 300));
        assert_eq!(said(&few, None), None);
        let sentence = said(&one, None).unwrap();
        assert!(sentence.contains("256 ports: one of them has no series"), "{sentence}");
        assert_eq!((said(&more, Some(&more)), said(&few, Some(&more))), (None, None));
        let sentence = said(&more, Some(&one)).unwrap();
        assert!(sentence.contains("44 of them have no series"), "{sentence}");
        // The same number of others.
        let shifted = policy(2, 301);
        assert!(said(&shifted, Some(&more)).is_some());
    }

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
