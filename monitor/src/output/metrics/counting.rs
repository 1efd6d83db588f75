//! What each event does to the metrics.

use std::sync::Arc;

use prometheus::IntCounterVec;

use super::{
    Metrics,
    budget::{ListenerSeries, OTHER, Place},
    ports::{self, EPHEMERAL},
};
use crate::{
    event::{Event, Kind, Outcome, Protocol, errno_name},
    output::{Origin, Report, events::result_of},
    registry::Registry,
};

/// Families whose series come from the budget and outlive what they count.
const LISTENS: &str = "portreeve_listens_total";
const CONNECTS: &str = "portreeve_connects_total";
const ACCEPTS: &str = "portreeve_accepts_total";

/// The descriptions of ports, whose number is bounded as well.
const PORT_INFO: &str = "portreeve_port_info";

/// Seconds between two looks for stale series.
const STALE_LOOK: u64 = 60;

impl Metrics {
    /// A call succeeded, failed, or ended nobody knows how; every kind but the end of a listener.
    pub fn happened(&mut self, event: &Event, report: &Report) {
        let protocol = event.socket.protocol;
        let (result, errno) = result_of(event.outcome);
        let result = result.unwrap_or("unknown");
        let subject = event.subject();
        let port = self.port_label(event, report);
        let watched = self.is_watched(protocol, subject.port);
        let mut count = |metric: &'static str, family: &IntCounterVec, last: Option<&str>| {
            let labels = |process: &str| {
                let labels = [protocol.as_str(), &port, process].into_iter().chain(last);
                labels.map(str::to_owned).collect::<Vec<_>>()
            };
            let place = self.budget.count(metric, watched, labels(&report.label), labels(OTHER));
            count_limited(&self.series_limited, metric, &place);
            if let Place::Own(labels) | Place::Folded(labels) = place {
                family.with_label_values(&labels).inc();
            }
        };
        match event.kind {
            Kind::Listen => count(LISTENS, &self.listens, Some(result)),
            Kind::Connect if protocol == Protocol::Tcp => {
                count(CONNECTS, &self.connects, Some(connect_result(event.outcome)));
            }
            Kind::Accept => count(ACCEPTS, &self.accepts, None),
            Kind::Bind => {
                let errno = errno.unwrap_or_default();
                self.binds.with_label_values(&[protocol.as_str(), result, &errno]).inc();
                if watched {
                    let port = subject.port.to_string();
                    self.watched_binds
                        .with_label_values(&[protocol.as_str(), &port, result])
                        .inc();
                }
            }
            _ => {}
        }
        for missing in report.missing(event) {
            self.identity_incomplete.with_label_values(&[missing]).inc();
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
    ) -> Option<Arc<ListenerSeries>> {
        let (protocol, number) = (event.socket.protocol, event.socket.port);
        // One that was there before is no new listen, so that a restart never counts; one that a look found later is.
        if self.is_watched(protocol, number) && report.origin != Origin::Existing {
            let labels = [protocol.as_str(), &number.to_string()];
            self.watched_listens.with_label_values(&labels).inc();
        }
        self.shown(event, report, registry, seconds)
    }

    /// A listener is there: what the gauges show of it. What comes back is handed to [`Metrics::closed`].
    pub fn shown(
        &mut self,
        event: &Event,
        report: &Report,
        registry: &Registry,
        seconds: f64,
    ) -> Option<Arc<ListenerSeries>> {
        let (protocol, number) = (event.socket.protocol, event.socket.port);
        let watched = self.is_watched(protocol, number);
        if watched {
            let labels = [protocol.as_str(), &number.to_string()];
            self.watched_listeners.with_label_values(&labels).inc();
        }
        let port = self.port_label(event, report);
        if port != EPHEMERAL && !watched {
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
            watched,
        };
        let place = self.budget.open(series(&report.label), series(OTHER), seconds);
        self.placed("portreeve_listeners", place)
    }

    /// So late it is, in seconds on a clock that only goes forward. Once a minute stale series go, where there are many.
    pub fn tick(&mut self, now: u64, registry: &Registry) {
        self.budget.at(now);
        if !now.is_multiple_of(STALE_LOOK) {
            return;
        }
        for (metric, labels) in self.budget.forget_counters() {
            let family = match metric {
                LISTENS => &self.listens,
                CONNECTS => &self.connects,
                _ => &self.accepts,
            };
            // One that is not there is none to take out.
            let _ = family.remove_label_values(&labels);
        }
        for port in self.budget.forget_ports() {
            self.describe_no_more(registry, port);
        }
    }

    /// Another registry is in use from now on; the listeners are told by [`Metrics::shown`].
    pub fn registry_in_use(&self, registry: &Registry) {
        let source = registry.source();
        self.registry_info.reset();
        self.registry_info.with_label_values(&[source.name, source.date]).set(1);
        self.registry_records
            .set(i64::try_from(registry.records()).unwrap_or(i64::MAX));
        self.port_info.reset();
        for (protocol, port) in &self.watched {
            self.describe_port(registry, *protocol, *port);
        }
        for (protocol, port) in self.budget.described() {
            self.describe_port(registry, protocol, port);
        }
    }

    /// A listener ended. Its series goes with the last of them.
    pub fn closed(&mut self, event: &Event, series: Option<&ListenerSeries>) {
        let (protocol, port) = (event.socket.protocol, event.socket.port);
        if self.is_watched(protocol, port) {
            self.watched_listeners
                .with_label_values(&[protocol.as_str(), &port.to_string()])
                .dec();
        }
        if let Some(series) = series {
            self.budget.close(series);
        }
    }

    /// Whether the port has series of its own.
    fn is_watched(&self, protocol: Protocol, port: u16) -> bool {
        self.watched.contains(&(protocol, port))
    }

    fn port_label(&self, event: &Event, report: &Report) -> String {
        let port = event.subject().port;
        let chosen = event.socket.automatic && !matches!(event.kind, Kind::Connect | Kind::Accept);
        // Connects and accepts are reported of named ports alone.
        let named = !chosen && matches!(event.kind, Kind::Connect | Kind::Accept);
        let watched = self.is_watched(event.socket.protocol, port);
        ports::label(
            port,
            chosen,
            named || watched || !report.findings.is_empty(),
            self.ephemeral,
        )
    }

    fn describe_within_budget(&mut self, registry: &Registry, protocol: Protocol, port: u16) {
        let Some(gone) = self.budget.describe((protocol, port)) else {
            self.series_limited.with_label_values(&[PORT_INFO]).inc();
            return;
        };
        for port in gone {
            self.describe_no_more(registry, port);
        }
        self.describe_port(registry, protocol, port);
    }

    pub(super) fn describe_port(&self, registry: &Registry, protocol: Protocol, port: u16) {
        let labels = ports::described(registry, protocol, port);
        self.port_info.with_label_values(&labels).set(1);
    }

    fn describe_no_more(&self, registry: &Registry, (protocol, port): (Protocol, u16)) {
        // One that is not there is none to take out.
        let _ = self
            .port_info
            .remove_label_values(&ports::described(registry, protocol, port));
    }

    /// Counts what the budget refused; `None` where there is no series at all.
    fn placed<T>(&self, metric: &str, place: Place<T>) -> Option<T> {
        count_limited(&self.series_limited, metric, &place);
        match place {
            Place::Own(series) | Place::Folded(series) => Some(series),
            Place::LeftOut => None,
        }
    }
}

fn count_limited<T>(limited: &IntCounterVec, metric: &str, place: &Place<T>) {
    if !matches!(place, Place::Own(_)) {
        limited.with_label_values(&[metric]).inc();
    }
}

/// The outcome of a connect, as its metric names it.
fn connect_result(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "ok",
        Outcome::Failed(Some(errno)) => match errno_name(errno) {
            Some("ECONNREFUSED") => "refused",
            Some("ETIMEDOUT") => "timeout",
            Some("ENETUNREACH" | "EHOSTUNREACH" | "ENETDOWN" | "EHOSTDOWN") => "unreachable",
            _ => "error",
        },
        Outcome::Failed(None) | Outcome::Unconfirmed => "error",
    }
}
