//! Listeners on the loopback interface that the agent is to report.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use workload::process::allow_files;

/// As std and most servers ask for.
const BACKLOG: i32 = 128;

/// Open files that this process needs beside its listeners.
const OTHER_FILES: u64 = 100;

/// A loopback address that nobody else's tests use.
const SET_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);

/// Where the ports of a set begin: below the range that the kernel takes automatic ones from.
const SET_FIRST: u16 = 20_000;
const SET_LAST: u16 = 32_000;

/// A socket that listens until it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    _socket: OwnedFd,
    /// The socket's inode, by which the agent's lines name it.
    pub(super) inode: u64,
    /// When `listen()` had returned.
    pub(super) listened: Instant,
}

impl Listener {
    /// Opens one on an automatic port.
    ///
    /// # Errors
    /// Where a call fails.
    pub(super) fn automatic() -> Result<Self> {
        Self::open(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).context("cannot open a listener on 127.0.0.1")
    }

    /// Opens the first that is free of these ports on the loopback interface, which it takes from them.
    ///
    /// # Errors
    /// Where a call fails, or none is free.
    pub(super) fn among(ports: &mut impl Iterator<Item = u16>) -> Result<(Self, u16)> {
        for port in ports {
            match Self::open(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
                Ok(listener) => return Ok((listener, port)),
                Err(Errno::ADDRINUSE) => {}
                Err(error) => return Err(error).with_context(|| format!("cannot listen on 127.0.0.1:{port}")),
            }
        }
        bail!("no port is free of those that a rule names")
    }

    fn open(address: SocketAddrV4) -> Result<Self, Errno> {
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let inode = rustix::fs::fstat(&socket)?.st_ino;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self {
            listened: Instant::now(),
            inode,
            _socket: socket,
        })
    }
}

/// Opens so many listeners, each on a port of its own that was asked for by number: the case that costs the agent's metrics
/// most, since automatic ports share one series.
///
/// # Errors
/// Where this process may not have so many files, or there are not so many free ports.
pub(super) fn set(count: usize) -> Result<Vec<Listener>> {
    allow_files(count as u64 + OTHER_FILES)?;
    let mut listeners = Vec::with_capacity(count);
    for port in SET_FIRST..=SET_LAST {
        if listeners.len() == count {
            return Ok(listeners);
        }
        match Listener::open(SocketAddrV4::new(SET_ADDRESS, port)) {
            Ok(listener) => listeners.push(listener),
            Err(Errno::ADDRINUSE) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot listen on {SET_ADDRESS}:{port}")),
        }
    }
    bail!(
        "only {} of the ports {SET_FIRST} to {SET_LAST} are free",
        listeners.len()
    )
}
