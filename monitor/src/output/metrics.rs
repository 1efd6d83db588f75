//! The metrics page: the only place that uses prometheus.
//!
//! Names and labels are DESIGN's contract. Series of listeners come and go with them; what must exist for
//! `increase()` stands at 0 from the start. `budget` bounds the number of series whose labels strangers choose.

mod alerting;
mod budget;
mod counting;
mod history;
mod ports;
mod reconfigure;
mod status;
mod web;

use std::collections::HashMap;

use anyhow::{Context, Result};
use prometheus::{
    Encoder, Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry as Families, TextEncoder,
};

use budget::Budget;
pub use budget::ListenerSeries;
pub use status::Tallies;

use super::{
    events::kind_name,
    report::{ERRNO, RESULT},
};
use crate::{
    event::{Kind, Protocol},
    identity::Missing,
    kernel::{HookState, KernelCounters, Service},
    policy::{Policy, Rule, Severity},
    registry::Registry,
};

/// Edges at which user space can lose something.
pub const EDGES: [&str; 9] = [
    "hook",
    "queue",
    "decode",
    "pending",
    "inventory",
    "alerts",
    "stdout",
    "log",
    "history",
];

/// How the inventory can be wrong: it has not a listener that is there, or has one that is gone.
pub const DRIFT: [&str; 2] = ["missed", "ended"];

/// Metrics with labels that strangers choose.
const BUDGETED: [&str; 5] = [
    "portreeve_listeners",
    "portreeve_listens_total",
    "portreeve_connects_total",
    "portreeve_accepts_total",
    "portreeve_port_info",
];

/// All metrics of one agent.
pub struct Metrics {
    families: Families,
    watched: Vec<(Protocol, u16)>,
    budget: Budget,
    /// The kernel side's sums when they were last read, by name.
    runs: Vec<(&'static str, u64)>,
    kernel_lost: Vec<(&'static str, u64)>,
    ephemeral: Option<(u16, u16)>,

    watched_listeners: IntGaugeVec,
    watched_listens: IntCounterVec,
    listeners: IntGaugeVec,
    opened: GaugeVec,
    listens: IntCounterVec,
    binds: IntCounterVec,
    watched_binds: IntCounterVec,
    connects: IntCounterVec,
    accepts: IntCounterVec,
    hook_misses: IntCounterVec,
    /// Sums of the kernel side's misses when they were last read, by hook.
    misses: HashMap<&'static str, u64>,
    port_info: IntGaugeVec,
    alerts: IntGaugeVec,
    alerts_fired: IntCounterVec,
    expectations: IntGauge,
    alerts_held_back: IntCounterVec,
    notifications: IntCounterVec,
    notification_queue: IntGaugeVec,
    build_info: IntGaugeVec,
    probe_info: IntGaugeVec,
    hook_attached: IntGaugeVec,
    hook_runs: IntCounterVec,
    blind_spot: IntGaugeVec,
    events: IntCounterVec,
    lost: IntCounterVec,
    drift: IntCounterVec,
    snapshot_duration: Gauge,
    snapshot_time: Gauge,
    identity_incomplete: IntCounterVec,
    selftest: Gauge,
    config_reload_successful: IntGauge,
    config_reload_time: Gauge,
    registry_info: IntGaugeVec,
    registry_records: IntGauge,
    series_limited: IntCounterVec,
    history: history::Families,
    web: web::Families,
}

impl Metrics {
    /// Makes all families, and the series that must be there before anything happens.
    pub fn new(policy: &Policy, registry: &Registry, max_series: usize, ephemeral: Option<(u16, u16)>) -> Result<Self> {
        let families = Families::new();
        let gauges = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec> {
            let vec = IntGaugeVec::new(Opts::new(name, help), labels)?;
            families.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec> {
            let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
            families.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let floats = |name: &str, help: &str, labels: &[&str]| -> Result<GaugeVec> {
            let vec = GaugeVec::new(Opts::new(name, help), labels)?;
            families.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let float = |name: &str, help: &str| -> Result<Gauge> {
            let gauge = Gauge::new(name, help)?;
            families.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            families.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let nothing = KernelCounters::default();
        let metrics = Self {
            watched: ports::with_series(policy, None),
            budget: Budget::new(max_series),
            runs: nothing.runs().to_vec(),
            kernel_lost: nothing.lost(),
            ephemeral,
            watched_listeners: gauges(
                "portreeve_watched_port_listeners",
                "Open listening sockets on a port that a rule or the watch list names.",
                &["protocol", "port"],
            )?,
            watched_listens: counters(
                "portreeve_watched_port_listens_total",
                "Listeners that opened on a port that a rule or the watch list names, since the agent started.",
                &["protocol", "port"],
            )?,
            listeners: gauges(
                "portreeve_listeners",
                "Open listening sockets.",
                &[
                    "protocol",
                    "port",
                    "registration",
                    "scope",
                    "netns",
                    "process",
                    "verdict",
                ],
            )?,
            opened: floats(
                "portreeve_listener_opened_timestamp_seconds",
                "When the newest of these listeners opened, in seconds since the epoch.",
                &["protocol", "port", "netns", "process"],
            )?,
            listens: counters(
                "portreeve_listens_total",
                "Calls of listen(), by result: ok, error, or unknown where it could not be learned.",
                &["protocol", "port", "process", "result"],
            )?,
            binds: counters(
                "portreeve_binds_total",
                "Calls of bind() to a port that a rule or the watch list names, and binds of UDP sockets that count as listeners.",
                &["protocol", "result", "errno"],
            )?,
            watched_binds: counters(
                "portreeve_watched_port_binds_total",
                "Calls of bind() to a watched port.",
                &["protocol", "port", "result"],
            )?,
            connects: counters(
                "portreeve_connects_total",
                "TCP connections tried to a port that a rule or the watch list names, by outcome.",
                &["protocol", "port", "process", "result"],
            )?,
            accepts: counters(
                "portreeve_accepts_total",
                "Connections accepted on a port that a rule or the watch list names.",
                &["protocol", "port", "process"],
            )?,
            hook_misses: counters(
                "portreeve_hook_misses_total",
                "Calls that a hook was not run for, or whose return it did not see.",
                &["hook"],
            )?,
            misses: HashMap::new(),
            port_info: gauges(
                "portreeve_port_info",
                "What IANA's registry says of a port that is ruled or in use; always 1.",
                &[
                    "protocol",
                    "port",
                    "registration",
                    "description",
                    "status",
                    "registrations",
                ],
            )?,
            alerts: gauges("portreeve_alerts", "Alerts that fire now.", &["rule", "severity"])?,
            alerts_fired: counters(
                "portreeve_alerts_fired_total",
                "Alerts that fired since the agent started.",
                &["rule", "severity"],
            )?,
            alerts_held_back: counters(
                "portreeve_alerts_held_back_total",
                "Alerts that did not fire when they should have, since their rule fired too many within a minute.",
                &["rule"],
            )?,
            notifications: counters(
                "portreeve_notifications_total",
                "Alerts in messages to a receiver, by what came of the message: ok, error, or dropped for want of room.",
                &["receiver", "result"],
            )?,
            notification_queue: gauges(
                "portreeve_notification_queue_length",
                "Alerts that a receiver has not been told of yet.",
                &["receiver"],
            )?,
            expectations: gauge(
                "portreeve_expectations",
                "Expectations in force, [[expect]] of the configuration.",
            )?,
            build_info: gauges(
                "portreeve_build_info",
                "The agent's version; always 1.",
                &["version", "schema"],
            )?,
            probe_info: gauges(
                "portreeve_probe_info",
                "The backend that reports and the kernel that it runs in; always 1.",
                &["backend", "kernel"],
            )?,
            hook_attached: gauges("portreeve_hook_attached", "Whether a hook is attached.", &["hook"])?,
            hook_runs: counters(
                "portreeve_hook_runs_total",
                "Runs of a hook that had something to report or to decide.",
                &["hook"],
            )?,
            blind_spot: gauges(
                "portreeve_blind_spot",
                "1 for each thing that this kernel and backend cannot see.",
                &["situation"],
            )?,
            events: counters(
                "portreeve_events_total",
                "Events that arrived from the kernel side.",
                &["event"],
            )?,
            lost: counters(
                "portreeve_events_lost_total",
                "Events or their consequences that were lost, by the edge at which that happened.",
                &["edge"],
            )?,
            drift: counters(
                "portreeve_inventory_drift_total",
                "Listeners that the inventory had wrong, found by a look at what listens: missed ones, and ended ones.",
                &["kind"],
            )?,
            snapshot_duration: float(
                "portreeve_snapshot_duration_seconds",
                "What the last look at all that listens took, in seconds.",
            )?,
            snapshot_time: float(
                "portreeve_last_snapshot_timestamp_seconds",
                "When all that listens was last looked at, in seconds since the epoch.",
            )?,
            identity_incomplete: counters(
                "portreeve_identity_incomplete_total",
                "Fields of an event that could not be learned: of its process, or its result.",
                &["field"],
            )?,
            selftest: float(
                "portreeve_selftest_last_success_timestamp_seconds",
                "When the agent last saw a listener of its own, in seconds since the epoch; 0 for never.",
            )?,
            config_reload_successful: gauge(
                "portreeve_config_last_reload_successful",
                "Whether the last attempt to read the configuration succeeded.",
            )?,
            config_reload_time: float(
                "portreeve_config_last_reload_success_timestamp_seconds",
                "When the configuration was last read successfully, in seconds since the epoch.",
            )?,
            registry_info: gauges(
                "portreeve_registry_info",
                "The port registry in use; always 1.",
                &["source", "updated"],
            )?,
            registry_records: gauge("portreeve_registry_records", "Records of the port registry in use.")?,
            series_limited: counters(
                "portreeve_series_limited_total",
                "Times that a series was folded into process=\"other\", or left out, because the budget was spent.",
                &["metric"],
            )?,
            history: history::Families::new(&families)?,
            web: web::Families::new(&families)?,
            families,
        };
        metrics.prepare(policy, registry);
        Ok(metrics)
    }

    /// The series that stand at 0 (or at 1) before anything happens.
    fn prepare(&self, policy: &Policy, registry: &Registry) {
        self.prepare_ports(&self.watched);
        self.prepare_rules(policy);
        for kind in [Kind::Listen, Kind::Unlisten, Kind::Bind, Kind::Connect, Kind::Accept] {
            self.events.with_label_values(&[kind_name(kind)]).reset();
        }
        for (edge, _) in &self.kernel_lost {
            self.lost.with_label_values(&[edge]).reset();
        }
        for edge in EDGES {
            self.lost.with_label_values(&[edge]).reset();
        }
        for kind in DRIFT {
            self.drift.with_label_values(&[kind]).reset();
        }
        for (hook, _) in &self.runs {
            self.hook_runs.with_label_values(&[hook]).reset();
        }
        for field in Missing::ALL {
            self.identity_incomplete.with_label_values(&[field.as_str()]).reset();
        }
        for field in [RESULT, ERRNO] {
            self.identity_incomplete.with_label_values(&[field]).reset();
        }
        for metric in BUDGETED {
            self.series_limited.with_label_values(&[metric]).reset();
        }
        self.build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION"), "1"])
            .set(1);
        self.registry_in_use(registry);
    }

    /// The configuration was not read: the one before stays.
    pub fn config_refused(&self) {
        self.config_reload_successful.set(0);
    }

    /// The configuration was read.
    pub fn config_read(&self, seconds: f64) {
        self.config_reload_successful.set(1);
        self.config_reload_time.set(seconds);
    }

    /// The probe is armed.
    pub fn armed(&self, service: &Service, hooks: &[HookState], kernel: &str) {
        self.probe_info
            .with_label_values(&[service.backend.name(), kernel])
            .set(1);
        for hook in hooks {
            let attached = i64::from(hook.is_attached());
            self.hook_attached.with_label_values(&[hook.hook]).set(attached);
            self.hook_misses.with_label_values(&[hook.hook]).reset();
        }
        for situation in service.blind_spots() {
            self.blind_spot.with_label_values(&[situation.name]).set(1);
        }
    }

    /// An event arrived.
    pub fn arrived(&self, kind: Kind) {
        self.events.with_label_values(&[kind_name(kind)]).inc();
    }

    /// Something was lost in user space, at one of [`EDGES`].
    pub fn lost(&self, edge: &'static str, count: u64) {
        self.lost.with_label_values(&[edge]).inc_by(count);
    }

    /// The inventory had so many listeners wrong, in one of the ways of [`DRIFT`].
    pub fn drifted(&self, kind: &'static str, count: u64) {
        self.drift.with_label_values(&[kind]).inc_by(count);
    }

    /// All open files were looked at, at this time, in seconds since the epoch; it took so many seconds.
    pub fn looked(&self, time: f64, took: f64) {
        self.snapshot_time.set(time);
        self.snapshot_duration.set(took);
    }

    /// The kernel side's counters stand here now. Returns what was lost since the last time, by edge.
    pub fn kernel_counters(&mut self, now: &KernelCounters) -> Vec<(&'static str, u64)> {
        self.kernel_sums(&now.runs(), &now.lost())
    }

    fn kernel_sums(&mut self, runs: &[(&'static str, u64)], lost: &[(&'static str, u64)]) -> Vec<(&'static str, u64)> {
        for ((hook, now), (_, before)) in runs.iter().zip(&self.runs) {
            self.hook_runs
                .with_label_values(&[hook])
                .inc_by(now.saturating_sub(*before));
        }
        let mut losses = Vec::new();
        for ((edge, now), (_, before)) in lost.iter().zip(&self.kernel_lost) {
            let lost = now.saturating_sub(*before);
            if lost > 0 {
                self.lost(edge, lost);
                losses.push((*edge, lost));
            }
        }
        (self.runs, self.kernel_lost) = (runs.to_vec(), lost.to_vec());
        losses
    }

    /// Misses of hooks stand at these sums now. Returns what was missed since the last time, by hook.
    pub fn hooks_missed(&mut self, now: &[(&'static str, u64)]) -> Vec<(&'static str, u64)> {
        let mut missed = Vec::new();
        for (hook, now) in now {
            let before = self.misses.get(hook).copied().unwrap_or(0);
            // A sum that falls was read while calls were under way: what was counted stays counted.
            let more = now.saturating_sub(before);
            self.hook_misses.with_label_values(&[hook]).inc_by(more);
            if more > 0 {
                self.misses.insert(hook, *now);
                missed.push((*hook, more));
            }
        }
        missed
    }

    /// The self-test saw its own listener.
    pub fn selftest_succeeded(&self, seconds: f64) {
        self.selftest.set(seconds);
    }

    /// The page, in Prometheus's text format.
    ///
    /// The gauges of listeners are made here, from counts: listeners come and go far more often than somebody looks.
    pub fn page(&self) -> Result<Vec<u8>> {
        self.listeners.reset();
        for (series, count) in self.budget.listeners() {
            self.listeners
                .with_label_values(&series.refs())
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.opened.reset();
        for (labels, newest) in self.budget.newest() {
            self.opened.with_label_values(labels).set(newest);
        }
        let mut page = Vec::with_capacity(64 * 1024);
        TextEncoder::new()
            .encode(&self.families.gather(), &mut page)
            .context("cannot write the metrics page")?;
        Ok(page)
    }
}

/// How severe the alerts of a rule may be.
fn severities(rule: &Rule) -> impl Iterator<Item = Severity> {
    [Some(rule.severity), rule.automatic_severity].into_iter().flatten()
}

/// The labels of a rule's series: its name, and how severe.
fn series_of(rule: &Rule) -> impl Iterator<Item = [&str; 2]> {
    severities(rule).map(|severity| [rule.name.as_str(), severity.as_str()])
}

/// The content type of [`Metrics::page`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

#[cfg(test)]
mod tests;
