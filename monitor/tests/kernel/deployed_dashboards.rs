//! Every query of the dashboards in `deploy/grafana`, asked of a real Prometheus that scrapes a real agent.
//!
//! Variables are filled in as Grafana does it. On a host where nothing happens each panel must show something, if only a 0 or
//! a sentence; and once everything happens that the dashboards are about, no query may be empty.

use std::{
    fmt::Write as _,
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::net::{AddressFamily, SocketAddrV4, SocketType, bind, listen, socket, sockopt::set_ip_freebind};
use serde_json::Value;

use super::{
    BACKENDS, Named, Test,
    agent::{Agent, DEADLINE},
    listeners::free_port,
    prometheus_server::{Prometheus, wait},
    receivers::Outcome,
};

/// What is deployed.
const BOARDS: [(&str, &str); 2] = [
    (
        "fleet",
        include_str!("../../../deploy/grafana/dashboards/portreeve-fleet.json"),
    ),
    (
        "host",
        include_str!("../../../deploy/grafana/dashboards/portreeve-host.json"),
    ),
];

/// Watched ports of the built-in rule: one that is opened and closed, one that is open, one that nobody opens.
const SHORT: u16 = 1991;
const OPEN: u16 = 1992;
const NEVER: u16 = 1994;

/// An address for documentation, which no host has: what listens there is exposed, and nobody reaches it.
const ELSEWHERE: [u8; 4] = [192, 0, 2, 1];

/// How the sentence begins of a panel that has nothing to show where the recording rules are not loaded. Here they are.
const NOT_RECORDED: &str = "Nothing is recorded";

/// The step of ranges: above the scrape interval of the test's Prometheus.
const STEP: u64 = 2;

/// With a real Prometheus.
pub const WITH_PROMETHEUS: &[Named] = &[(
    "no_query_of_a_dashboard_is_empty_and_no_panel_where_nothing_happens",
    dashboards,
)];

/// A query, and where it stands.
struct Query {
    place: String,
    expression: String,
    instant: bool,
}

/// A panel: its queries, and whether it says a sentence where they have nothing.
struct Panel {
    queries: Vec<Query>,
    says_none: bool,
}

/// All panels of a dashboard; its marks are a panel that may be empty.
fn panels(name: &str, text: &str, filled: &dyn Fn(&str) -> String) -> Outcome<Vec<Panel>> {
    let board: Value = serde_json::from_str(text)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut panels = Vec::new();
    for panel in list(&board["panels"]).iter().filter(|panel| panel["type"] != "row") {
        let title = word(&panel["title"]);
        let queries = list(&panel["targets"]).into_iter().map(|target| Query {
            place: format!("{name}: {title} ({})", word(&target["refId"])),
            expression: filled(&word(&target["expr"])),
            instant: target["instant"] == true,
        });
        panels.push(Panel {
            queries: queries.collect(),
            says_none: panel["fieldConfig"]["defaults"]["noValue"]
                .as_str()
                .is_some_and(|sentence| !sentence.starts_with(NOT_RECORDED)),
        });
    }
    let marks = list(&board["annotations"]["list"]).into_iter();
    let marks = marks.filter(|mark| mark["builtIn"] != 1).map(|mark| Query {
        place: format!("{name}: mark {}", word(&mark["name"])),
        expression: filled(&word(&mark["target"]["expr"])),
        instant: false,
    });
    panels.push(Panel {
        queries: marks.collect(),
        says_none: true,
    });
    Ok(panels)
}

/// The queries of the variables, as paths of the API: `label_values(SERIES, LABEL)`.
fn variables(text: &str, filled: &dyn Fn(&str) -> String) -> Outcome<Vec<String>> {
    let board: Value = serde_json::from_str(text)?;
    let list = board["templating"]["list"].as_array().cloned().unwrap_or_default();
    let mut paths = Vec::new();
    for variable in list.iter().filter(|variable| variable["type"] == "query") {
        let query = variable["query"]["query"].as_str().unwrap_or_default();
        let inner = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'));
        let (series, label) = inner
            .and_then(|inner| inner.rsplit_once(", "))
            .ok_or_else(|| query.to_owned())?;
        paths.push(format!(
            "/api/v1/label/{label}/values?match[]={}",
            encoded(&filled(series))?
        ));
    }
    Ok(paths)
}

/// What Grafana puts in for variables. A host that is chosen is escaped where it can be one of several.
fn filled(cluster: &str, instance: &str, text: &str) -> String {
    let pattern = instance.replace('.', "\\\\.");
    text.replace("instance=\"$instance\"", &format!("instance=\"{instance}\""))
        .replace("$instance", if cluster == ".*" { ".*" } else { &pattern })
        .replace("$cluster", cluster)
        .replace("$port", ".*")
        .replace("$job", "portreeve")
        .replace("$__rate_interval", "10s")
        .replace("$__range", "1m")
        .replace("$__interval", &format!("{STEP}s"))
}

/// A text as a part of a path.
fn encoded(text: &str) -> Outcome<String> {
    let mut encoded = String::new();
    for byte in text.bytes() {
        write!(encoded, "%{byte:02X}")?;
    }
    Ok(encoded)
}

fn is_empty(prometheus: &Prometheus, query: &Query) -> Outcome<bool> {
    let expression = encoded(&query.expression)?;
    let path = if query.instant {
        format!("/api/v1/query?query={expression}")
    } else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        format!(
            "/api/v1/query_range?query={expression}&start={}&end={now}&step={STEP}",
            now.saturating_sub(60)
        )
    };
    let answer = prometheus
        .get(&path)
        .map_err(|error| format!("{}: {error}", query.place))?;
    let answer: Value = serde_json::from_str(&answer)?;
    Ok(answer["data"]["result"].as_array().is_none_or(Vec::is_empty))
}

fn all_are_empty(prometheus: &Prometheus, queries: &[Query]) -> Outcome<bool> {
    for query in queries {
        if !is_empty(prometheus, query)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Which panels show nothing.
fn silent(prometheus: &Prometheus, panels: &[Panel]) -> String {
    let silent = panels
        .iter()
        .filter(|panel| !panel.says_none && all_are_empty(prometheus, &panel.queries).unwrap_or(true));
    let places: Vec<_> = silent
        .filter_map(|panel| Some(panel.queries.first()?.place.as_str()))
        .collect();
    places.join("; ")
}

/// What somebody does on a host, once: an unexpected listener that is gone at once, refused calls, connections.
fn something_happens() -> Test {
    drop(opened(SHORT)?);
    if TcpListener::bind(("127.0.0.1", OPEN)).is_ok() {
        return Err(format!("{OPEN} can be opened twice").into());
    }
    drop(TcpStream::connect(("127.0.0.1", OPEN))?);
    if TcpStream::connect(("127.0.0.1", NEVER)).is_ok() {
        return Err(format!("somebody listens on {NEVER}").into());
    }
    Ok(())
}

fn opened(port: u16) -> Outcome<TcpListener> {
    Ok(TcpListener::bind(("127.0.0.1", port)).map_err(|error| format!("cannot listen on {port}: {error}"))?)
}

/// A listener that others could reach, if its address were this host's.
fn exposed() -> Outcome<OwnedFd> {
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    set_ip_freebind(&listener, true)?;
    bind(&listener, &SocketAddrV4::new(ELSEWHERE.into(), 0))?;
    listen(&listener, 1)?;
    Ok(listener)
}

fn dashboards() -> Test {
    let port = free_port()?;
    let backend = BACKENDS
        .into_iter()
        .find(|backend| super::attaches(backend))
        .ok_or("no backend attaches here")?;
    let _agent = Agent::start(backend, &["--web.listen-address", &format!("127.0.0.1:{port}")])?;
    let prometheus = Prometheus::start(port)?;
    prometheus.wait_for_scrapes()?;

    let instance = format!("127.0.0.1:{port}");
    let (mut all, mut choices) = (Vec::new(), Vec::new());
    // All hosts, and this one.
    for cluster in [".*", "eu"] {
        for (name, text) in BOARDS {
            let filled = |text: &str| filled(cluster, &instance, text);
            all.extend(panels(name, text, &filled)?);
            choices.extend(variables(text, &filled)?);
        }
    }
    for path in &choices {
        let answer: Value = serde_json::from_str(&prometheus.get(path)?)?;
        if answer["data"].as_array().is_none_or(Vec::is_empty) {
            return Err(format!("a variable has nothing to choose from: {path}").into());
        }
    }
    wait("every panel shows something where nothing happens", || {
        for panel in all.iter().filter(|panel| !panel.says_none) {
            if all_are_empty(&prometheus, &panel.queries)? {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .map_err(|error| format!("{error}; {}", silent(&prometheus, &all)))?;

    let (_open, _exposed) = (opened(OPEN)?, exposed()?);
    let mut left: Vec<&Query> = all.iter().flat_map(|panel| &panel.queries).collect();
    let count = left.len();
    let end = Instant::now() + 2 * DEADLINE;
    while !left.is_empty() {
        if Instant::now() > end {
            let places: Vec<_> = left
                .iter()
                .map(|query| format!("{}: {}", query.place, query.expression))
                .collect();
            return Err(format!("{} of {count} queries stay empty:\n{}", left.len(), places.join("\n")).into());
        }
        something_happens()?;
        // One that scrapes see, for longer than a mark looks back, and then its end.
        let seen = opened(SHORT)?;
        thread::park_timeout(Duration::from_millis(2_500));
        drop(seen);
        thread::park_timeout(Duration::from_millis(1_200));
        let mut still = Vec::new();
        for query in left {
            if is_empty(&prometheus, query)? {
                still.push(query);
            }
        }
        left = still;
    }
    eprintln!("{count} queries of dashboards have an answer");
    Ok(())
}
