//! `--web.config.file`: TLS, headers and users, in the format of Prometheus's exporter-toolkit
//! (<https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>).
//!
//! What that refuses is refused here. What cannot be had with rustls, which has no TLS before 1.2 and no ciphers without
//! forward secrecy, is left out and said where enough is left, and refused where it is not.

mod clients;
mod tls;

use std::{
    collections::BTreeMap,
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::sources::{Mark, mark_of};
use crate::exit::{ConfigError, Place, Problem};

/// A web configuration larger than this is none.
const FILE_MAX: u64 = 1 << 20;

/// What the files say.
#[derive(Clone, Debug, Default)]
pub struct Web {
    /// TLS; `None` for plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Whether a client with a certificate is known by it.
    pub verifies_clients: bool,
    /// Users with the bcrypt hashes of their passwords; empty where none is asked for.
    pub users: BTreeMap<String, String>,
    /// Further headers of each answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What of the file is not done here, each one sentence.
    pub remarks: Vec<String>,
    /// The file, and all that it names.
    pub files: Vec<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    tls_server_config: Option<RawTls>,
    http_server_config: Option<RawHttp>,
    basic_auth_users: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawTls {
    cert: Option<String>,
    key: Option<String>,
    client_ca: Option<String>,
    cert_file: Option<String>,
    key_file: Option<String>,
    client_ca_file: Option<String>,
    client_auth_type: Option<String>,
    client_allowed_sans: Option<Vec<String>>,
    cipher_suites: Option<Vec<String>>,
    curve_preferences: Option<Vec<String>>,
    min_version: Option<String>,
    max_version: Option<String>,
    prefer_server_cipher_suites: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawHttp {
    http2: Option<bool>,
    headers: Option<BTreeMap<String, String>>,
}

/// The headers that may be set, with the values that they may have; any where there is none.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

impl Web {
    /// Reads the file, and all that it names.
    ///
    /// # Errors
    /// [`ConfigError`] with what is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let raw: Raw = if text.trim().is_empty() {
            Raw::default()
        } else {
            let options = serde_saphyr::options! { with_snippet: false };
            serde_saphyr::from_str_with_options(&text, options).map_err(|error| malformed(path, &error))?
        };
        let mut web = Self {
            files: vec![path.to_owned()],
            ..Self::default()
        };
        web.take(raw, path.parent().unwrap_or(Path::new("")))
            .map_err(|sentence| ConfigError::from(format!("{}: {sentence}", path.display())))?;
        Ok(web)
    }

    /// What the files look like now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        mark_of(self.files.iter())
    }

    fn take(&mut self, raw: Raw, folder: &Path) -> Result<(), String> {
        if let Some(http) = raw.http_server_config {
            if http.http2 == Some(true) {
                let sentence = "http_server_config: http2 is true, and portreeve speaks HTTP/1.1 alone";
                self.remarks.push(sentence.to_owned());
            }
            for (name, value) in http.headers.unwrap_or_default() {
                self.headers.push(header(&name, &value)?);
            }
        }
        for (user, hash) in raw.basic_auth_users.unwrap_or_default() {
            // The error of the library would repeat the hash.
            if !is_bcrypt(&hash) {
                return Err(format!(
                    "basic_auth_users: the password of `{user}` is no bcrypt hash; make one with `htpasswd -nBC 10 {user}`"
                ));
            }
            self.users.insert(user, hash);
        }
        if let Some(tls) = raw.tls_server_config {
            self.take_tls(tls, folder)
                .map_err(|sentence| format!("tls_server_config: {sentence}"))?;
        }
        Ok(())
    }
}

/// A file that must be there, as text.
fn read(path: &Path) -> Result<String, ConfigError> {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 > FILE_MAX => Err(format!("{}: it is larger than 1 MiB", path.display()).into()),
        Ok(_) => Ok(text),
        Err(error) => Err(unreadable(path, &error).into()),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

/// Where the text is not what it should be.
fn malformed(path: &Path, error: &serde_saphyr::Error) -> ConfigError {
    let place = error.location().map(|at| Place {
        file: path.to_owned(),
        line: usize::try_from(at.line()).unwrap_or(0),
        column: usize::try_from(at.column()).unwrap_or(0),
    });
    // The library's own text begins or ends with the place as well.
    let text = error.without_snippet().to_string();
    let told = text.lines().next().unwrap_or_default();
    let sentence = match told.split_once(": ") {
        Some((place, rest)) if place.starts_with("error: line") || place.starts_with("line") => rest,
        _ => told,
    };
    let sentence = match &place {
        Some(place) => {
            let end = format!(" at line {}, column {}", place.line, place.column);
            let words = sentence.strip_suffix(&end).unwrap_or(sentence);
            words.replace("expected mapping start", "`KEY: VALUE` is expected here")
        }
        None => format!("{}: {sentence}", path.display()),
    };
    ConfigError(vec![Problem { place, sentence }])
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let Some((_, values)) = HEADERS.iter().find(|(known, _)| *known == name) else {
        let known = HEADERS.map(|(name, _)| name).join(", ");
        return Err(format!(
            "http_server_config: the header `{name}` cannot be set; there are {known}"
        ));
    };
    if !values.is_empty() && !values.contains(&value) {
        let values = values.join(" or ");
        return Err(format!("http_server_config: {name} is {values}, not `{value}`"));
    }
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok().zip(value.parse().ok());
    parsed.ok_or_else(|| format!("http_server_config: `{value}` cannot stand in the header {name}"))
}

/// `$2a$`, `$2b$`, `$2x$` or `$2y$`, a cost from 4 to 31, and 53 letters of salt and hash.
fn is_bcrypt(hash: &str) -> bool {
    let mut parts = hash.split('$');
    let (Some(""), Some(version), Some(cost), Some(rest), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    matches!(version, "2a" | "2b" | "2x" | "2y")
        && cost.len() == 2
        && cost.bytes().all(|digit| digit.is_ascii_digit())
        && cost.parse::<u8>().is_ok_and(|cost| (4..=31).contains(&cost))
        && rest.len() == 53
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte))
}

#[cfg(test)]
pub(crate) mod tests;
