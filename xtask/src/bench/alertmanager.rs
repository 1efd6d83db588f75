//! Debian's Alertmanager, on a free port of loopback.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use workload::scrape;

use super::agent::LIMIT;
use crate::setup::amtool;
use crate::workspace::{Workspace, empty};

/// It tells nobody: what is measured is how it is told.
const CONFIG: &str = "route:\n  receiver: nobody\n  group_by: [alertname, port]\nreceivers:\n  - name: nobody\n";

/// Debian's build reads its templates below /usr/share, so it gets a /usr/share of its own that nobody else sees.
const SCRIPT: &str = r#"mount -t tmpfs none /usr/share && mkdir /usr/share/prometheus &&
    cp -r "$1/usr/share/prometheus/alertmanager" /usr/share/prometheus/ &&
    exec "$1/usr/bin/prometheus-alertmanager" --config.file="$2/alertmanager.yml" --storage.path="$2/data" \
        --web.listen-address="$3" --cluster.listen-address="#;

/// One that runs. It is ended when it is dropped.
#[derive(Debug)]
pub(super) struct Alertmanager {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Alertmanager {
    /// Fetches it where it is not there, starts it with nothing in its memory, and waits until it answers.
    ///
    /// # Errors
    /// Where it cannot be fetched or started, or does not answer in time.
    pub(super) fn start(workspace: &Workspace) -> Result<Self> {
        let programs = amtool::ensure_package(workspace)?;
        let folder = workspace.target.join("bench/alertmanager");
        empty(&folder)?;
        let config = folder.join("alertmanager.yml");
        fs::write(&config, CONFIG).with_context(|| format!("cannot write {}", config.display()))?;
        let address = free_address()?;
        let mut alertmanager = Self {
            child: spawn(&programs, &folder, address)?,
            address,
        };
        alertmanager.wait()?;
        Ok(alertmanager)
    }

    fn wait(&mut self) -> Result<()> {
        let end = Instant::now() + LIMIT;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait().context("cannot wait for Alertmanager")? {
                bail!("Alertmanager ended with {status} as it started");
            }
            if Instant::now() > end {
                bail!("Alertmanager does not answer within {LIMIT:?}");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// How many alerts it has, by its own metrics.
    ///
    /// # Errors
    /// Where it does not answer.
    pub(super) fn alerts(&self) -> Result<u64> {
        Ok(scrape::sum(&scrape::page(self.address, LIMIT)?, "alertmanager_alerts"))
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        // It may have ended; nobody is left to be told.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(programs: &Path, folder: &Path, address: SocketAddr) -> Result<Child> {
    Command::new("unshare")
        .args(["-m", "sh", "-c", SCRIPT, "sh"])
        .args([programs, folder])
        .arg(address.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start unshare, which Alertmanager is started by")
}

/// An address that nothing listens on.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot have a port for Alertmanager")?;
    listener.local_addr().context("cannot learn Alertmanager's port")
}
