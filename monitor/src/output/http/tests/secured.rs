//! Who is let in: addresses that others reach, users, TLS.

use std::{fs, path::Path};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::*;
use crate::config::web::tests::testdata;

const API: [&str; 7] = [
    "/",
    "/api/v1/listeners",
    "/api/v1/alerts",
    "/api/v1/ports/1992",
    "/api/v1/events",
    "/api/v1/events/stream",
    "/api/v1/status",
];

#[test]
fn on_an_address_that_others_reach_only_numbers_and_health_are_told() {
    let server = Server::start(|setting| {
        setting.is_local = false;
        setting.lifecycle = true;
    });
    for path in API {
        let answer = server.get(path);
        assert_eq!(answer.status, 403, "{path}");
        assert!(
            answer
                .body
                .starts_with("portreeve tells what listens on loopback alone"),
            "{answer:?}"
        );
    }
    assert_eq!(server.ask("POST", "/-/reload", "").status, 403);
    for path in ["/metrics", "/-/healthy"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert_eq!(server.get("/-/ready").status, 503);
    server.shared.ready.store(true, Ordering::Release);
    assert_eq!(server.get("/-/ready").status, 200);

    let server = Server::start(|setting| {
        setting.is_local = false;
        setting.expose_api = true;
    });
    assert_eq!(server.get("/api/v1/listeners").status, 200);
}

#[test]
fn a_name_that_is_not_this_hosts_and_a_page_of_another_origin_are_refused() {
    let server = Server::start(|setting| setting.lifecycle = true);
    let as_host = |method: &str, path: &str, host: &str, more: &str| {
        let mut stream = server.connect();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"
        )
        .unwrap();
        Answer::read(stream).status
    };
    for path in API {
        assert_eq!(as_host("GET", path, "evil.example", ""), 421, "{path}");
    }
    assert_eq!(as_host("POST", "/-/reload", "evil.example", ""), 421);
    assert_eq!(as_host("GET", "/api/v1/status", "ports.example.net", ""), 200);
    assert_eq!(as_host("GET", "/metrics", "node-7.example.net:19992", ""), 200);
    assert_eq!(
        as_host("POST", "/-/reload", "localhost", "Origin: http://evil.example\r\n"),
        403
    );
    assert_eq!(
        as_host("POST", "/-/reload", "localhost", "Origin: http://localhost\r\n"),
        200
    );
}

#[test]
fn users_are_asked_for_everywhere_and_open_the_api_on_any_address() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yml");
    let users = |password: &str| format!("basic_auth_users:\n  ada: {}\n", bcrypt::hash(password, 4).unwrap());
    fs::write(&file, users("first")).unwrap();
    let server = Server::start(|setting| {
        setting.is_local = false;
        setting.web = Current::open(Some(file.clone())).unwrap().looking_every(Duration::ZERO);
    });
    // "ada:first" and "ada:second".
    let (first, second) = (
        "Authorization: Basic YWRhOmZpcnN0\r\n",
        "Authorization: Basic YWRhOnNlY29uZA==\r\n",
    );
    for path in ["/metrics", "/-/healthy", "/api/v1/listeners", "/nowhere"] {
        let answer = server.get(path);
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.header("www-authenticate"), Some("basic realm=\"portreeve\""));
        assert_eq!(server.ask("GET", path, second).status, 401, "{path}");
    }
    assert_eq!(server.ask("GET", "/metrics", first).status, 200);
    // A page of a stranger's has no password: so the name does not matter.
    let mut stream = server.connect();
    write!(
        stream,
        "GET /api/v1/status HTTP/1.1\r\nHost: web-7.example.net\r\nConnection: close\r\n{first}\r\n"
    )
    .unwrap();
    assert_eq!(Answer::read(stream).status, 200);

    // Another password is taken at once, and a wrong file leaves everything as it was.
    fs::write(&file, users("second")).unwrap();
    assert_eq!(server.ask("GET", "/api/v1/listeners", first).status, 401);
    assert_eq!(server.ask("GET", "/api/v1/listeners", second).status, 200);
    fs::write(&file, "basic_auth_users: [").unwrap();
    assert_eq!(server.ask("GET", "/api/v1/listeners", second).status, 200);
    assert_eq!(server.get("/metrics").status, 401);
    // One that is just being written is empty, and opens nothing.
    fs::write(&file, "").unwrap();
    assert_eq!(server.get("/metrics").status, 401);
    assert_eq!(server.ask("GET", "/api/v1/listeners", second).status, 200);
    fs::write(&file, users("first")).unwrap();
    assert_eq!(server.ask("GET", "/api/v1/listeners", first).status, 200);
}

#[test]
fn every_answer_tells_a_browser_to_load_nothing_from_elsewhere() {
    let server = Server::start(|_| ());
    for path in [
        "/",
        "/metrics",
        "/api/v1/listeners",
        "/nowhere",
        "/api/v1/listeners?x=1",
    ] {
        let answer = server.get(path);
        for (name, value) in [
            (
                "content-security-policy",
                "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
            ),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

/// A server with a web configuration of these lines below its TLS.
fn secured(more: &str) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    for file in ["ca.pem", "server.pem", "server.key"] {
        fs::copy(testdata().join(file), folder.path().join(file)).unwrap();
    }
    let text = format!("tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n{more}");
    let file = folder.path().join("web.yml");
    fs::write(&file, text).unwrap();
    let server = Server::start(|setting| {
        setting.is_local = false;
        setting.web = Current::open(Some(file)).unwrap().looking_every(Duration::ZERO);
    });
    (folder, server)
}

/// Asks over TLS as this client; the status, or why there is none.
fn get_as(server: &Server, client: Option<&str>, path: &str) -> Result<u16, String> {
    let read = |name: &str| CertificateDer::from_pem_file(testdata().join(name)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(read("ca.pem")).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let key = PrivateKeyDer::from_pem_file(testdata().join(format!("{name}.key"))).unwrap();
            builder
                .with_client_auth_cert(vec![read(&format!("{name}.pem"))], key)
                .unwrap()
        }
    };
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, server.connect());
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .map_err(|error| error.to_string())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
    Ok(Answer::of(&text).status)
}

#[test]
fn with_a_certificate_http_is_spoken_over_tls_alone() {
    let (_folder, server) = secured("");
    assert_eq!(get_as(&server, None, "/metrics"), Ok(200));
    // TLS says nothing of who asks.
    assert_eq!(get_as(&server, None, "/api/v1/listeners"), Ok(403));
    assert_eq!(server.get("/metrics").status, 0);
}

#[test]
fn clients_are_known_by_certificates_that_are_verified() {
    for (word, [nobody, client, stranger]) in [
        // The status of the API, or none where there is no connection.
        ("RequireAndVerifyClientCert", [None, Some(200), None]),
        ("VerifyClientCertIfGiven", [Some(403), Some(200), None]),
        ("RequireAnyClientCert", [None, Some(403), Some(403)]),
        ("RequestClientCert", [Some(403), Some(403), Some(403)]),
        ("NoClientCert", [Some(403), Some(403), Some(403)]),
    ] {
        let authorities = if word.contains("erify") {
            "  client_ca_file: ca.pem\n"
        } else {
            ""
        };
        let (_folder, server) = secured(&format!("  client_auth_type: {word}\n{authorities}"));
        for (who, expected) in [(None, nobody), (Some("client"), client), (Some("stranger"), stranger)] {
            let status = get_as(&server, who, "/api/v1/status");
            assert_eq!(status.as_ref().ok(), expected.as_ref(), "{word} {who:?} {status:?}");
        }
    }
}

#[test]
fn of_verified_clients_only_those_with_a_name_that_is_allowed_get_in() {
    let verified = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n";
    for (allowed, gets_in) in [("[scraper.example]", true), ("[other.example, 10.0.0.1]", false)] {
        let (_folder, server) = secured(&format!("{verified}  client_allowed_sans: {allowed}\n"));
        assert_eq!(
            get_as(&server, Some("client"), "/metrics").is_ok(),
            gets_in,
            "{allowed}"
        );
    }
}

#[test]
fn a_new_certificate_is_used_from_the_next_connection_on() {
    let (folder, server) = secured("");
    assert_eq!(get_as(&server, None, "/metrics"), Ok(200));
    let replace = |name: &str, from: &Path| fs::copy(from, folder.path().join(name)).unwrap();
    // Half of it is exchanged: what is in use stays.
    replace("server.pem", &testdata().join("stranger.pem"));
    assert_eq!(get_as(&server, None, "/metrics"), Ok(200));
    // All of it: one that this client does not trust.
    replace("server.key", &testdata().join("stranger.key"));
    assert!(get_as(&server, None, "/metrics").is_err());
    replace("server.pem", &testdata().join("server.pem"));
    replace("server.key", &testdata().join("server.key"));
    assert_eq!(get_as(&server, None, "/metrics"), Ok(200));
}
