//! The proof that the agent sees: a listener of its own, whose event must arrive within a second.

use std::net::TcpListener;

use anyhow::{Context, Result};

use crate::identity::clock;

/// How long the event may take: nanoseconds.
const DEADLINE: u64 = 1_000_000_000;

/// A self-test that runs: its listener is open.
#[derive(Debug)]
pub(super) struct SelfTest {
    /// Inode of the listener's socket: its event carries it.
    pub inode: u64,
    /// When the event is late: nanoseconds since boot.
    pub deadline: u64,
    _listener: TcpListener,
}

impl SelfTest {
    /// Opens a listener on an automatic port of the loopback interface.
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot open a listener for the self-test")?;
        let inode = rustix::fs::fstat(&listener)
            .context("cannot look at the self-test's listener")?
            .st_ino;
        Ok(Self {
            inode,
            deadline: clock::boot_now() + DEADLINE,
            _listener: listener,
        })
    }
}
