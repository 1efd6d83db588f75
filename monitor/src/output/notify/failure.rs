//! Why a message did not arrive, in one sentence: where, what, and what to do. Of the URL it shows neither path nor query, where
//! secrets may stand.

use std::io::{self, ErrorKind};

use rustls::CertificateError;
use ureq::{Error, Timeout};

use super::{client::CONNECT, endpoint::Endpoint};

/// The sentence.
pub(super) fn sentence(error: &Error, endpoint: &Endpoint) -> String {
    format!("{:?}: {}", endpoint.url, reason(error, endpoint))
}

fn reason(error: &Error, endpoint: &Endpoint) -> String {
    let is_tls = endpoint.url.is_tls();
    match error {
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            let kind = if is_tls { "connection with TLS" } else { "connection" };
            let within = CONNECT.min(endpoint.timeout);
            format!("no {kind} came about within {within:?}; see that it can be reached from here")
        }
        Error::Timeout(_) => format!(
            "there was no answer within {:?}; see why it is slow, or give a longer timeout",
            endpoint.timeout
        ),
        Error::HostNotFound => "the host's name is not known here; see that it is right".to_owned(),
        Error::Rustls(error) => tls(error, endpoint),
        Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => tls(error, endpoint),
            None => io(error, is_tls),
        },
        Error::Protocol(_) if is_tls => "it does not answer in HTTP; see that the port is right".to_owned(),
        // A server of TLS answers in bytes of its own.
        Error::Protocol(_) => {
            "it does not answer in HTTP; if it speaks TLS there, write https:// in its URL, else see that the port is right"
                .to_owned()
        }
        Error::BadUri(_) => "the URL is not understood; write one like http://127.0.0.1:9093".to_owned(),
        error => error.to_string(),
    }
}

fn io(error: &io::Error, is_tls: bool) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            "the connection was refused; see that it runs, and that the port is right".to_owned()
        }
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::BrokenPipe
        | ErrorKind::ConnectionAborted => {
            let other = if is_tls {
                "if it speaks no TLS there, write http:// in its URL"
            } else {
                "if it speaks TLS there, write https:// in its URL"
            };
            format!("it closed the connection without an answer; {other}, else see its log")
        }
        _ => format!("{error}; see that it can be reached from here"),
    }
}

fn tls(error: &rustls::Error, endpoint: &Endpoint) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => certificate(error, endpoint),
        rustls::Error::InvalidMessage(_) => {
            "it does not answer in TLS; if it speaks plain HTTP there, write http:// in its URL, else see that the port is right"
                .to_owned()
        }
        rustls::Error::AlertReceived(alert) => {
            format!("it broke off TLS ({alert:?}); it must take TLS 1.2 or 1.3 and ask for no certificate of the agent's")
        }
        rustls::Error::PeerIncompatible(error) => {
            format!("its TLS and the agent's have nothing in common ({error:?}); it must take TLS 1.2 or 1.3")
        }
        error => format!("TLS failed: {error}; see its log"),
    }
}

fn certificate(error: &CertificateError, endpoint: &Endpoint) -> String {
    let host = endpoint.url.host();
    match error {
        CertificateError::UnknownIssuer => match &endpoint.ca_file {
            Some(path) => format!(
                "its certificate is signed by none of those in {}; put the certificate of who signed it there",
                path.display()
            ),
            None => {
                "its certificate is signed by nobody whom this system trusts; name a file with the certificate of who signed it in \
                 ca_file"
                    .to_owned()
            }
        },
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; renew it, and see that this host's clock is right".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; see that this host's clock is right".to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => format!(
            "its certificate is not for {host}; write in the URL what it is for, {}",
            presented.join(", ")
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is for no name; give it one with a subjectAltName that is in {host}")
        }
        // As `openssl req -x509` makes it unless it is told otherwise. The library has no name for it.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is one of an authority (CA:TRUE), which is taken from no server; make it a self-signed one with \
             basicConstraints=CA:FALSE, and name that in ca_file"
                .to_owned()
        }
        error => {
            let trusted = match &endpoint.ca_file {
                Some(path) => format!("see that {} has the certificate of who signed it", path.display()),
                None => "name a file with the certificate of who signed it in ca_file".to_owned(),
            };
            format!("its certificate is not accepted: {error}; give it another one, or {trusted}")
        }
    }
}
