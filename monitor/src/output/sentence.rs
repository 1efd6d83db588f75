//! What happened, in a sentence: for the log, and for whoever an alert wakes up.

use std::net::IpAddr;

use crate::{
    event::{Endpoint, Event, Kind, Outcome, Protocol, errno_name},
    identity::{Container, ExeState},
    policy::{Verdict, alerts::AlertKey, notice::Over},
    registry::{Dormancy, Registration},
};

use super::Report;

/// Logs an event: a warning where it is unexpected.
pub fn log(event: &Event, report: &Report) {
    let level = match (report.verdict, event.kind) {
        (Verdict::Unexpected, Kind::Listen | Kind::Bind) => log::Level::Warn,
        _ => log::Level::Info,
    };
    let (socket, subject) = (&event.socket, event.subject());
    log::log!(
        level,
        event = super::events::kind_name(event.kind),
        protocol = socket.protocol.as_str(),
        port = subject.port,
        address = subject.address.to_string(),
        netns = socket.netns,
        socket = socket.inode,
        pid = event.opener.tgid,
        comm = event.opener.comm.as_str(),
        exe = report.process.exe.as_deref().unwrap_or("-"),
        exe_state = report.process.exe_state.map_or("-", ExeState::as_str),
        cmdline = report.process.cmdline.as_ref().map_or_else(|| "-".to_owned(), |arguments| arguments.join(" ")),
        uid = event.opener.uid,
        user = report.process.user.as_deref().unwrap_or("-"),
        unit = report.unit().unwrap_or("-"),
        service = report.socket_unit.as_ref().map_or("-", |socket| socket.service.as_str()),
        container = report.process.container.as_ref().map_or("-", |container| container.id.as_str()),
        package = report.process.package.as_deref().unwrap_or("-"),
        verdict = report.verdict.as_str(),
        rule = report.findings.first().map_or("-", |finding| finding.rule.as_str()),
        missing = report.missing(event).join(",");
        "{}", sentence(event, report)
    );
}

/// Who holds what no descriptor of a process shows.
const NOBODY: &str = "a socket that no process shows (the kernel's own, or on its way between processes)";

/// Who did what, how it ended, and what the port is for.
fn sentence(event: &Event, report: &Report) -> String {
    let who = if event.opener.kernel_thread {
        format!("the kernel ({})", report.label)
    } else if event.opener.is_known() {
        report.label.clone()
    } else {
        NOBODY.to_owned()
    };
    let failed = matches!(event.outcome, Outcome::Failed(_));
    let unknown = event.outcome == Outcome::Unconfirmed;
    let udp = event.socket.protocol == Protocol::Udp;
    let what = match event.kind {
        Kind::Unlisten if event.connected => "connected, and no longer takes what anybody sends to",
        Kind::Unlisten => "stopped listening on",
        Kind::Bind if failed => "failed to bind",
        Kind::Bind if udp => "takes what is sent to",
        Kind::Bind => "bound",
        Kind::Connect if failed => "failed to connect to",
        Kind::Connect => "connected to",
        Kind::Accept => "accepted a connection on",
        _ if failed => "failed to listen on",
        _ if unknown => "called listen(), with a result that could not be learned, on",
        _ => "listens on",
    };
    let place = match event.kind {
        Kind::Connect => format!("{}/{}", endpoint(event.subject()), event.socket.protocol),
        _ => port(event),
    };
    let from = match event.peer {
        Some(peer) if event.kind == Kind::Accept => format!(" from {}", endpoint(peer)),
        _ => String::new(),
    };
    let errno = match event.outcome {
        Outcome::Failed(Some(errno)) if event.kind != Kind::Unlisten => {
            format!(
                ": {}",
                errno_name(errno).map_or_else(|| errno.to_string(), str::to_owned)
            )
        }
        _ => String::new(),
    };
    let names = report.names();
    let registered = if names.is_empty() {
        "not registered".to_owned()
    } else {
        format!("registered: {}", names.join(", "))
    };
    format!("{who} {what} {place}{from}{errno} ({registered})")
}

/// What to write before a command so that it runs in the network namespace of this process: the host's own tools show nothing of
/// another one.
pub fn enter(pid: u32) -> String {
    format!("nsenter -t {pid} -n ")
}

/// The sentence of an alert: who, where, what the port was registered for, and how to check.
pub fn summary(event: &Event, report: &Report, instance: &str) -> String {
    let port = port(event);
    let user = match &report.process.user {
        Some(name) => format!("uid {} {name}", event.opener.uid),
        None => format!("uid {}", event.opener.uid),
    };
    let registered: Vec<String> = report
        .registrations
        .iter()
        .filter_map(|row| registration(&row))
        .collect();
    // A block without a service can have something to say of one of its ports.
    let used = report
        .registrations
        .iter()
        .find_map(|row| row.unauthorized_use().filter(|_| row.service().is_none()));
    let registered = if let (true, Some(used)) = (registered.is_empty(), used) {
        format!("Not registered; IANA notes: \"{}\".", used.trim_end_matches('.'))
    } else if registered.is_empty() {
        "Not registered.".to_owned()
    } else {
        format!("Registered: {}.", registered.join(", "))
    };
    let exe = match report.process.exe_state {
        Some(ExeState::Deleted) => ", whose executable is deleted,",
        Some(ExeState::Memfd) => ", which runs from memory alone,",
        Some(ExeState::File) | None => "",
    };
    // The host's own tools show nothing of another namespace.
    let (namespace, enter) = if report.host_netns {
        (String::new(), String::new())
    } else {
        let namespace = format!(", in the network namespace {} and not the host's", event.socket.netns);
        let enter = match event.opener.tgid {
            0 => String::new(),
            pid => enter(pid),
        };
        (namespace, enter)
    };
    let mut belongs = String::new();
    for (word, what) in [
        ("unit", report.unit().map(str::to_owned)),
        ("container", report.process.container.as_ref().map(container)),
        ("package", report.process.package.clone()),
    ] {
        if let Some(what) = what {
            belongs.push_str(&format!(", {word} {what}"));
        }
    }
    let letter = match event.socket.protocol {
        Protocol::Tcp => "t",
        Protocol::Udp => "u",
    };
    let failed = matches!(event.outcome, Outcome::Failed(_));
    let verb = match event.kind {
        Kind::Bind if failed => "failed to bind",
        Kind::Bind if event.socket.protocol == Protocol::Tcp => "bound",
        Kind::Connect if failed => "failed to connect to",
        Kind::Connect => "connected to",
        Kind::Accept => "accepted a connection on",
        // Who opened what was found is not known.
        _ if event.is_found() => "holds",
        _ => "opened",
    };
    let from = match event.peer {
        Some(peer) if event.kind == Kind::Accept => format!(" from {}", endpoint(peer)),
        _ => String::new(),
    };
    // A connection is no listener, and its port is the other end's.
    let (listening, end) = match event.kind {
        Kind::Connect => ("", "dport"),
        Kind::Accept => ("", "sport"),
        _ => ("l", "sport"),
    };
    let who = if event.opener.is_known() {
        format!("{} ({user}){exe}", report.label)
    } else {
        NOBODY.to_owned()
    };
    let on = if event.kind == Kind::Connect { "from" } else { "on" };
    format!(
        "{who} {verb} {port}{from} {on} {instance}{namespace}{belongs}. {registered} Check: {enter}ss -{listening}{letter}np \
         '{end} = :{}'",
        event.subject().port,
    )
}

/// The pod, else the container by the beginning of its id, as container tools show it.
fn container(container: &Container) -> String {
    const SHORT: usize = 12;
    match &container.pod {
        Some(pod) => format!("of the pod {}/{}", pod.namespace, pod.name),
        None => {
            let short = container.id.get(..SHORT).unwrap_or(&container.id);
            format!("{} {short}", container.runtime.as_str())
        }
    }
}

/// The sentence at the end of an alert, which fired then.
pub fn resolved(key: &AlertKey, why: Over, fired: &str) -> String {
    let AlertKey {
        rule,
        protocol,
        port,
        process,
        netns,
    } = key;
    let place = format!("{port}/{protocol} in the network namespace {netns}");
    let what = match why {
        Over::Closed => format!("{process} no longer listens on {place}"),
        Over::Quiet => format!("{process} did nothing more on {place}"),
        Over::Worse => format!("a more severe alert takes its place, of {process} on {place}"),
        Over::Unruled => {
            format!("the configuration has changed, and {rule} no longer speaks of {process} on {place}")
        }
        Over::Rebooted => format!("the machine was started anew, and {process} is no longer on {place}"),
    };
    format!("alert resolved: {what}; it fired {fired}")
}

/// Letters of a note that still fit into a sentence. Some of the registry's are a page.
const NOTE: usize = 100;

/// `stun-p3 (dead Cisco STUN)`: the registry's own note where it has a short one, else what is known to be dead, else the
/// description.
fn registration(row: &Registration<'_>) -> Option<String> {
    let name = row.service()?;
    let note = row
        .note()
        .map(|note| note.split_whitespace().collect::<Vec<_>>().join(" "));
    let dead = Dormancy::of(row).map(|dormancy| dormancy.what);
    let about = match (
        note.filter(|note| note.chars().count() <= NOTE),
        dead.or(row.description()),
    ) {
        (Some(note), _) => format!(" (\"{note}\")"),
        (None, Some(what)) => format!(" ({what})"),
        (None, None) => String::new(),
    };
    Some(format!("{name}{about}"))
}

fn port(event: &Event) -> String {
    let subject = event.subject();
    format!(
        "{}/{} on {}",
        subject.port,
        event.socket.protocol,
        bracketed(subject.address)
    )
}

/// `ADDRESS:PORT`.
pub(super) fn endpoint(end: Endpoint) -> String {
    format!("{}:{}", bracketed(end.address), end.port)
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V6(address) => format!("[{address}]"),
        IpAddr::V4(address) => address.to_string(),
    }
}

#[cfg(test)]
#[path = "sentence_tests.rs"]
mod tests;
