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
