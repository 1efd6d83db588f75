use std::path::PathBuf;

use super::*;

/// The folder with keys and certificates.
pub(crate) fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/web/testdata")
}

/// A file with this text, beside keys and certificates.
fn read_as(text: &str) -> Result<Web, String> {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(testdata()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let path = folder.path().join("web.yml");
    fs::write(&path, text).unwrap();
    Web::read(&path).map_err(|error| error.to_string().replace(&folder.path().display().to_string(), ""))
}

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

fn tls(more: &str) -> Result<Web, String> {
    let more: String = more.lines().map(|line| format!("  {line}\n")).collect();
    read_as(&format!("{TLS}{more}"))
}

#[test]
fn a_file_of_an_exporter_is_read_as_it_is_there() {
    let web = read_as(
        "# all of it\n\
         tls_server_config:\n\
         \x20 cert_file: server.pem\n\
         \x20 key_file: server.key\n\
         \x20 client_auth_type: RequireAndVerifyClientCert\n\
         \x20 client_ca_file: ca.pem\n\
         \x20 client_allowed_sans: [scraper.example, 10.0.0.7]\n\
         \x20 min_version: TLS12\n\
         \x20 max_version: TLS13\n\
         \x20 cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n\
         \x20 curve_preferences:\n\
         \x20   - X25519\n\
         \x20   - CurveP256\n\
         \x20 prefer_server_cipher_suites: true\n\
         http_server_config:\n\
         \x20 http2: false\n\
         \x20 headers:\n\
         \x20   Strict-Transport-Security: max-age=31536000\n\
         \x20   X-Frame-Options: deny\n\
         basic_auth_users:\n\
         \x20 alice: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi\n",
    )
    .unwrap();
    assert!(web.tls.is_some() && web.verifies_clients);
    assert_eq!((web.users.len(), web.headers.len(), web.files.len()), (1, 2, 4));
    assert_eq!(web.remarks, [""; 0]);
}

#[test]
fn an_empty_file_asks_for_nothing_and_so_does_a_section_without_a_certificate() {
    for text in [
        "",
        "# nothing\n",
        "tls_server_config: {}\n",
        "tls_server_config:\n  cert_file: ''\n",
        "basic_auth_users: {}\n",
    ] {
        let web = read_as(text).unwrap();
        assert!(
            web.tls.is_none() && web.users.is_empty() && !web.verifies_clients,
            "{text}"
        );
    }
}

#[test]
fn what_is_refused_there_is_refused_with_what_to_do() {
    for (text, sentence) in [
        (
            "tls_config: {}\n",
            "/web.yml line 1 column 1: unknown field `tls_config`",
        ),
        (
            "basic_auth_users:\n  alice: secret\n",
            "the password of `alice` is no bcrypt hash; make one with",
        ),
        ("basic_auth_users:\n  a: x\n  a: y\n", "/web.yml line 3 column 3: "),
        (
            "http_server_config:\n  headers:\n    Server: x\n",
            "the header `Server` cannot be set; there are Strict-",
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: no\n",
            "X-Frame-Options is deny or sameorigin, not `no`",
        ),
        ("http_server_config:\n  http2: maybe\n", "/web.yml line 2 column 10: "),
        (
            "tls_server_config:\n  cert_file: server.pem\n",
            "tls_server_config: key_file is missing",
        ),
        (
            "tls_server_config:\n  key_file: server.key\n",
            "tls_server_config: cert_file is missing",
        ),
        (
            "tls_server_config:\n  cert_file: no.pem\n  key_file: server.key\n",
            "cannot read /no.pem: No such file",
        ),
        (
            "tls_server_config:\n  cert_file: server.key\n  key_file: server.key\n",
            "has no certificate in PEM format",
        ),
        (
            "tls_server_config:\n  cert_file: server.pem\n  key_file: ca.pem\n",
            "has no private key in PEM format",
        ),
        (
            "tls_server_config:\n  cert_file: server.pem\n  key_file: client.key\n",
            "do not belong together",
        ),
        (&format!("{TLS}  cert: x\n"), "cert and cert_file exclude each other"),
        ("[", "/web.yml line 1"),
    ] {
        let error = read_as(text).unwrap_err();
        assert!(error.contains(sentence) && !error.contains('\n'), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    for (more, sentence) in [
        (
            "client_auth_type: Sometimes",
            "client_auth_type: `Sometimes` is none of NoClientCert,",
        ),
        (
            "client_ca_file: ca.pem",
            "client_ca_file is given without a client_auth_type",
        ),
        (
            "client_allowed_sans: [a.example]",
            "client_allowed_sans needs a client_auth_type that verifies",
        ),
        (
            "client_auth_type: RequireAndVerifyClientCert\nclient_ca_file: ca.pem\nclient_allowed_sans: ['spiffe://a/b']",
            "`spiffe://a/b` is neither a DNS name nor an address",
        ),
        ("min_version: TLS14", "min_version: `TLS14` is none of TLS10"),
        ("max_version: TLS11", "max_version: TLS before 1.2 is not spoken here"),
        (
            "min_version: TLS13\nmax_version: TLS12",
            "min_version is above max_version",
        ),
        ("cipher_suites: [TLS_NULL]", "`TLS_NULL` is no cipher suite"),
        (
            "cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\nmax_version: TLS12",
            "no cipher suite is left",
        ),
        (
            "curve_preferences: [CurveP111]",
            "curve_preferences: `CurveP111` is none of CurveP256",
        ),
        ("curve_preferences: [CurveP521]", "none of these is offered here"),
    ] {
        let error = tls(more).unwrap_err();
        assert!(error.contains(sentence), "{error}");
    }
}

#[test]
fn what_is_not_done_here_is_said_where_enough_is_left() {
    for (more, remark) in [
        ("min_version: TLS10", "min_version: TLS before 1.2"),
        (
            "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305]",
            "cipher_suites: TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        ),
        (
            "curve_preferences: [X25519MLKEM768, X25519]",
            "curve_preferences: X25519MLKEM768",
        ),
    ] {
        let web = tls(more).unwrap();
        assert!(
            web.remarks.len() == 1 && web.remarks[0].starts_with(remark),
            "{:?}",
            web.remarks
        );
    }
    let web = read_as("http_server_config:\n  http2: true\n").unwrap();
    assert!(web.remarks[0].contains("HTTP/1.1 alone"));
}

#[test]
fn each_way_to_ask_for_certificates_is_known() {
    for (word, verifies) in [
        ("NoClientCert", false),
        ("RequestClientCert", false),
        ("RequireAnyClientCert", false),
        ("RequireClientCert", false),
        ("VerifyClientCertIfGiven", true),
        ("RequireAndVerifyClientCert", true),
    ] {
        let authorities = if verifies { "\nclient_ca_file: ca.pem" } else { "" };
        let web = tls(&format!("client_auth_type: {word}{authorities}")).unwrap();
        assert_eq!(web.verifies_clients, verifies, "{word}");
    }
}

#[test]
fn only_a_bcrypt_hash_is_one() {
    let good = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";
    assert!(is_bcrypt(good) && is_bcrypt(&good.replace("2y", "2a")));
    for bad in [
        "",
        "secret",
        &good[..59],
        &good.replace("$10$", "$03$"),
        &good.replace("$10$", "$+9$"),
        &good.replace("2y", "2c"),
        &format!("{good}$"),
        &good.replace('Q', " "),
    ] {
        assert!(!is_bcrypt(bad), "{bad}");
    }
}
