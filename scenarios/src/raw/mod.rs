//! The only unsafe code of this crate: calls that the standard library and rustix do not offer, or not safely.

mod ia32;
mod ring;

pub use ia32::{Ia32, ia32};
pub use ring::{Ring, Work};

use std::{io, os::fd::AsRawFd};

use anyhow::{Context, Result};
use rustix::process::{Pid, WaitOptions};

/// Forks, and runs this in the child, which then ends without touching what it shares with its parent.
pub fn in_child(run: impl FnOnce() -> Result<()>) -> Result<Pid> {
    // SAFETY: the program has one thread here, so the child has all that its parent had.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).context("cannot fork"),
        0 => {
            let status = match run() {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("{error:#}");
                    1
                }
            };
            // SAFETY: it ends this process and nothing else.
            unsafe { libc::_exit(status) }
        }
        pid => Pid::from_raw(pid).context("fork gave no process id"),
    }
}

/// Runs something in a child with a network namespace of its own, which has loopback alone, and waits for it.
pub fn in_own_network(run: impl FnOnce() -> Result<()>) -> Result<()> {
    wait(in_child(|| {
        unshare(libc::CLONE_NEWNET)?;
        loopback_up()?;
        run()
    })?)
}

/// Waits for a child that must end well.
pub fn wait(child: Pid) -> Result<()> {
    let status = rustix::process::waitpid(Some(child), WaitOptions::empty())?;
    let (_, status) = status.context("the child is not there")?;
    anyhow::ensure!(status.exit_status() == Some(0), "a child ended with {status:?}");
    Ok(())
}

/// Leaves namespaces, for new ones. Called in children alone, which have one thread.
pub fn unshare(flags: libc::c_int) -> Result<()> {
    // SAFETY: no pointers; flags that would change what memory is shared are not used here.
    match unsafe { libc::unshare(flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()).context("cannot make a namespace"),
    }
}

/// Brings the loopback interface of this namespace up.
pub fn loopback_up() -> Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: zeroes are a value of this structure of integers and arrays.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP)?;
    // SAFETY: the request is a valid `struct ifreq` for as long as the call takes.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()).context("cannot bring lo up"),
    }
}

/// Sets an option of a socket that is a number.
pub fn set_option(socket: impl AsRawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> Result<()> {
    let size = libc::socklen_t::try_from(size_of_val(&value))?;
    // SAFETY: the value is valid for as long as the call takes, and as long as its size says.
    let outcome = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), size) };
    match outcome {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()).context("cannot set an option of a socket"),
    }
}

/// Binds with an address of which the kernel gets eight bytes alone.
pub fn bind_cut(socket: impl AsRawFd, to: std::net::SocketAddrV4) -> io::Result<()> {
    let address = in_c(to);
    // SAFETY: the address is valid for as long as the call takes, and longer than it is told.
    match unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), 8) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn in_c(address: std::net::SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default(),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.ip().octets()),
        },
        sin_zero: [0; 8],
    }
}

/// Sends with TCP Fast Open: connects, with data in the first segment where the server has given a cookie before.
pub fn send_fast(socket: impl AsRawFd, to: std::net::SocketAddrV4, bytes: &[u8]) -> io::Result<()> {
    let address = in_c(to);
    let size = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or_default();
    // SAFETY: bytes and address are valid for as long as the call takes, and as long as their sizes say.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_FASTOPEN,
            (&raw const address).cast(),
            size,
        )
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Takes ownership of a descriptor that was inherited.
pub fn inherited(descriptor: i32) -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the parent left it open for this program, and nothing else here knows its number.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(descriptor) }
}
