//! The fields of all lines beside the table of them in docs/events.md: each has a row, with the lines it stands in, the types it
//! has, and its names in OpenTelemetry and ECS; and each row has a field.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    event::Source,
    policy::notice::{Notice, Subject},
};

/// Where a field stands and which types it had.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    kinds: BTreeSet<String>,
    types: BTreeSet<&'static str>,
}

/// Keys of these are chosen by whoever configures the host.
const OPEN: [&str; 2] = ["labels", "annotations"];

fn collect(value: &Value, path: &str, kind: &str, seen: &mut BTreeMap<String, Seen>) {
    let kind_of_value = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    if !path.is_empty() && !path.ends_with("[]") {
        let field = seen.entry(path.to_owned()).or_default();
        field.kinds.insert(kind.to_owned());
        field.types.insert(kind_of_value);
    }
    match value {
        Value::Object(object) if !OPEN.contains(&path) => {
            for (key, below) in object {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                collect(below, &path, kind, seen);
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect(item, &format!("{path}[]"), kind, seen)),
        _ => {}
    }
}

/// A port of which a row has this column.
fn port_with(column: impl Fn(&Registration<'_>) -> bool) -> u16 {
    let registry = crate::registry::Registry::embedded();
    let mut ports = 1..=u16::MAX;
    ports
        .find(|port| registry.lookup(Protocol::Tcp.into(), *port).any(|row| column(&row)))
        .unwrap()
}

/// Lines of every kind, each once with all that can be known and once with as little as there can be.
fn all_lines() -> Vec<String> {
    let clock = Clock::read();
    let pod = Pod {
        name: "web".to_owned(),
        namespace: "shop".to_owned(),
    };
    let in_container = |pod_uid: Option<&str>, pod: Option<Pod>| ProcessIdentity {
        container: Some(Container {
            runtime: Runtime::Containerd,
            id: "1f2e".to_owned(),
            pod_uid: pod_uid.map(str::to_owned),
            image: pod.is_some().then(|| "registry.example.com/web:7".to_owned()),
            pod,
        }),
        ..python()
    };
    let bare = || ProcessIdentity {
        missing: Missing::ALL.to_vec(),
        ..ProcessIdentity::default()
    };
    let mut lines = Vec::new();
    for kind in [Kind::Listen, Kind::Unlisten, Kind::Bind, Kind::Connect, Kind::Accept] {
        let mut full = of_kind(kind);
        full.socket.cookie = Some(7);
        full.holder = (900, "sh".to_owned());
        let mut full_report = report_of(&full, in_container(Some("8c2f"), Some(pod.clone())));
        full_report.socket_unit = Some(SocketUnit {
            unit: "ssh.socket".to_owned(),
            service: "ssh.service".to_owned(),
        });
        full_report.name_matches = full_report.name_matches.or(Some(false));
        lines.push(line_of(&full, &full_report));
        let failed = Event {
            outcome: Outcome::Failed(Some(98)),
            ..full.clone()
        };
        lines.push(line_of(&failed, &report_of(&failed, in_container(None, None))));
        let mut v6 = listen_at("::", 50_000);
        (v6.kind, v6.peer) = (kind, full.peer);
        v6.outcome = Outcome::Unconfirmed;
        v6.source = Source::Tables;
        v6.socket.protocol = Protocol::Udp;
        v6.socket.port = 0;
        lines.push(line_of(&v6, &report_of(&v6, bare())));
        v6.socket.protocol = Protocol::Tcp;
        v6.opener.tgid = 0;
        lines.push(line_of(&v6, &report_of(&v6, bare())));
        for port in [
            port_with(|row| row.unauthorized_use().is_some()),
            port_with(|row| row.reference().is_some()),
            port_with(|row| row.registered().is_some()),
            port_with(|row| row.modified().is_some()),
            port_with(|row| row.service().is_none() && row.unauthorized_use().is_some()),
            port_with(|row| row.description().is_none()),
        ] {
            let mut event = listen_on(port);
            event.kind = kind;
            lines.push(line_of(&event, &report_of(&event, python())));
        }
    }
    let known = alert(1);
    let mut thin = alert(1);
    thin.notice = std::sync::Arc::new(Notice {
        listener: Subject::default(),
        ..(*known.notice).clone()
    });
    let mut all = super::lines();
    lines.extend([
        all.alert(&known, clock),
        all.alert(&thin, clock),
        all.alert_resolved(&known, 2, clock),
        all.lost("ring_listen", 1, 2, clock),
        all.drift("missed", 1, 2, clock),
    ]);
    lines
}

/// What the table means by the lines of a field.
fn kinds_of(words: &str) -> BTreeSet<String> {
    let socket = ["listen", "unlisten", "bind", "connect", "accept"];
    let all = words.split(", ").flat_map(|word| match word {
        "all" => [&socket[..], &["alert", "alert_resolved", "lost", "drift"]].concat(),
        "socket" => socket.to_vec(),
        kind => vec![kind],
    });
    all.map(str::to_owned).collect()
}

#[test]
fn every_field_of_every_line_is_in_the_table_with_its_lines_and_types_and_no_other_is() {
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    for line in all_lines() {
        let line = value(&line);
        let kind = line["event"].as_str().unwrap().to_owned();
        collect(&line, "", &kind, &mut seen);
    }
    let page = include_str!("../../../docs/events.md");
    let (_, section) = page.split_once("\n## Names in OpenTelemetry and ECS\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut documented = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, key, kinds, types, otel, ecs, _] = cells[..] else {
            panic!("a row of another shape: {row}")
        };
        for name in [otel, ecs] {
            assert!(name == "none" || name.contains('`'), "{row}");
        }
        let key = key.trim_matches('`');
        let types = types.split(" or ").map(|word| {
            let known = ["null", "boolean", "integer", "string", "list", "object"];
            *known
                .iter()
                .find(|known| **known == word)
                .unwrap_or_else(|| panic!("{word}: {row}"))
        });
        let field = Seen {
            kinds: kinds_of(kinds),
            types: types.collect(),
        };
        assert!(documented.insert(key.to_owned(), field).is_none(), "twice: {key}");
    }
    for (key, field) in &seen {
        assert_eq!(documented.get(key), Some(field), "{key}");
    }
    let unknown: Vec<_> = documented.keys().filter(|key| !seen.contains_key(*key)).collect();
    assert!(unknown.is_empty(), "no line has {unknown:?}");
}

#[test]
fn every_field_is_explained_where_its_object_is() {
    let page = include_str!("../../../docs/events.md");
    for line in all_lines() {
        let mut seen = BTreeMap::new();
        collect(&value(&line), "", "", &mut seen);
        for path in seen.keys() {
            let key = path.rsplit('.').next().unwrap();
            let (explained, _) = page.split_once("\n## Names in OpenTelemetry and ECS\n").unwrap();
            assert!(explained.contains(&format!("`{key}`")), "{path}");
        }
    }
}
