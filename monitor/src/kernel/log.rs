//! What the kernel side has to say, by aya-log.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Level, Log};
use tokio::io::unix::AsyncFd;

use super::ring;

/// The level at which the kernel side speaks: what the agent's own log would print. Quieter levels cost nothing.
pub(super) fn level() -> u8 {
    // aya-log's levels count from 1, as log's do, and 0 is silence in both.
    log::max_level() as u8
}

/// The kernel side's messages, on their way into the agent's log.
pub struct KernelLog {
    logger: AsyncFd<EbpfLogger<&'static dyn Log>>,
}

impl KernelLog {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let logger = EbpfLogger::init(ebpf).context("cannot open the kernel side's log")?;
        let logger = ring::readable(logger).context("cannot wait for the kernel side's log")?;
        Ok(Self { logger })
    }

    /// Passes messages on until it is dropped.
    pub async fn forward(mut self) {
        loop {
            match self.logger.readable_mut().await {
                Ok(mut guard) => {
                    guard.get_inner_mut().flush();
                    guard.clear_ready();
                }
                Err(error) => {
                    log::log!(Level::Error, "cannot read the kernel side's log any more: {error}");
                    return;
                }
            }
        }
    }
}
