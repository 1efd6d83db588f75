//! The metrics page: the only place that uses prometheus.
//!
//! Names and labels are DESIGN's contract. Series of listeners come and go with them; what must exist for
//! `increase()` stands at 0 from the start. `budget` bounds the number of series whose labels strangers choose.

mod alerting;
mod budget;
pub mod catalogue;
mod counting;
mod history;
mod own_cost;
mod ports;
mod reconfigure;
mod status;
mod web;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry as Families,
    TextEncoder, core::Collector,
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

/// Makes a family as the catalogue has it, and adds it to the page.
fn made<F: Collector + Clone + 'static>(
    families: &Families,
    name: &str,
    make: impl Fn(Opts, &[&str]) -> prometheus::Result<F>,
) -> Result<F> {
    let family = catalogue::FAMILIES.iter().find(|family| family.name == name);
    let family = family.with_context(|| format!("{name} is not in the catalogue of metrics"))?;
    let made = make(Opts::new(family.name, family.help), family.labels)?;
    families.register(Box::new(made.clone()))?;
    Ok(made)
}

/// What a scrape gets, still to be put together.
///
/// The gauges of listeners are made here, from counts: listeners come and go far more often than somebody looks.
pub struct Page {
    families: Families,
    listeners: IntGaugeVec,
    opened: GaugeVec,
    open: Vec<(Arc<ListenerSeries>, u64)>,
    newest: Vec<([String; 4], f64)>,
    whole: Arc<Mutex<()>>,
}

impl Page {
    /// The page in Prometheus's text format.
    ///
    /// # Errors
    /// Where a family cannot be written.
    pub fn text(&self) -> Result<Vec<u8>> {
        let families = {
            let _whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
            self.listeners.reset();
            for (series, count) in &self.open {
                let count = i64::try_from(*count).unwrap_or(i64::MAX);
                self.listeners.with_label_values(&series.refs()).set(count);
            }
            self.opened.reset();
            for (labels, newest) in &self.newest {
                self.opened.with_label_values(labels).set(*newest);
            }
            self.families.gather()
        };
        let mut text = Vec::with_capacity(64 * 1024);
        TextEncoder::new()
            .encode(&families, &mut text)
            .context("cannot write the metrics page")?;
        Ok(text)
    }
}

/// All metrics of one agent.
pub struct Metrics {
    families: Families,
    /// Held while a page is put together, and while a reload takes series out and in: no page shows half of that.
    whole: Arc<Mutex<()>>,
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
    hook_seconds: CounterVec,
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
        let gauges = |name| made(&families, name, IntGaugeVec::new);
        let counters = |name| made(&families, name, IntCounterVec::new);
        let floats = |name| made(&families, name, GaugeVec::new);
        let float = |name| made(&families, name, |opts, _| Gauge::with_opts(opts));
        let gauge = |name| made(&families, name, |opts, _| IntGauge::with_opts(opts));
        let nothing = KernelCounters::default();
        let metrics = Self {
            whole: Arc::default(),
            watched: ports::with_series(policy, None),
            budget: Budget::new(max_series),
            runs: nothing.runs().to_vec(),
            kernel_lost: nothing.lost(),
            ephemeral,
            watched_listeners: gauges("portreeve_watched_port_listeners")?,
            watched_listens: counters("portreeve_watched_port_listens_total")?,
            listeners: gauges("portreeve_listeners")?,
            opened: floats("portreeve_listener_opened_timestamp_seconds")?,
            listens: counters("portreeve_listens_total")?,
            binds: counters("portreeve_binds_total")?,
            watched_binds: counters("portreeve_watched_port_binds_total")?,
            connects: counters("portreeve_connects_total")?,
            accepts: counters("portreeve_accepts_total")?,
            hook_misses: counters("portreeve_hook_misses_total")?,
            hook_seconds: made(&families, "portreeve_hook_seconds_total", |opts, labels| {
                CounterVec::new(opts, labels)
            })?,
            misses: HashMap::new(),
            port_info: gauges("portreeve_port_info")?,
            alerts: gauges("portreeve_alerts")?,
            alerts_fired: counters("portreeve_alerts_fired_total")?,
            alerts_held_back: counters("portreeve_alerts_held_back_total")?,
            notifications: counters("portreeve_notifications_total")?,
            notification_queue: gauges("portreeve_notification_queue_length")?,
            expectations: gauge("portreeve_expectations")?,
            build_info: gauges("portreeve_build_info")?,
            probe_info: gauges("portreeve_probe_info")?,
            hook_attached: gauges("portreeve_hook_attached")?,
            hook_runs: counters("portreeve_hook_runs_total")?,
            blind_spot: gauges("portreeve_blind_spot")?,
            events: counters("portreeve_events_total")?,
            lost: counters("portreeve_events_lost_total")?,
            drift: counters("portreeve_inventory_drift_total")?,
            snapshot_duration: float("portreeve_snapshot_duration_seconds")?,
            snapshot_time: float("portreeve_last_snapshot_timestamp_seconds")?,
            identity_incomplete: counters("portreeve_identity_incomplete_total")?,
            selftest: float("portreeve_selftest_last_success_timestamp_seconds")?,
            config_reload_successful: gauge("portreeve_config_last_reload_successful")?,
            config_reload_time: float("portreeve_config_last_reload_success_timestamp_seconds")?,
            registry_info: gauges("portreeve_registry_info")?,
            registry_records: gauge("portreeve_registry_records")?,
            series_limited: counters("portreeve_series_limited_total")?,
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

    /// The self-test saw its own listener.
    pub fn selftest_succeeded(&self, seconds: f64) {
        self.selftest.set(seconds);
    }

    /// What the page is made of now. Whoever asks puts it together without the lock that the pipeline waits for.
    pub fn page(&self) -> Page {
        Page {
            families: self.families.clone(),
            listeners: self.listeners.clone(),
            opened: self.opened.clone(),
            open: self.budget.listeners().collect(),
            newest: self.budget.newest().collect(),
            whole: Arc::clone(&self.whole),
        }
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

/// The content type of [`Page::text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

#[cfg(test)]
mod tests;
