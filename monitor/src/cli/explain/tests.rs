use super::*;
use crate::cli::documented;

/// What the registry says, without what listens here.
fn output(query: &str, json: bool) -> anyhow::Result<String> {
    let query = Query {
        port_or_name: query.to_owned(),
        json,
    };
    written(&explanation(Registry::embedded(), &query)?, &query, None, || {
        Page::of_width(80)
    })
}

fn text(query: &str) -> String {
    output(query, false).unwrap()
}

fn document(query: &str) -> serde_json::Value {
    serde_json::from_str(&output(query, true).unwrap()).unwrap()
}

#[test]
fn port_1992_is_explained_with_both_registrations_its_class_and_its_neighbours() {
    let expected = "\
Port 1992: registered (user) port, 1024–49151
  IANA assigns it to applicants, also by expert review; any program may bind it.

  1992/tcp,udp  stun-p3    cisco STUN Priority 3 port
      dormant               Cisco's serial tunnel carried the SDLC lines of IBM
                            mainframes from router to router; no program of a
                            host serves it, and NAT's STUN (3478) is another
                            protocol.
      (no assignee, date, reference or note on record)

  1992/tcp,udp  ipsendmsg  IPsendmsg
      dormant               MHSnet was the store-and-forward network of
                            Australian universities in the 1980s and 1990s; no
                            system packages it.
      note                  This entry records an unassigned but widespread use
      assignee and contact  Bob Kummerfeld

Nearby, of the same family
  1990/tcp,udp  stun-p1    cisco STUN Priority 1 port
  1991/tcp,udp  stun-p2    cisco STUN Priority 2 port
  1994/tcp,udp  stun-port  cisco serial tunnel port

Nearby
  1988/tcp,udp  tr-rsrb-p2     cisco RSRB Priority 2 port
  1989/tcp,udp  tr-rsrb-p3     cisco RSRB Priority 3 port
  1989/tcp,udp  mshnet         MHSnet system
  1993/tcp,udp  snmp-tcp-port  cisco SNMP TCP port
  1995/tcp,udp  perf-port      cisco perf port

Source: IANA's registry of 2024-06-12 (port-desc 0.1.1), 14447 records.
";
    assert_eq!(text("1992"), expected);
}

#[test]
fn a_name_is_explained_with_all_that_is_registered_on_its_port() {
    let page = text("stun-p3");
    assert!(
        page.starts_with("stun-p3 is registered on port 1992: registered (user) port, 1024–49151\n"),
        "{page}"
    );
    let (_, by_port) = text("1992")
        .split_once('\n')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert!(page.ends_with(&by_port), "{page}");
}

#[test]
fn the_transport_may_stand_on_either_side_and_leaves_the_others_out() {
    let page = text("tcp/1992");
    assert!(page.starts_with("Port 1992/tcp: registered (user) port"), "{page}");
    assert!(page.contains("  1992/tcp  ipsendmsg  IPsendmsg\n"), "{page}");
    assert_eq!(page, text("1992/tcp"));
}

#[test]
fn a_range_lists_what_covers_any_of_it() {
    let page = text("6000-6010");
    assert!(page.starts_with("Ports 6000–6010: registered (user) port"), "{page}");
    assert!(page.contains("  6000–6063/tcp,udp  x11  X Window System\n"), "{page}");
    assert!(
        page.contains("unauthorized use      Known Unauthorized Use on port 6003\n"),
        "{page}"
    );
}

#[test]
fn a_range_over_two_classes_names_both() {
    let page = text("1000-1100");
    assert!(page.contains("  system (well-known) port, 0–1023: "), "{page}");
    assert!(page.contains("  registered (user) port, 1024–49151: "), "{page}");
}

#[test]
fn a_port_without_an_assignment_says_so_with_its_block() {
    assert!(text("19992").contains("  Not assigned: IANA lists the block 19791–19997 as unassigned.\n"));
    assert!(text("0").contains("  Reserved by IANA: 0/tcp,udp.\n"));
    assert!(text("585").contains("  Reserved: IANA lists 585 as \"De-registered\".\n"));
    assert!(text("50000").contains("  Not registered: IANA's registry has no row for it.\n"));
}

#[test]
fn a_name_without_a_port_or_on_several_says_so() {
    assert!(text("argus").starts_with("argus is registered without a port\n"));
    let page = text("http-alt");
    assert!(page.starts_with("http-alt is registered on several ports\n"), "{page}");
    assert!(
        page.contains("  591/tcp,udp ") && page.contains("  8080/tcp,udp "),
        "{page}"
    );
}

#[test]
fn dates_references_and_people_are_shown() {
    let page = text("80/sctp");
    assert!(page.contains("      assignee and contact  Randall Stewart\n"), "{page}");
    assert!(page.contains("      modified              2022-02-07\n"), "{page}");
    assert!(page.contains("      reference             RFC9260\n"), "{page}");
}

#[test]
fn no_line_of_any_port_or_name_is_wider_than_80_columns_or_ends_in_a_blank() {
    let named = Registry::embedded().named().filter(|row| row.ports().is_none());
    let names = named.filter_map(|row| row.service()).map(text);
    for page in std::iter::once(text("0-65535")).chain(names) {
        for line in page.lines() {
            assert!(line.chars().count() <= 80, "{line}");
            assert!(!line.ends_with(' '), "{line:?}");
        }
    }
}

#[test]
fn the_json_document_has_a_row_for_each_transport() {
    let document = document("1992");
    let rows = document["registrations"].as_array().unwrap();
    let heads: Vec<_> = rows
        .iter()
        .map(|row| (row["service"].as_str().unwrap(), row["transport"].as_str().unwrap()))
        .collect();
    assert_eq!(
        heads,
        [
            ("stun-p3", "tcp"),
            ("stun-p3", "udp"),
            ("ipsendmsg", "tcp"),
            ("ipsendmsg", "udp")
        ]
    );
    assert_eq!(rows[2]["note"], "This entry records an unassigned but widespread use");
    assert_eq!(rows[0]["note"], serde_json::Value::Null);
    assert_eq!(rows[0]["status"], "dormant");
    assert!(
        rows[0]["dormant"]
            .as_str()
            .unwrap()
            .starts_with("Cisco's serial tunnel")
    );
    assert_eq!(document["classes"][0]["name"], "registered");
    assert_eq!(document["ports"], serde_json::json!({"first": 1992, "last": 1992}));
    let neighbours = document["neighbours"].as_array().unwrap();
    let family: Vec<_> = neighbours
        .iter()
        .filter(|neighbour| neighbour["same_family"] == true)
        .map(|neighbour| neighbour["service"].as_str().unwrap())
        .collect();
    assert_eq!(family, ["stun-p1", "stun-p2", "stun-port"]);
    assert_eq!(document["source"]["records"], 14_447);
}

#[test]
fn what_nobody_registered_is_wrong_usage_with_the_nearest_name() {
    for (query, sentence) in [
        (
            "stunp3",
            "no service is registered as `stunp3`; did you mean `stun-p3`?",
        ),
        ("65536", "port 65536 is out of range; ports go from 0 to 65535"),
    ] {
        let error = output(query, false).unwrap_err();
        assert_eq!(error.to_string(), sentence);
        assert_eq!(crate::exit::code_of(&error), crate::exit::USAGE);
    }
}

#[test]
fn the_documentation_has_every_key_of_the_document() {
    #[derive(clap::Parser)]
    struct Typed {
        #[command(flatten)]
        args: Args,
    }
    let typed = <Typed as clap::Parser>::parse_from(["explain", "1992", "--json"]).args;
    let configured = typed.sources.read().unwrap();
    let now = Now::look(
        &typed.sources,
        configured,
        Ports {
            first: 1992,
            last: 1992,
        },
        None,
    );
    let explanation = explanation(Registry::embedded(), &typed.query).unwrap();
    let text = written(&explanation, &typed.query, Some(&now), || Page::of_width(80)).unwrap();
    // Listeners are those of `list --json`; what this host set aside and hands out is a stretch of ports, if anything.
    documented::check("explain --json", &text, &["listening", "reserved", "automatic"]);
}
