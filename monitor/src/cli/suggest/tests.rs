use super::*;
use crate::cli::documented;

fn answer(first: u16, last: u16, wanted: usize) -> Answer {
    Answer {
        range: Ports { first, last },
        transports: vec![Transport::Tcp, Transport::Udp],
        wanted,
        host: Host {
            automatic: Some(Ports {
                first: 32_768,
                last: 60_999,
            }),
            ..Host::default()
        },
        unseen: Vec::new(),
    }
}

fn text(answer: &Answer) -> String {
    answer.text(&answer.find(Registry::embedded()), Page::of_width(80))
}

#[test]
fn each_port_has_its_reason_in_80_columns() {
    let page = text(&answer(10_000, 49_151, 3));
    assert_eq!(
        page.matches("unassigned for tcp and udp, in use in no network namespace, and")
            .count(),
        3
    );
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    assert!(!page.contains("These are all"), "{page}");
    assert_eq!(page, text(&answer(10_000, 49_151, 3)));
}

#[test]
fn fewer_than_asked_for_or_none_is_explained() {
    let few = text(&answer(60_990, 61_002, 99));
    assert!(
        few.contains("never assigned by IANA, and not handed out by this kernel"),
        "{few}"
    );
    assert!(
        few.contains("These are all: of 13 ports, 10 in the range of automatic ports."),
        "{few}"
    );
    let last = text(&answer(65_535, 65_535, 3));
    assert!(
        last.contains("These are all: 65535 alone was asked about, which is in the dynamic range\n(49152–65535).\n"),
        "{last}"
    );
    let end = text(&answer(65_530, 65_535, 9)).replace('\n', " ");
    assert!(
        end.contains("6 ports were asked about, 65530–65535, which are in the dynamic range (49152–65535)."),
        "{end}"
    );
    let none = answer(40_000, 40_001, 1);
    let found = none.find(Registry::embedded());
    assert!(found.ports.is_empty());
    assert!(
        none.nothing(&found)
            .starts_with("no port of 40000–40001 is good to pick: of 2 ports, ")
    );
}

#[test]
fn what_could_not_be_seen_is_said() {
    let mut answer = answer(10_000, 49_151, 1);
    answer.unseen.push(Unseen {
        what: What::Namespace,
        netns: None,
        listeners: None,
        reason: "it is gone".to_owned(),
    });
    answer.host.automatic = None;
    let page = text(&answer);
    assert!(
        page.replace("\n       ", " ")
            .contains("in no network namespace that can be seen, and"),
        "{page}"
    );
    assert!(
        page.contains("\nNot seen: 1 network namespace could not be looked into: it is gone; a port may\n"),
        "{page}"
    );
    assert!(page.contains("could not be read"), "{page}");
    let document: serde_json::Value =
        serde_json::from_str(&answer.json(&answer.find(Registry::embedded())).unwrap()).unwrap();
    assert_eq!(document["unseen"][0]["reason"], "it is gone");
    assert_eq!(document["automatic"], serde_json::Value::Null);
}

#[test]
fn the_documentation_has_every_key_of_the_document() {
    let mut answer = answer(10_000, 49_151, 3);
    answer.host.reserved.push(Ports {
        first: 20_000,
        last: 20_001,
    });
    answer.unseen.push(Unseen {
        what: What::Namespace,
        netns: None,
        listeners: None,
        reason: "it is gone".to_owned(),
    });
    let text = answer.json(&answer.find(Registry::embedded())).unwrap();
    documented::check("suggest --json", &text, &[]);
}
