//! One message over HTTP, with bounds on everything.

use std::{fs, io::Read as _, path::Path, sync::Arc, time::Duration};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use ureq::{
    Agent, Body, Error, Timeout,
    http::{Response, header},
    tls::{Certificate, RootCerts, TlsConfig, TlsProvider},
};

use super::endpoint::Endpoint;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);

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
}

impl Client {
    /// Makes a client. The system's certificates are read where they are needed.
    ///
    /// # Errors
    /// One sentence, where the file of certificates cannot be read.
    pub fn new(endpoint: Endpoint) -> Result<Self, String> {
        let roots = match &endpoint.ca_file {
            Some(path) => certificates(path)?,
            None if endpoint.url.is_tls() => of_system(),
            None => Vec::new(),
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
        Ok(Self {
            agent: config.into(),
            endpoint,
        })
    }

    /// Posts a JSON document, with further headers.
    ///
    /// # Errors
    /// Why it was not accepted.
    pub fn post(&self, body: &[u8], headers: &[(&str, &str)]) -> Result<(), Failure> {
        let later = |sentence| Failure::Later(Duration::ZERO, sentence);
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
            .map_err(|error| later(sentence(&error, self.endpoint.timeout)))?;
        // Whatever comes of this, the status says what came of the message.
        let answer = response.body_mut().as_reader();
        let _ = std::io::copy(&mut answer.take(ANSWER_MAX), &mut std::io::sink());
        judge(&response)
    }
}

fn judge(response: &Response<Body>) -> Result<(), Failure> {
    let status = response.status();
    let sentence = || format!("it answered {status}");
    match status.as_u16() {
        200..300 => Ok(()),
        408 | 429 | 500.. => Err(Failure::Later(retry_after(response), sentence())),
        300..400 => Err(Failure::Refused(format!(
            "it answered {status}, and a redirect is not followed: name the URL that it leads to"
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

/// What went wrong, in words that do not repeat the URL.
fn sentence(error: &Error, timeout: Duration) -> String {
    match error {
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            format!("no connection came about within {CONNECT:?}")
        }
        Error::Timeout(_) => format!("there was no answer within {timeout:?}"),
        Error::HostNotFound => "the host's name is not known".to_owned(),
        Error::Io(error) => error.to_string(),
        Error::Rustls(error) => format!("TLS: {error}"),
        Error::BadUri(_) => "the URL is not understood".to_owned(),
        error => error.to_string(),
    }
}

/// The certificates of a file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let text = fs::read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| format!("cannot read the certificates in {shown}: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{shown} has no certificate in it; it is to be a PEM file"));
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
