//! Who may ask for what.

use std::net::IpAddr;

use axum::{
    http::{
        HeaderMap, HeaderValue, Method, Request, StatusCode, Version,
        header::{self, HeaderName},
    },
    response::Response,
};

use super::{HEALTHY, READY, Shared, sentence};

/// What is asked of all requests of one connection.
pub(super) struct Door {
    pub(super) shared: Shared,
    /// Whether none but this host's own can reach the address.
    pub(super) is_local: bool,
    /// Whether the client is known by its certificate.
    pub(super) is_certified: bool,
    pub(super) body_bytes: u64,
}

/// What every answer says to a browser: nothing from elsewhere belongs to it, and nobody else may show it.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    // What listens is out of date at once, and nobody else's business.
    (header::CACHE_CONTROL, "no-store"),
];

impl Door {
    /// Lets a request in, or says why not.
    pub(super) async fn admit<B: hyper::body::Body>(&self, request: &Request<B>) -> Result<(), Box<Response>> {
        let size = request.body().size_hint();
        if size.upper().is_none_or(|bytes| bytes > self.body_bytes) && !request.body().is_end_stream() {
            let mut refusal = sentence(StatusCode::PAYLOAD_TOO_LARGE, "portreeve takes no bodies of this size.");
            let close = HeaderValue::from_static("close");
            refusal.headers_mut().insert(header::CONNECTION, close);
            return Err(Box::new(refusal));
        }
        let headers = request.headers();
        let web = self.shared.web.now().await;
        let has_users = !web.users.is_empty();
        if has_users && !self.shared.web.knows(&web, headers.get(header::AUTHORIZATION)).await {
            let mut refusal = sentence(StatusCode::UNAUTHORIZED, "this needs a user and a password.");
            let basic = HeaderValue::from_static("Basic realm=\"portreeve\"");
            refusal.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
            return Err(Box::new(refusal));
        }
        let path = request.uri().path();
        if path == &*self.shared.telemetry_path || path == HEALTHY || path == READY {
            return Ok(());
        }
        let is_known = has_users || self.is_certified;
        if !self.is_local && !is_known && !self.shared.expose_api {
            return Err(Box::new(withheld()));
        }
        // A page of a stranger's has no password and no certificate, whatever name it gave this host.
        if !is_known && !self.is_meant_for_us(request) {
            return Err(Box::new(misdirected()));
        }
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
        if !reads && is_of_another_origin(headers) {
            let text = "portreeve takes this from pages of its own alone.";
            return Err(Box::new(sentence(StatusCode::FORBIDDEN, text)));
        }
        Ok(())
    }

    /// Adds the headers that every answer has.
    pub(super) fn dress(&self, mut answer: Response) -> Response {
        let headers = answer.headers_mut();
        for (name, value) in HEADERS {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        for (name, value) in &self.shared.web.last().headers {
            headers.insert(name.clone(), value.clone());
        }
        answer
    }

    fn is_meant_for_us<B>(&self, request: &Request<B>) -> bool {
        let names = [Some(&self.shared.instance), self.shared.external_host.as_ref()];
        is_meant_for(
            request,
            &names.into_iter().flatten().map(|name| &**name).collect::<Vec<_>>(),
        )
    }
}

fn withheld() -> Response {
    sentence(
        StatusCode::FORBIDDEN,
        "portreeve tells what listens on loopback alone, or to whom it knows: serve it there too with a second \
         --web.listen-address, set users or client certificates in --web.config.file, or start it with --web.expose-api.",
    )
}

fn misdirected() -> Response {
    let text = "portreeve does not know this Host: ask for the address, for localhost, for the host's name or for that in \
                --web.external-url.";
    sentence(StatusCode::MISDIRECTED_REQUEST, text)
}

/// Whether a request was meant for this host, which has these names: a page of a stranger's that a browser was told to find
/// here (DNS rebinding) has a name of its own.
fn is_meant_for<B>(request: &Request<B>, names: &[&str]) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next();
    // One, as HTTP/1.1 has it; HTTP/1.0, which no browser speaks, may have none.
    if hosts.next().is_some() || (host.is_none() && request.version() != Version::HTTP_10) {
        return false;
    }
    let is_ours = |host: &str| is_ours(host, names);
    host.is_none_or(|host| host.to_str().is_ok_and(is_ours))
        && request
            .uri()
            .authority()
            .is_none_or(|authority| is_ours(authority.as_str()))
}

/// Whether `NAME` or `NAME:PORT` is this host.
fn is_ours(host: &str, names: &[&str]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok()
        || bare.eq_ignore_ascii_case("localhost")
        || names.iter().any(|ours| bare.eq_ignore_ascii_case(ours))
}

/// Whether a page of somebody else's made a browser ask.
fn is_of_another_origin(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .map(|value: &HeaderValue| value.to_str().unwrap_or_default())
    };
    if text(HeaderName::from_static("sec-fetch-site")).is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return true;
    }
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => false,
        (Some(origin), host) => origin.split_once("://").map(|(_, origin)| origin) != host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_this_hosts_is_somebody_elses() {
        let names = ["web-7", "ports.example.net"];
        let asked = |host: &'static str| {
            let request = Request::builder().header(header::HOST, host).body(()).unwrap();
            is_meant_for(&request, &names)
        };
        for host in [
            "127.0.0.1:19992",
            "[::1]:19992",
            "localhost",
            "LOCALHOST:80",
            "web-7:19992",
            "ports.example.net",
            "10.0.0.1",
        ] {
            assert!(asked(host), "{host}");
        }
        for host in ["evil.example:19992", "web-8", "localhost.evil.example", ""] {
            assert!(!asked(host), "{host}");
        }
        let mut bare = Request::new(());
        assert!(!is_meant_for(&bare, &names));
        *bare.version_mut() = Version::HTTP_10;
        assert!(is_meant_for(&bare, &names));
        let twice = Request::builder()
            .header(header::HOST, "web-7")
            .header(header::HOST, "evil.example");
        assert!(!is_meant_for(&twice.body(()).unwrap(), &names));
        let whole = Request::get("http://evil.example/").header(header::HOST, "web-7");
        assert!(!is_meant_for(&whole.body(()).unwrap(), &names));
    }

    #[test]
    fn a_page_of_another_origin_may_not_ask_for_a_change() {
        let other = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:19992"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            is_of_another_origin(&headers)
        };
        assert!(!other(None) && !other(Some("http://127.0.0.1:19992")));
        for origin in ["http://127.0.0.1:8080", "https://evil.example", "null", ""] {
            assert!(other(Some(origin)), "{origin}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
        assert!(is_of_another_origin(&headers));
    }
}
