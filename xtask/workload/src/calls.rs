//! The calls, and how long each takes.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::net::sockopt::{set_socket_linger, set_socket_reuseaddr, set_socket_reuseport};
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with};
use serde::{Deserialize, Serialize};

/// A call that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `listen()` of a bound socket.
    Listen,
    /// `bind()` of a TCP socket.
    Bind,
    /// `connect()` to a listener of this process.
    Connect,
    /// `accept()` of a connection that waits.
    Accept,
    /// `bind()` of a UDP socket.
    UdpBind,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Listen, Self::Bind, Self::Connect, Self::Accept, Self::UdpBind];

    /// The name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Bind => "bind",
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::UdpBind => "udp-bind",
        }
    }

    /// The kind of a name.
    ///
    /// # Errors
    /// Names the kinds there are.
    pub fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).with_context(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no call is called {name}; there are {names}")
        })
    }
}

/// Address of the calls that are measured.
pub const MEASURED: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Address of the calls that only ask whether a tool sees yet: what it tells of them counts nowhere.
pub const PROBE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// Backlog of the listeners, as most servers ask for.
const BACKLOG: i32 = 128;

/// How many calls were made, those that prepare another call too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    listen: u64,
    bind: u64,
    connect: u64,
    accept: u64,
    udp_bind: u64,
}

impl Made {
    /// Calls of one kind.
    pub fn of(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Listen => self.listen,
            Kind::Bind => self.bind,
            Kind::Connect => self.connect,
            Kind::Accept => self.accept,
            Kind::UdpBind => self.udp_bind,
        }
    }
}

/// What a round of calls took, in nanoseconds a call, the clock's own time taken off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Half of the calls took no longer.
    pub median: f64,
    /// The mean, without the longest twentieth: those met something else on the machine.
    pub mean: f64,
    /// Of listens: the call and the close of the listener together, half of them no longer.
    pub with_close: Option<f64>,
}

/// Makes `count` calls of a kind at a port of an address, and adds to `made` what was done.
///
/// # Errors
/// Where a call fails: the address must be one of this machine's, and the port free.
pub fn round(kind: Kind, address: Ipv4Addr, port: u16, count: u32, made: &mut Made) -> Result<Round> {
    if count == 0 {
        bail!("a round of no {} calls has no time", kind.name());
    }
    let at = SocketAddrV4::new(address, port);
    let mut calls = Calls {
        at,
        made,
        times: Vec::new(),
        with_close: Vec::new(),
    };
    let listener = match kind {
        Kind::Connect | Kind::Accept => Some(calls.listener()?),
        _ => None,
    };
    for _ in 0..count {
        match (kind, &listener) {
            (Kind::Listen, _) => calls.listen()?,
            (Kind::Bind, _) => calls.bind(SocketType::STREAM)?,
            (Kind::UdpBind, _) => calls.bind(SocketType::DGRAM)?,
            (_, Some(listener)) => calls.connection(listener, kind)?,
            (_, None) => {}
        }
    }
    let clock = clock_cost();
    let off = |nanoseconds: f64| (nanoseconds - clock).max(0.0);
    let (times, with_close) = (sorted(calls.times), sorted(calls.with_close));
    Ok(Round {
        median: off(middle(&times).context("no call was timed")?),
        mean: off(trimmed_mean(&times).context("no call was timed")?),
        with_close: middle(&with_close).map(off),
    })
}

/// Calls on one address and port, and what they took.
struct Calls<'a> {
    at: SocketAddrV4,
    made: &'a mut Made,
    times: Vec<Duration>,
    with_close: Vec<Duration>,
}

impl Calls<'_> {
    fn listen(&mut self) -> Result<()> {
        let socket = self.bound()?;
        let start = Instant::now();
        let result = listen(&socket, BACKLOG);
        let listened = start.elapsed();
        drop(socket);
        let closed = start.elapsed();
        result.with_context(|| format!("cannot listen on {}", self.at))?;
        self.made.listen += 1;
        self.times.push(listened);
        self.with_close.push(closed);
        Ok(())
    }

    fn bind(&mut self, type_: SocketType) -> Result<()> {
        let socket = socket(type_)?;
        let start = Instant::now();
        let result = bind(&socket, &self.at);
        let took = start.elapsed();
        result.with_context(|| format!("cannot bind to {}", self.at))?;
        if type_ == SocketType::DGRAM {
            self.made.udp_bind += 1;
        } else {
            self.made.bind += 1;
        }
        self.times.push(took);
        Ok(())
    }

    /// One connection from this process to itself, of which one call is timed.
    fn connection(&mut self, listener: &OwnedFd, timed: Kind) -> Result<()> {
        let client = socket(SocketType::STREAM)?;
        let start = Instant::now();
        let connected = connect(&client, &self.at);
        let connecting = start.elapsed();
        connected.with_context(|| format!("cannot connect to {}", self.at))?;
        self.made.connect += 1;
        let start = Instant::now();
        let accepted = accept_with(listener, SocketFlags::CLOEXEC);
        let accepting = start.elapsed();
        let server = accepted.with_context(|| format!("cannot accept on {}", self.at))?;
        self.made.accept += 1;
        self.times
            .push(if timed == Kind::Connect { connecting } else { accepting });
        reset_at_close(&client)?;
        drop(client);
        drop(server);
        Ok(())
    }

    fn listener(&mut self) -> Result<OwnedFd> {
        let socket = self.bound()?;
        listen(&socket, BACKLOG).with_context(|| format!("cannot listen on {}", self.at))?;
        self.made.listen += 1;
        Ok(socket)
    }

    fn bound(&mut self) -> Result<OwnedFd> {
        let socket = socket(SocketType::STREAM)?;
        set_socket_reuseaddr(&socket, true).context("cannot set SO_REUSEADDR")?;
        bind(&socket, &self.at).with_context(|| format!("cannot bind to {}", self.at))?;
        self.made.bind += 1;
        Ok(socket)
    }
}

/// Opens `count` listeners on one port, and keeps them.
///
/// # Errors
/// As [`round`], and where this process may not have so many open files.
pub fn listeners(address: Ipv4Addr, port: u16, count: u32) -> Result<Vec<OwnedFd>> {
    let at = SocketAddrV4::new(address, port);
    let open = || {
        let socket = socket(SocketType::STREAM)?;
        set_socket_reuseport(&socket, true).context("cannot set SO_REUSEPORT")?;
        bind(&socket, &at).with_context(|| format!("cannot bind to {at}"))?;
        listen(&socket, BACKLOG).with_context(|| format!("cannot listen on {at}"))?;
        Ok(socket)
    };
    (0..count).map(|_| open()).collect()
}

/// Opens `count` connections to one port, and keeps both ends of each. Their close is a reset.
///
/// # Errors
/// As [`listeners`].
pub fn connections(address: Ipv4Addr, port: u16, count: u32) -> Result<Vec<(OwnedFd, OwnedFd)>> {
    let at = SocketAddrV4::new(address, port);
    let listener = listeners(address, port, 1)?.pop().context("no listener")?;
    let open = || {
        let client = socket(SocketType::STREAM)?;
        connect(&client, &at).with_context(|| format!("cannot connect to {at}"))?;
        let server = accept_with(&listener, SocketFlags::CLOEXEC).with_context(|| format!("cannot accept on {at}"))?;
        reset_at_close(&client)?;
        Ok((client, server))
    };
    (0..count).map(|_| open()).collect()
}

/// A reset leaves nothing behind that waits for late packets, and would slow the calls that follow.
fn reset_at_close(client: &OwnedFd) -> Result<()> {
    set_socket_linger(client, Some(Duration::ZERO)).context("cannot ask for a reset at close")
}

fn socket(type_: SocketType) -> Result<OwnedFd> {
    socket_with(AddressFamily::INET, type_, SocketFlags::CLOEXEC, None).context("cannot make a socket")
}

/// What it takes to read the clock twice, in nanoseconds: part of every time that is measured.
fn clock_cost() -> f64 {
    let times = (0..501).map(|_| Instant::now().elapsed()).collect();
    middle(&sorted(times)).unwrap_or(0.0)
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

fn middle(sorted: &[Duration]) -> Option<f64> {
    sorted.get(sorted.len() / 2).map(|time| time.as_secs_f64() * 1e9)
}

fn trimmed_mean(sorted: &[Duration]) -> Option<f64> {
    let kept = sorted.len() - sorted.len() / 20;
    let sum: Duration = sorted.iter().take(kept).sum();
    let kept = u32::try_from(kept).ok().filter(|kept| *kept > 0)?;
    Some(sum.as_secs_f64() * 1e9 / f64::from(kept))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Kind, Made, PROBE, middle, round, trimmed_mean};

    #[test]
    fn every_kind_of_call_is_timed_and_counted() {
        for (kind, port) in Kind::ALL.into_iter().zip(21_870..) {
            let mut made = Made::default();
            let times = round(kind, PROBE, port, 20, &mut made).unwrap();
            assert!(times.median > 0.0 && times.mean > 0.0, "{kind:?}: {times:?}");
            assert_eq!(times.with_close.is_some(), kind == Kind::Listen);
            assert_eq!(made.of(kind), 20);
        }
    }

    #[test]
    fn calls_that_prepare_others_are_counted_too() {
        let mut made = Made::default();
        round(Kind::Accept, PROBE, 21_880, 5, &mut made).unwrap();
        let counts = Kind::ALL.map(|kind| made.of(kind));
        assert_eq!(counts, [1, 1, 5, 5, 0]);
    }

    #[test]
    fn a_kind_is_known_by_its_name() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.name()).unwrap(), kind);
        }
        assert!(Kind::named("send").unwrap_err().to_string().contains("udp-bind"));
    }

    #[test]
    fn the_longest_twentieth_does_not_enter_the_mean() {
        let mut times = vec![Duration::from_nanos(100); 38];
        times.extend([Duration::from_secs(1); 2]);
        assert_eq!(trimmed_mean(&times), Some(100.0));
        assert_eq!(trimmed_mean(&times[..1]), Some(100.0));
        assert_eq!((trimmed_mean(&[]), middle(&[])), (None, None));
    }
}
