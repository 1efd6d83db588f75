//! Where alerts are sent, and with which credentials.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ureq::http::{HeaderValue, Uri};

/// Bytes of a password or a token at most.
const SECRET_MAX: u64 = 16 << 10;

/// Bytes of a file of certificates at most: all that a system trusts take less.
const AUTHORITIES_MAX: u64 = 4 << 20;

/// A receiver that is reached over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name in the log and in metrics, which shows nothing secret: `alertmanager/HOST:PORT`.
    pub name: String,
    /// Where the messages go.
    pub url: Url,
    /// How long one message may take, from the connection to the answer.
    pub timeout: Duration,
    /// Certificates to trust instead of the system's. It is read for each message too.
    pub ca_file: Option<PathBuf>,
    /// What is sent to be let in.
    pub credentials: Credentials,
}

impl Endpoint {
    /// What stands in the file of certificates, where there is to be one.
    ///
    /// # Errors
    /// One sentence, where it cannot be read.
    pub fn authorities(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(path) = &self.ca_file else { return Ok(None) };
        authorities_in(path).map(Some).map_err(|error| unreadable(path, &error))
    }
}

/// What stands in a file of certificates.
///
/// # Errors
/// Where it cannot be read.
pub(super) fn authorities_in(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(AUTHORITIES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> String {
    format!(
        "cannot read {}: {error}; see that it is there, and that the agent may read it",
        path.display()
    )
}

/// What is sent to be let in. Files are read for each message, so that they can be exchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    #[default]
    None,
    /// A name and a password.
    Basic {
        /// The name.
        username: String,
        /// The file with the password.
        password_file: PathBuf,
    },
    /// A token.
    Bearer {
        /// The file with the token.
        token_file: PathBuf,
    },
}

impl Credentials {
    /// The header's value; `None` where nothing is sent.
    ///
    /// # Errors
    /// One sentence, without the secret.
    pub fn header(&self) -> Result<Option<HeaderValue>, String> {
        let (value, path) = match self {
            Self::None => return Ok(None),
            Self::Basic {
                username,
                password_file,
            } => {
                let both = format!("{username}:{}", secret(password_file)?);
                (format!("Basic {}", BASE64_STANDARD.encode(both)), password_file)
            }
            Self::Bearer { token_file } => (format!("Bearer {}", secret(token_file)?), token_file),
        };
        let mut header = HeaderValue::from_str(&value)
            .map_err(|_| format!("{} has letters in it that no header can carry", path.display()))?;
        header.set_sensitive(true);
        Ok(Some(header))
    }
}

fn secret(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(SECRET_MAX).read_to_string(&mut text));
    read.map_err(|error| unreadable(path, &error))?;
    let secret = text.trim();
    if secret.is_empty() {
        return Err(format!(
            "{} is empty; it is to hold the password or the token",
            path.display()
        ));
    }
    Ok(secret.to_owned())
}

/// A URL of http or https without user-info.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    text: String,
    host: String,
    is_tls: bool,
}

/// Without path and query, where secrets may stand.
impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)
    }
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    /// One sentence, which does not repeat the URL: there may be a secret in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "write one like http://127.0.0.1:9093";
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("this is no URL ({error}); {EXAMPLE}"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => {
                return Err(format!(
                    "this URL begins neither with http:// nor with https://; {EXAMPLE}"
                ));
            }
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err("a user and a password do not belong into a URL; use basic_auth".to_owned());
        }
        let host = uri.host().unwrap_or_default();
        if host.is_empty() {
            return Err(format!("this URL names no host; {EXAMPLE}"));
        }
        if text.contains('#') {
            return Err("a URL that is sent to has no `#`".to_owned());
        }
        // What follows the host is taken as it is written: the library takes a port that is none for no port at all.
        let port = match authority.strip_prefix(host).unwrap_or_default() {
            "" => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
            written => match written.trim_start_matches(':').parse::<u16>() {
                Ok(port) if port > 0 => port,
                _ => {
                    return Err(format!(
                        "`{written}` is no port of a URL, which goes from 1 to 65535; {EXAMPLE}"
                    ));
                }
            },
        };
        Ok(Self {
            host: format!("{host}:{port}"),
            is_tls,
            text: text.to_owned(),
        })
    }

    /// The URL with this path behind its own; `None` where it has a query, behind which there can be no path.
    #[must_use]
    pub fn below(&self, path: &str) -> Option<Self> {
        (!self.text.contains('?')).then(|| Self {
            text: format!("{}{path}", self.text.trim_end_matches('/')),
            ..self.clone()
        })
    }

    /// `HOST:PORT`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is https.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The whole URL: for whoever connects, and not to be shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_known_by_host_and_port_and_shows_nothing_else() {
        for (text, host, tls) in [
            ("http://127.0.0.1:9093", "127.0.0.1:9093", false),
            ("https://am.example.net/prefix/", "am.example.net:443", true),
            ("http://[::1]/hook?token=secret", "[::1]:80", false),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.host(), url.is_tls()), (host, tls), "{text}");
            let shown = format!("{url:?}");
            assert!(!shown.contains("secret") && !shown.contains("prefix"), "{shown}");
        }
    }

    #[test]
    fn a_path_is_put_behind_a_prefix_and_never_behind_a_query() {
        let below = |text| Url::parse(text).unwrap().below("/api").map(|url| url.text);
        assert_eq!(below("http://a:1/am/").as_deref(), Some("http://a:1/am/api"));
        assert_eq!(below("http://a:1").as_deref(), Some("http://a:1/api"));
        assert_eq!(below("http://a:1/?x=y"), None);
    }

    #[test]
    fn what_is_no_url_for_messages_is_refused_without_repeating_it() {
        for (text, expected) in [
            ("http://user:hush@a/", "a user and a password do not belong"),
            ("ftp://hush/", "this URL begins neither"),
            ("/hush", "this URL begins neither"),
            ("hush hush", "this is no URL"),
            ("http://", "this "),
            ("http://a/#hush", "a URL that is sent to has no `#`"),
            ("http://a:99999/hush", "`:99999` is no port"),
            ("http://a:b/hush", "`:b` is no port"),
            ("http://[::1]:0/hush", "`:0` is no port"),
            ("http://a:/hush", "`:` is no port"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(
                error.starts_with(expected) && !error.contains("hush"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn credentials_come_from_files_trimmed_and_stay_out_of_what_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, " open sesame\n").unwrap();
        let basic = Credentials::Basic {
            username: "Aladdin".to_owned(),
            password_file: path.clone(),
        };
        let header = basic.header().unwrap().unwrap();
        assert_eq!(header, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "as in RFC 7617");
        assert!(!format!("{header:?}{basic:?}").contains("QWxh"));
        let bearer = Credentials::Bearer {
            token_file: path.clone(),
        };
        assert_eq!(bearer.header().unwrap().unwrap(), "Bearer open sesame");
        for (text, expected) in [(" \n", "is empty"), ("a\nb", "letters in it that no header")] {
            std::fs::write(&path, text).unwrap();
            let error = bearer.header().unwrap_err();
            assert!(error.contains(expected) && error.contains("secret"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(bearer.header().unwrap_err().starts_with("cannot read "));
    }
}
