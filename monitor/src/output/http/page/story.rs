//! Events in a few words.

use serde_json::Value;

use super::documents::{AlertEvent, AnyEvent, Counted, Moment, Socket};
use crate::output::recent::Recent;

/// Events that a page shows.
const SHOWN: usize = 30;

/// Events that are looked through for those of one port.
const LOOKED_AT: usize = 512;

/// An event in the strip.
pub(super) struct Story {
    pub(super) id: String,
    pub(super) time: Moment,
    /// What happened, in a word.
    pub(super) what: &'static str,
    /// `alarm`, `trouble` or nothing: how it looks beside the word.
    pub(super) tone: &'static str,
    /// The port that it is about.
    pub(super) port: Option<u16>,
    pub(super) protocol: String,
    pub(super) text: String,
}

/// The newest events, the newest first; of one port, where one is given.
pub(super) fn newest(recent: &Recent, port: Option<u16>) -> Vec<Story> {
    let row = recent.newest(if port.is_some() { LOOKED_AT } else { SHOWN });
    let stories = row.events.iter().rev().filter_map(|told| {
        let value: Value = serde_json::from_str(told.line()).ok()?;
        let about = AnyEvent::of(&value)?;
        (port.is_none() || about.port == port).then(|| story(about, value))?
    });
    stories.take(SHOWN).collect()
}

impl AnyEvent {
    fn of(value: &Value) -> Option<Self> {
        serde::Deserialize::deserialize(value).ok()
    }
}

fn story(about: AnyEvent, value: Value) -> Option<Story> {
    let AnyEvent { id, event, time, port } = about;
    let (what, tone, protocol, text) = match event.as_str() {
        "alert" | "alert_resolved" => {
            let alert: AlertEvent = serde_json::from_value(value).ok()?;
            let (what, tone) = if event == "alert" {
                ("alert", "alarm")
            } else {
                ("over", "")
            };
            let text = format!("{} ({}) by {}", alert.rule, alert.severity, alert.process);
            (what, tone, alert.protocol, text)
        }
        "lost" | "drift" => {
            let counted: Counted = serde_json::from_value(value).ok()?;
            let text = match (event.as_str(), counted.kind.as_str()) {
                ("lost", _) => format!("{} lost at {}", counted.count, counted.edge),
                (_, "missed") => format!("{} found that no event had told of", counted.count),
                (_, kind) => format!("{} found otherwise: {kind}", counted.count),
            };
            let what = if event == "lost" { "lost" } else { "drift" };
            (what, "trouble", String::new(), text)
        }
        _ => {
            let socket: Socket = serde_json::from_value(value).ok()?;
            let (what, tone, text) = of_socket(&socket);
            (what, tone, socket.protocol, text)
        }
    };
    Some(Story {
        id,
        time,
        what,
        tone,
        port,
        protocol,
        text,
    })
}

fn of_socket(socket: &Socket) -> (&'static str, &'static str, String) {
    let (process, address) = (socket.process_name(), socket.address_word());
    let user = socket.user();
    let who = if user.is_empty() {
        process
    } else {
        format!("{process} ({user})")
    };
    let failed = socket.result.as_deref() == Some("error");
    let errno = socket.errno.as_deref().unwrap_or("failed");
    let ending = if failed { format!(": {errno}") } else { String::new() };
    let is_unexpected = socket.verdict == "unexpected";
    match socket.event.as_str() {
        "listen" | "bind" => {
            let what = match (socket.origin.as_str(), socket.event.as_str()) {
                // Nobody saw it begin.
                ("existing" | "reconciled", _) => "found",
                (_, "bind") => "bind",
                _ => "listen",
            };
            let tone = match (is_unexpected, failed) {
                (true, _) => "alarm",
                (false, true) => "trouble",
                (false, false) => "",
            };
            (what, tone, format!("{who} on {address}{ending}"))
        }
        "unlisten" => ("closed", "", format!("{who} on {address}")),
        "connect" => ("connect", "", format!("{who} to {address}{ending}")),
        _ => {
            let peer = socket
                .peer
                .as_ref()
                .map_or_else(String::new, |peer| format!(" from {}", peer.address));
            ("accept", "", format!("{who}{peer}"))
        }
    }
}
