//! How the agent itself is, as the API shows it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    events::{SCHEMA, json, rfc3339},
    metrics::Tallies,
};
use crate::{
    identity::Clock,
    kernel::{HookState, Situation},
};

/// What of it the metrics do not know.
#[derive(Debug)]
pub struct Facts {
    /// The host's name.
    pub host: String,
    /// Whether the hooks are attached and the first look is over.
    pub ready: bool,
    /// When the agent started: nanoseconds since boot.
    pub started: u64,
    /// The backend that reports listens.
    pub backend: &'static str,
    /// The kernel's release.
    pub kernel: String,
    /// Every hook, attached or not.
    pub hooks: Vec<HookState>,
    /// What is not seen here.
    pub blind_spots: Vec<Situation>,
    /// Network namespaces that could not be looked into, each with its reason.
    pub unseen_namespaces: Vec<String>,
    /// Open listening sockets.
    pub listeners: usize,
    /// Alerts that fire.
    pub alerts: usize,
    /// Expectations in force.
    pub expectations: usize,
    /// Who is told of alerts.
    pub receivers: Vec<String>,
    /// Where IANA's rows come from, their date, and how many they are.
    pub registry: (String, String, usize),
    /// The file of the history.
    pub history: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    host: &'a str,
    time: String,
    version: &'static str,
    started: String,
    ready: bool,
    backend: &'static str,
    kernel: &'a str,
    hooks: &'a [HookState],
    blind_spots: &'a [Situation],
    unseen_namespaces: &'a [String],
    /// Since the start, by edge.
    lost: BTreeMap<&'static str, u64>,
    /// Since the start: what looks found wrong.
    drift: BTreeMap<&'static str, u64>,
    selftest: SelfTest,
    look: Look,
    config: Config,
    registry: Registry<'a>,
    history: Option<&'a str>,
    receivers: &'a [String],
    listeners: usize,
    alerts: usize,
    expectations: usize,
}

#[derive(Serialize)]
struct SelfTest {
    /// When the agent last saw a listener of its own.
    last_success: Option<String>,
}

#[derive(Serialize)]
struct Look {
    /// When all that listens was last looked at.
    last: Option<String>,
    seconds: f64,
}

#[derive(Serialize)]
struct Config {
    last_reload_successful: bool,
    last_success: Option<String>,
}

#[derive(Serialize)]
struct Registry<'a> {
    source: &'a str,
    updated: &'a str,
    records: usize,
}

/// The document.
#[must_use]
pub fn status(facts: &Facts, tallies: &Tallies, now: u64, clock: Clock) -> String {
    let (source, updated, records) = &facts.registry;
    json(&Document {
        schema: SCHEMA,
        host: &facts.host,
        time: rfc3339(clock, now),
        version: env!("CARGO_PKG_VERSION"),
        started: rfc3339(clock, facts.started),
        ready: facts.ready,
        backend: facts.backend,
        kernel: &facts.kernel,
        hooks: &facts.hooks,
        blind_spots: &facts.blind_spots,
        unseen_namespaces: &facts.unseen_namespaces,
        lost: tallies.lost.iter().copied().collect(),
        drift: tallies.drift.iter().copied().collect(),
        selftest: SelfTest {
            last_success: moment(tallies.selftest),
        },
        look: Look {
            last: moment(tallies.looked),
            seconds: tallies.look_took,
        },
        config: Config {
            last_reload_successful: tallies.config_successful,
            last_success: moment(tallies.config_read),
        },
        registry: Registry {
            source,
            updated,
            records: *records,
        },
        history: facts.history.as_deref(),
        receivers: &facts.receivers,
        listeners: facts.listeners,
        alerts: facts.alerts,
        expectations: facts.expectations,
    })
}

/// Seconds since the epoch, as metrics keep them; 0 is never.
fn moment(seconds: f64) -> Option<String> {
    let time = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
    let time = Timestamp::from_duration(time).ok()?;
    (seconds > 0.0).then(|| format!("{time:.9}"))
}
