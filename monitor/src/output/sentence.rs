//! What happened, in a sentence: for the log, and for whoever an alert wakes up.

use std::net::IpAddr;

use crate::{
    event::{Event, Kind, Outcome, errno_name},
    policy::Verdict,
    registry::Registration,
};

use super::Report;

/// Logs an event: a warning where it is unexpected.
pub fn log(event: &Event, report: &Report) {
    let level = match (report.verdict, event.kind) {
        (Verdict::Unexpected, Kind::Listen) => log::Level::Warn,
        _ => log::Level::Info,
    };
    let socket = &event.socket;
    log::log!(
        level,
        event = super::events::kind_name(event.kind),
        protocol = socket.protocol.as_str(),
        port = socket.port,
        address = socket.address.to_string(),
        netns = socket.netns,
        socket = socket.inode,
        pid = event.opener.tgid,
        comm = event.opener.comm.as_str(),
        exe = report.process.exe.as_deref().unwrap_or("-"),
        user = user(event, report),
        verdict = report.verdict.as_str(),
        rule = report.findings.first().map_or("-", |finding| finding.rule.as_str());
        "{}", sentence(event, report)
    );
}

/// Who did what, and what the port is for.
fn sentence(event: &Event, report: &Report) -> String {
    let port = port(event);
    let who = if event.opener.kernel_thread {
        format!("the kernel ({})", report.label)
    } else {
        report.label.clone()
    };
    let what = match (event.kind, event.outcome) {
        (Kind::Unlisten, _) => "stopped listening on",
        (_, Outcome::Failed(_)) => "failed to listen on",
        (_, Outcome::Unconfirmed) => "called listen(), with a result that could not be learned, on",
        _ => "listens on",
    };
    let errno = match event.outcome {
        Outcome::Failed(Some(errno)) if event.kind == Kind::Listen => {
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
    format!("{who} {what} {port}{errno} ({registered})")
}

/// The sentence of an alert: who, where, what the port was registered for, and how to check.
pub fn summary(event: &Event, report: &Report, instance: &str) -> String {
    let port = port(event);
    let user = match &report.process.user {
        Some(name) => format!("uid {} {name}", event.opener.uid),
        None => format!("uid {}", event.opener.uid),
    };
    let registered: Vec<String> = report.registrations.iter().filter_map(registration).collect();
    let registered = if registered.is_empty() {
        "Not registered.".to_owned()
    } else {
        format!("Registered: {}.", registered.join(", "))
    };
    format!(
        "{} ({user}) opened {port} on {instance}. {registered} Check: ss -l{}np 'sport = :{}'",
        report.label,
        match event.socket.protocol {
            crate::event::Protocol::Tcp => "t",
            crate::event::Protocol::Udp => "u",
        },
        event.socket.port,
    )
}

/// `stun-p3 (cisco …)`, with the registry's own note where it has one.
fn registration(row: &Registration<'_>) -> Option<String> {
    let name = row.service()?;
    let about = match (row.note(), row.description()) {
        (Some(note), _) => format!(" (\"{}\")", note.split_whitespace().collect::<Vec<_>>().join(" ")),
        (None, Some(description)) => format!(" ({description})"),
        (None, None) => String::new(),
    };
    Some(format!("{name}{about}"))
}

fn port(event: &Event) -> String {
    let address = match event.socket.address {
        IpAddr::V6(address) => format!("[{address}]"),
        IpAddr::V4(address) => address.to_string(),
    };
    format!("{}/{} on {address}", event.socket.port, event.socket.protocol)
}

fn user<'a>(event: &Event, report: &'a Report) -> std::borrow::Cow<'a, str> {
    match &report.process.user {
        Some(user) => user.into(),
        None => event.opener.uid.to_string().into(),
    }
}

#[cfg(test)]
#[path = "sentence_tests.rs"]
mod tests;
