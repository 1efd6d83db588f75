//! Where HTTP is served: what `--web.listen-address` takes.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address of this host, and a port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Bytes that the path of a socket may have: the kernel takes 108 with the zero at its end.
const PATH_MAX: usize = 107;

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if !Path::new(path).is_absolute() || path.ends_with('/') => {
                Err("write the whole path of the socket, like unix:/run/portreeve/http.sock".to_owned())
            }
            Some(path) if path.len() > PATH_MAX => Err(format!("the path of a socket has at most {PATH_MAX} bytes")),
            Some(path) => Ok(Self::Unix(path.into())),
            None => address(text).map(Self::Tcp),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Reads an address and a port; `:PORT` is every address, as Prometheus's exporters have it. Brackets may be around any address:
/// who fills in one that is not known yet (Kubernetes the node's) writes them for IPv6.
///
/// # Errors
/// How to write one.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let whole = match text.split_once(':') {
        Some(("", port)) => format!("[::]:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        _ => bracketed_ipv4(text).unwrap_or_else(|| text.to_owned()),
    };
    whole
        .parse()
        .map_err(|_| "write ADDRESS:PORT, like 127.0.0.1:19992, [::1]:19992 or :19992 for every address".to_owned())
}

/// `[192.0.2.7]:80` without its brackets.
fn bracketed_ipv4(text: &str) -> Option<String> {
    let (address, port) = text.strip_prefix('[')?.split_once("]:")?;
    let address: Ipv4Addr = address.parse().ok()?;
    Some(format!("{address}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_exporters_have_them() {
        for (text, expected) in [
            ("127.0.0.1:19992", Some("127.0.0.1:19992")),
            ("[::1]:1", Some("[::1]:1")),
            ("[192.0.2.7]:1", Some("192.0.2.7:1")),
            ("[192.0.2.7]:[1]", None),
            ("[192.0.2]:1", None),
            ("[192.0.2.7]", None),
            (":19992", Some("[::]:19992")),
            ("localhost:80", Some("127.0.0.1:80")),
            ("unix:/run/portreeve/http.sock", Some("unix:/run/portreeve/http.sock")),
            ("unix:http.sock", None),
            ("unix:/run/", None),
            ("unix:", None),
            ("19992", None),
            ("host.example:80", None),
            ("127.0.0.1:70000", None),
        ] {
            let read = text.parse::<Listen>().ok().map(|listen| listen.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
        assert!(format!("unix:/{}", "a".repeat(107)).parse::<Listen>().is_err());
    }
}
