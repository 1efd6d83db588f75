#[path = "events_fields_tests.rs"]
mod fields;

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

use super::*;
use crate::{
    identity::{Container, Missing, Pod, ProcessIdentity, Runtime, SocketUnit},
    output::samples::{alert, end_of, listen, listen_at, listen_on, moment, python, report, report_of},
};

/// The keys of a socket's line, in the contract's order.
const KEYS: [&str; 38] = [
    "schema",
    "id",
    "host",
    "time",
    "event",
    "origin",
    "result",
    "errno",
    "protocol",
    "family",
    "address",
    "port",
    "automatic",
    "peer",
    "local",
    "scope",
    "dual_stack",
    "backlog",
    "reuseport",
    "mptcp",
    "reason",
    "netns",
    "host_netns",
    "socket",
    "cookie",
    "process",
    "holder",
    "kernel_thread",
    "container",
    "unit",
    "service",
    "cgroup",
    "package",
    "registry",
    "name_matches_process",
    "verdict",
    "rule",
    "missing",
];

/// The keys of a JSON object in the order in which they stand there.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Keys;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, IgnoredAny)) = map.next_entry()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn keys(line: &str) -> Vec<String> {
    serde_json::from_str::<Keys>(line).unwrap().0
}

fn value(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

fn lines() -> Lines {
    Lines::new("web-7".to_owned(), "7f1c".to_owned())
}

fn line_of(event: &Event, report: &Report) -> String {
    lines().socket(event, report, Clock::read())
}

/// At 03:20 by python3, which has run for 1.5 s.
fn listen_at_the_moment(clock: Clock) -> Event {
    let mut event = listen();
    event.time = moment(clock, 123_456_789);
    event.opener.start_time = moment(clock, -1_500_000_000);
    event
}

#[test]
fn a_listen_on_1992_is_this_line() {
    let clock = Clock::read();
    let event = listen_at_the_moment(clock);
    assert_eq!(
        lines().socket(&event, &report(&event), clock),
        concat!(
            r#"{"schema":1,"id":"7f1c-1","host":"web-7","time":"2100-11-23T03:20:00.123456789Z","event":"listen","#,
            r#""origin":"event","result":"ok","errno":null,"protocol":"tcp","family":"ipv4","address":"0.0.0.0","#,
            r#""port":1992,"automatic":false,"peer":null,"local":null,"scope":"wildcard","dual_stack":null,"#,
            r#""backlog":5,"reuseport":false,"mptcp":false,"reason":null,"netns":4026531840,"host_netns":true,"socket":4711,"cookie":null,"#,
            r#""process":{"pid":812,"tid":813,"comm":"python3","thread":"pool-1","exe":"/usr/bin/python3.11","#,
            r#""exe_state":"file","cmdline":["python3","-m","http.server","1992"],"#,
            r#""started":"2100-11-23T03:19:58.500000000Z","uid":0,"user":"root","#,
            r#""ancestors":[{"pid":797,"comm":"bash"},{"pid":1,"comm":"systemd"}]},"#,
            r#""holder":null,"kernel_thread":false,"container":null,"unit":"session-3.scope","service":null,"#,
            r#""cgroup":"/user.slice/user-0.slice/session-3.scope","package":"python3.11-minimal","#,
            r#""registry":[{"source":"iana","service":"stun-p3","description":"cisco STUN Priority 3 port","note":null,"#,
            r#""unauthorized_use":null,"reference":null,"registered":null,"modified":null},"#,
            r#"{"source":"iana","service":"ipsendmsg","description":"IPsendmsg","#,
            r#""note":"This entry records an unassigned but widespread use","unauthorized_use":null,"#,
            r#""reference":null,"registered":null,"modified":null}],"#,
            r#""name_matches_process":false,"verdict":"unexpected","rule":"dormant-port","missing":[]}"#,
        )
    );
}

#[test]
fn the_end_of_it_names_opener_and_holder() {
    let clock = Clock::read();
    let opened = listen_at_the_moment(clock);
    let mut end = end_of(&opened);
    end.time = moment(clock, 2_000_000_000);
    end.holder = (900, "sh".to_owned());
    let mut lines = lines();
    let open_line = lines.socket(&opened, &report(&opened), clock);
    let expected = open_line
        .replace("7f1c-1", "7f1c-2")
        .replace("03:20:00.123456789", "03:20:02.000000000")
        .replace(r#""event":"listen""#, r#""event":"unlisten""#)
        .replace(r#""holder":null"#, r#""holder":{"pid":900,"comm":"sh"}"#);
    assert_eq!(lines.socket(&end, &report(&opened), clock), expected);
}

#[test]
fn every_key_of_the_contract_is_there_in_its_order_whatever_is_known() {
    let bare = ProcessIdentity {
        missing: Missing::ALL.to_vec(),
        ..ProcessIdentity::default()
    };
    let known = listen();
    let unknown = listen_on(50_000);
    let line = line_of(&unknown, &report_of(&unknown, bare));
    for line in [
        &line_of(&known, &report(&known)),
        &line_of(&end_of(&known), &report(&known)),
        &line,
    ] {
        assert_eq!(keys(line), KEYS, "{line}");
    }
    let line = value(&line);
    for nothing in [
        "/process/exe",
        "/process/exe_state",
        "/process/cmdline",
        "/process/user",
        "/process/ancestors",
        "/container",
        "/unit",
        "/cgroup",
        "/package",
        "/name_matches_process",
        "/rule",
    ] {
        assert_eq!(line.pointer(nothing), Some(&Value::Null), "{nothing}");
    }
    assert_eq!(
        line["missing"],
        serde_json::json!(["exe", "cmdline", "user", "cgroup", "ancestors"])
    );
    assert_eq!(line["registry"], serde_json::json!([]));
    assert_eq!(line["verdict"], "unruled");
}

#[test]
fn a_container_is_named_with_what_is_known_of_it() {
    let event = listen();
    let container = |pod_uid: Option<&str>, pod, image: Option<&str>| {
        let process = ProcessIdentity {
            container: Some(Container {
                runtime: Runtime::CriO,
                id: "1f2e".to_owned(),
                pod_uid: pod_uid.map(str::to_owned),
                pod,
                image: image.map(str::to_owned),
            }),
            ..python()
        };
        value(&line_of(&event, &report_of(&event, process)))["container"].clone()
    };
    let pod = Pod {
        name: "web".to_owned(),
        namespace: "default".to_owned(),
    };
    assert_eq!(
        container(Some("8c2f"), Some(pod), Some("registry.example.com/web:7")),
        serde_json::json!({
            "runtime": "cri-o", "id": "1f2e", "pod_uid": "8c2f", "pod": "web", "namespace": "default",
            "image": "registry.example.com/web:7"
        })
    );
    assert_eq!(
        container(None, None, None),
        serde_json::json!({
            "runtime": "cri-o", "id": "1f2e", "pod_uid": null, "pod": null, "namespace": null, "image": null
        })
    );
}

#[test]
fn the_unit_of_what_systemd_opened_is_the_socket_unit() {
    let event = listen();
    let mut report = report(&event);
    report.socket_unit = Some(SocketUnit {
        unit: "ssh.socket".to_owned(),
        service: "ssh.service".to_owned(),
    });
    assert_eq!(value(&line_of(&event, &report))["unit"], "ssh.socket");
}

#[test]
fn result_and_errno_say_how_it_went() {
    for (outcome, result, errno, missing) in [
        (Outcome::Succeeded, "\"ok\"", "null", "[]"),
        (Outcome::Failed(Some(98)), "\"error\"", "\"EADDRINUSE\"", "[]"),
        (Outcome::Failed(Some(4095)), "\"error\"", "\"4095\"", "[]"),
        (Outcome::Failed(None), "\"error\"", "null", "[\"errno\"]"),
        (Outcome::Unconfirmed, "null", "null", "[\"result\"]"),
    ] {
        let event = Event { outcome, ..listen() };
        let line = value(&line_of(&event, &report(&event)));
        let got = ["result", "errno", "missing"].map(|key| line[key].to_string());
        assert_eq!(got, [result, errno, missing], "{outcome:?}");
    }
}

#[test]
fn addresses_say_whom_the_listener_serves() {
    let mut v6only = listen_at("::", 1992);
    v6only.socket.v6only = true;
    for (event, family, scope, dual_stack) in [
        (listen_at("0.0.0.0", 1992), "ipv4", "wildcard", Value::Null),
        (listen_at("127.0.0.1", 1992), "ipv4", "loopback", Value::Null),
        (listen_at("192.0.2.7", 1992), "ipv4", "address", Value::Null),
        (listen_at("::", 1992), "ipv6", "wildcard", true.into()),
        (v6only, "ipv6", "wildcard", false.into()),
        (listen_at("::1", 1992), "ipv6", "loopback", Value::Null),
    ] {
        let line = value(&line_of(&event, &report(&event)));
        assert_eq!(line["address"], event.socket.address.to_string());
        assert_eq!((&line["family"], &line["scope"]), (&family.into(), &scope.into()));
        assert_eq!(line["dual_stack"], dual_stack, "{}", event.socket.address);
    }
}

#[test]
fn a_cookie_is_a_decimal_string_since_it_can_be_larger_than_a_double_holds() {
    let mut event = listen();
    event.socket.cookie = Some(u64::MAX);
    assert_eq!(
        value(&line_of(&event, &report(&event)))["cookie"],
        "18446744073709551615"
    );
}

#[test]
fn the_idle_task_is_no_holder() {
    let mut end = end_of(&listen());
    end.holder = (0, "swapper/0".to_owned());
    assert_eq!(value(&line_of(&end, &report(&end)))["holder"], Value::Null);
}

#[test]
fn a_hostile_name_is_data_on_one_line() {
    let mut event = listen();
    event.opener.comm = "a\"\n\\\u{1b}".to_owned();
    let line = line_of(&event, &report(&event));
    assert!(!line.contains(char::is_control));
    assert_eq!(value(&line)["process"]["comm"], "a\"\n\\\u{1b}");
}

#[test]
fn ids_count_up_over_all_kinds_of_lines() {
    let clock = Clock::read();
    let mut lines = lines();
    let event = listen();
    let stream = [
        lines.socket(&event, &report(&event), clock),
        lines.alert(&alert(1), clock),
        lines.lost("decode", 1, 2, clock),
        lines.alert_resolved(&alert(1), 2, clock),
        lines.socket(&end_of(&event), &report(&event), clock),
    ];
    let ids: Vec<_> = stream.iter().map(|line| value(line)["id"].to_string()).collect();
    assert_eq!(ids, (1..=5).map(|id| format!("\"7f1c-{id}\"")).collect::<Vec<_>>());
}

#[test]
fn alerts_and_losses_are_these_lines() {
    let clock = Clock::read();
    let (fired, over) = (moment(clock, 0), moment(clock, 900_000_000_000));
    let mut lines = lines();
    let listener = r#""listener":{"address":"0.0.0.0","host_netns":true,"socket":4711,"pid":812,"comm":"python3","exe":"/usr/bin/python3.11","exe_state":"file","uid":0,"user":"root"}"#;
    let about = r#""rule":"dormant-port","severity":"critical","protocol":"tcp","port":1992,"process":"python3.11","netns":4026531840"#;
    let line = lines.alert(&alert(fired), clock);
    let begin = format!(
        r#"{{"schema":1,"id":"7f1c-1","host":"web-7","time":"2100-11-23T03:20:00.000000000Z","event":"alert",{about},"summary":"python3.11 (uid 0 root) opened "#
    );
    assert!(line.starts_with(&begin), "{line}");
    assert!(
        line.contains(r#","labels":{"alertname":"DormantPort""#) && line.ends_with(&format!(",{listener}}}")),
        "{line}"
    );
    assert_eq!(
        lines.alert_resolved(&alert(fired), over, clock),
        format!(
            r#"{{"schema":1,"id":"7f1c-2","host":"web-7","time":"2100-11-23T03:35:00.000000000Z","event":"alert_resolved",{about},"fired":"2100-11-23T03:20:00.000000000Z"}}"#
        )
    );
    assert_eq!(
        lines.lost("ring_listen", 3, over, clock),
        r#"{"schema":1,"id":"7f1c-3","host":"web-7","time":"2100-11-23T03:35:00.000000000Z","event":"lost","edge":"ring_listen","count":3}"#
    );
}

/// The event on 1992, as another one, with another end.
fn of_kind(kind: Kind) -> Event {
    let mut event = listen();
    event.kind = kind;
    if matches!(kind, Kind::Connect | Kind::Accept) {
        event.peer = Some(Endpoint {
            address: "10.0.0.5".parse().unwrap(),
            port: 8080,
        });
    }
    event
}

#[test]
fn a_connect_shows_its_destination_and_an_accept_its_listener_and_both_the_other_end() {
    let line = |event: &Event| value(&line_of(event, &report(event)));
    let mut event = of_kind(Kind::Connect);
    let connect = line(&event);
    assert_eq!(
        (&connect["address"], &connect["port"]),
        (&"10.0.0.5".into(), &8080.into())
    );
    assert_eq!(
        connect["local"],
        serde_json::json!({"address": "0.0.0.0", "port": 1992})
    );
    for key in ["peer", "automatic", "backlog", "dual_stack", "reuseport", "reason"] {
        assert_eq!(connect[key], Value::Null, "{key}");
    }
    event.socket.port = 0;
    event.outcome = Outcome::Failed(None);
    let failed = line(&event);
    assert_eq!((&failed["local"], &failed["errno"]), (&Value::Null, &Value::Null));
    assert_eq!(failed["missing"], serde_json::json!(["errno"]));

    let accept = line(&of_kind(Kind::Accept));
    assert_eq!((&accept["address"], &accept["port"]), (&"0.0.0.0".into(), &1992.into()));
    assert_eq!(accept["peer"], serde_json::json!({"address": "10.0.0.5", "port": 8080}));
    assert_eq!(accept["local"], Value::Null);
}

#[test]
fn the_end_of_a_udp_socket_says_why() {
    let mut event = of_kind(Kind::Unlisten);
    let reason = |event: &Event| value(&line_of(event, &report(event)))["reason"].clone();
    assert_eq!(reason(&event), Value::Null, "a TCP socket");
    event.socket.protocol = Protocol::Udp;
    assert_eq!(reason(&event), "closed");
    event.connected = true;
    assert_eq!(reason(&event), "connected");
}

#[test]
fn the_documentation_shows_lines_of_this_shape_and_explains_every_key() {
    let page = include_str!("../../../docs/events.md");
    let clock = Clock::read();
    let event = listen();
    let socket = line_of(&event, &report(&event));
    let of_kind = |kind| {
        let event = of_kind(kind);
        line_of(&event, &report(&event))
    };
    let real = [
        ("listen", socket.clone()),
        ("bind", of_kind(Kind::Bind)),
        ("connect", of_kind(Kind::Connect)),
        ("accept", of_kind(Kind::Accept)),
        ("unlisten", of_kind(Kind::Unlisten)),
        ("alert", lines().alert(&alert(1), clock)),
        ("alert_resolved", lines().alert_resolved(&alert(1), 2, clock)),
        ("lost", lines().lost("ring_listen", 1, 2, clock)),
        ("drift", lines().drift("missed", 1, 2, clock)),
    ];
    let shown: Vec<_> = page.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(shown.len(), real.len());
    for (shown, (kind, real)) in shown.iter().zip(&real) {
        assert_eq!(value(shown)["event"], *kind);
        assert_eq!(keys(shown), keys(real));
    }
    let (shown, process) = (value(shown[0]), value(&socket)["process"].clone());
    assert_eq!(keys(&shown["process"].to_string()), keys(&process.to_string()));
    assert_eq!(shown["registry"], value(&socket)["registry"]);
    let inside = keys(&process.to_string());
    for key in real.iter().flat_map(|(_, line)| keys(line)).chain(inside) {
        assert!(
            page.contains(&format!("`{key}`")) || page.contains(&format!("`process.{key}`")),
            "{key}"
        );
    }
}

/// All that receivers are told of an alert on this event.
fn notice_as_text(event: &Event, report: &Report) -> String {
    let rule = crate::policy::Rule::dormant_port();
    let ours = crate::output::notices::Labels::default();
    let notice = crate::output::notices::notice(event, report, &rule, rule.severity, &ours);
    serde_json::to_string(&notice).unwrap()
}

#[test]
fn neither_events_nor_alerts_carry_a_person_or_an_address() {
    for port in [1992, 80, 126, 8080, 9595] {
        let mut event = listen();
        event.socket.port = port;
        let report = report(&event);
        let summary = crate::output::sentence::summary(&event, &report, "web-7");
        let told = [line_of(&event, &report), notice_as_text(&event, &report), summary];
        let people: Vec<_> = report
            .registrations
            .iter()
            .flat_map(|row| [row.assignee(), row.contact()])
            .flatten()
            .collect();
        assert!(!people.is_empty(), "{port} has nobody to leave out");
        for told in told {
            for person in &people {
                let name = person.trim_matches(['[', ']']);
                assert!(
                    !told.contains(name) && !told.contains(&name.replace('_', " ")),
                    "{told}"
                );
            }
            assert!(!told.contains('@') && !told.contains("nisd.cam"), "{told}");
        }
    }
}
