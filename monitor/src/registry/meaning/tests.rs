use super::*;
use Transport::{Tcp, Udp};

fn registry() -> &'static Registry {
    Registry::embedded()
}

#[test]
fn a_port_is_dormant_where_all_its_services_are() {
    for (port, meaning) in [
        (1987, Meaning::Dormant),
        (1989, Meaning::Dormant),
        (1990, Meaning::Dormant),
        (1991, Meaning::Dormant),
        (1992, Meaning::Dormant),
        // SNMP over TCP lives, if elsewhere.
        (1993, Meaning::Assigned),
        (1994, Meaning::Dormant),
        (22, Meaning::Assigned),
        // CSNET's name server is dead; the CCSO's beside it is not known to be.
        (105, Meaning::Assigned),
        (2438, Meaning::Assigned),
        (6003, Meaning::Unauthorised),
        (6010, Meaning::Assigned),
        // Unassigned, and yet somebody uses it: 796 of 788–799, two ports of three hundred, all of what a mere `yes` is about.
        (790, Meaning::Unassigned),
        (796, Meaning::Unauthorised),
        (27_019, Meaning::Unauthorised),
        (27_153, Meaning::Unassigned),
        (33_500, Meaning::Unauthorised),
        (8010, Meaning::Unauthorised),
        (19_992, Meaning::Unassigned),
        (50_000, Meaning::Unassigned),
        (49_151, Meaning::Reserved),
    ] {
        assert_eq!(registry().meaning(Tcp, port), meaning, "{port}");
    }
}

#[test]
fn every_entry_of_the_table_is_a_row_of_the_registry_and_its_texts_are_short() {
    for (name, port) in Dormancy::services() {
        let mut rows = registry().by_name(name);
        let row = rows.find(|row| {
            row.ports()
                == Some(Ports {
                    first: port,
                    last: port,
                })
        });
        let dormancy = row.and_then(|row| Dormancy::of(&row)).expect(name);
        assert!(
            dormancy.what.starts_with("dead ") && dormancy.what.len() <= 30,
            "{name}"
        );
        assert!(dormancy.reason.ends_with('.') && dormancy.reason.len() <= 200, "{name}");
    }
}

#[test]
fn the_ports_of_a_meaning_are_stretches_and_may_be_limited() {
    let dormant = registry().ports_of(&[Meaning::Dormant], None);
    let tcp = |first, last| PortSpec {
        transport: Some(Tcp),
        first,
        last,
    };
    assert!(dormant.contains(&tcp(1987, 1992)) && dormant.contains(&tcp(1994, 1994)));
    let within = PortSpec {
        transport: None,
        first: 1990,
        last: 1993,
    };
    let limited = registry().ports_of(&[Meaning::Dormant], Some(&[within]));
    let written: Vec<_> = limited.iter().map(ToString::to_string).collect();
    assert_eq!(written, ["tcp/1990-1992", "udp/1990-1992"]);
    let all = registry().ports_of(&Meaning::ALL, None);
    let written: Vec<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!(written, ["tcp/1-65535", "udp/1-65535"]);
}

#[test]
fn each_meaning_has_a_name_that_is_read_again() {
    for meaning in Meaning::ALL {
        assert_eq!(Meaning::from_name(meaning.name()), Some(meaning));
    }
    assert_eq!(Meaning::from_name("dead"), None);
    assert_eq!(registry().meaning(Udp, 1992).name(), "dormant");
}
