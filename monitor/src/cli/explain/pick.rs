//! Whether a port is a good one to pick, in one sentence, and what one would shadow.

use serde::Serialize;

use crate::{
    exit::printable,
    registry::{
        KnownDefault, Meaning, Ports, RangeClass, Registration, Registry, Transport,
        free::{APART, Host, Obstacle, obstacles, suggest},
        service_names,
    },
};

/// Names that a sentence has at most.
const NAMES: usize = 4;

/// What is thought of picking a port.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Pick {
    /// How many of the ports are good to pick.
    pub good: usize,
    /// The services whose names tools would show for another program there.
    pub shadows: Vec<String>,
    /// Why a single port is not good, the most important first: `used`, `ruled`, `registered`, `default`, `automatic`, `reserved`.
    pub obstacles: Vec<&'static str>,
    /// The sentence.
    pub sentence: String,
}

impl Pick {
    /// Weighs these ports for a program of this host. `transport` is the one that matters, where it is one.
    pub(super) fn new(registry: &Registry, host: &Host, ports: Ports, transport: Option<Transport>) -> Self {
        let transports: &[Transport] = match &transport {
            Some(one) => std::slice::from_ref(one),
            None => &[Transport::Tcp, Transport::Udp],
        };
        let rows: Vec<Registration<'_>> = registry
            .by_range(ports.first, ports.last)
            .filter(|row| row.transport().is_none_or(|there| transports.contains(&there)))
            .collect();
        let shadows: Vec<String> = service_names(rows.iter().copied()).into_iter().map(printable).collect();
        if ports.first == ports.last {
            Self::one(registry, host, ports.first, transports, &rows, shadows)
        } else {
            Self::several(registry, host, ports, transports, shadows)
        }
    }

    fn one(
        registry: &Registry,
        host: &Host,
        port: u16,
        transports: &[Transport],
        rows: &[Registration<'_>],
        shadows: Vec<String>,
    ) -> Self {
        let found = obstacles(registry, host, port, transports);
        let mut reasons: Vec<String> = found
            .iter()
            .map(|obstacle| match obstacle {
                Obstacle::Used => "something listens on it".to_owned(),
                Obstacle::Ruled => {
                    let rule = host.rule_on(port, transports).unwrap_or_default();
                    format!("the rule `{rule}` alerts on it")
                }
                Obstacle::Registered if shadows.is_empty() => match Meaning::of_rows(rows.iter().copied(), port) {
                    Meaning::Unauthorised => "IANA knows of a use without a registration".to_owned(),
                    _ => "IANA holds it".to_owned(),
                },
                Obstacle::Registered => {
                    let dead = Meaning::of_rows(rows.iter().copied(), port) == Meaning::Dormant;
                    let dead = match (dead, shadows.len()) {
                        (false, _) => "",
                        (true, 1) => ", which is dead",
                        (true, _) => ", which are dead",
                    };
                    format!("it would shadow {}{dead}", listed(&shadows))
                }
                Obstacle::Default => {
                    let user = KnownDefault::of(port).map_or("others", |default| default.user);
                    format!("it is what {user} takes by default")
                }
                Obstacle::Automatic => "the kernel hands it to outgoing connections".to_owned(),
                Obstacle::SetAside => "the administrator set it aside".to_owned(),
            })
            .collect();
        let needs_privilege = RangeClass::of(port) == RangeClass::System;
        if needs_privilege {
            reasons.push("binding it takes a privilege".to_owned());
        }
        let sentence = if found.is_empty() {
            let whole = suggest(
                registry,
                host,
                Ports {
                    first: port,
                    last: port,
                },
                transports,
                1,
            );
            let near = whole.ports.first().and_then(|suggestion| suggestion.nearest.clone());
            let near = near.filter(|near| near.distance <= APART).map(|near| {
                let plural = if near.distance == 1 { "" } else { "s" };
                format!(
                    ", though {} ({}) is only {} port{plural} away",
                    near.name, near.port, near.distance
                )
            });
            let privilege = if needs_privilege {
                ", and binding it takes a privilege"
            } else {
                ""
            };
            format!(
                "A good port to pick: it shadows nothing, nothing seen listens on it, and the kernel does not hand it out{}{privilege}.",
                near.unwrap_or_default()
            )
        } else {
            format!("Not a good port to pick: {}.", reasons.join("; "))
        };
        Self {
            good: usize::from(found.is_empty()),
            shadows,
            obstacles: found.into_iter().map(Obstacle::name).collect(),
            sentence,
        }
    }

    fn several(registry: &Registry, host: &Host, ports: Ports, transports: &[Transport], shadows: Vec<String>) -> Self {
        let found = suggest(registry, host, ports, transports, 1);
        let all = usize::from(ports.last - ports.first) + 1;
        let bad: Vec<_> = found
            .obstacles
            .iter()
            .map(|(obstacle, count)| format!("{count} {}", obstacle.about()))
            .collect();
        let good = match (found.free, found.ports.first()) {
            (0, _) | (_, None) => format!("None of these {all} ports is good to pick"),
            (free, Some(first)) => format!("{free} of these {all} ports are good to pick, {} first", first.port),
        };
        let bad = if bad.is_empty() {
            String::new()
        } else {
            format!("; {}", bad.join(", "))
        };
        let shadow = if shadows.is_empty() {
            String::new()
        } else {
            format!("; one would shadow {}", listed(&shadows))
        };
        Self {
            good: found.free,
            shadows,
            obstacles: Vec::new(),
            sentence: format!("{good}{bad}{shadow}."),
        }
    }
}

/// A few names, and how many more there are.
fn listed(names: &[String]) -> String {
    match names.split_at_checked(NAMES) {
        Some((first, rest)) if !rest.is_empty() => format!("{} and {} more", first.join(", "), rest.len()),
        _ => match names.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, first)) => format!("{} and {last}", first.join(", ")),
            None => String::new(),
        },
    }
}

/// What this host does with the ports: one sentence for each of its two settings that has to do with them.
pub(super) fn automatic(host: &Host, ports: Ports) -> Vec<String> {
    let overlaps = |range: &Ports| range.first <= ports.last && ports.first <= range.last;
    let spelled = crate::cli::page::numbers;
    let mut sentences = vec![match host.automatic {
        None => "The range of automatic ports (net.ipv4.ip_local_port_range) could not be read.".to_owned(),
        Some(range) => {
            let all = range.first <= ports.first && ports.last <= range.last;
            let asked = spelled(ports);
            let relation = match (overlaps(&range), all, ports.first == ports.last) {
                (true, true, true) => format!("{asked} is one of them"),
                (true, true, false) => format!("{asked} are among them"),
                (true, false, _) => format!("some of {asked} are among them"),
                (false, _, true) => format!("{asked} is not among them"),
                (false, _, false) => format!("none of {asked} is among them"),
            };
            format!(
                "Automatic ports here are {} (net.ipv4.ip_local_port_range): {relation}.",
                spelled(range)
            )
        }
    }];
    let aside: Vec<String> = host
        .reserved
        .iter()
        .filter(|range| overlaps(range))
        .map(|range| spelled(*range))
        .collect();
    if !aside.is_empty() {
        sentences.push(format!(
            "Set aside by the administrator (net.ipv4.ip_local_reserved_ports): {}.",
            aside.join(", ")
        ));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::free::Ruled;

    fn ports(first: u16, last: u16) -> Ports {
        Ports { first, last }
    }

    fn host() -> Host {
        Host {
            automatic: Some(ports(32_768, 60_999)),
            reserved: vec![ports(9200, 9210)],
            used: vec![(Transport::Tcp, 1992)],
            ruled: vec![Ruled::new("no-debuggers", Transport::Tcp, vec![ports(19_995, 19_995)])],
        }
    }

    fn pick(first: u16, last: u16) -> Pick {
        Pick::new(Registry::embedded(), &host(), ports(first, last), None)
    }

    #[test]
    fn one_sentence_says_whether_to_pick_a_port_and_what_one_would_shadow() {
        for (port, sentence) in [
            (
                1992,
                "Not a good port to pick: something listens on it; it would shadow stun-p3 and ipsendmsg, which are dead.",
            ),
            (
                22,
                "Not a good port to pick: it would shadow ssh; binding it takes a privilege.",
            ),
            (
                51_820,
                "Not a good port to pick: it is what WireGuard takes by default; the kernel hands it to outgoing connections.",
            ),
            (
                0,
                "Not a good port to pick: IANA holds it; binding it takes a privilege.",
            ),
            (
                19_990,
                "A good port to pick: it shadows nothing, nothing seen listens on it, and the kernel does not hand it out, \
                 though portreeve itself (19992) is only 2 ports away.",
            ),
            (19_995, "Not a good port to pick: the rule `no-debuggers` alerts on it."),
        ] {
            assert_eq!(pick(port, port).sentence, sentence);
        }
        let of_udp = Pick::new(
            Registry::embedded(),
            &host(),
            ports(19_995, 19_995),
            Some(Transport::Udp),
        );
        assert_eq!((of_udp.good, pick(19_995, 19_995).obstacles), (1, vec!["ruled"]));
        assert_eq!(pick(1992, 1992).obstacles, ["used", "registered"]);
    }

    #[test]
    fn of_a_range_it_counts() {
        let pick = pick(6000, 6010);
        assert_eq!(
            pick.sentence,
            "None of these 11 ports is good to pick; 11 registered, reserved or in known use at IANA; one would shadow x11."
        );
        assert!(pick.sentence.starts_with("None") && pick.good == 0);
        let wide = Pick::new(Registry::embedded(), &host(), ports(10_000, 11_000), None);
        assert!(wide.good > 100 && wide.sentence.contains(" and "), "{}", wide.sentence);
    }

    #[test]
    fn the_hosts_settings_are_named_where_they_touch_the_ports() {
        let of = |first, last| automatic(&host(), ports(first, last));
        assert!(of(1992, 1992)[0].ends_with("32768–60999 (net.ipv4.ip_local_port_range): 1992 is not among them."));
        assert!(of(40_000, 40_000)[0].ends_with("40000 is one of them."));
        assert!(of(30_000, 40_000)[0].ends_with("some of 30000–40000 are among them."));
        assert_eq!(of(9205, 9205).len(), 2);
    }
}
