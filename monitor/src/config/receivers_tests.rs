use super::*;
use crate::{
    config::file::tests::files,
    exit::ConfigError,
    output::samples,
    policy::{Facts, Policy, Rule, Verdict},
    registry::Registry,
};

fn receivers(text: &str) -> Result<Wanted, ConfigError> {
    Ok(files(text)?.resolve(Registry::embedded())?.receivers.wanted())
}

#[test]
fn a_file_of_certificates_without_any_is_wrong_and_one_that_is_not_there_may_come() {
    let file = |name: &str| format!("{}/src/output/notify/testdata/{name}", env!("CARGO_MANIFEST_DIR"));
    for table in [
        "[alertmanager]\nurls = [\"https://a:1\"]",
        "[[webhook]]\nurl = \"https://a:1\"",
    ] {
        let with = |name: &str| receivers(&format!("{table}\nca_file = {:?}\n", file(name)));
        assert!(with("ca.pem").is_ok() && with("gone.pem").is_ok());
        let error = with("server.key").unwrap_err().to_string();
        let expected = "/server.key has no certificate in it; it is to be a PEM file";
        assert!(
            error.starts_with("p.toml line 3 column 11: /") && error.ends_with(expected),
            "{error}"
        );
    }
}

#[test]
fn every_key_is_understood() {
    let wanted = receivers(
        r#"
        [alertmanager]
        urls = ["http://127.0.0.1:9093", "https://am.example.net/prefix/"]
        timeout = "5s"
        ca_file = "/etc/portreeve/ca.pem"
        basic_auth = { username = "portreeve", password_file = "/etc/portreeve/password" }
        [[webhook]]
        url = "http://127.0.0.1:8000/hook?token=hush"
        bearer_token_file = "/etc/portreeve/token"
        [[webhook]]
        name = "chat"
        url = "https://127.0.0.1:8000/hook"
        timeout = "500ms"
        [journal]
        enabled = true
        "#,
    )
    .unwrap();
    let names: Vec<_> = wanted.names().collect();
    assert_eq!(
        names,
        [
            "alertmanager/127.0.0.1:9093",
            "alertmanager/am.example.net:443",
            "webhook/127.0.0.1:8000",
            "webhook/chat",
            "journal"
        ]
    );
    let urls: Vec<_> = wanted
        .alertmanagers
        .iter()
        .map(|endpoint| endpoint.url.as_str())
        .collect();
    assert_eq!(
        urls,
        [
            "http://127.0.0.1:9093/api/v2/alerts",
            "https://am.example.net/prefix/api/v2/alerts"
        ]
    );
    let [first, second] = wanted.webhooks.as_slice() else {
        panic!()
    };
    assert_eq!((first.timeout, second.timeout), (TIMEOUT, Duration::from_millis(500)));
    assert!(matches!(first.credentials, Credentials::Bearer { .. }));
    assert!(matches!(wanted.alertmanagers[1].credentials, Credentials::Basic { .. }));
    assert!(!format!("{wanted:?}").contains("hush"), "what is shown has no query");
}

#[test]
fn without_a_word_of_receivers_nobody_is_told() {
    assert_eq!(receivers("").unwrap().names().count(), 0);
}

#[test]
fn two_of_one_host_have_names_of_their_own() {
    let wanted = receivers("[alertmanager]\nurls = [\"http://a:1/x\", \"http://a:1/y\"]").unwrap();
    let names: Vec<_> = wanted.names().collect();
    assert_eq!(names, ["alertmanager/a:1", "alertmanager/a:1#2"]);
}

#[test]
fn what_is_wrong_is_said_with_line_and_what_to_do_and_without_secrets() {
    for (text, expected) in [
        (
            "[alertmanager]\nurls = [\"http://me:hush@a:9093\"]",
            "p.toml line 2: a user and a password do not belong into a URL; use basic_auth",
        ),
        (
            "[alertmanager]\nurls = [\"http://a:9093/?x=hush\"]",
            "p.toml line 2: an Alertmanager's URL has no `?`",
        ),
        (
            "[alertmanager]\nurls = [\"http://a:1\", \"http://a:1\"]",
            "p.toml line 2: this Alertmanager is named twice",
        ),
        (
            "[alertmanager]\nurl = \"http://a:9093\"",
            "p.toml line 2: unknown key `url`; did you mean `urls`?",
        ),
        (
            "[alertmanager]\ntimeout = \"5m\"",
            "p.toml line 2: timeout is `5m`; write",
        ),
        (
            "[alertmanager]\nca_file = \"ca.pem\"",
            "p.toml line 2: ca_file is `ca.pem`; write a path that begins with /",
        ),
        (
            "[alertmanager]\nbearer_token_file = \"/t\"\nbasic_auth = { username = \"a\", password_file = \"/p\" }",
            "p.toml line 3: there are basic_auth and bearer_token_file",
        ),
        (
            "[alertmanager]\nbasic_auth = { username = \"a:b\", password_file = \"/p\" }",
            "p.toml line 2: the username of basic_auth is empty, or has a colon",
        ),
        (
            "[[webhook]]\nurl = \"http://a/1\"\n[[webhook]]\nurl = \"http://a/2\"",
            "p.toml line 3: there is a receiver `webhook/a:80` already; give each a `name`",
        ),
        (
            "[[webhook]]\nurl = \"http://a/1\"\nname = \"a b\"",
            "p.toml line 3: a webhook's name has a-z",
        ),
        (
            "[[webhook]]\nname = \"a\"",
            "p.toml line 1: the key `url` is missing here",
        ),
    ] {
        let error = receivers(text).unwrap_err().to_string();
        // The column is where the key or its value begins, as of all others.
        let (place, sentence) = error.split_once(": ").unwrap();
        let line = place.split(" column ").next().unwrap();
        let told = format!("{line}: {sentence}");
        assert!(told.starts_with(expected) && !error.contains("hush"), "{text}\n{error}");
    }
}

#[test]
fn the_block_of_an_alert_that_says_this_is_fine_is_taken_and_makes_it_expected() {
    let event = samples::listen();
    let report = samples::report(&event);
    let block = samples::alert(0).notice.annotations["expect"].clone();
    let expects = files(&block).unwrap().resolve(Registry::embedded()).unwrap().expects;
    let policy = Policy::new(vec![Rule::dormant_port()], Verdict::Unruled).with_expectations(expects);
    let facts = Facts::of_event(&event, &report.process, None, true);
    assert_eq!(policy.judge(&facts, false).verdict, Verdict::Expected);
    let mut elsewhere = event;
    elsewhere.socket.port = 1991;
    let facts = Facts::of_event(&elsewhere, &report.process, None, true);
    assert_eq!(policy.judge(&facts, false).verdict, Verdict::Unexpected);
}
