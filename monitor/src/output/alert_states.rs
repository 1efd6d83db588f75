//! Alerts as JSON: what each output says of one, and the document of the API, with what receivers were told.

use serde::Serialize;

use super::{
    events::{SCHEMA, json, rfc3339},
    notify::outbox::Times,
};
use crate::{
    identity::Clock,
    policy::{
        Severity,
        alerts::{Alert, AlertKey},
        notice::Notice,
    },
};

/// What an alert is about: the same keys in a line, at a webhook and in the API.
#[derive(Serialize)]
pub(super) struct AlertFields<'a> {
    rule: &'a str,
    severity: &'static str,
    protocol: &'static str,
    port: u16,
    process: &'a str,
    netns: u32,
}

impl<'a> AlertFields<'a> {
    pub(super) fn of(key: &'a AlertKey, severity: Severity) -> Self {
        Self {
            rule: &key.rule,
            severity: severity.as_str(),
            protocol: key.protocol.as_str(),
            port: key.port,
            process: &key.process,
            netns: key.netns,
        }
    }
}

/// An alert, when it ended in nanoseconds since boot, and what receivers accepted of it, by their names.
pub struct Listed {
    /// The alert.
    pub alert: Alert,
    /// When it ended.
    pub ended: Option<u64>,
    /// The receivers that accepted something.
    pub told: Vec<(String, Times)>,
}

/// The alerts that fire, are pending, or ended lately, as one document. `receivers` are all there are.
pub fn alerts(host: &str, now: u64, clock: Clock, receivers: &[String], alerts: &[Listed]) -> String {
    let time = |at| rfc3339(clock, at);
    let alerts = alerts.iter().map(|Listed { alert, ended, told }| AlertState {
        status: match (ended, alert.pending) {
            (Some(_), _) => "resolved",
            (None, true) => "pending",
            (None, false) => "firing",
        },
        about: AlertFields::of(&alert.key, alert.severity),
        notice: &alert.notice,
        starts_at: time(alert.fired),
        ends_at: ended.map(time),
        open: alert.open(),
        receivers: told
            .iter()
            .map(|(name, times)| ReceiverState {
                name,
                firing: times.firing.map(time),
                resolved: times.resolved.map(time),
            })
            .collect(),
    });
    json(&AlertDocument {
        schema: SCHEMA,
        host,
        time: time(now),
        receivers,
        alerts: alerts.collect(),
    })
}

#[derive(Serialize)]
struct AlertDocument<'a> {
    schema: u32,
    host: &'a str,
    time: String,
    receivers: &'a [String],
    alerts: Vec<AlertState<'a>>,
}

#[derive(Serialize)]
struct AlertState<'a> {
    status: &'static str,
    #[serde(flatten)]
    about: AlertFields<'a>,
    #[serde(flatten)]
    notice: &'a Notice,
    starts_at: String,
    ends_at: Option<String>,
    open: Option<usize>,
    receivers: Vec<ReceiverState<'a>>,
}

#[derive(Serialize)]
struct ReceiverState<'a> {
    name: &'a str,
    firing: Option<String>,
    resolved: Option<String>,
}
