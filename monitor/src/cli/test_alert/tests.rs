use std::{
    io::{Read as _, Write as _},
    thread,
};

use super::*;
use crate::cli::documented;

#[test]
fn a_step_is_told_in_milliseconds_and_never_before_the_first() {
    let step = Step::new("receiver", Some("webhook/a:80"), 1_000_000, 2_234_567);
    assert_eq!(
        step.text("webhook/a:80 took it"),
        "  receiver      1.235 ms  webhook/a:80 took it\n"
    );
    assert_eq!(Step::new("hook", None, 5, 1).milliseconds, 0.0);
    let ended = Step::new("receiver_resolved", None, 0, 612_000_000);
    assert_eq!(ended.text("over"), "  receiver    612.000 ms  over\n");
}

#[test]
fn the_document_has_the_keys_of_the_documentation() {
    let followed = Followed {
        host: "web-7",
        port: 1992,
        rule: "dormant-port",
        severity: "critical",
        steps: &[Step::new("hook", None, 0, 1)],
    };
    documented::check("test-alert --json", &document(&followed).unwrap(), &[]);
}

/// What can come of a listener of this verdict, as an agent tells it.
fn can_alert(verdict: &str) -> Result<()> {
    let agent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = agent.local_addr().unwrap();
    let listeners = format!(r#"{{"listeners":[{{"socket":7,"time":"2026-11-23T03:20:00Z","verdict":"{verdict}"}}]}}"#);
    let answering = thread::spawn(move || {
        let (mut stream, _) = agent.accept().unwrap();
        let _ = stream.read(&mut [0; 256]).unwrap();
        write!(stream, "HTTP/1.0 200 OK\r\n\r\n{listeners}").unwrap();
    });
    let listener = Agent::new(Listen::Tcp(address), Duration::from_secs(10))
        .listener(7)
        .unwrap();
    answering.join().unwrap();
    listener.can_alert(1)
}

#[test]
fn of_a_listener_that_no_rule_takes_no_alert_is_waited_for() {
    assert!(can_alert("unexpected").is_ok());
    assert_eq!(
        can_alert("unruled").unwrap_err().to_string(),
        "no alert: the agent saw 1/tcp on 127.0.0.1 and finds it unruled; choose a --port that a rule is about"
    );
    let expected = can_alert("expected").unwrap_err().to_string();
    assert!(expected.ends_with("finds it expected; choose a --port that a rule is about and that no [[expect]] takes"));
}
