//! What rules and expectations look at.

use crate::{
    event::{Event, Kind, Outcome, Protocol, Scope},
    identity::{ProcessIdentity, SocketUnit},
};

/// What is known of something that happened, or that is there. What is not known is `None`, and no selector that names it
/// takes it for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// What happened; of whatever listens, a listen.
    pub kind: Kind,
    /// Whether it failed.
    pub failed: bool,
    /// Protocol of the socket.
    pub protocol: Protocol,
    /// The port: of a connect that of the destination, else the local one.
    pub port: u16,
    /// Who can reach it.
    pub scope: Scope,
    /// Whether its namespace is the host's.
    pub host_netns: bool,
    /// Whether the kernel chose the port; not known of connects and accepts.
    pub automatic: Option<bool>,
    /// The executable's path.
    pub exe: Option<&'a str>,
    /// The user's number.
    pub uid: Option<u32>,
    /// The user's name.
    pub user: Option<&'a str>,
    /// The systemd unit: of a socket that systemd opened for a service, the socket unit.
    pub unit: Option<&'a str>,
    /// The service that a socket unit starts.
    pub service: Option<&'a str>,
    /// The container's id.
    pub container: Option<&'a str>,
    /// Whether there is a process that whoever asks may not see. It may be the expected one.
    pub hidden: bool,
}

impl<'a> Facts<'a> {
    /// Those of a socket of which nothing more is known.
    pub fn of_listener(protocol: Protocol, port: u16, scope: Scope, host_netns: bool) -> Self {
        Self {
            kind: Kind::Listen,
            failed: false,
            protocol,
            port,
            scope,
            host_netns,
            automatic: None,
            exe: None,
            uid: None,
            user: None,
            unit: None,
            service: None,
            container: None,
            hidden: false,
        }
    }

    /// Those of an event.
    pub fn of_event(
        event: &Event,
        process: &'a ProcessIdentity,
        socket_unit: Option<&'a SocketUnit>,
        host_netns: bool,
    ) -> Self {
        // The end of a listener is judged as the listener was, and a failed listen as if it had been one.
        let is_listener = matches!(event.kind, Kind::Listen | Kind::Unlisten) || event.opens_listener();
        let unit = process.unit.as_deref();
        Self {
            kind: if is_listener { Kind::Listen } else { event.kind },
            failed: matches!(event.outcome, Outcome::Failed(_)),
            automatic: event.automatic(),
            exe: process.exe.as_deref(),
            uid: event.opener.is_known().then_some(event.opener.uid),
            user: process.user.as_deref(),
            unit: socket_unit.map(|socket| socket.unit.as_str()).or(unit),
            service: socket_unit.map(|socket| socket.service.as_str()),
            container: process.container.as_ref().map(|container| container.id.as_str()),
            ..Self::of_listener(event.socket.protocol, event.subject().port, event.scope(), host_netns)
        }
    }
}
