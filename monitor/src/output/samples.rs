//! Events and reports as the earlier stages hand them on, for the tests of every output.

use std::sync::Arc;

use super::{
    Origin, Report,
    notices::{Labels, notice},
    notify::{
        outbox::{Parcel, Status},
        outgoing,
    },
    report::process_label,
};
use crate::{
    event::{Event, Family, Kind, Protocol, SocketKey, tests::RecordBytes},
    identity::{Ancestor, Clock, ExeState, ProcessIdentity},
    policy::{
        Facts, Policy, Rule, Severity, Verdict,
        alerts::{Alert, AlertKey, Alerts, Terms},
    },
    registry::{Registrations, Registry, name_matches},
};

/// 2100-11-23T03:20:00Z in nanoseconds since the epoch: later than this machine's boot, whenever the tests run.
const MOMENT: i128 = 4_130_623_200_000_000_000;

/// Nanoseconds since boot that a clock shows as 2100-11-23T03:20:00Z and so many nanoseconds.
pub(super) fn moment(clock: Clock, nanoseconds: i128) -> u64 {
    u64::try_from(MOMENT + nanoseconds - clock.offset()).unwrap()
}

/// `python3` (pid 812, root) listens on 1992/tcp on every IPv4 address.
pub(crate) fn listen() -> Event {
    RecordBytes::listen().decode()
}

/// The same on another port.
pub(super) fn listen_on(port: u16) -> Event {
    let mut event = listen();
    event.socket.port = port;
    event
}

/// The same on an address, whose family decides the socket's.
pub(super) fn listen_at(address: &str, port: u16) -> Event {
    let mut event = listen_on(port);
    event.socket.address = address.parse().unwrap();
    if event.socket.address.is_ipv6() {
        event.socket.family = Family::Ipv6;
    }
    event
}

/// The end of a listener, by its own process.
pub(super) fn end_of(event: &Event) -> Event {
    Event {
        kind: Kind::Unlisten,
        ..event.clone()
    }
}

/// The built-in rules.
pub(super) fn policy() -> Policy {
    Policy::new(vec![Rule::dormant_port()], Verdict::Unruled)
}

/// Who python3 is.
pub(super) fn python() -> ProcessIdentity {
    ProcessIdentity {
        exe: Some("/usr/bin/python3.11".to_owned()),
        exe_state: Some(ExeState::File),
        cmdline: Some(["python3", "-m", "http.server", "1992"].map(str::to_owned).to_vec()),
        user: Some("root".to_owned()),
        cgroup: Some("/user.slice/user-0.slice/session-3.scope".to_owned()),
        unit: Some("session-3.scope".to_owned()),
        container: None,
        package: Some("python3.11-minimal".to_owned()),
        ancestors: Some(vec![ancestor(797, "bash"), ancestor(1, "systemd")]),
        missing: Vec::new(),
    }
}

fn ancestor(pid: u32, comm: &str) -> Ancestor {
    Ancestor {
        pid,
        comm: comm.to_owned(),
    }
}

/// What registry and policy say of an event by this process.
pub(super) fn report_of(event: &Event, process: ProcessIdentity) -> Report {
    let facts = Facts {
        kind: Kind::Listen,
        ..Facts::of_event(event, &process, None, true)
    };
    let judged = policy().judge(&facts, false);
    let registry = Arc::new(Registry::builtin());
    let registrations = Registrations::new(&registry, event.socket.protocol.into(), event.socket.port);
    let label = process_label(event, &process);
    Report {
        name_matches: name_matches(registrations.iter(), &label),
        registrations,
        verdict: judged.verdict,
        findings: judged.findings,
        label,
        process: process.into(),
        socket_unit: None,
        host_netns: true,
        origin: Origin::Event,
    }
}

/// The report of an event by python3.
pub(crate) fn report(event: &Event) -> Report {
    report_of(event, python())
}

/// The alert that python3 on 1992/tcp set off.
pub(crate) fn alert(fired: u64) -> Alert {
    let event = listen();
    let report = report(&event);
    let key = AlertKey {
        rule: "dormant-port".to_owned(),
        protocol: Protocol::Tcp,
        port: 1992,
        process: report.label.clone(),
        netns: event.socket.netns,
    };
    let ours = Labels {
        instance: "web-7".to_owned(),
        ..Labels::default()
    };
    let make = || notice(&event, &report, &Rule::dormant_port(), Severity::Critical, &ours);
    let mut alerts = Alerts::default();
    let socket = Some(SocketKey::new(1));
    alerts.matched(&key, Severity::Critical, Terms::default(), socket, fired, make);
    alerts.firing().next().unwrap().clone()
}

/// The same on its way to a receiver.
pub(super) fn parcel(clock: Clock) -> Parcel {
    Parcel {
        alert: outgoing(&alert(moment(clock, 0)), clock),
        status: Status::Firing,
        ended: None,
    }
}
