//! Alerts as the API shows them, with what receivers were told.

use std::collections::BTreeMap;

use serde::Serialize;

use super::events::{SCHEMA, json, rfc3339};
use crate::{
    identity::Clock,
    policy::{alerts::Alert, notice::Subject},
};

/// The alerts that fire, are pending, or ended lately, as one document. Each comes with when it ended, and with the receivers
/// that accepted that it fires, and that it is over; all times are nanoseconds since boot. `receivers` are all there are.
pub fn alerts<'a>(
    host: &str,
    now: u64,
    clock: Clock,
    receivers: &[String],
    alerts: impl Iterator<Item = (&'a Alert, Option<u64>, Vec<ToldTo<'a>>)>,
) -> String {
    let alerts = alerts.map(|(alert, ended, told)| AlertState {
        status: match (ended, alert.pending) {
            (Some(_), _) => "resolved",
            (None, true) => "pending",
            (None, false) => "firing",
        },
        labels: &alert.notice.labels,
        annotations: &alert.notice.annotations,
        listener: &alert.notice.listener,
        starts_at: rfc3339(clock, alert.fired),
        ends_at: ended.map(|ended| rfc3339(clock, ended)),
        receivers: told
            .into_iter()
            .map(|(name, firing, resolved)| ReceiverState {
                name,
                firing: firing.map(|at| rfc3339(clock, at)),
                resolved: resolved.map(|at| rfc3339(clock, at)),
            })
            .collect(),
    });
    json(&AlertDocument {
        schema: SCHEMA,
        host,
        time: rfc3339(clock, now),
        receivers,
        alerts: alerts.collect(),
    })
}

/// A receiver, and when it accepted that an alert fires, and that it is over.
pub type ToldTo<'a> = (&'a str, Option<u64>, Option<u64>);

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
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    listener: &'a Subject,
    starts_at: String,
    ends_at: Option<String>,
    receivers: Vec<ReceiverState<'a>>,
}

#[derive(Serialize)]
struct ReceiverState<'a> {
    name: &'a str,
    firing: Option<String>,
    resolved: Option<String>,
}
