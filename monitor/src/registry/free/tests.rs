use super::*;
use Transport::{Tcp, Udp};

const BOTH: [Transport; 2] = [Tcp, Udp];

fn ports(first: u16, last: u16) -> Ports {
    Ports { first, last }
}

fn host() -> Host {
    Host {
        automatic: Some(ports(32_768, 60_999)),
        reserved: vec![ports(10_030, 10_040), ports(50_005, 50_005)],
        used: vec![(Tcp, 10_025)],
        ruled: vec![Ruled::new("r", Tcp, vec![ports(10_020, 10_022), ports(10_022, 10_023)])],
    }
}

fn suggested(host: &Host, range: Ports, count: usize) -> Suggestions {
    suggest(Registry::embedded(), host, range, &BOTH, count)
}

#[test]
fn what_is_suggested_is_free_far_from_known_services_and_always_the_same() {
    let found = suggested(&host(), ports(10_000, 49_151), 3);
    assert_eq!(found.ports.len(), 3);
    assert_eq!(found, suggested(&host(), ports(10_000, 49_151), 3));
    for suggestion in &found.ports {
        assert_eq!(obstacles(Registry::embedded(), &host(), suggestion.port, &BOTH), []);
        let near = suggestion.nearest.as_ref().unwrap();
        assert!(near.distance > APART, "{suggestion:?}");
        assert!(!near.name.is_empty());
    }
    let apart = found.ports.windows(2).all(|pair| pair[1].port - pair[0].port > APART);
    assert!(apart, "{found:?}");
}

#[test]
fn each_obstacle_is_found_and_counted_once() {
    let of = |port| obstacles(Registry::embedded(), &host(), port, &BOTH);
    assert_eq!(of(1992), [Obstacle::Registered]);
    let ruled = [10_019, 10_020, 10_023, 10_024].map(|port| of(port).contains(&Obstacle::Ruled));
    assert_eq!(ruled, [false, true, true, false]);
    assert_eq!(of(10_025), [Obstacle::Used]);
    assert_eq!(of(10_030), [Obstacle::SetAside]);
    // What is set aside is never handed out.
    assert_eq!(of(50_005), [Obstacle::SetAside]);
    assert_eq!(of(51_820), [Obstacle::Default, Obstacle::Automatic]);
    assert_eq!(of(9256), [Obstacle::Default]);
    assert_eq!(of(27_018), [Obstacle::Registered, Obstacle::Default]);
    assert_eq!(obstacles(Registry::embedded(), &host(), 10_025, &[Udp]), []);
    let all = suggested(&host(), ports(1, 65_535), 0);
    let counted: usize = all.obstacles.iter().map(|(_, count)| count).sum();
    assert_eq!(counted + all.free, 65_535);
}

#[test]
fn where_nothing_is_free_it_says_why() {
    let mut host = host();
    host.automatic = Some(ports(1024, 65_535));
    let found = suggested(&host, ports(65_530, 65_535), 3);
    assert_eq!(found.ports, []);
    assert_eq!(found.obstacles, [(Obstacle::Automatic, 6)]);
}

#[test]
fn more_than_there_are_gives_each_once_with_the_near_ones_last() {
    let range = ports(10_000, 11_000);
    let found = suggested(&host(), range, 100_000);
    assert_eq!(found.ports.len(), found.free);
    let mut all: Vec<_> = found.ports.iter().map(|suggestion| suggestion.port).collect();
    let distances = found
        .ports
        .iter()
        .map(|suggestion| suggestion.nearest.as_ref().unwrap().distance);
    assert!(distances.map(|distance| distance <= APART).is_sorted());
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), found.free);
}

#[test]
fn the_distance_is_measured_to_the_nearer_end() {
    let known = [ports(10, 20), ports(40, 40)];
    for (port, nearest) in [
        (5, (5, 10)),
        (15, (0, 15)),
        (23, (3, 20)),
        (30, (10, 20)),
        (39, (1, 40)),
        (99, (59, 40)),
    ] {
        assert_eq!(distance(&known, port), Some(nearest));
    }
    assert_eq!(distance(&[], 5), None);
}
