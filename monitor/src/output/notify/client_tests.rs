use std::{fs, io::Write as _, net::TcpListener, time::Instant};

use super::*;
use crate::output::notify::{
    endpoint::Credentials,
    servers::{Answer, endpoint, nobody, serve, serve_tls, status, testdata, was_called},
};

/// Longer than anything here takes that is to arrive, and all that what hangs costs.
const TIMEOUT: Duration = Duration::from_millis(400);

fn post(answer: Answer) -> Result<(), Failure> {
    let (address, _came) = serve(vec![answer]);
    let mut client = Client::new(endpoint("http", address, TIMEOUT)).unwrap();
    client.post(b"{}", &[])
}

#[test]
fn a_message_arrives_with_its_headers_and_nothing_that_nobody_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    fs::write(&token_file, "sesame\n").unwrap();
    let (address, came) = serve(vec![status("200 OK", ""), status("204 No Content", "")]);
    let mut client = Client::new(Endpoint {
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
    let later = |seconds, text: &str| Err((Some(seconds), text.to_owned()));
    let refused = |text: &str| Err((None, text.to_owned()));
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
        (
            status("404 Not Found", ""),
            refused("it answered 404 Not Found: see that the path of its URL is right"),
        ),
        (
            status("401 Unauthorized", ""),
            refused("it answered 401 Unauthorized: see that basic_auth or bearer_token_file is what it wants"),
        ),
        (status("400 Bad Request", ""), refused("it answered 400 Bad Request")),
        (
            Answer::Text(
                "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n".to_owned(),
            ),
            refused("it answered 400 Bad Request: it speaks TLS there; write https:// in its URL"),
        ),
        (Answer::Large, Ok(())),
    ] {
        let (address, _came) = serve(vec![answer.clone()]);
        let outcome = Client::new(endpoint("http", address, TIMEOUT))
            .unwrap()
            .post(b"{}", &[]);
        let at = format!("http://{address}");
        let outcome = outcome.map_err(|failure| match failure {
            Failure::Later(least, sentence) => (Some(least.as_secs()), sentence.replace(&at, "it")),
            Failure::Refused(sentence) => (None, sentence.replace(&at, "it")),
        });
        assert_eq!(outcome, expected, "{answer:?}");
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
        (
            Answer::Close,
            ": it closed the connection without an answer; if it speaks TLS there, write https:// in its URL",
        ),
    ] {
        let begin = Instant::now();
        let outcome = post(answer.clone());
        let Err(Failure::Later(_, sentence)) = outcome else {
            panic!("{answer:?}: {outcome:?}")
        };
        assert!(
            sentence.starts_with("http://127.0.0.1:") && sentence.contains(expected) && !sentence.contains("hush"),
            "{sentence}"
        );
        assert!(begin.elapsed() < Duration::from_secs(5), "{answer:?}");
    }
    let mut client = Client::new(endpoint("http", nobody(), TIMEOUT)).unwrap();
    let Err(Failure::Later(_, sentence)) = client.post(b"{}", &[]) else {
        panic!()
    };
    assert!(sentence.contains("refused") && !sentence.contains("hush"), "{sentence}");
}

/// A client of a server with this certificate, that trusts this file or the system.
fn tls_client(address: std::net::SocketAddr, ca_file: Option<&str>) -> Result<Client, String> {
    Client::new(Endpoint {
        ca_file: ca_file.map(testdata),
        ..endpoint("https", address, Duration::from_secs(10))
    })
}

/// What keeps a message from arriving, with `it` for the URL.
fn why(client: &mut Client) -> String {
    let at = format!("{:?}", client.endpoint.url);
    let outcome = client.post(b"{}", &[]);
    let Err(Failure::Later(_, sentence)) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(sentence.starts_with(&at) && !sentence.contains("hush"), "{sentence}");
    sentence.replacen(&at, "it", 1)
}

#[test]
fn over_tls_it_trusts_the_given_authority_and_no_other() {
    let (address, came) = serve_tls("server.pem");
    assert_eq!(tls_client(address, Some("ca.pem")).unwrap().post(b"{}", &[]), Ok(()));
    assert_eq!(came.recv().unwrap().body, "{}");
    // The server's own certificate is no authority, and the system's know nothing of this one.
    let stranger = why(&mut tls_client(address, Some("server.pem")).unwrap());
    assert!(
        stranger.starts_with("it: its certificate is signed by none of those in /"),
        "{stranger}"
    );
    assert!(
        stranger.ends_with("server.pem; put the certificate of who signed it there"),
        "{stranger}"
    );
    assert_eq!(
        why(&mut tls_client(address, None).unwrap()),
        "it: its certificate is signed by nobody whom this system trusts; name a file with the certificate of who signed it in \
         ca_file"
    );
    for (file, expected) in [("gone.pem", "cannot read "), ("README.md", "has no certificate in it")] {
        let error = tls_client(address, Some(file)).err().unwrap();
        assert!(error.contains(expected) && error.contains(file), "{error}");
        let endpoint = Endpoint {
            ca_file: Some(testdata(file)),
            ..endpoint("https", address, TIMEOUT)
        };
        assert_eq!(check_authorities(&endpoint).unwrap_err(), error);
    }
    let key = testdata("server.key");
    let error = check_authorities_in(&key).unwrap_err();
    assert!(error.contains("server.key has no certificate in it;"), "{error}");
    assert!(check_authorities_in(key.parent().unwrap()).is_err());
    for file in ["ca.pem", "gone.pem", "ca.pem/below.pem"] {
        assert_eq!(check_authorities_in(&testdata(file)), Ok(()), "{file}");
    }
    let wrapped = tempfile::NamedTempFile::new().unwrap();
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(wrapped.path(), text).unwrap();
    let error = check_authorities_in(wrapped.path()).unwrap_err();
    assert!(error.contains(" has no certificate in it that can be read;"), "{error}");
}

#[test]
fn a_certificate_that_is_not_accepted_is_a_sentence_that_says_what_to_do() {
    let (address, came) = serve_tls("self-signed.pem");
    assert_eq!(
        tls_client(address, Some("self-signed.pem")).unwrap().post(b"{}", &[]),
        Ok(())
    );
    assert_eq!(came.recv().unwrap().body, "{}");
    let (address, _came) = serve_tls("self-signed-ca.pem");
    assert_eq!(
        why(&mut tls_client(address, Some("self-signed-ca.pem")).unwrap()),
        "it: its certificate is one of an authority (CA:TRUE), which is taken from no server; make it a self-signed one with \
         basicConstraints=CA:FALSE, and name that in ca_file"
    );
    let (address, _came) = serve_tls("other-name.pem");
    let other = why(&mut tls_client(address, Some("other-name.pem")).unwrap());
    assert!(
        other.starts_with("it: its certificate is not for 127.0.0.1:"),
        "{other}"
    );
    assert!(
        other.contains("write in the URL what it is for") && other.contains("other.example.net"),
        "{other}"
    );
}

#[test]
fn a_certificate_that_is_refused_for_any_other_reason_leads_to_ca_file_too() {
    let error = ureq::Error::Rustls(rustls::CertificateError::BadSignature.into());
    let (address, _came) = serve(Vec::new());
    let mut endpoint = endpoint("https", address, TIMEOUT);
    let sentence = failure::sentence(&error, &endpoint);
    assert!(
        sentence.ends_with(
            "its certificate is not accepted: BadSignature; give it another one, or name a file with the certificate of who \
             signed it in ca_file"
        ),
        "{sentence}"
    );
    endpoint.ca_file = Some(testdata("ca.pem"));
    let sentence = failure::sentence(&error, &endpoint);
    assert!(
        sentence.ends_with("ca.pem has the certificate of who signed it"),
        "{sentence}"
    );
}

#[test]
fn a_port_that_speaks_tls_and_a_url_that_does_not_are_said_and_the_other_way_round() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4_096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
    });
    let plain = why(&mut tls_client(address, Some("ca.pem")).unwrap());
    assert!(
        plain.ends_with("if it speaks plain HTTP there, write http:// in its URL, else see that the port is right"),
        "{plain}"
    );
    let (address, _came) = serve_tls("server.pem");
    let tls = why(&mut Client::new(endpoint("http", address, Duration::from_secs(10))).unwrap());
    assert!(
        tls.contains("if it speaks TLS there, write https:// in its URL"),
        "{tls}"
    );
}

#[test]
fn a_file_of_certificates_that_is_renewed_is_used_for_the_next_message() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    let put = |name| fs::copy(testdata(name), &ca_file).unwrap();
    put("self-signed.pem");
    let (address, _came) = serve_tls("server.pem");
    let mut client = Client::new(Endpoint {
        ca_file: Some(ca_file.clone()),
        ..endpoint("https", address, Duration::from_secs(10))
    })
    .unwrap();
    assert!(why(&mut client).contains("signed by none of those"));
    put("ca.pem");
    assert_eq!(client.post(b"{}", &[]), Ok(()));
    fs::remove_file(&ca_file).unwrap();
    let outcome = client.post(b"{}", &[]);
    assert!(
        matches!(&outcome, Err(Failure::Later(_, sentence)) if sentence.starts_with("cannot read ")),
        "{outcome:?}"
    );
}
