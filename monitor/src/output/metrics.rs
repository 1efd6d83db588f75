//! The metrics page: the only place that uses prometheus.
//!
//! Names and labels are DESIGN's contract. Series of listeners come and go with them; what must exist for
//! `increase()` stands at 0 from the start. The number of series with a process in them is bounded.

use std::collections::HashMap;

use anyhow::{Context, Result};
use prometheus::{
    Encoder, Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry as Families, TextEncoder,
};

use super::{
    Report,
    events::{kind_name, result_of},
};
use crate::{
    event::{Event, Kind, Protocol},
    identity::Missing,
    kernel::{Backend, KernelCounters},
    policy::{Policy, Severity},
    registry::{Registry, Status, Transport},
};

/// Ports that get series of their own from the start.
const WATCHED_MAX: usize = 256;

/// What stands for a process once the budget is spent.
const OTHER: &str = "other";

/// What stands for a port that nobody chose.
const EPHEMERAL: &str = "ephemeral";

/// Edges at which user space can lose something.
pub const EDGES: [&str; 5] = ["decode", "pending", "inventory", "alerts", "stdout"];

/// All metrics of one agent.
pub struct Metrics {
    families: Families,
    max_series: usize,
    watched: Vec<(Protocol, u16)>,
    /// How many listeners stand behind each series of `listeners`, and behind each of `opened`.
    open: HashMap<ListenerSeries, i64>,
    newest: HashMap<[String; 4], i64>,
    /// Series that count against the budget and never go away.
    lasting: HashMap<&'static str, std::collections::HashSet<Vec<String>>>,
    kernel: KernelCounters,
    ephemeral: Option<(u16, u16)>,

    watched_listeners: IntGaugeVec,
    watched_listens: IntCounterVec,
    listeners: IntGaugeVec,
    opened: GaugeVec,
    listens: IntCounterVec,
    port_info: IntGaugeVec,
    alerts: IntGaugeVec,
    alerts_fired: IntCounterVec,
    build_info: IntGaugeVec,
    probe_info: IntGaugeVec,
    hook_attached: IntGaugeVec,
    hook_runs: IntCounterVec,
    blind_spot: IntGaugeVec,
    events: IntCounterVec,
    lost: IntCounterVec,
    identity_incomplete: IntCounterVec,
    results_unknown: IntCounterVec,
    selftest: Gauge,
    config_reload_successful: IntGauge,
    config_reload_time: Gauge,
    registry_info: IntGaugeVec,
    registry_records: IntGauge,
    series_limited: IntCounterVec,
}

/// The labels of `portreeve_listeners` for one listener, fixed when it opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerSeries {
    labels: [String; 7],
}

impl ListenerSeries {
    fn refs(&self) -> [&str; 7] {
        self.labels.each_ref().map(String::as_str)
    }

    /// The labels of `portreeve_listener_opened_timestamp_seconds`: protocol, port, netns, process.
    fn opened(&self) -> [String; 4] {
        let [protocol, port, _, _, netns, process, _] = self.labels.clone();
        [protocol, port, netns, process]
    }
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
        let metrics = Self {
            max_series,
            watched: watched_ports(policy),
            open: HashMap::new(),
            newest: HashMap::new(),
            lasting: HashMap::new(),
            kernel: KernelCounters::default(),
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
            identity_incomplete: counters(
                "portreeve_identity_incomplete_total",
                "Fields of a process's identity that could not be learned.",
                &["field"],
            )?,
            results_unknown: counters(
                "portreeve_results_unknown_total",
                "Events that were reported although their result could not be learned.",
                &["event"],
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
                "Series that were folded into process=\"other\", or left out, because the budget was spent.",
                &["metric"],
            )?,
            families,
        };
        metrics.prepare(policy, registry);
        Ok(metrics)
    }

    /// The series that stand at 0 (or at 1) before anything happens.
    fn prepare(&self, policy: &Policy, registry: &Registry) {
        for (protocol, port) in &self.watched {
            let labels = [protocol.as_str(), &port.to_string()];
            self.watched_listeners.with_label_values(&labels).set(0);
            self.watched_listens.with_label_values(&labels).reset();
            self.describe_port(registry, *protocol, *port);
        }
        for rule in policy.rules() {
            for severity in [Some(rule.severity), rule.automatic_severity].into_iter().flatten() {
                let labels = [rule.name.as_str(), severity.as_str()];
                self.alerts.with_label_values(&labels).set(0);
                self.alerts_fired.with_label_values(&labels).reset();
            }
        }
        for kind in [Kind::Listen, Kind::Unlisten] {
            self.events.with_label_values(&[kind_name(kind)]).reset();
        }
        for (edge, _) in self.kernel.lost() {
            self.lost.with_label_values(&[edge]).reset();
        }
        for edge in EDGES {
            self.lost.with_label_values(&[edge]).reset();
        }
        for (hook, _) in self.kernel.runs() {
            self.hook_runs.with_label_values(&[hook]).reset();
        }
        for field in Missing::ALL {
            self.identity_incomplete.with_label_values(&[field.as_str()]).reset();
        }
        self.results_unknown
            .with_label_values(&[kind_name(Kind::Listen)])
            .reset();
        for metric in ["portreeve_listeners", "portreeve_listens_total", "portreeve_port_info"] {
            self.series_limited.with_label_values(&[metric]).reset();
        }
        self.build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION"), "1"])
            .set(1);
        let source = registry.source();
        self.registry_info.with_label_values(&[source.name, source.date]).set(1);
        self.registry_records
            .set(i64::try_from(registry.records()).unwrap_or(i64::MAX));
    }

    /// The configuration was read.
    pub fn config_read(&self, seconds: f64) {
        self.config_reload_successful.set(1);
        self.config_reload_time.set(seconds);
    }

    /// The probe is armed.
    pub fn armed(&self, backend: Backend, kernel: &str) {
        self.probe_info.with_label_values(&[backend.name(), kernel]).set(1);
        for hook in backend.hooks() {
            self.hook_attached.with_label_values(&[hook.name]).set(1);
        }
        for situation in backend.blind_spots() {
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

    /// The kernel side's counters stand here now. Returns what was lost since the last time, by edge.
    pub fn kernel_counters(&mut self, now: KernelCounters) -> Vec<(&'static str, u64)> {
        for ((hook, now), (_, before)) in now.runs().into_iter().zip(self.kernel.runs()) {
            self.hook_runs
                .with_label_values(&[hook])
                .inc_by(now.saturating_sub(before));
        }
        let mut losses = Vec::new();
        for ((edge, now), (_, before)) in now.lost().into_iter().zip(self.kernel.lost()) {
            let lost = now.saturating_sub(before);
            if lost > 0 {
                self.lost(edge, lost);
                losses.push((edge, lost));
            }
        }
        self.kernel = now;
        losses
    }

    /// The self-test saw its own listener.
    pub fn selftest_succeeded(&self, seconds: f64) {
        self.selftest.set(seconds);
    }

    /// The alerts that fire now.
    pub fn alerts_firing<'a>(&self, policy: &Policy, firing: impl Iterator<Item = (&'a str, Severity)>) {
        let mut counts: HashMap<(&str, Severity), i64> = HashMap::new();
        for rule in policy.rules() {
            for severity in [Some(rule.severity), rule.automatic_severity].into_iter().flatten() {
                counts.insert((&rule.name, severity), 0);
            }
        }
        for alert in firing {
            *counts.entry(alert).or_default() += 1;
        }
        for ((rule, severity), count) in counts {
            self.alerts.with_label_values(&[rule, severity.as_str()]).set(count);
        }
    }

    /// An alert fired.
    pub fn alert_fired(&self, rule: &str, severity: Severity) {
        self.alerts_fired.with_label_values(&[rule, severity.as_str()]).inc();
    }

    /// A listen succeeded, failed, or ended nobody knows how.
    pub fn listened(&mut self, event: &Event, report: &Report) {
        let (result, _) = result_of(event.outcome);
        let result = result.unwrap_or("unknown");
        let port = self.port_label(event, report);
        let exempt = self.is_watched(event.socket.protocol, event.socket.port);
        let labels = |process: &str| {
            [event.socket.protocol.as_str(), &port, process, result]
                .map(str::to_owned)
                .to_vec()
        };
        if let Some(labels) =
            self.admit_lasting("portreeve_listens_total", labels(&report.label), labels(OTHER), exempt)
        {
            self.listens.with_label_values(&labels).inc();
        }
        for missing in &report.process.missing {
            self.identity_incomplete.with_label_values(&[missing.as_str()]).inc();
        }
        if result == "unknown" {
            self.results_unknown.with_label_values(&[kind_name(event.kind)]).inc();
        }
    }

    /// A listener opened. What comes back is handed to [`Metrics::closed`] when it ends; `None` where the budget left
    /// no series for it.
    pub fn opened(
        &mut self,
        event: &Event,
        report: &Report,
        registry: &Registry,
        seconds: f64,
    ) -> Option<ListenerSeries> {
        let (protocol, number) = (event.socket.protocol, event.socket.port);
        let exempt = self.is_watched(protocol, number);
        if exempt {
            let labels = [protocol.as_str(), &number.to_string()];
            self.watched_listeners.with_label_values(&labels).inc();
            self.watched_listens.with_label_values(&labels).inc();
        }
        let port = self.port_label(event, report);
        if port != EPHEMERAL && !exempt {
            self.describe_within_budget(registry, protocol, number);
        }
        let registration = if port == EPHEMERAL {
            String::new()
        } else {
            report.names().join(",")
        };
        let netns = if report.host_netns { "host" } else { OTHER };
        let series = |process: &str| ListenerSeries {
            labels: [
                protocol.as_str(),
                &port,
                &registration,
                event.socket.scope().as_str(),
                netns,
                process,
                report.verdict.as_str(),
            ]
            .map(str::to_owned),
        };
        let series = self.admit_listener(series(&report.label), series(OTHER), exempt)?;
        *self.open.entry(series.clone()).or_default() += 1;
        self.listeners.with_label_values(&series.refs()).inc();
        let opened = series.opened();
        self.opened.with_label_values(&opened).set(seconds);
        *self.newest.entry(opened).or_default() += 1;
        Some(series)
    }

    /// A listener ended. Its series goes with the last of them.
    pub fn closed(&mut self, event: &Event, series: Option<&ListenerSeries>) {
        let (protocol, port) = (event.socket.protocol, event.socket.port);
        if self.is_watched(protocol, port) {
            self.watched_listeners
                .with_label_values(&[protocol.as_str(), &port.to_string()])
                .dec();
        }
        let Some(series) = series else { return };
        self.listeners.with_label_values(&series.refs()).dec();
        if is_last(&mut self.open, series) {
            // It is there: it was made when the first of them opened.
            let _ = self.listeners.remove_label_values(&series.refs());
        }
        let opened = series.opened();
        if is_last(&mut self.newest, &opened) {
            let _ = self.opened.remove_label_values(&opened);
        }
    }

    /// Whether the port has series of its own.
    fn is_watched(&self, protocol: Protocol, port: u16) -> bool {
        self.watched.contains(&(protocol, port))
    }

    fn port_label(&self, event: &Event, report: &Report) -> String {
        let port = event.socket.port;
        let in_range = self
            .ephemeral
            .is_some_and(|(first, last)| (first..=last).contains(&port));
        let named = self.is_watched(event.socket.protocol, port) || !report.findings.is_empty();
        if (event.socket.automatic || in_range) && !named {
            EPHEMERAL.to_owned()
        } else {
            port.to_string()
        }
    }

    fn describe_within_budget(&mut self, registry: &Registry, protocol: Protocol, port: u16) {
        let key = vec![protocol.as_str().to_owned(), port.to_string()];
        if self
            .admit_lasting("portreeve_port_info", key.clone(), key, false)
            .is_some()
        {
            self.describe_port(registry, protocol, port);
        }
    }

    fn describe_port(&self, registry: &Registry, protocol: Protocol, port: u16) {
        let transport = match protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
        };
        let rows: Vec<_> = registry.lookup(transport, port).collect();
        let named: Vec<_> = rows.iter().filter(|row| row.service().is_some()).collect();
        let join = |text: Vec<&str>, separator| text.join(separator);
        let names = join(named.iter().filter_map(|row| row.service()).collect(), ",");
        let descriptions = join(rows.iter().filter_map(|row| row.description()).collect(), "; ");
        let status = match rows.first().map(|row| row.status()) {
            Some(Status::Assigned) => "assigned",
            Some(Status::Reserved) => "reserved",
            Some(Status::Unassigned) | None => "unassigned",
        };
        let (port, count) = (port.to_string(), named.len().to_string());
        self.port_info
            .with_label_values(&[protocol.as_str(), &port, &names, &descriptions, status, &count])
            .set(1);
    }

    fn series_in_use(&self) -> usize {
        self.open.len() + self.newest.len() + self.lasting.values().map(|series| series.len()).sum::<usize>()
    }

    /// Within the budget the series itself, past it the one for `other`, and none where that would go on growing too.
    fn admit_listener(
        &mut self,
        series: ListenerSeries,
        other: ListenerSeries,
        exempt: bool,
    ) -> Option<ListenerSeries> {
        let used = self.series_in_use();
        if exempt || self.open.contains_key(&series) || used < self.max_series {
            return Some(series);
        }
        self.series_limited.with_label_values(&["portreeve_listeners"]).inc();
        (self.open.contains_key(&other) || used < self.max_series.saturating_mul(2)).then_some(other)
    }

    fn admit_lasting(
        &mut self,
        metric: &'static str,
        series: Vec<String>,
        other: Vec<String>,
        exempt: bool,
    ) -> Option<Vec<String>> {
        let used = self.series_in_use();
        let known = self.lasting.entry(metric).or_default();
        if exempt || known.contains(&series) {
            return Some(series);
        }
        if used < self.max_series {
            known.insert(series.clone());
            return Some(series);
        }
        self.series_limited.with_label_values(&[metric]).inc();
        if known.contains(&other) || (other != series && used < self.max_series.saturating_mul(2)) {
            known.insert(other.clone());
            return Some(other);
        }
        None
    }

    /// The page, in Prometheus's text format.
    pub fn page(&self) -> Result<Vec<u8>> {
        let mut page = Vec::with_capacity(64 * 1024);
        TextEncoder::new()
            .encode(&self.families.gather(), &mut page)
            .context("cannot write the metrics page")?;
        Ok(page)
    }
}

/// The content type of [`Metrics::page`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Takes one away; says whether it was the last.
fn is_last<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, i64>, key: &K) -> bool {
    let Some(count) = counts.get_mut(key) else { return false };
    *count -= 1;
    if *count > 0 {
        return false;
    }
    counts.remove(key);
    true
}

/// The ports that rules name, each with its protocols: the first 256.
fn watched_ports(policy: &Policy) -> Vec<(Protocol, u16)> {
    let mut watched = Vec::new();
    for rule in policy.rules() {
        for protocol in &rule.protocols {
            for spec in &rule.ports {
                for port in spec.first..=spec.last {
                    let named = crate::policy::covers(spec, *protocol, port);
                    if named && !watched.contains(&(*protocol, port)) {
                        watched.push((*protocol, port));
                        if watched.len() == WATCHED_MAX {
                            return watched;
                        }
                    }
                }
            }
        }
    }
    watched
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
