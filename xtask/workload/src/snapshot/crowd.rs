//! Processes that do nothing but hold files open.

use std::fs::{self, File};
use std::io::{self, PipeWriter, Read as _, Write as _, pipe, sink, stdin, stdout};
use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::{ADDRESS, Crowd};
use crate::process::allow_files;

/// Every so many of the files that do not listen is a socket, as in servers: what looks for listeners cannot pass it over by
/// its kind.
const SOCKETS: u32 = 5;

/// Open files that a process needs besides.
const OTHER_FILES: u64 = 100;

/// What a process writes once all its files are open.
const UP: u8 = b'.';

/// A crowd that is there until it is dropped, or its maker ends, however it ends.
#[derive(Debug)]
pub struct Standing {
    /// No process writes into this pipe, from which all of them read: its end is theirs.
    stay: Option<PipeWriter>,
    children: Vec<Child>,
}

impl Standing {
    /// Makes a crowd: each process is this program, `workload stand`.
    ///
    /// # Errors
    /// Where a process cannot be made, or cannot open its files: it says why on standard error.
    pub fn gather(crowd: &Crowd, program: &Path) -> Result<Self> {
        let (wait, stay) = pipe().context("cannot make a pipe")?;
        let mut standing = Self {
            stay: Some(stay),
            children: Vec::new(),
        };
        for process in 0..crowd.processes {
            let (first, count) = crowd.share(process);
            let wait = wait.try_clone().context("cannot hand on a pipe")?;
            let child = Command::new(program)
                .arg("stand")
                .args([crowd.files.to_string(), first.to_string(), count.to_string()])
                .stdin(wait)
                .stdout(Stdio::piped())
                .spawn()
                .with_context(|| format!("cannot make process {process} of {}", crowd.processes))?;
            standing.children.push(child);
            standing.await_last()?;
        }
        Ok(standing)
    }

    /// Waits until the process that was made last is up, and takes its pipe away.
    fn await_last(&mut self) -> Result<()> {
        let child = self.children.last_mut().context("no process was made")?;
        let mut said = child.stdout.take().context("a process without a pipe")?;
        let mut up = [0];
        if said.read_exact(&mut up).is_ok() && up == [UP] {
            return Ok(());
        }
        let status = child.wait().context("cannot wait for a process")?;
        bail!("a process of the crowd ended with {status} before its files were open; it said why on standard error")
    }

    /// The ids of its processes.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.children.iter().map(Child::id)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        drop(self.stay.take());
        for child in &mut self.children {
            // Whatever it says of its end, it has none of the files any more.
            let _ = child.wait();
        }
    }
}

/// One process of a crowd: opens listeners from a port on and other files, says so, and stays until the other end of its
/// standard input is closed.
///
/// # Errors
/// Where a file cannot be opened.
pub fn stand(files: u32, first: u16, listeners: u16) -> Result<()> {
    let _open = open(files.saturating_sub(inherited()?), first, listeners)?;
    stdout()
        .write_all(&[UP])
        .and_then(|()| stdout().flush())
        .context("nobody waits for this process")?;
    io::copy(&mut stdin(), &mut sink()).context("cannot wait at standard input")?;
    Ok(())
}

/// How many files are open already: the standard ones, and what whoever started all this left open.
fn inherited() -> Result<u32> {
    let own = "/proc/self/fd";
    let listed = fs::read_dir(own).with_context(|| format!("cannot list {own}"))?.count();
    // The list itself is an open file while it is read.
    Ok(u32::try_from(listed.saturating_sub(1))?)
}

/// Opens so many files, or more where there are more listeners.
fn open(files: u32, first: u16, listeners: u16) -> Result<Vec<OwnedFd>> {
    let others = files.saturating_sub(u32::from(listeners));
    allow_files(u64::from(files.max(u32::from(listeners))) + OTHER_FILES)?;
    let listen = |offset: u16| {
        let at = SocketAddrV4::new(ADDRESS, first.saturating_add(offset));
        let listener = TcpListener::bind(at).with_context(|| format!("cannot listen on {at}; who else does?"))?;
        Ok(OwnedFd::from(listener))
    };
    let other = |number: u32| {
        if number.is_multiple_of(SOCKETS) {
            return socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .context("cannot make a socket");
        }
        let file = File::open("/dev/null").context("cannot open /dev/null")?;
        Ok(OwnedFd::from(file))
    };
    (0..listeners).map(listen).chain((0..others).map(other)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::super::ADDRESS;
    use super::open;

    #[test]
    fn listeners_are_among_the_open_files() {
        let open_files = open(20, 31_870, 2).unwrap();
        assert_eq!(open_files.len(), 20);
        for port in [31_870, 31_871] {
            TcpStream::connect((ADDRESS, port)).unwrap();
        }
        assert_eq!(open(1, 31_880, 2).unwrap().len(), 2, "no fewer than the listeners");
    }

    #[test]
    fn a_port_that_somebody_has_is_named() {
        let _first = open(0, 31_890, 1).unwrap();
        let error = open(0, 31_890, 1).unwrap_err();
        assert!(error.to_string().contains("127.77.0.2:31890"), "{error}");
    }
}
