//! What systemd is told: that the agent is ready, reads its configuration again, stops, and that its loop moves (sd_notify(3)).
//!
//! The agent starts no program, so nobody inherits the variables that this reads.

use std::{
    env, future, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// A service manager that wants to know; without one all of this does nothing.
pub(super) struct Systemd {
    manager: Option<Manager>,
    watchdog: Option<Interval>,
}

struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Systemd {
    /// As the environment has it. Where it says something that is of no use, the log says so.
    pub(super) fn of_environment() -> Self {
        let of = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let manager = of("NOTIFY_SOCKET").and_then(|address| {
            Manager::at(&address)
                .inspect_err(|error| ::log::warn!("cannot tell systemd anything at NOTIFY_SOCKET={address}: {error}"))
                .ok()
        });
        let span = watchdog(of("WATCHDOG_PID").as_deref(), of("WATCHDOG_USEC").as_deref());
        let watchdog = span.filter(|_| manager.is_some()).map(|span| {
            // Half of it, as sd_watchdog_enabled(3) has it: one that is late does no harm.
            let mut interval = interval(span / 2);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        Self { manager, watchdog }
    }

    /// All is attached, and what listens is known.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is read again; [`Systemd::ready`] follows.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=The configuration is read again"
        ));
    }

    /// The end has begun.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Telling what is left to tell");
    }

    /// Waits until systemd is to be told that the loop moves, and tells it; for ever where nobody asks. Only the loop that it is
    /// about may wait for this.
    pub(super) async fn watched(&mut self) {
        match &mut self.watchdog {
            None => future::pending().await,
            Some(interval) => {
                interval.tick().await;
                self.tell("WATCHDOG=1");
            }
        }
    }

    fn tell(&self, text: &str) {
        if let Some(manager) = &self.manager
            && let Err(error) = manager.socket.send_to_addr(text.as_bytes(), &manager.address)
        {
            ::log::warn!("cannot tell systemd how the agent is: {error}");
        }
    }
}

impl Manager {
    fn at(address: &str) -> io::Result<Self> {
        let address = match address.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        // Events never wait for systemd.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }
}

/// How long the loop may stand still; `None` where nobody asks this process.
fn watchdog(pid: Option<&str>, microseconds: Option<&str>) -> Option<Duration> {
    let of_another = pid.is_some_and(|pid| pid.parse() != Ok(std::process::id()));
    let span = Duration::from_micros(microseconds?.parse().ok()?);
    // What cannot be halved into something that a timer knows would be a loop of its own.
    (!of_another && span >= Duration::from_millis(2)).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        socket.set_nonblocking(true).unwrap();
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    fn telling(address: &str) -> Systemd {
        Systemd {
            manager: Some(Manager::at(address).unwrap()),
            watchdog: None,
        }
    }

    #[test]
    fn systemd_hears_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        telling(path.to_str().unwrap()).ready("all is well");
        assert_eq!(heard(&at_path), "READY=1\nSTATUS=all is well");

        let name = format!("portreeve-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let at_name = UnixDatagram::bind_addr(&abstract_name).unwrap();
        let systemd = telling(&format!("@{name}"));
        systemd.reloading();
        let text = heard(&at_name);
        let moment = text.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(
            text.starts_with("RELOADING=1\n") && moment.unwrap().parse::<u64>().unwrap() > 0,
            "{text}"
        );
        systemd.stopping();
        assert!(heard(&at_name).starts_with("STOPPING=1\n"));
    }

    #[test]
    fn a_systemd_that_does_not_hear_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).unwrap();
        let systemd = telling(path.to_str().unwrap());
        for _ in 0..10_000 {
            systemd.ready("again");
        }
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_is_named_or_for_any() {
        let own = std::process::id().to_string();
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(Some(&own), Some("1000000")), second);
        assert_eq!(watchdog(None, Some("1000000")), second);
        for (pid, span) in [
            (Some("1"), Some("1000000")),
            (None, Some("0")),
            (None, Some("x")),
            (None, None),
        ] {
            assert_eq!(watchdog(pid, span), None);
        }
    }

    #[tokio::test]
    async fn the_watchdog_hears_of_the_loop_while_it_moves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut systemd = telling(path.to_str().unwrap());
        systemd.watchdog = Some(interval(Duration::from_millis(1)));
        systemd.watched().await;
        assert_eq!(heard(&socket), "WATCHDOG=1");
    }
}
