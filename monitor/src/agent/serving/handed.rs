//! Sockets that systemd hands over (sd_listen_fds(3)).

use std::{
    env, net,
    os::{fd::OwnedFd, unix},
};

use anyhow::{Context, Result, bail};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, sockopt},
    process::getpid,
};

use crate::kernel::copy_of_inherited;

/// The first descriptor that is handed over.
const FIRST: i32 = 3;

/// Sockets that are taken at most.
const SOCKETS_MAX: i32 = 64;

/// A socket of systemd's.
pub(super) enum Handed {
    Tcp(net::TcpListener),
    Unix(unix::net::UnixListener),
}

/// How many there are for this process.
fn count(pid: Option<&str>, sockets: Option<&str>) -> Option<i32> {
    let own = pid?.parse() == Ok(getpid().as_raw_nonzero().get());
    let count = sockets?.parse().ok()?;
    (own && (1..=SOCKETS_MAX).contains(&count)).then_some(count)
}

fn own_count() -> Option<i32> {
    let of = |name| env::var(name).ok();
    count(of("LISTEN_PID").as_deref(), of("LISTEN_FDS").as_deref())
}

/// Says so where sockets are handed over and nobody asked for them: whoever connects to one would wait for ever.
pub(super) fn warn() {
    if own_count().is_some() {
        ::log::warn!("systemd hands over sockets that nobody serves; start the agent with --web.systemd-socket");
    }
}

/// Takes all of them.
pub(super) fn take() -> Result<Vec<Handed>> {
    let Some(count) = own_count() else {
        bail!(
            "--web.systemd-socket: systemd hands over no socket (LISTEN_FDS); start the .socket unit of this service"
        );
    };
    (FIRST..FIRST + count).map(one).collect()
}

/// Takes this descriptor: a copy of it.
fn one(number: i32) -> Result<Handed> {
    let socket = copy_of_inherited(number);
    let socket = socket.with_context(|| format!("cannot take the socket {number} of systemd's"))?;
    of(socket).with_context(|| format!("--web.systemd-socket: the socket {number} of systemd's is of no use"))
}

fn of(socket: OwnedFd) -> Result<Handed> {
    let is_stream = sockopt::socket_type(&socket) == Ok(SocketType::STREAM);
    if !is_stream || sockopt::socket_acceptconn(&socket) != Ok(true) {
        bail!("it is no listening stream socket; write ListenStream= and Accept=no into the .socket unit");
    }
    let domain: Result<AddressFamily, Errno> = sockopt::socket_domain(&socket);
    match domain {
        Ok(AddressFamily::INET | AddressFamily::INET6) => {
            let listener = net::TcpListener::from(socket);
            listener.set_nonblocking(true)?;
            Ok(Handed::Tcp(listener))
        }
        Ok(AddressFamily::UNIX) => {
            let listener = unix::net::UnixListener::from(socket);
            listener.set_nonblocking(true)?;
            Ok(Handed::Unix(listener))
        }
        _ => bail!("it is neither TCP nor unix"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn sockets_are_for_the_process_that_is_named() {
        let own = std::process::id().to_string();
        assert_eq!(count(Some(&own), Some("2")), Some(2));
        for (pid, sockets) in [
            (Some("1"), Some("2")),
            (Some(&*own), Some("0")),
            (Some(&*own), Some("x")),
            (Some(&*own), Some("100000")),
            (Some(&*own), None),
            (None, Some("1")),
        ] {
            assert_eq!(count(pid, sockets), None);
        }
    }

    #[test]
    fn a_listening_socket_is_taken_by_its_number_and_nothing_else_is() {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let Ok(Handed::Tcp(taken)) = one(listener.as_raw_fd()) else {
            panic!()
        };
        assert_eq!(taken.local_addr().unwrap(), listener.local_addr().unwrap());
        let stream = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let datagrams = net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in [stream.as_raw_fd(), datagrams.as_raw_fd()] {
            let error = one(number).err().unwrap();
            assert!(format!("{error:#}").contains("no listening stream socket"), "{error:#}");
        }
        assert!(one(i32::MAX).is_err());
    }
}
