//! Where HTTP is served.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    config::Settings,
    output::http::{self, Shared},
    snapshot::owners,
};

/// Binds every address, or says who has it.
pub(super) async fn bind(settings: &Settings) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in &settings.listen {
        let listener = TcpListener::bind(*address)
            .await
            .map_err(|error| refused(settings, *address, &error))?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn refused(settings: &Settings, address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    if error.kind() != std::io::ErrorKind::AddrInUse {
        return anyhow::anyhow!("cannot serve HTTP on {address}: {error}");
    }
    let owner = owners::who_listens(&settings.paths, address.port(), address.ip());
    let owner = owner.unwrap_or_else(|| "another socket, whose owner this process may not see".to_owned());
    anyhow::anyhow!("cannot serve HTTP on {address}: {owner} has it; use --web.listen-address for another")
}

/// Where people reach the page: as the flag says, else at the first address that is not loopback, by this host's name where it is
/// all of them. What listens on loopback alone nobody else can reach, and a link to it would lead nowhere.
pub(super) fn page(settings: &Settings, listeners: &[TcpListener]) -> Option<String> {
    let reachable = || {
        let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok());
        addresses.into_iter().find(|address| !address.ip().is_loopback())
    };
    settings
        .external_url
        .clone()
        .or_else(|| Some(page_at(&settings.instance, reachable()?)))
}

fn page_at(instance: &str, address: SocketAddr) -> String {
    if !address.ip().is_unspecified() {
        return format!("http://{address}");
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
    format!("http://{}:{}", host.collect::<String>(), address.port())
}

pub(super) fn serve(
    servers: &mut JoinSet<Result<()>>,
    listeners: Vec<TcpListener>,
    settings: &Settings,
    shared: &Shared,
    stopped: &watch::Receiver<bool>,
) -> Result<()> {
    for listener in listeners {
        let address = listener
            .local_addr()
            .context("cannot learn the address that HTTP is served on")?;
        let (path, shared, mut stopped) = (settings.telemetry_path.clone(), shared.clone(), stopped.clone());
        ::log::info!(address = address.to_string(); "serving http://{address}{path}");
        servers.spawn(async move {
            // An error means that the sender is gone, which is a stop too.
            let stop = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
            http::serve(listener, &path, shared, stop).await
        });
    }
    Ok(())
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
            assert_eq!(page_at("web 7", address.parse().unwrap()), page);
        }
    }
}
