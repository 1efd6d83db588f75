//! Answers beside docs/openapi.yaml.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::output::{listing::PARAMETERS, schema::violations};

fn openapi() -> Value {
    serde_saphyr::from_str(include_str!("../../../../../docs/openapi.yaml")).unwrap()
}

/// What an answer has that the document does not say of this path and method.
fn wrong_with(openapi: &Value, path: &str, method: &str, answer: &Answer) -> Vec<String> {
    let responses = &openapi["paths"][path][method]["responses"];
    let mut said = &responses[answer.status.to_string()];
    if let Some(reference) = said["$ref"].as_str() {
        said = openapi.pointer(reference.trim_start_matches('#')).unwrap();
    }
    let kind = answer
        .header("content-type")
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    let content = &said["content"][kind];
    if content.is_null() {
        return vec![format!("{path}: {} as {kind} is not said", answer.status)];
    }
    match kind {
        "application/json" => violations(openapi, &content["schema"], &answer.json(), path),
        _ if answer.status >= 400 => {
            let is_sentence = answer.body.trim_end().lines().count() == 1 && answer.body.ends_with('\n');
            (!is_sentence)
                .then(|| format!("{path}: no sentence: {:?}", answer.body))
                .into_iter()
                .collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn every_answer_is_what_the_document_says() {
    let openapi = openapi();
    let server = Server::start(|setting| setting.lifecycle = true);
    let (recent, mut lines) = (&server.shared.recent, lines());
    let clock = Clock::read();
    let now = samples::moment(clock, 0);
    tell(recent, &mut lines, 2);
    let alert = samples::alert(now);
    for text in [
        lines.alert(&alert, clock),
        lines.alert_resolved(&alert, now, clock),
        lines.lost("ring", 3, now, clock),
        lines.drift("missed", 1, now, clock),
    ] {
        let sequence = recent.last() + 1;
        recent.put(sequence, move || text);
    }
    let mut asked = BTreeSet::new();
    let mut check = |server: &Server, method: &str, path: &str, said: &str, headers: &str, status: u16| {
        let answer = server.ask(&method.to_uppercase(), path, headers);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(
            wrong_with(&openapi, said, method, &answer),
            [""; 0],
            "{method} {path}: {answer:?}"
        );
        asked.insert(said.to_owned());
    };
    check(&server, "get", "/-/ready", "/-/ready", "", 503);
    server.shared.ready.store(true, Ordering::Release);
    let foreign = "Origin: http://evil.example\r\n";
    for (method, path, said, headers, status) in [
        ("get", "/", "/", "", 200),
        ("get", "/?scope=wide", "/", "", 400),
        ("get", "/ports/1992", "/ports/{port}", "", 200),
        ("get", "/ports/65536", "/ports/{port}", "", 400),
        ("get", "/assets/page.css", "/assets/{name}", "", 200),
        ("get", "/assets/page.js", "/assets/{name}", "", 200),
        ("get", "/assets/icon.svg", "/assets/{name}", "", 200),
        ("get", "/assets/page.ts", "/assets/{name}", "", 404),
        ("get", "/metrics", "/metrics", "", 200),
        ("get", "/-/healthy", "/-/healthy", "", 200),
        ("get", "/-/ready", "/-/ready", "", 200),
        ("get", "/api/v1/listeners", "/api/v1/listeners", "", 200),
        (
            "get",
            "/api/v1/listeners?port=22&sort=-since&limit=1",
            "/api/v1/listeners",
            "",
            200,
        ),
        ("get", "/api/v1/listeners?verdict=good", "/api/v1/listeners", "", 400),
        ("get", "/api/v1/listeners?limit=1&limit=2", "/api/v1/listeners", "", 400),
        ("get", "/api/v1/alerts", "/api/v1/alerts", "", 200),
        ("get", "/api/v1/ports/1992", "/api/v1/ports/{port}", "", 200),
        ("get", "/api/v1/ports/53", "/api/v1/ports/{port}", "", 200),
        ("get", "/api/v1/ports/65535", "/api/v1/ports/{port}", "", 200),
        ("get", "/api/v1/ports/0", "/api/v1/ports/{port}", "", 400),
        ("get", "/api/v1/ports/ssh", "/api/v1/ports/{port}", "", 400),
        ("get", "/api/v1/ports/+22", "/api/v1/ports/{port}", "", 400),
        ("get", "/api/v1/events", "/api/v1/events", "", 200),
        ("get", "/api/v1/events?after=run-3&limit=2", "/api/v1/events", "", 200),
        ("get", "/api/v1/alerts?x=1", "/api/v1/alerts", "", 400),
        ("get", "/api/v1/status?x=1", "/api/v1/status", "", 400),
        ("get", "/api/v1/ports/22?x=1", "/api/v1/ports/{port}", "", 400),
        ("get", "/api/v1/events?limit=many", "/api/v1/events", "", 400),
        ("get", "/api/v1/events?limit=1&limit=2", "/api/v1/events", "", 400),
        ("get", "/api/v1/events?after=foo", "/api/v1/events", "", 400),
        ("get", "/api/v1/events/stream?since=1", "/api/v1/events/stream", "", 400),
        ("get", "/api/v1/status", "/api/v1/status", "", 200),
        ("post", "/-/reload", "/-/reload", "", 200),
        ("post", "/-/reload", "/-/reload", "", 500),
        ("post", "/-/reload", "/-/reload", foreign, 403),
        ("post", "/-/reload", "/-/reload", "Content-Length: 9999\r\n", 413),
    ] {
        check(&server, method, path, said, headers, status);
    }
    let exposed = Server::start(|setting| setting.is_local = false);
    let paths = openapi["paths"].as_object().unwrap();
    for (said, methods) in paths {
        let path = said.replace("{port}", "1992").replace("{name}", "page.css");
        let method = methods.as_object().unwrap().keys().next().unwrap();
        if methods[method]["responses"]["403"].is_object() {
            check(&exposed, method, &path, said, "", 403);
        }
    }
    assert_eq!(asked, paths.keys().cloned().collect());
}

#[test]
fn events_are_told_from_the_one_on_that_was_seen_last() {
    let server = Server::start(|_| ());
    let ids = |path: &str| {
        let document = server.get(path).json();
        let events = document["events"].as_array().unwrap();
        let ids: Vec<_> = events
            .iter()
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect();
        (ids, document["skipped"].clone(), document["last"].clone())
    };
    assert_eq!(ids("/api/v1/events"), (vec![], json!(0), json!(null)));
    tell(&server.shared.recent, &mut lines(), crate::output::recent::KEPT + 4);
    let last = json!("run-516");
    let named = |numbers: &[u32]| numbers.iter().map(|number| format!("run-{number}")).collect::<Vec<_>>();
    assert_eq!(
        ids("/api/v1/events?limit=2"),
        (named(&[515, 516]), json!(0), last.clone())
    );
    assert_eq!(
        ids("/api/v1/events?after=run-2&limit=1"),
        (named(&[5]), json!(2), last.clone())
    );
    assert_eq!(ids("/api/v1/events?after=run-516"), (vec![], json!(0), last.clone()));
    assert_eq!(
        ids("/api/v1/events?after=other-516&limit=1"),
        (named(&[5]), json!(null), last)
    );
    assert_eq!(ids("/api/v1/events").0.len(), 100);
}

#[test]
fn a_page_says_what_there_is_beside_it() {
    let server = Server::start(|_| ());
    let page = server.get("/api/v1/listeners?limit=1&offset=1").json();
    assert_eq!(
        (&page["total"], &page["matched"], &page["offset"]),
        (&json!(2), &json!(2), &json!(1))
    );
    assert_eq!(page["listeners"][0]["port"], 1992);
    let port = server.get("/api/v1/ports/1992").json();
    let services: Vec<_> = port["registrations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["service"])
        .collect();
    assert_eq!(services, ["stun-p3", "ipsendmsg", "stun-p3", "ipsendmsg"]);
    assert_eq!(port["listeners"].as_array().unwrap().len(), 1);
}

#[test]
fn the_document_has_the_parameters_and_words_that_are_known_and_no_other() {
    let openapi = openapi();
    let parameters = openapi["paths"]["/api/v1/listeners"]["get"]["parameters"]
        .as_array()
        .unwrap();
    let names: Vec<_> = parameters
        .iter()
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, PARAMETERS);
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap();
        for word in parameter["schema"]["enum"].as_array().into_iter().flatten() {
            let query = format!("{name}={}", word.as_str().unwrap());
            Selection::parse(&query, Registry::embedded()).unwrap();
        }
    }
}

#[test]
fn what_is_not_there_is_said_to_be_so() {
    let server = Server::start(|_| ());
    assert_eq!(server.get("/nowhere").status, 404);
    assert_eq!(server.ask("DELETE", "/api/v1/listeners", "").status, 405);
    assert_eq!(server.ask("POST", "/-/reload", "").status, 403);
    let answer = server.ask("HEAD", "/api/v1/listeners", "");
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}
