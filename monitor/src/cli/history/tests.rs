use std::net::IpAddr;

use super::*;
use crate::{
    cli::documented,
    event::{Protocol, Scope},
    history::End,
    output::Origin,
    policy::Verdict,
    registry::Registry,
};

const SECOND: i64 = 1_000_000_000;

/// 2026-11-23T04:00:00Z.
fn now() -> Timestamp {
    "2026-11-23T04:00:00Z".parse().unwrap()
}

fn at(time: &str) -> i64 {
    i64::try_from(time.parse::<Timestamp>().unwrap().as_nanosecond()).unwrap()
}

/// `nc` on 1992, for five minutes.
fn nc(opened: &str) -> Row {
    let opened = at(opened);
    Row {
        protocol: Protocol::Tcp,
        address: "0.0.0.0".parse::<IpAddr>().unwrap(),
        port: 1992,
        scope: Scope::Wildcard,
        netns: 4_026_531_840,
        host_netns: true,
        automatic: Some(false),
        process: "nc".to_owned(),
        pid: Some(812),
        exe: Some("/usr/bin/nc".to_owned()),
        cmdline: Some(vec!["nc".to_owned(), "-l".to_owned()]),
        uid: Some(1000),
        user: Some("alice".to_owned()),
        unit: Some("session-3.scope".to_owned()),
        container: None,
        pod: None,
        package: None,
        origin: Origin::Event,
        verdict: Verdict::Unexpected,
        rule: Some("dormant-port".to_owned()),
        opened,
        closed: Some((opened + 300 * SECOND, End::Seen)),
    }
}

fn listing(rows: Vec<Row>) -> Listing {
    Listing {
        file: PathBuf::from("/var/lib/portreeve/history.db"),
        time: now(),
        since: None,
        until: None,
        entries: grouped(rows, false),
        left_out: 2,
    }
}

fn rows() -> Vec<Row> {
    let sshd = Row {
        port: 22,
        process: "sshd".to_owned(),
        exe: None,
        user: Some("root".to_owned()),
        unit: Some("ssh.service".to_owned()),
        verdict: Verdict::Unruled,
        rule: None,
        origin: Origin::Existing,
        closed: None,
        ..nc("2026-11-20T08:01:00Z")
    };
    let left = Row {
        port: 8080,
        process: "python3.11".to_owned(),
        unit: None,
        container: Some("docker:0123456789abcdef".to_owned()),
        verdict: Verdict::Unruled,
        closed: Some((at("2025-10-01T10:42:00Z"), End::Unwatched)),
        ..nc("2025-10-01T10:00:00Z")
    };
    vec![nc("2026-11-23T03:20:00Z"), nc("2026-11-22T03:20:00Z"), sshd, left]
}

#[test]
fn the_table_has_one_line_for_a_program_on_a_port_and_says_what_its_marks_mean() {
    let expected = "\
PORT      PROCESS     USER   UNIT/CONTAINER       FROM          UNTIL        TIMES  VERDICT
1992/tcp  nc          alice  session-3.scope      11-22 03:20   03:25:00     ×2     unexpected
22/tcp    sshd        root   ssh.service          <11-20 08:01  open                unruled
8080/tcp  python3.11  alice  docker:0123456789ab  2025-10-01    >2025-10-01         unruled

4 listeners, 1 open; times are UTC; < listened before that time already; > ended while nobody watched, after that time; \
2 listeners on automatic ports left out (--all shows them)
";
    assert_eq!(text::render(&listing(rows()), None, false), expected);
}

#[test]
fn the_table_fits_80_columns() {
    let mut long = rows();
    long[0].process = "p".repeat(32);
    long[0].unit = Some("u".repeat(60));
    long[0].user = Some("somebody-with-a-name".to_owned());
    long[1].host_netns = false;
    let text = text::render(&listing(long), Some(80), false);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("1992/tcp") && text.contains("UNTIL"), "{text}");
}

#[test]
fn nothing_is_one_line() {
    let nothing = Listing {
        left_out: 0,
        ..listing(Vec::new())
    };
    assert_eq!(
        text::render(&nothing, Some(80), false),
        "no listeners that the history knows of\n"
    );
}

#[test]
fn names_that_would_do_something_to_a_terminal_are_shown() {
    let mut row = nc("2026-11-23T03:20:00Z");
    row.process = "a\u{1b}[31m".to_owned();
    assert!(!text::render(&listing(vec![row]), Some(80), false).contains('\u{1b}'));
}

#[test]
fn each_key_of_the_document_is_explained_and_times_are_rfc3339() {
    let document = json::render(&listing(rows())).unwrap();
    documented::check("history --json", &document, &[]);
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let nc = &document["listeners"][0];
    assert_eq!(nc["first_opened"], "2026-11-22T03:20:00.000000000Z");
    assert_eq!(nc["closed"], "2026-11-23T03:25:00.000000000Z");
    assert_eq!(
        (&nc["times"], &nc["open"], &nc["end"]),
        (&2.into(), &0.into(), &"seen".into())
    );
    assert_eq!(document["listeners"][1]["closed"], serde_json::Value::Null);
}

#[test]
fn explain_says_it_in_sentences() {
    let said: Vec<_> = listing(rows()).entries.iter().map(text::sentence).collect();
    assert_eq!(
        said,
        [
            Some(
                "tcp 1992 by nc, user alice, session-3.scope: 2 times, from 2026-11-22T03:20:00Z to 2026-11-23T03:25:00Z"
                    .to_owned()
            ),
            None,
            Some(
                "tcp 8080 by python3.11, user alice, docker:0123456789ab: from 2025-10-01T10:00:00Z to some time after \
                 2025-10-01T10:42:00Z, when nobody watched"
                    .to_owned()
            ),
        ]
    );
}

#[test]
fn a_name_stands_for_ports_of_a_service_and_for_a_program() {
    let asked = |text: &str| {
        let query = Asked::new(&[text.to_owned()], Registry::embedded())
            .unwrap()
            .query(None, None);
        (query.ports, query.programs)
    };
    assert_eq!(
        asked("stun-p3"),
        (
            vec![(Some(Protocol::Tcp), 1992, 1992), (Some(Protocol::Udp), 1992, 1992)],
            vec!["stun-p3".to_owned()]
        )
    );
    assert_eq!(asked("6000-6010"), (vec![(None, 6000, 6010)], vec![]));
    assert_eq!(asked("22, python*"), (vec![(None, 22, 22)], vec!["python*".to_owned()]));
    // As the history names it: cut.
    assert_eq!(asked(&"n".repeat(40)).1, ["n".repeat(32)]);
}

#[test]
fn what_is_no_port_no_service_and_no_program_is_wrong_usage() {
    let sentence = |text: &str, has_program: bool| {
        let asked = Asked::new(&[text.to_owned()], Registry::embedded());
        let found = if has_program {
            vec![nc("2026-11-23T03:20:00Z")]
        } else {
            Vec::new()
        };
        let error = asked.and_then(|asked| asked.check(|_| Ok(found.clone()))).err()?;
        assert_eq!(crate::exit::code_of(&error), crate::exit::USAGE, "{text}");
        Some(error.to_string())
    };
    assert_eq!(sentence("nc", true), None);
    assert_eq!(
        sentence("stunp3", false).unwrap(),
        "the history has no program `stunp3`, and no service is registered as `stunp3`; did you mean `stun-p3`?"
    );
    for (text, expected) in [
        ("sctp/22", "`sctp/22` is neither TCP nor UDP, and nothing else is kept"),
        ("70000", "port 70000 is out of range; ports go from 0 to 65535"),
        ("20-10", "the range 20-10 ends before it begins; write 10-20"),
        (
            "nc,,80",
            "`nc,,80` names nothing in one place; write ports, services or programs there",
        ),
        (
            "",
            "`` names nothing in one place; write ports, services or programs there",
        ),
    ] {
        assert_eq!(sentence(text, true).as_deref(), Some(expected), "{text}");
    }
}
