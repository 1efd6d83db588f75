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

/// Where people reach the page: as the flag says, else at this host's name.
pub(super) fn page(settings: &Settings, listeners: &[TcpListener]) -> String {
    if let Some(url) = &settings.external_url {
        return url.clone();
    }
    let port = listeners
        .first()
        .and_then(|listener| listener.local_addr().ok())
        .map_or(0, |address| address.port());
    // A name can be anything, and a receiver may refuse what is no URL.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let host = settings.instance.bytes().map(|byte| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    });
    format!("http://{}:{port}", host.collect::<String>())
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
