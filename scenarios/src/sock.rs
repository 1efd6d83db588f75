//! Sockets that say what is done with them.

use std::{
    fs,
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use anyhow::{Context, Result};
use rustix::{
    io::Errno,
    net::{AddressFamily, Protocol, SocketType, ipproto, sockopt},
};
use serde_json::{Value, json};

use crate::Unavailable;

/// Ports that the monitor is told to watch: everything on them is reported.
pub fn is_named(port: u16) -> bool {
    port == 1992 || (24_000..24_500).contains(&port)
}

/// Prints a line, in one write.
pub fn say(line: &Value) {
    let text = format!("{line}\n");
    // A reader that is gone notices by itself.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// An IPv4 address of loopback.
pub fn v4(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// An IPv6 address of loopback.
pub fn v6(port: u16) -> SocketAddr {
    (Ipv6Addr::LOCALHOST, port).into()
}

/// Every IPv4 address.
pub fn any4(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

/// Every address.
pub fn any6(port: u16) -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, port).into()
}

/// Who acts: this thread, as the initial pid namespace sees it, where /proc was mounted.
pub fn me() -> Result<Value> {
    let link = |path: &str| -> Result<String> {
        Ok(fs::read_link(path)
            .with_context(|| format!("cannot read {path}"))?
            .to_string_lossy()
            .into_owned())
    };
    let name = |path: &str| -> Result<String> { Ok(fs::read_to_string(path)?.trim_end_matches('\n').to_owned()) };
    let number = |text: &str| text.parse::<u32>().context("no number");
    let thread = link("/proc/thread-self")?;
    let exe = std::env::var("SEEN_AS").or_else(|_| link("/proc/self/exe"))?;
    let (exe, state) = match exe.strip_suffix(" (deleted)") {
        Some(path) if path.starts_with("/memfd:") => (path.to_owned(), "memfd"),
        Some(path) => (path.to_owned(), "deleted"),
        None => (exe, "file"),
    };
    // The name in brackets may hold anything, spaces too; what follows it begins with the third field.
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/self/stat")?;
    let started = fields.split_whitespace().nth(22 - 3).unwrap_or_default();
    Ok(json!({
        "pid": number(&link("/proc/self")?)?,
        "tid": number(thread.rsplit('/').next().unwrap_or_default())?,
        "comm": name("/proc/self/comm")?,
        "thread": name("/proc/thread-self/comm")?,
        "exe": exe,
        "exe_state": state,
        // In ticks of the clock since boot.
        "started": started.parse::<u64>().context("no start in /proc/self/stat")?,
        "uid": rustix::process::getuid().as_raw(),
    }))
}

/// A process as the last holder of a socket.
pub fn holder(process: &Value) -> Value {
    json!({"pid": process.get("pid"), "comm": process.get("comm")})
}

/// A name of errno.
pub fn errno_name(errno: Errno) -> &'static str {
    match errno {
        Errno::ACCESS => "EACCES",
        Errno::ADDRINUSE => "EADDRINUSE",
        Errno::ADDRNOTAVAIL => "EADDRNOTAVAIL",
        Errno::INVAL => "EINVAL",
        Errno::AFNOSUPPORT => "EAFNOSUPPORT",
        Errno::CONNREFUSED => "ECONNREFUSED",
        Errno::TIMEDOUT => "ETIMEDOUT",
        Errno::NETUNREACH => "ENETUNREACH",
        Errno::HOSTUNREACH => "EHOSTUNREACH",
        Errno::CANCELED => "ECANCELED",
        _ => "another",
    }
}

fn end_of(address: SocketAddr) -> Value {
    json!({"address": address.ip().to_canonical(), "port": address.port()})
}

fn scope_of(address: IpAddr) -> &'static str {
    if address.is_unspecified() {
        "wildcard"
    } else if address.is_loopback() {
        "loopback"
    } else {
        "address"
    }
}

/// A socket.
pub struct Sock {
    fd: OwnedFd,
    is_udp: bool,
    family: AddressFamily,
    mptcp: bool,
    /// The line that opened it as a listener, and whether it was said: that of a UDP socket may not count yet.
    opened: Option<Value>,
    said: bool,
}

impl Sock {
    /// Makes a socket with SO_REUSEADDR.
    pub fn new(family: AddressFamily, kind: SocketType, protocol: Option<Protocol>) -> Result<Self> {
        let fd = rustix::net::socket(family, kind, protocol)?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        Ok(Self {
            fd,
            is_udp: kind == SocketType::DGRAM,
            family,
            mptcp: protocol == Some(ipproto::MPTCP),
            opened: None,
            said: false,
        })
    }

    /// TCP over IPv4.
    pub fn tcp4() -> Result<Self> {
        Self::new(AddressFamily::INET, SocketType::STREAM, None)
    }

    /// MPTCP over IPv4, on kernels that have it.
    pub fn mptcp4() -> Result<Self> {
        Self::new(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP))
            .map_err(|error| Unavailable(format!("this kernel has no MPTCP: {error}")).into())
    }

    /// TCP over IPv6.
    pub fn tcp6() -> Result<Self> {
        Self::new(AddressFamily::INET6, SocketType::STREAM, None)
    }

    /// UDP over IPv4. Without SO_REUSEADDR, which would let two sockets share a port.
    pub fn udp4() -> Result<Self> {
        let sock = Self::new(AddressFamily::INET, SocketType::DGRAM, None)?;
        sockopt::set_socket_reuseaddr(&sock, false)?;
        Ok(sock)
    }

    /// UDP over IPv6.
    pub fn udp6() -> Result<Self> {
        let sock = Self::new(AddressFamily::INET6, SocketType::DGRAM, None)?;
        sockopt::set_socket_reuseaddr(&sock, false)?;
        Ok(sock)
    }

    /// A socket that was made elsewhere, with the line that opened it as a listener.
    pub fn from_fd(fd: OwnedFd, opened: Option<Value>) -> Self {
        Self {
            fd,
            is_udp: false,
            family: AddressFamily::INET,
            mptcp: false,
            said: opened.is_some(),
            opened,
        }
    }

    /// The line that opened it as a listener.
    pub fn opened(&self) -> Option<&Value> {
        self.opened.as_ref()
    }

    /// Its local end.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::try_from(rustix::net::getsockname(&self.fd)?)?)
    }

    /// What is known of every event of this socket.
    pub fn line(&self, did: &str, address: SocketAddr) -> Result<Value> {
        let netns = fs::metadata("/proc/thread-self/ns/net").map(|file| std::os::unix::fs::MetadataExt::ino(&file))?;
        Ok(json!({
            "did": did,
            "result": "ok",
            "errno": null,
            "protocol": if self.is_udp { "udp" } else { "tcp" },
            "family": if self.family == AddressFamily::INET { "ipv4" } else { "ipv6" },
            "address": address.ip().to_canonical(),
            "port": address.port(),
            "scope": scope_of(address.ip().to_canonical()),
            "netns": netns,
            "socket": rustix::fs::fstat(&self.fd)?.st_ino,
            "kernel_thread": false,
            "process": me()?,
        }))
    }

    /// Says what a local call did: one of listen and bind.
    fn local_line(&self, did: &str, address: SocketAddr, automatic: bool) -> Result<Value> {
        let mut line = self.line(did, address)?;
        let v6 = self.family == AddressFamily::INET6 && address.ip().is_unspecified();
        let dual = if v6 {
            Some(!sockopt::ipv6_v6only(&self.fd)?)
        } else {
            None
        };
        set(&mut line, "automatic", automatic.into());
        set(&mut line, "dual_stack", dual.into());
        set(&mut line, "reuseport", sockopt::socket_reuseport(&self.fd)?.into());
        Ok(line)
    }

    /// Binds, and says so where that is reported. A UDP socket on a port that is not named says nothing yet: see
    /// [`Sock::counts`].
    pub fn bind(&mut self, to: SocketAddr) -> Result<Result<(), Errno>> {
        let outcome = rustix::net::bind(&self.fd, &to);
        match outcome {
            Ok(()) => self.said_bind(to.port() == 0)?,
            Err(errno) => {
                let mut line = self.local_line("bind", to, to.port() == 0)?;
                set(&mut line, "result", "error".into());
                set(&mut line, "errno", errno_name(errno).into());
                line.as_object_mut().map(|line| line.remove("dual_stack"));
                if is_named(to.port()) {
                    say(&line);
                }
            }
        }
        Ok(outcome)
    }

    /// Says that it was bound, by whatever way.
    pub fn said_bind(&mut self, automatic: bool) -> Result<()> {
        let address = self.local()?;
        let line = self.local_line("bind", address, automatic)?;
        let named = is_named(address.port());
        if named {
            say(&line);
        }
        if self.is_udp {
            self.opened = Some(line);
            self.said = named;
        }
        Ok(())
    }

    /// The UDP socket has been bound and without a peer for two seconds: it counts as a listener.
    pub fn counts(&mut self) {
        if let Some(line) = &self.opened {
            say(line);
            self.said = true;
        }
    }

    /// Listens, and says so. The port was asked for by number unless it is `automatic`.
    pub fn listen(&mut self, backlog: i32, automatic: bool) -> Result<Result<(), Errno>> {
        let outcome = rustix::net::listen(&self.fd, backlog);
        match outcome {
            Ok(()) => self.said_listen(backlog, automatic)?,
            Err(errno) => {
                let mut line = self.local_line("listen", self.local()?, automatic)?;
                set(&mut line, "result", "error".into());
                set(&mut line, "errno", errno_name(errno).into());
                say(&line);
            }
        }
        Ok(outcome)
    }

    /// Says that it listens, by whatever way.
    pub fn said_listen(&mut self, backlog: i32, automatic: bool) -> Result<()> {
        let mut line = self.local_line("listen", self.local()?, automatic)?;
        set(&mut line, "mptcp", self.mptcp.into());
        set(&mut line, "backlog", backlog.into());
        say(&line);
        self.opened = Some(line);
        self.said = true;
        Ok(())
    }

    /// Says that the listener ended, and by whom; the process is still its opener.
    pub fn ended(&mut self, holder: Option<Value>, reason: Option<&str>) {
        if let Some(line) = self.opened.take().filter(|_| self.said) {
            say_ended(line, holder, reason);
        }
    }

    /// Closes it. The end of a listener is said.
    pub fn close(mut self) -> Result<()> {
        let holder = holder(&me()?);
        let reason = self.is_udp.then_some("closed");
        self.ended(Some(holder), reason);
        Ok(())
    }

    /// Connects, waits for the outcome, and says it where the destination is named.
    pub fn connect(&self, to: SocketAddr) -> Result<Result<(), Errno>> {
        let outcome = rustix::net::connect(&self.fd, &to);
        self.connected(to, outcome)?;
        Ok(outcome)
    }

    /// Says the outcome of a connect, where the destination is named.
    pub fn connected(&self, to: SocketAddr, outcome: Result<(), Errno>) -> Result<()> {
        if !is_named(to.port()) {
            return Ok(());
        }
        let mut line = self.line("connect", to)?;
        match outcome {
            Ok(()) => set(&mut line, "local", end_of(self.local()?)),
            Err(errno) => {
                set(&mut line, "result", "error".into());
                set(&mut line, "errno", errno_name(errno).into());
                if errno == Errno::AFNOSUPPORT {
                    // Of a call that is refused, what was asked for is told.
                    set(&mut line, "family", if to.is_ipv4() { "ipv4" } else { "ipv6" }.into());
                }
            }
        }
        say(&line);
        Ok(())
    }

    /// Takes a connection, and says so where the listener's port is named.
    pub fn accept(&self) -> Result<OwnedFd> {
        let (child, peer) = rustix::net::acceptfrom(&self.fd)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        self.accepted(peer)?;
        Ok(child)
    }

    /// Says that a connection was taken.
    pub fn accepted(&self, peer: Option<SocketAddr>) -> Result<()> {
        let address = self.local()?;
        if is_named(address.port()) {
            let mut line = self.line("accept", address)?;
            if let Some(peer) = peer {
                set(&mut line, "peer", end_of(peer));
            }
            say(&line);
        }
        Ok(())
    }
}

/// Says the end of a listener whose opening line this is.
pub fn say_ended(mut line: Value, holder: Option<Value>, reason: Option<&str>) {
    set(&mut line, "did", "unlisten".into());
    if let Some(holder) = holder {
        set(&mut line, "holder", holder);
    }
    if let Some(reason) = reason {
        set(&mut line, "reason", reason.into());
    }
    say(&line);
}

/// Sets a key of a line.
pub fn set(line: &mut Value, key: &str, value: Value) {
    if let Some(line) = line.as_object_mut() {
        line.insert(key.to_owned(), value);
    }
}

impl AsFd for Sock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
