//! Where HTTP is served.

mod handed;
mod unix;

use std::{io, net::SocketAddr};

use anyhow::{Context, Result};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinSet,
};

use self::unix::SocketFile;
use crate::{
    config::{Listen, Settings},
    output::http::{self, Limits, Shared, Socket},
    snapshot::owners,
};

/// A socket that HTTP is served on.
pub(super) struct Place {
    socket: Socket,
    /// Its file goes with it.
    file: Option<SocketFile>,
    /// As people write it.
    address: String,
    /// None of a unix socket.
    tcp: Option<SocketAddr>,
}

/// Binds every address, or says who has it. With `--web.systemd-socket` it takes what systemd hands over instead.
pub(super) async fn bind(settings: &Settings) -> Result<Vec<Place>> {
    if settings.systemd_socket {
        return handed::take()?.into_iter().map(Place::handed).collect();
    }
    handed::warn();
    let mut places = Vec::new();
    for listen in &settings.listen {
        let place = match listen {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(*address).await;
                let listener = listener.map_err(|error| refused(settings, *address, &error))?;
                Place::tcp(listener)?
            }
            Listen::Unix(path) => {
                let (listener, file) = unix::bind(path)?;
                Place {
                    socket: Socket::Unix(listener),
                    file: Some(file),
                    address: listen.to_string(),
                    tcp: None,
                }
            }
        };
        places.push(place);
    }
    Ok(places)
}

impl Place {
    fn tcp(listener: TcpListener) -> Result<Self> {
        let address = listener
            .local_addr()
            .context("cannot learn the address that HTTP is served on")?;
        Ok(Self {
            socket: Socket::Tcp(listener),
            file: None,
            address: address.to_string(),
            tcp: Some(address),
        })
    }

    /// One of systemd's, which keeps its file too.
    fn handed(socket: handed::Handed) -> Result<Self> {
        match socket {
            handed::Handed::Tcp(listener) => {
                Self::tcp(TcpListener::from_std(listener).context("cannot use a socket of systemd's")?)
            }
            handed::Handed::Unix(listener) => {
                let path = listener.local_addr().ok();
                let path = path.as_ref().and_then(|address| address.as_pathname());
                Ok(Self {
                    address: path.map_or_else(|| "unix:".to_owned(), |path| format!("unix:{}", path.display())),
                    socket: Socket::Unix(UnixListener::from_std(listener).context("cannot use a socket of systemd's")?),
                    file: None,
                    tcp: None,
                })
            }
        }
    }
}

fn refused(settings: &Settings, address: SocketAddr, error: &io::Error) -> anyhow::Error {
    if error.kind() != io::ErrorKind::AddrInUse {
        return anyhow::anyhow!("cannot serve HTTP on {address}: {error}");
    }
    let owner = owners::who_listens(&settings.paths, address.port(), address.ip());
    let owner = owner.unwrap_or_else(|| "another socket, whose owner this process may not see".to_owned());
    anyhow::anyhow!("cannot serve HTTP on {address}: {owner} has it; use --web.listen-address for another")
}

/// Where people reach the page: as the flag says, else at the first address that is not loopback, by this host's name where it is
/// all of them. What listens on loopback alone nobody else can reach, and a link to it would lead nowhere.
pub(super) fn page(settings: &Settings, places: &[Place], scheme: &str) -> Option<String> {
    let reachable = || {
        let mut addresses = places.iter().filter_map(|place| place.tcp);
        addresses.find(|address| !address.ip().is_loopback())
    };
    settings
        .external_url
        .clone()
        .or_else(|| Some(page_at(scheme, &settings.instance, reachable()?)))
}

fn page_at(scheme: &str, instance: &str, address: SocketAddr) -> String {
    if !address.ip().is_unspecified() {
        return format!("{scheme}://{address}");
    }
    // A name can be anything, and a receiver may refuse what is no URL.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let host = instance.bytes().map(|byte| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    });
    format!("{scheme}://{}:{}", host.collect::<String>(), address.port())
}

pub(super) fn serve(
    servers: &mut JoinSet<Result<()>>,
    places: Vec<Place>,
    scheme: &str,
    shared: &Shared,
    stopped: &watch::Receiver<bool>,
) {
    for Place {
        socket, file, address, ..
    } in places
    {
        let (shared, mut stopped) = (shared.clone(), stopped.clone());
        let path = &shared.telemetry_path;
        match &socket {
            Socket::Tcp(_) => ::log::info!(address = address.as_str(); "serving {scheme}://{address}{path}"),
            Socket::Unix(_) => ::log::info!(address = address.as_str(); "serving {path} at {address}"),
        }
        servers.spawn(async move {
            // An error means that the sender is gone, which is a stop too.
            let stop = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
            let served = http::serve(socket, shared, Limits::default(), stop).await;
            drop(file);
            served
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_at_the_address_or_by_the_hosts_name_where_that_is_any() {
        for (address, page) in [
            ("192.0.2.7:19992", "http://192.0.2.7:19992"),
            ("[2001:db8::7]:80", "http://[2001:db8::7]:80"),
            ("0.0.0.0:19992", "http://web%207:19992"),
            ("[::]:19992", "http://web%207:19992"),
        ] {
            assert_eq!(page_at("http", "web 7", address.parse().unwrap()), page);
        }
    }
}
