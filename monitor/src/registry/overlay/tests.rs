use super::*;
use crate::registry::{PortSpec, Registration, Registry};

fn service(name: &str, first: u16, last: u16, transports: &[Transport]) -> Service {
    Service {
        name: name.to_owned(),
        ports: vec![Ports { first, last }],
        transports: transports.to_vec(),
        description: "the site's".to_owned(),
    }
}

fn registry(site: &[Service], services: &str) -> Registry {
    let (services, _) = read_services(services);
    Registry::builtin().with_names(vec![
        table(site, Authority::Site).unwrap(),
        table(&services, Authority::Services).unwrap(),
    ])
}

fn said(row: &Registration<'_>) -> (String, &'static str) {
    (row.service().unwrap_or_default().to_owned(), row.authority().as_str())
}

#[test]
fn names_of_the_site_come_first_then_those_of_etc_services_then_ianas() {
    let registry = registry(
        &[service("our-tunnel", 1992, 1992, &[Transport::Tcp, Transport::Udp])],
        "old-tunnel 1992/tcp\n",
    );
    let rows: Vec<_> = registry
        .registrations(Transport::Tcp, 1992)
        .map(|row| said(&row))
        .collect();
    let expected = [
        ("our-tunnel", "site"),
        ("old-tunnel", "services"),
        ("stun-p3", "iana"),
        ("ipsendmsg", "iana"),
    ];
    assert_eq!(rows, expected.map(|(name, who)| (name.to_owned(), who)));
    let of_udp: Vec<_> = registry.names(Transport::Udp, 1992).collect();
    assert_eq!(of_udp, ["our-tunnel", "stun-p3", "ipsendmsg"]);
    assert_eq!(registry.records(), Registry::embedded().records());
    assert_eq!(registry.source(), Registry::embedded().source());
}

#[test]
fn a_name_of_the_site_stands_for_its_ports_and_is_found_by_its_range() {
    let registry = registry(&[service("workers", 19_000, 19_010, &[Transport::Tcp])], "");
    let specs = PortSpec::parse_list("Workers", &registry).unwrap();
    let [spec] = specs.as_slice() else { panic!("{specs:?}") };
    assert_eq!(
        (spec.transport, spec.first, spec.last),
        (Some(Transport::Tcp), 19_000, 19_010)
    );
    assert!(registry.by_port(19_005).any(|row| row.service() == Some("workers")));
    assert_eq!(registry.nearest_name("worrkers"), Some("workers"));
}

#[test]
fn etc_services_is_read_with_aliases_and_comments_and_says_which_lines_it_is_not() {
    let text =
        "# comment\n\nhttp\t80/tcp\t\twww web # World Wide Web\nbad\n80/tcp http\nx 70000/tcp\nx 1/ipx\nnis,x 1/tcp\n";
    let (services, not_understood) = read_services(text);
    let names: Vec<_> = services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["http", "www", "web"]);
    assert!(services.iter().all(|service| service.description == "World Wide Web"));
    assert_eq!(not_understood, [4, 5, 6, 7, 8]);
}

#[test]
fn a_name_never_looks_like_a_port_or_a_list() {
    for name in ["x", "my-service", "a_b.c+d", "9p"] {
        assert!(is_name(name), "{name}");
    }
    for name in ["", "80", "80-90", "a,b", "a/tcp", "a b", "caf\u{e9}", &"x".repeat(41)] {
        assert!(!is_name(name), "{name}");
    }
}

#[test]
fn the_same_name_twice_on_one_port_is_a_conflict() {
    let one = service("x", 10, 20, &[Transport::Tcp]);
    assert_eq!(
        one.conflict(&service("X", 15, 30, &[Transport::Udp, Transport::Tcp])),
        Some((15, Transport::Tcp))
    );
    assert_eq!(one.conflict(&service("x", 21, 30, &[Transport::Tcp])), None);
    assert_eq!(one.conflict(&service("x", 10, 20, &[Transport::Udp])), None);
    assert_eq!(one.conflict(&service("y", 10, 20, &[Transport::Tcp])), None);
}
