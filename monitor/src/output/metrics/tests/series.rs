//! How many series there are, of hosts as they are found, and that what is stale makes room.

use super::*;

/// The hooks of the backend `fexit` on Linux 6.1.
const HOOKS: [(&str, Subject); 11] = [
    ("inet_csk_listen_start", Subject::Listens),
    ("inet_csk_listen_stop", Subject::Listens),
    ("__inet_bind", Subject::Binds),
    ("__inet6_bind", Subject::Binds),
    ("udp_lib_unhash", Subject::Binds),
    ("__ip4_datagram_connect", Subject::Binds),
    ("__ip6_datagram_connect", Subject::Binds),
    ("tcp_v4_connect", Subject::Connects),
    ("tcp_v6_connect", Subject::Connects),
    ("inet_sock_set_state", Subject::Connects),
    ("inet_csk_accept", Subject::Accepts),
];

/// An agent with the built-in rule and one Alertmanager, armed.
fn running() -> Metrics {
    let metrics = metrics();
    metrics.receiver("alertmanager/127.0.0.1:9093");
    let hooks = HOOKS.map(|(hook, subject)| HookState {
        hook,
        subject,
        backend: Backend::Fexit,
        symbol: None,
        refusal: None,
        absent: false,
    });
    let attempt = Attempt {
        backend: Backend::Fexit,
        hooks: hooks.to_vec(),
    };
    let service = Service::possible(std::slice::from_ref(&attempt), None).unwrap();
    metrics.armed(&service, &attempt.hooks, "6.1.0");
    metrics
}

/// A program that began to listen while the agent ran.
fn service(metrics: &mut Metrics, address: &str, protocol: Protocol, port: u16, process: &str, host: bool) {
    let mut event = listen_at(address, port);
    event.socket.protocol = protocol;
    let report = Report {
        host_netns: host,
        ..named(&event, process)
    };
    open(metrics, &event, &report, 1.0);
}

/// 16 services on IPv4 and IPv6, 5 on loopback alone, and 3 UDP sockets.
fn forty_listeners(metrics: &mut Metrics) {
    let both = [
        22, 25, 80, 111, 139, 143, 443, 445, 587, 631, 993, 3000, 5432, 8080, 9090, 9100,
    ];
    for port in both {
        for address in ["0.0.0.0", "::"] {
            service(metrics, address, Protocol::Tcp, port, &format!("server-{port}"), true);
        }
    }
    for port in [53, 953, 3306, 6379, 11211] {
        service(
            metrics,
            "127.0.0.1",
            Protocol::Tcp,
            port,
            &format!("server-{port}"),
            true,
        );
    }
    for port in [53, 68, 123] {
        service(metrics, "0.0.0.0", Protocol::Udp, port, &format!("server-{port}"), true);
    }
}

/// The node's own 12, and 110 pods in namespaces of their own: 40 programs on 25 ports, each with its metrics on one of 5 more.
fn node(metrics: &mut Metrics) {
    let own = [
        22, 111, 179, 2379, 6443, 9100, 10_248, 10_249, 10_250, 10_256, 10_257, 10_259,
    ];
    for port in own {
        service(metrics, "::", Protocol::Tcp, port, &format!("server-{port}"), true);
    }
    for pod in 0..110_u16 {
        let process = format!("app-{}", pod % 40);
        service(metrics, "::", Protocol::Tcp, 8_000 + pod % 25, &process, false);
        service(metrics, "::", Protocol::Tcp, 9_400 + pod % 5, &process, false);
    }
}

/// More names and ports than any budget has room for, on watched ports and elsewhere.
fn flooded(metrics: &mut Metrics) {
    for number in 0..3_000 {
        let process = format!("flood-{number}");
        service(metrics, "0.0.0.0", Protocol::Tcp, 1992, &process, true);
        service(metrics, "0.0.0.0", Protocol::Tcp, 2_000 + number, &process, true);
    }
}

fn with_commas(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[test]
fn the_documentation_says_how_many_series_hosts_have() {
    let count = |fill: fn(&mut Metrics)| {
        let mut metrics = running();
        fill(&mut metrics);
        samples(&metrics).len()
    };
    let rows: Vec<String> = [
        ("Nothing listens", count(|_| {})),
        ("A host with 40 listeners", count(forty_listeners)),
        ("A node with 110 pods", count(node)),
        ("Both budgets spent by a flood", count(flooded)),
    ]
    .map(|(host, series)| {
        format!(
            "| {host} | {} | {} |\n",
            with_commas(series),
            with_commas(3_000 * series)
        )
    })
    .to_vec();
    let page = include_str!("../../../../../docs/metrics.md");
    assert!(
        page.contains(&rows.concat()),
        "docs/metrics.md must say:\n{}",
        rows.concat()
    );
}

#[test]
fn counters_of_a_flood_that_is_over_make_room_after_an_hour() {
    let registry = Registry::embedded();
    let mut metrics = metrics_with(&policy(), 200);
    metrics.tick(60, registry);
    let steady = listen_on(22);
    let steady_series = open(&mut metrics, &steady, &report(&steady), 1.0);
    for number in 0..500_u16 {
        let event = listen_on(2_000 + number);
        let series = open(&mut metrics, &event, &named(&event, &format!("flood-{number}")), 1.0);
        metrics.closed(&event, series.as_deref());
    }
    // On the watched port too.
    for number in 0..500 {
        let event = listen();
        let series = open(&mut metrics, &event, &named(&event, &format!("flood-{number}")), 1.0);
        metrics.closed(&event, series.as_deref());
    }
    assert!(
        values(&metrics, "listeners", &[]) == [1.0],
        "gauges go with their listeners"
    );
    let fresh = listen_on(8080);
    let fresh_series = open(&mut metrics, &fresh, &named(&fresh, "fresh"), 1.0);
    // What listens now is shown, whatever there was before; a counter does not take another's past.
    assert_eq!(values(&metrics, "listeners", &[("process", "fresh")]), [1.0]);
    assert_eq!(values(&metrics, "port_info", &[("port", "8080")]), [1.0]);
    assert_eq!(
        values(&metrics, "port_info", &[("port", "22")]),
        [1.0],
        "open all the time"
    );
    assert_eq!(values(&metrics, "listens_total", &[("process", "fresh")]), [0.0; 0]);
    metrics.closed(&fresh, fresh_series.as_deref());

    metrics.tick(3_600, registry);
    assert!(values(&metrics, "listens_total", &[]).len() > 50, "an hour is not over");
    metrics.tick(3_720, registry);
    let left: f64 = values(&metrics, "listens_total", &[]).iter().sum();
    assert_eq!(left, 1.0, "that of the listener that is open");
    assert_eq!(values(&metrics, "port_info", &[("port", "22")]), [1.0]);
    assert_eq!(values(&metrics, "port_info", &[("port", "2000")]), [0.0; 0]);
    assert_eq!(
        values(&metrics, "port_info", &[("port", "1992")]),
        [1.0, 1.0],
        "a watched port stays"
    );
    assert_eq!(values(&metrics, "watched_port_listens_total", &ON_1992), [500.0]);
    open(&mut metrics, &fresh, &named(&fresh, "fresh"), 1.0);
    assert_eq!(values(&metrics, "listens_total", &[("process", "fresh")]), [1.0]);

    // Where there is room, nothing goes.
    metrics.closed(&steady, steady_series.as_deref());
    metrics.tick(100_020, registry);
    assert_eq!(values(&metrics, "listens_total", &[("port", "22")]), [1.0]);
}

/// The same listeners as before a reload, shown anew as the pipeline does it.
#[test]
fn a_reload_after_a_flood_leaves_every_listener_its_series() {
    let mut metrics = metrics_with(&policy(), 200);
    let mut listeners = Vec::new();
    for number in 0..37_u16 {
        let event = listen_on(3_000 + number);
        let report = named(&event, &format!("server-{number}"));
        let series = open(&mut metrics, &event, &report, 1.0).unwrap();
        assert!(!series.is_other(), "{number}");
        listeners.push((event, report));
    }
    for number in 0..500_u16 {
        let event = listen_on(4_000 + number);
        let series = open(&mut metrics, &event, &named(&event, &format!("flood-{number}")), 1.0);
        metrics.closed(&event, series.as_deref());
    }
    metrics.reconfigure(&policy(), &policy(), Registry::embedded(), 200);
    for (event, report) in &listeners {
        let series = metrics.shown(event, report, Registry::embedded(), 1.0).unwrap();
        assert!(!series.is_other(), "{report:?}");
        let port = event.socket.port.to_string();
        assert_eq!(values(&metrics, "port_info", &[("port", &port)]), [1.0], "{port}");
    }
}
