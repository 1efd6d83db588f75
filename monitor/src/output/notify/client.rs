//! One message over HTTP, with bounds on everything.

use std::{
    io::{ErrorKind, Read as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use ureq::{
    Agent, Body,
    http::{Response, header},
    tls::{Certificate, RootCerts, TlsConfig, TlsProvider},
};

use super::{
    endpoint::{Endpoint, authorities_in, unreadable},
    failure,
};

/// How long a connection may take.
pub(super) const CONNECT: Duration = Duration::from_secs(3);

/// Bytes of an answer in which its reason is looked for.
const REASON_MAX: u64 = 1 << 10;

/// Bytes of an answer that are read: nobody looks at them, but who sends them may wait.
const ANSWER_MAX: u64 = 64 << 10;

/// How long a receiver is left alone at most because it asks for it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Why a message did not arrive: a sentence without secrets, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// To try again, after this time at the least.
    Later(Duration, String),
    /// It will not take this.
    Refused(String),
}

/// Sends to one endpoint. Each message has a connection of its own: there are few, and none finds a dead one.
pub struct Client {
    agent: Agent,
    endpoint: Endpoint,
    /// What stood in the file of certificates.
    authorities: Option<Vec<u8>>,
}

impl Client {
    /// Makes a client. The system's certificates are read where they are needed.
    ///
    /// # Errors
    /// One sentence, where the file of certificates cannot be read.
    pub fn new(endpoint: Endpoint) -> Result<Self, String> {
        let authorities = endpoint.authorities()?;
        Ok(Self {
            agent: agent(&endpoint, authorities.as_deref())?,
            endpoint,
            authorities,
        })
    }

    /// Reads the file of certificates again, like those of password and token: whoever renews one tells nobody.
    fn renew(&mut self) -> Result<(), String> {
        let authorities = self.endpoint.authorities()?;
        if authorities != self.authorities {
            self.agent = agent(&self.endpoint, authorities.as_deref())?;
            self.authorities = authorities;
        }
        Ok(())
    }

    /// Posts a JSON document, with further headers.
    ///
    /// # Errors
    /// Why it was not accepted.
    pub fn post(&mut self, body: &[u8], headers: &[(&str, &str)]) -> Result<(), Failure> {
        let later = |sentence| Failure::Later(Duration::ZERO, sentence);
        self.renew().map_err(later)?;
        let mut request = self
            .agent
            .post(self.endpoint.url.as_str())
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(value) = self.endpoint.credentials.header().map_err(later)? {
            request = request.header(header::AUTHORIZATION, value);
        }
        let mut response = request
            .send(body)
            .map_err(|error| later(failure::sentence(&error, &self.endpoint)))?;
        // Whatever comes of this, the status says what came of the message.
        let (mut answer, mut reason) = (response.body_mut().as_reader(), Vec::new());
        let _ = answer.by_ref().take(REASON_MAX).read_to_end(&mut reason);
        let _ = std::io::copy(&mut answer.take(ANSWER_MAX), &mut std::io::sink());
        judge(&response, &self.endpoint, &reason)
    }
}

/// Looks whether the file of certificates can be used.
///
/// # Errors
/// One sentence, where it cannot.
pub fn check_authorities(endpoint: &Endpoint) -> Result<(), String> {
    match (endpoint.authorities()?, &endpoint.ca_file) {
        (Some(text), Some(path)) => certificates_of(path, &text).map(drop),
        _ => Ok(()),
    }
}

/// Looks whether a file of certificates that is there can be used. One that is missing, or not for whoever asks, is no mistake
/// yet: it may be another host, or another user, that is to have it.
///
/// # Errors
/// One sentence, where it cannot.
pub fn check_authorities_in(path: &Path) -> Result<(), String> {
    match authorities_in(path) {
        Ok(text) => certificates_of(path, &text).map(drop),
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied => Ok(()),
            _ => Err(unreadable(path, &error)),
        },
    }
}

/// What connects to an endpoint and trusts these certificates, or the system's.
fn agent(endpoint: &Endpoint, authorities: Option<&[u8]>) -> Result<Agent, String> {
    let roots = match (authorities, &endpoint.ca_file) {
        (Some(text), Some(path)) => certificates_of(path, text)?,
        _ if endpoint.url.is_tls() => of_system(),
        _ => Vec::new(),
    };
    let roots: Vec<_> = roots
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // A redirect would take alerts and credentials to somebody whom the configuration does not name.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .max_idle_connections(0)
        .timeout_connect(Some(CONNECT.min(endpoint.timeout)))
        .timeout_global(Some(endpoint.timeout))
        .user_agent(concat!("portreeve/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build();
    Ok(config.into())
}

fn judge(response: &Response<Body>, endpoint: &Endpoint, reason: &[u8]) -> Result<(), Failure> {
    let status = response.status();
    let sentence = || format!("{:?} answered {status}", endpoint.url);
    match status.as_u16() {
        200..300 => Ok(()),
        408 | 429 | 500.. => Err(Failure::Later(retry_after(response), sentence())),
        300..400 => Err(Failure::Refused(format!(
            "{}, and a redirect is not followed: name the URL that it leads to",
            sentence()
        ))),
        // A server of TLS that was spoken to without it; they all say it in other words.
        400 if !endpoint.url.is_tls() && String::from_utf8_lossy(reason).to_ascii_uppercase().contains("HTTPS") => {
            Err(Failure::Refused(format!(
                "{}: it speaks TLS there; write https:// in its URL",
                sentence()
            )))
        }
        401 | 403 => Err(Failure::Refused(format!(
            "{}: see that basic_auth or bearer_token_file is what it wants",
            sentence()
        ))),
        404 | 405 => Err(Failure::Refused(format!(
            "{}: see that the path of its URL is right",
            sentence()
        ))),
        _ => Err(Failure::Refused(sentence())),
    }
}

/// What `Retry-After` asks for, in seconds; a date is not read.
fn retry_after(response: &Response<Body>) -> Duration {
    let value = response.headers().get(header::RETRY_AFTER);
    let seconds = value.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or(0)).min(RETRY_AFTER_MAX)
}

/// The certificates that stand in a file.
fn certificates_of(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let certificates = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates
        .map_err(|error| format!("{shown} is no whole file of certificates: {error}; it is to be a PEM file"))?;
    if certificates.is_empty() {
        return Err(format!("{shown} has no certificate in it; it is to be a PEM file"));
    }
    // PEM is a wrapping: what is in it may be anything.
    let (usable, _) = RootCertStore::empty().add_parsable_certificates(certificates.iter().cloned());
    if usable == 0 {
        return Err(format!(
            "{shown} has no certificate in it that can be read; it is to be a PEM file as a CA hands it out"
        ));
    }
    Ok(certificates)
}

fn of_system() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        ::log::error!(
            "the system has no certificates to trust, so nothing goes out over https: install ca-certificates, or set ca_file"
        );
    }
    found.certs
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
