use std::{net::TcpListener, time::Instant};

use super::*;
use crate::output::notify::{
    endpoint::Credentials,
    servers::{Answer, endpoint, nobody, serve, serve_tls, status, was_called},
};

/// Longer than anything here takes that is to arrive, and all that what hangs costs.
const TIMEOUT: Duration = Duration::from_millis(400);

fn post(answer: Answer) -> Result<(), Failure> {
    let (address, _came) = serve(vec![answer]);
    let client = Client::new(endpoint("http", address, TIMEOUT)).unwrap();
    client.post(b"{}", &[])
}

#[test]
fn a_message_arrives_with_its_headers_and_nothing_that_nobody_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    fs::write(&token_file, "sesame\n").unwrap();
    let (address, came) = serve(vec![status("200 OK", ""), status("204 No Content", "")]);
    let client = Client::new(Endpoint {
        credentials: Credentials::Bearer {
            token_file: token_file.clone(),
        },
        ..endpoint("http", address, Duration::from_secs(10))
    })
    .unwrap();
    assert_eq!(client.post(b"{\"a\":1}", &[("Idempotency-Key", "1f0c")]), Ok(()));
    let message = came.recv().unwrap();
    assert_eq!(message.body, "{\"a\":1}");
    let head = message.head.to_ascii_lowercase();
    assert!(head.starts_with("post /hook?token=hush http/1.1\r\n"), "{head}");
    for line in [
        "content-type: application/json",
        "idempotency-key: 1f0c",
        "authorization: bearer sesame",
    ] {
        assert!(head.lines().any(|found| found == line), "{line}\n{head}");
    }
    // The token is exchanged while the agent runs.
    fs::write(&token_file, "open").unwrap();
    assert_eq!(client.post(b"{}", &[]), Ok(()));
    assert!(
        came.recv()
            .unwrap()
            .head
            .to_ascii_lowercase()
            .contains("authorization: bearer open")
    );
    fs::remove_file(&token_file).unwrap();
    let Err(Failure::Later(_, sentence)) = client.post(b"{}", &[]) else {
        panic!()
    };
    assert!(sentence.starts_with("cannot read "), "{sentence}");
}

#[test]
fn what_comes_back_decides_whether_it_is_tried_again() {
    let later = |seconds, text: &str| Err(Failure::Later(Duration::from_secs(seconds), text.to_owned()));
    let refused = |text: &str| Err(Failure::Refused(text.to_owned()));
    for (answer, expected) in [
        (status("200 OK", ""), Ok(())),
        (status("202 Accepted", ""), Ok(())),
        (
            status("500 Internal Server Error", ""),
            later(0, "it answered 500 Internal Server Error"),
        ),
        (
            status("503 Service Unavailable", "retry-after: 7\r\n"),
            later(7, "it answered 503 Service Unavailable"),
        ),
        (
            status("429 Too Many Requests", "retry-after: 9999\r\n"),
            later(60, "it answered 429 Too Many Requests"),
        ),
        (
            status("408 Request Timeout", "retry-after: soon\r\n"),
            later(0, "it answered 408 Request Timeout"),
        ),
        (status("404 Not Found", ""), refused("it answered 404 Not Found")),
        (status("400 Bad Request", ""), refused("it answered 400 Bad Request")),
        (Answer::Large, Ok(())),
    ] {
        assert_eq!(post(answer.clone()), expected, "{answer:?}");
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let location = format!("location: http://{}/\r\n", elsewhere.local_addr().unwrap());
    for code in [
        "301 Moved Permanently",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let outcome = post(status(code, &location));
        let Err(Failure::Refused(sentence)) = outcome else {
            panic!("{code}: {outcome:?}")
        };
        assert!(sentence.contains("a redirect is not followed"), "{sentence}");
    }
    assert!(!was_called(&elsewhere));
}

#[test]
fn who_hangs_closes_or_is_slow_costs_no_more_than_the_timeout_and_no_secret() {
    for (answer, expected) in [
        (Answer::Hang, "there was no answer within 400ms"),
        (
            Answer::Slow(Duration::from_millis(50)),
            "there was no answer within 400ms",
        ),
        (Answer::Close, ""),
    ] {
        let begin = Instant::now();
        let outcome = post(answer.clone());
        let Err(Failure::Later(_, sentence)) = outcome else {
            panic!("{answer:?}: {outcome:?}")
        };
        assert!(
            sentence.starts_with(expected) && !sentence.contains("hush"),
            "{sentence}"
        );
        assert!(begin.elapsed() < Duration::from_secs(5), "{answer:?}");
    }
    let client = Client::new(endpoint("http", nobody(), TIMEOUT)).unwrap();
    let Err(Failure::Later(_, sentence)) = client.post(b"{}", &[]) else {
        panic!()
    };
    assert!(sentence.contains("refused") && !sentence.contains("hush"), "{sentence}");
}

#[test]
fn over_tls_it_trusts_the_given_authority_and_no_other() {
    let authority = |name| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/output/notify/testdata")
            .join(name)
    };
    let (address, came) = serve_tls();
    let client = |file| {
        Client::new(Endpoint {
            ca_file: Some(authority(file)),
            ..endpoint("https", address, Duration::from_secs(10))
        })
    };
    assert_eq!(client("ca.pem").unwrap().post(b"{}", &[]), Ok(()));
    assert_eq!(came.recv().unwrap().body, "{}");
    // The server's own certificate is no authority, and the system's know nothing of this one.
    let of_system = Client::new(endpoint("https", address, Duration::from_secs(10))).unwrap();
    for stranger in [client("server.pem").unwrap(), of_system] {
        let outcome = stranger.post(b"{}", &[]);
        let Err(Failure::Later(_, sentence)) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(sentence.contains("certificate"), "{sentence}");
    }
    for (file, expected) in [("gone.pem", "cannot read "), ("README.md", "has no certificate in it")] {
        let error = client(file).err().unwrap();
        assert!(error.contains(expected) && error.contains(file), "{error}");
    }
}
