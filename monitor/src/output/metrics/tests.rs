mod series;

use std::collections::{BTreeMap, BTreeSet};

use super::{budget::ListenerSeries, *};
use crate::{
    event::{Endpoint, Event, Outcome},
    identity::ProcessIdentity,
    kernel::{Attempt, Backend, Subject},
    output::Report,
    output::samples::{end_of, listen, listen_at, listen_on, policy, report, report_of},
    output::scrape::{Sample, scrape},
    policy::{Rule, Severity, Verdict},
    registry::{PortSpec, Transport},
};

fn text(metrics: &Metrics) -> String {
    String::from_utf8(metrics.page().text().unwrap()).unwrap()
}

fn samples(metrics: &Metrics) -> Vec<Sample> {
    scrape(&text(metrics))
}

/// The values of all series with this name and at least these labels.
fn values(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
    let has = |sample: &Sample| {
        labels
            .iter()
            .all(|(label, value)| sample.labels.get(*label).is_some_and(|found| found == value))
    };
    let found = samples(metrics).into_iter();
    found
        .filter(|sample| sample.name == format!("portreeve_{name}") && has(sample))
        .map(|sample| sample.value)
        .collect()
}

const EPHEMERAL_PORTS: Option<(u16, u16)> = Some((32_768, 60_999));

fn metrics_with(policy: &Policy, max_series: usize) -> Metrics {
    Metrics::new(policy, Registry::embedded(), max_series, EPHEMERAL_PORTS).unwrap()
}

fn metrics() -> Metrics {
    metrics_with(&policy(), 1_000)
}

/// What the pipeline does when a listen succeeded.
fn open(metrics: &mut Metrics, event: &Event, report: &Report, seconds: f64) -> Option<Arc<ListenerSeries>> {
    metrics.happened(event, report);
    metrics.opened(event, report, Registry::embedded(), seconds)
}

fn named(event: &Event, process: &str) -> Report {
    let mut event = event.clone();
    process.clone_into(&mut event.opener.comm);
    report_of(&event, ProcessIdentity::default())
}

const ON_1992: [(&str, &str); 2] = [("protocol", "tcp"), ("port", "1992")];

#[test]
fn what_increases_are_taken_of_stands_at_0_before_anything_happens() {
    let metrics = metrics();
    let dormant = |severity| vec![("rule", "dormant-port"), ("severity", severity)];
    let mut expected = vec![("selftest_last_success_timestamp_seconds", vec![])];
    for protocol in ["tcp", "udp"] {
        for port in ["1990", "1991", "1992", "1994"] {
            expected.push(("watched_port_listeners", vec![("protocol", protocol), ("port", port)]));
            expected.push((
                "watched_port_listens_total",
                vec![("protocol", protocol), ("port", port)],
            ));
        }
    }
    for severity in ["critical", "warning"] {
        expected.push(("alerts", dormant(severity)));
        expected.push(("alerts_fired_total", dormant(severity)));
    }
    expected.push(("alerts_held_back_total", vec![("rule", "dormant-port")]));
    for protocol in ["tcp", "udp"] {
        for port in ["1990", "1991", "1992", "1994"] {
            for result in ["ok", "error"] {
                let labels = vec![("protocol", protocol), ("port", port), ("result", result)];
                expected.push(("watched_port_binds_total", labels));
            }
        }
    }
    for kind in ["listen", "unlisten", "bind", "connect", "accept"] {
        expected.push(("events_total", vec![("event", kind)]));
        expected.push(("hook_runs_total", vec![("hook", kind)]));
    }
    let kernel_edges = [
        "ring_listen",
        "ring_unlisten",
        "ring_bind",
        "ring_connect",
        "ring_accept",
        "listeners_map",
        "udp_map",
        "calls_map",
        "connects_map",
    ];
    for edge in kernel_edges.iter().chain(&EDGES) {
        expected.push(("events_lost_total", vec![("edge", edge)]));
    }
    for field in ["exe", "cmdline", "user", "cgroup", "ancestors", "result", "errno"] {
        expected.push(("identity_incomplete_total", vec![("field", field)]));
    }
    for kind in DRIFT {
        expected.push(("inventory_drift_total", vec![("kind", kind)]));
    }
    for metric in BUDGETED {
        expected.push(("series_limited_total", vec![("metric", metric)]));
    }
    for kind in crate::history::KINDS {
        expected.push(("history_errors_total", vec![("kind", kind)]));
    }
    for (name, labels) in &expected {
        assert_eq!(values(&metrics, name, labels), [0.0], "{name} {labels:?}");
    }
    let zeros = samples(&metrics).iter().filter(|sample| sample.value == 0.0).count();
    // Nobody read a configuration, expects anything, looked at open files or wrote a history yet: six gauges more.
    assert_eq!(zeros, expected.len() + 6);
    for empty in ["listeners", "listens_total", "listener_opened_timestamp_seconds"] {
        assert!(values(&metrics, empty, &[]).is_empty(), "{empty}");
    }
    let both = [("registration", "stun-p3,ipsendmsg"), ("registrations", "2")];
    assert_eq!(values(&metrics, "port_info", &both), [1.0, 1.0], "tcp and udp");
    assert_eq!(
        values(&metrics, "registry_records", &[]),
        [Registry::embedded().records() as f64]
    );
}

#[test]
fn connects_binds_and_accepts_are_counted_by_port_and_outcome() {
    let mut metrics = metrics();
    let mut event = listen();
    event.kind = Kind::Connect;
    event.peer = Some(Endpoint {
        address: "10.0.0.5".parse().unwrap(),
        port: 1992,
    });
    event.socket.port = 40_000;
    for (errno, result) in [
        (None, "ok"),
        (Some(111), "refused"),
        (Some(110), "timeout"),
        (Some(101), "unreachable"),
        (Some(125), "error"),
    ] {
        event.outcome = errno.map_or(Outcome::Succeeded, |errno| Outcome::Failed(Some(errno)));
        metrics.happened(&event, &report(&event));
        let labels = [("port", "1992"), ("result", result)];
        assert_eq!(values(&metrics, "connects_total", &labels), [1.0], "{result}");
    }
    event.socket.protocol = Protocol::Udp;
    metrics.happened(&event, &report(&event));
    assert_eq!(
        values(&metrics, "connects_total", &[]).iter().sum::<f64>(),
        5.0,
        "a peer of UDP is no connection"
    );

    let mut event = listen_on(1992);
    event.kind = Kind::Accept;
    metrics.happened(&event, &report(&event));
    assert_eq!(values(&metrics, "accepts_total", &ON_1992), [1.0]);

    event.kind = Kind::Bind;
    event.outcome = Outcome::Failed(Some(98));
    metrics.happened(&event, &report(&event));
    assert_eq!(values(&metrics, "binds_total", &[("errno", "EADDRINUSE")]), [1.0]);
    let labels = [ON_1992[0], ON_1992[1], ("result", "error")];
    assert_eq!(values(&metrics, "watched_port_binds_total", &labels), [1.0]);
    assert!(values(&metrics, "listens_total", &[]).is_empty());
}

#[test]
fn misses_of_a_hook_add_up() {
    let mut metrics = metrics();
    for sum in [0, 3, 3, 5] {
        metrics.hooks_missed(&[("__inet_bind", sum)]);
        assert_eq!(
            values(&metrics, "hook_misses_total", &[("hook", "__inet_bind")]),
            [sum as f64]
        );
    }
}

/// Arms with one hook.
fn arm(metrics: &Metrics, backend: Backend, hook: &'static str) {
    let hook = HookState {
        hook,
        subject: Subject::Listens,
        backend,
        symbol: None,
        refusal: None,
        absent: false,
    };
    let attempt = Attempt {
        backend,
        hooks: vec![hook],
    };
    let service = Service::possible(std::slice::from_ref(&attempt), None).unwrap();
    metrics.armed(&service, &attempt.hooks, "6.1.0");
}

#[test]
fn what_the_agent_learns_of_itself_is_on_the_page() {
    let mut metrics = metrics();
    metrics.config_read(17.5);
    arm(&metrics, Backend::Tracepoint, "inet_sock_set_state");
    metrics.selftest_succeeded(18.5);
    metrics.arrived(Kind::Unlisten);
    metrics.lost("decode", 2);
    metrics.alert_fired("dormant-port", Severity::Critical);
    for (name, labels, value) in [
        ("config_last_reload_successful", vec![], 1.0),
        ("config_last_reload_success_timestamp_seconds", vec![], 17.5),
        ("probe_info", vec![("backend", "tracepoint"), ("kernel", "6.1.0")], 1.0),
        ("hook_attached", vec![("hook", "inet_sock_set_state")], 1.0),
        ("blind_spot", vec![("situation", "listen_errno")], 1.0),
        ("selftest_last_success_timestamp_seconds", vec![], 18.5),
        ("events_total", vec![("event", "unlisten")], 1.0),
        ("events_lost_total", vec![("edge", "decode")], 2.0),
        ("alerts_fired_total", vec![("severity", "critical")], 1.0),
    ] {
        assert_eq!(values(&metrics, name, &labels), [value], "{name} {labels:?}");
    }
    let policy = policy();
    let firing = [
        ("dormant-port", Severity::Critical),
        ("dormant-port", Severity::Critical),
    ];
    metrics.alerts_firing(&policy, firing.into_iter());
    assert_eq!(values(&metrics, "alerts", &[("severity", "critical")]), [2.0]);
    metrics.alerts_firing(&policy, firing.into_iter().take(0));
    assert_eq!(values(&metrics, "alerts", &[("severity", "critical")]), [0.0]);
    let unknown = Event {
        outcome: Outcome::Unconfirmed,
        ..listen()
    };
    let mut thin = report(&unknown);
    thin.process = ProcessIdentity {
        missing: vec![Missing::Exe],
        ..ProcessIdentity::default()
    }
    .into();
    metrics.happened(&unknown, &thin);
    assert_eq!(
        values(&metrics, "identity_incomplete_total", &[("field", "exe")]),
        [1.0]
    );
    assert_eq!(
        values(&metrics, "identity_incomplete_total", &[("field", "user")]),
        [0.0]
    );
}

#[test]
fn several_sockets_of_one_service_share_a_series_that_goes_with_the_last() {
    let mut metrics = metrics();
    let event = listen();
    let report = report(&event);
    let first = open(&mut metrics, &event, &report, 100.0);
    let second = open(&mut metrics, &event, &report, 200.0);
    // Its result became known late.
    let third = open(&mut metrics, &event, &report, 150.0);
    let labels = [
        ("protocol", "tcp"),
        ("port", "1992"),
        ("registration", "stun-p3,ipsendmsg"),
        ("scope", "wildcard"),
        ("netns", "host"),
        ("process", "python3.11"),
        ("verdict", "unexpected"),
    ];
    let opened = [
        ("protocol", "tcp"),
        ("port", "1992"),
        ("netns", "host"),
        ("process", "python3.11"),
    ];
    assert_eq!(values(&metrics, "listeners", &labels), [3.0]);
    assert_eq!(values(&metrics, "listener_opened_timestamp_seconds", &opened), [200.0]);
    for (series, left) in [(second, &[2.0][..]), (first, &[1.0]), (third, &[])] {
        metrics.closed(&event, series.as_deref());
        assert_eq!(values(&metrics, "listeners", &ON_1992), left);
        let timestamps = values(&metrics, "listener_opened_timestamp_seconds", &ON_1992);
        assert_eq!(timestamps.len(), left.len());
    }
    open(&mut metrics, &event, &report, 50.0);
    assert_eq!(values(&metrics, "listener_opened_timestamp_seconds", &opened), [50.0]);
}

#[test]
fn two_scopes_are_two_series_with_one_timestamp_that_stays_until_both_are_gone() {
    let mut metrics = metrics();
    let (any, local) = (listen(), listen_at("127.0.0.1", 1992));
    let first = open(&mut metrics, &any, &report(&any), 1.0);
    let second = open(&mut metrics, &local, &report(&local), 2.0);
    assert_eq!(values(&metrics, "listeners", &ON_1992), [1.0, 1.0]);
    metrics.closed(&any, first.as_deref());
    assert_eq!(values(&metrics, "listeners", &[("scope", "loopback")]), [1.0]);
    assert_eq!(values(&metrics, "listener_opened_timestamp_seconds", &ON_1992), [2.0]);
    metrics.closed(&local, second.as_deref());
    assert!(values(&metrics, "listener_opened_timestamp_seconds", &ON_1992).is_empty());
}

#[test]
fn the_watched_gauge_falls_and_the_watched_counter_stays() {
    let mut metrics = metrics();
    let (watched, other) = (listen(), listen_on(22));
    let series = open(&mut metrics, &watched, &report(&watched), 1.0);
    open(&mut metrics, &other, &report(&other), 1.0);
    assert_eq!(values(&metrics, "watched_port_listeners", &ON_1992), [1.0]);
    metrics.closed(&end_of(&watched), series.as_deref());
    assert_eq!(values(&metrics, "watched_port_listeners", &ON_1992), [0.0]);
    assert_eq!(values(&metrics, "watched_port_listens_total", &ON_1992), [1.0]);
    assert!(values(&metrics, "watched_port_listeners", &[("port", "22")]).is_empty());
}

#[test]
fn listens_are_counted_by_their_result() {
    let mut metrics = metrics();
    for (outcome, result) in [
        (Outcome::Succeeded, "ok"),
        (Outcome::Failed(Some(98)), "error"),
        (Outcome::Failed(None), "error"),
        (Outcome::Unconfirmed, "unknown"),
    ] {
        let event = Event { outcome, ..listen() };
        let count = |metrics: &Metrics| -> f64 { values(metrics, "listens_total", &[("result", result)]).iter().sum() };
        let before = count(&metrics);
        metrics.happened(&event, &report(&event));
        assert_eq!(count(&metrics) - before, 1.0, "{outcome:?}");
    }
    assert_eq!(values(&metrics, "listens_total", &ON_1992).iter().sum::<f64>(), 4.0);
    assert_eq!(
        values(&metrics, "identity_incomplete_total", &[("field", "result")]),
        [1.0]
    );
    assert_eq!(values(&metrics, "watched_port_listeners", &ON_1992), [0.0]);
}

#[test]
fn a_port_that_nobody_chose_is_ephemeral_unless_something_names_it() {
    let automatic = |port| {
        let mut event = listen_on(port);
        event.socket.automatic = true;
        event
    };
    let watch = PortSpec {
        transport: Some(Transport::Tcp),
        first: 40_000,
        last: 40_000,
    };
    let policy = Policy::new(vec![Rule::dormant_port(), Rule::watched(vec![watch])], Verdict::Unruled);
    for (event, label) in [
        (listen_on(22), "22"),
        (listen_on(32_767), "32767"),
        (listen_on(32_768), "ephemeral"),
        (listen_on(60_999), "ephemeral"),
        (listen_on(61_000), "61000"),
        (automatic(61_000), "ephemeral"),
        (automatic(22), "ephemeral"),
        (automatic(1992), "1992"),
        (listen_on(40_000), "40000"),
        (automatic(40_000), "40000"),
    ] {
        let mut metrics = metrics_with(&policy, 1_000);
        open(&mut metrics, &event, &report(&event), 1.0);
        for family in ["listeners", "listens_total", "listener_opened_timestamp_seconds"] {
            assert_eq!(values(&metrics, family, &[("port", label)]), [1.0], "{family} {label}");
        }
        if label == "ephemeral" {
            assert_eq!(values(&metrics, "listeners", &[("registration", "")]), [1.0]);
            assert!(values(&metrics, "port_info", &[("port", label)]).is_empty());
        }
    }
    let mut ruled = report(&listen_on(50_000));
    ruled.findings = report(&listen()).findings;
    let mut metrics = metrics();
    open(&mut metrics, &listen_on(50_000), &ruled, 1.0);
    assert_eq!(values(&metrics, "listeners", &[("port", "50000")]), [1.0]);
}

#[test]
fn names_stand_in_the_registrys_order_and_join_the_ports_description() {
    let mut metrics = metrics();
    for (port, names, count) in [
        (80, "http,www,www-http", "3"),
        (1992, "stun-p3,ipsendmsg", "2"),
        (4, "", "0"),
    ] {
        let event = listen_on(port);
        open(&mut metrics, &event, &report(&event), 1.0);
        let port = port.to_string();
        let labels = [("protocol", "tcp"), ("port", &port), ("registration", names)];
        assert_eq!(values(&metrics, "listeners", &labels), [1.0], "{port}");
        let labels = [labels.as_slice(), &[("registrations", count)]].concat();
        assert_eq!(values(&metrics, "port_info", &labels), [1.0], "{port}");
    }
}

const BUDGETED_SERIES: [&str; 4] = [
    "portreeve_listeners",
    "portreeve_listens_total",
    "portreeve_listener_opened_timestamp_seconds",
    "portreeve_port_info",
];

/// Series that count against the budget: those on watched ports, and all others.
fn budgeted(metrics: &Metrics) -> (usize, usize) {
    let all = samples(metrics).into_iter();
    let counted: Vec<_> = all
        .filter(|sample| BUDGETED_SERIES.contains(&sample.name.as_str()))
        .collect();
    let watched = ["1990", "1991", "1992", "1994"];
    let on_watched = counted
        .iter()
        .filter(|sample| watched.contains(&sample.labels["port"].as_str()));
    let on_watched = on_watched.count();
    (on_watched, counted.len() - on_watched)
}

#[test]
fn a_flood_of_names_and_ports_stays_below_the_budget_and_does_not_hide_1992() {
    let max = 200;
    let mut metrics = metrics_with(&policy(), max);
    let (fixed, _) = budgeted(&metrics);
    let flood: Vec<_> = (0..2_000_u16)
        .map(|number| {
            let event = listen_on(2_000 + number);
            let series = open(&mut metrics, &event, &named(&event, &format!("flood-{number}")), 1.0);
            (event, series)
        })
        .collect();
    let (_, others) = budgeted(&metrics);
    assert!(others <= max, "{others} series of {max}");
    assert!(others > max / 2, "{others}: most of the budget is there to be used");
    assert!(
        flood.iter().any(|(_, series)| series.is_none()),
        "the flood is larger than the budget"
    );
    assert!(!values(&metrics, "listeners", &[("process", "other")]).is_empty());
    for family in ["listeners", "listens_total", "port_info"] {
        let metric = format!("portreeve_{family}");
        let [limited] = values(&metrics, "series_limited_total", &[("metric", &metric)])[..] else {
            panic!("one series for {metric}")
        };
        assert!(limited > 1_000.0, "{metric}: {limited}");
    }

    let event = listen();
    open(&mut metrics, &event, &report(&event), 1.0);
    let python = [("port", "1992"), ("process", "python3.11")];
    for family in ["listeners", "listens_total", "listener_opened_timestamp_seconds"] {
        assert_eq!(values(&metrics, family, &python), [1.0], "{family}");
    }

    // A flood on the watched port itself: the names run out, the count does not.
    for number in 0..2_000 {
        open(&mut metrics, &event, &named(&event, &format!("flood-{number}")), 1.0);
    }
    let (watched, others_after) = budgeted(&metrics);
    assert!(watched <= fixed + max, "{watched} series of {max} and {fixed}");
    assert_eq!(others_after, others, "one flood leaves the other's budget alone");
    assert_eq!(values(&metrics, "listeners", &python), [1.0]);
    assert_eq!(
        values(&metrics, "listeners", &[("port", "1992")]).iter().sum::<f64>(),
        2_001.0
    );
    assert_eq!(
        values(&metrics, "listens_total", &[("port", "1992")])
            .iter()
            .sum::<f64>(),
        2_001.0
    );

    for (event, series) in flood {
        metrics.closed(&event, series.as_deref());
    }
    let (_, left) = budgeted(&metrics);
    assert!(left < others, "what closes gives its series back");
    assert!(values(&metrics, "listeners", &[("port", "2000")]).is_empty());
}

#[test]
fn without_any_budget_a_watched_port_is_still_shown_and_others_are_not() {
    let mut metrics = metrics_with(&policy(), 0);
    for (port, shown) in [("1992", &[1.0][..]), ("22", &[])] {
        let event = listen_on(port.parse().unwrap());
        open(&mut metrics, &event, &report(&event), 1.0);
        for family in ["listeners", "listens_total"] {
            assert_eq!(values(&metrics, family, &[("port", port)]), shown, "{family} {port}");
        }
    }
    assert_eq!(values(&metrics, "listeners", &[("process", "other")]), [1.0]);
}

#[test]
fn the_kernels_counters_add_up_and_only_what_is_new_is_reported() {
    let mut metrics = metrics();
    let lost = |listen, map| [("ring_listen", listen), ("ring_unlisten", 0), ("listeners_map", map)];
    for (runs, sums, reported) in [
        ([5, 1], lost(0, 0), vec![]),
        ([9, 4], lost(3, 0), vec![("ring_listen", 3)]),
        ([9, 4], lost(3, 0), vec![]),
        ([10, 4], lost(4, 2), vec![("ring_listen", 1), ("listeners_map", 2)]),
    ] {
        let [listens, unlistens] = runs;
        let losses = metrics.kernel_sums(&[("listen", listens), ("unlisten", unlistens)], &sums);
        assert_eq!(losses, reported);
        assert_eq!(
            values(&metrics, "hook_runs_total", &[("hook", "listen")]),
            [listens as f64]
        );
        assert_eq!(
            values(&metrics, "hook_runs_total", &[("hook", "unlisten")]),
            [unlistens as f64]
        );
        for (edge, sum) in sums {
            assert_eq!(
                values(&metrics, "events_lost_total", &[("edge", edge)]),
                [sum as f64],
                "{edge}"
            );
        }
    }
    assert!(metrics.kernel_counters(&KernelCounters::default()).is_empty());
}

#[test]
fn a_hostile_name_leaves_the_page_readable() {
    let mut metrics = metrics();
    let event = listen();
    for name in ["a\"b", "a\\", "a\nb", "}\n# HELP x", "\",port=\"22\"} 1"] {
        let mut hostile = named(&event, name);
        open(&mut metrics, &event, &hostile, 1.0);
        assert_eq!(
            values(&metrics, "listeners", &[("process", &hostile.label)]),
            [1.0],
            "{name:?}"
        );
        // Even where nobody escaped it before.
        hostile.label = format!("raw {name}");
        open(&mut metrics, &event, &hostile, 1.0);
        assert_eq!(
            values(&metrics, "listens_total", &[("process", &hostile.label)]),
            [1.0],
            "{name:?}"
        );
    }
    assert!(values(&metrics, "listeners", &[("port", "22")]).is_empty());
}

/// What the catalogue says of a family: type, labels, whether the series exist from the start.
type Described = (String, BTreeSet<String>, bool);

fn described() -> BTreeMap<String, Described> {
    let families = catalogue::FAMILIES.iter();
    let described = families.map(|family| {
        let labels = family.labels.iter().map(|label| (*label).to_owned()).collect();
        let from_start = family.exists.starts_with("from the start");
        (
            family.name.to_owned(),
            (family.kind.name().to_owned(), labels, from_start),
        )
    });
    described.collect()
}

#[test]
fn the_catalogue_has_every_metric_with_its_type_and_labels_and_no_other() {
    let mut metrics = metrics();
    metrics.receiver("alertmanager/127.0.0.1:9093");
    let names = |metrics: &Metrics| -> BTreeSet<_> { samples(metrics).into_iter().map(|it| it.name).collect() };
    let at_start = names(&metrics);
    arm(&metrics, Backend::Fexit, "inet_csk_listen_start");
    let event = listen();
    open(&mut metrics, &event, &report(&event), 1.0);
    for kind in [Kind::Bind, Kind::Connect, Kind::Accept] {
        let event = Event { kind, ..listen() };
        metrics.happened(&event, &report(&event));
    }
    metrics.hooks_ran(&[("inet_csk_listen_start", 2_500_000_000)]);
    assert_eq!(values(&metrics, "hook_seconds_total", &[]), [2.5]);
    let page = text(&metrics);
    let exported: BTreeMap<String, Described> = samples(&metrics)
        .into_iter()
        .map(|sample| {
            let prefix = format!("# TYPE {} ", sample.name);
            let kind = page.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap();
            let from_start = at_start.contains(&sample.name);
            let labels = sample.labels.into_keys().collect();
            (sample.name, (kind.to_owned(), labels, from_start))
        })
        .collect();
    assert_eq!(described(), exported);
}

#[test]
fn the_documentation_explains_every_edge_and_no_other() {
    let page = include_str!("../../../../docs/metrics.md");
    let (_, section) = page.split_once("\n## Edges\n").unwrap();
    let rows = section
        .split("\n## ")
        .next()
        .unwrap()
        .lines()
        .skip_while(|row| !row.starts_with("|-"));
    let explained: BTreeSet<_> = rows
        .filter_map(|row| row.strip_prefix("| `")?.split('`').next())
        .collect();
    let metrics = metrics();
    let all = samples(&metrics).into_iter();
    let lost = all.filter(|sample| sample.name == "portreeve_events_lost_total");
    let edges: Vec<_> = lost.map(|sample| sample.labels["edge"].clone()).collect();
    assert_eq!(explained, edges.iter().map(String::as_str).collect());
}

/// IANA's rows with a name of the site for one port.
fn registry_with(name: &str, port: u16) -> Arc<Registry> {
    use crate::registry::{Authority, Ports, overlay};
    let service = overlay::Service {
        name: name.to_owned(),
        ports: vec![Ports {
            first: port,
            last: port,
        }],
        transports: vec![Transport::Tcp],
        description: "The site's".to_owned(),
    };
    let table = overlay::table(&[service], Authority::Site).unwrap();
    Arc::new(Registry::builtin().with_names(vec![table]))
}

#[test]
fn another_registry_renames_what_listens_and_counts_nothing_anew() {
    let mut metrics = metrics();
    let registry = registry_with("our-proxy", 19_993);
    let before = |metrics: &Metrics| {
        (
            values(metrics, "watched_port_listens_total", &ON_1992),
            values(metrics, "listens_total", &[]),
        )
    };
    let mut kept = Vec::new();
    for port in [19_993, 1992] {
        let event = listen_on(port);
        kept.push((event.clone(), open(&mut metrics, &event, &report(&event), 7.0).unwrap()));
    }
    let counted = before(&metrics);
    metrics.reconfigure(&policy(), &policy(), &registry, 1_000);
    let mut renamed = Vec::new();
    for (event, _) in kept {
        let mut report = report(&event);
        report.registrations = report.registrations.again(&registry);
        let series = metrics.shown(&event, &report, &registry, 7.0).unwrap();
        renamed.push((event, series));
    }
    assert_eq!(before(&metrics), counted);
    let proxy = [("port", "19993"), ("registration", "our-proxy")];
    for family in ["listeners", "port_info"] {
        assert_eq!(values(&metrics, family, &proxy), [1.0], "{family}");
        assert_eq!(values(&metrics, family, &proxy[..1]), [1.0], "{family}");
    }
    assert_eq!(
        values(&metrics, "port_info", &[("port", "19993"), ("status", "assigned")]),
        [1.0]
    );
    let stun = [
        ("port", "1992"),
        ("protocol", "tcp"),
        ("registration", "stun-p3,ipsendmsg"),
    ];
    assert_eq!(values(&metrics, "listeners", &stun), [1.0]);
    assert_eq!(values(&metrics, "listener_opened_timestamp_seconds", &[]), [7.0, 7.0]);
    for (event, series) in renamed {
        metrics.closed(&event, Some(&*series));
    }
    assert_eq!(values(&metrics, "listeners", &[]), [0.0; 0]);
    assert_eq!(values(&metrics, "registry_info", &[]), [1.0]);
}

#[test]
fn another_configuration_takes_the_series_of_what_is_no_longer_ruled_and_keeps_the_others() {
    let mut metrics = metrics();
    let listen = listen_on(1992);
    open(&mut metrics, &listen, &report(&listen), 1.0);
    let tcp_and_udp = |port| PortSpec {
        transport: None,
        first: port,
        last: port,
    };
    let watched = Rule::watched(vec![tcp_and_udp(1992), tcp_and_udp(8080)]);
    let other = Policy::new(vec![watched], Verdict::Unruled);
    metrics.reconfigure(&policy(), &other, Registry::embedded(), 1_000);
    metrics.shown(&listen, &report(&listen), Registry::embedded(), 1.0);
    // Counted once, and shown once.
    assert_eq!(values(&metrics, "watched_port_listens_total", &ON_1992), [1.0]);
    assert_eq!(values(&metrics, "watched_port_listeners", &ON_1992), [1.0]);
    for (family, port, expected) in [
        ("watched_port_listens_total", "1990", &[][..]),
        ("watched_port_listeners", "1990", &[]),
        ("watched_port_binds_total", "1990", &[]),
        ("watched_port_listens_total", "8080", &[0.0, 0.0]),
    ] {
        assert_eq!(values(&metrics, family, &[("port", port)]), expected, "{family} {port}");
    }
    assert_eq!(values(&metrics, "alerts", &[("rule", "dormant-port")]), [0.0; 0]);
    assert_eq!(values(&metrics, "alerts", &[("rule", "watched-port")]), [0.0]);
    metrics.reconfigure(&other, &policy(), Registry::embedded(), 1_000);
    assert_eq!(values(&metrics, "watched_port_listeners", &ON_1992), [0.0]);
    assert_eq!(values(&metrics, "watched_port_listens_total", &ON_1992), [1.0]);
}

#[test]
fn no_series_carries_a_person() {
    let mut metrics = metrics();
    // Of ipsendmsg the registry names whom it was assigned to, and of each port here who is to be asked.
    for port in [1992, 80, 8080, 9595] {
        let event = listen_on(port);
        open(&mut metrics, &event, &report(&event), 1.0);
        for row in report(&event).registrations.iter() {
            for person in [row.assignee(), row.contact()].into_iter().flatten() {
                let name = person.trim_matches(['[', ']']);
                assert!(!text(&metrics).contains(name), "{name}");
                assert!(!text(&metrics).contains(&name.replace('_', " ")), "{name}");
            }
        }
    }
}
