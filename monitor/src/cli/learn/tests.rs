use super::*;
use crate::{
    cli::learn::seen::Seen,
    config,
    event::{Protocol, Scope},
    history::{End, read::Row},
    output::Origin,
    policy::Verdict,
    registry::Registry,
};

fn listener(port: u16, more: &str) -> String {
    format!(
        r#"{{"protocol":"tcp","port":{port},"scope":"wildcard","host_netns":true,"verdict":"unruled","missing":[],{more}}}"#
    )
}

fn process(exe: &str) -> String {
    let exe = serde_json::Value::String(exe.to_owned());
    format!(r#""process":{{"comm":"c","exe":{exe},"exe_state":"file","user":"www","uid":33}}"#)
}

fn host(name: &str, listeners: &[String]) -> (String, Vec<Seen>) {
    host_under("", name, listeners)
}

/// By the rules of a configuration.
fn host_under(rules: &str, name: &str, listeners: &[String]) -> (String, Vec<Seen>) {
    let document = format!(r#"{{"host":"{name}","listeners":[{}]}}"#, listeners.join(","));
    parse(document.as_bytes(), &judge(rules)).unwrap()
}

fn judge(rules: &str) -> Judge {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.toml");
    std::fs::write(&path, rules).unwrap();
    let file = config::gather(&[path]).resolve(Registry::embedded()).unwrap();
    Judge::new(config::policy_of(&file))
}

/// What of the result is no comment.
fn live(text: &str) -> String {
    let live = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    live.map(|line| format!("{line}\n")).collect()
}

/// A listener of the past, with a verdict of its day.
fn row(port: u16, verdict: Verdict, rule: Option<&str>) -> Row {
    Row {
        protocol: Protocol::Tcp,
        address: std::net::Ipv4Addr::UNSPECIFIED.into(),
        port,
        scope: Scope::Wildcard,
        netns: 4_026_531_840,
        host_netns: true,
        automatic: Some(false),
        process: "nc".to_owned(),
        pid: Some(812),
        exe: Some("/usr/bin/nc".to_owned()),
        cmdline: None,
        uid: Some(1000),
        user: Some("alice".to_owned()),
        unit: None,
        container: None,
        pod: None,
        package: None,
        origin: Origin::Event,
        verdict,
        rule: rule.map(str::to_owned),
        opened: 0,
        closed: Some((1, End::Seen)),
    }
}

fn learned_since(rules: &str, rows: Vec<Row>) -> String {
    let seen = of_history("a", rows, &judge(rules), |_| Some("sshd.service".to_owned()));
    learned(vec![("a".to_owned(), seen)])
}

fn learned(hosts: Vec<(String, Vec<Seen>)>) -> String {
    learned_of(hosts, true)
}

fn learned_of(hosts: Vec<(String, Vec<Seen>)>, is_now: bool) -> String {
    let names = hosts.iter().map(|(name, _)| name.clone()).collect();
    let seen: Vec<_> = hosts.into_iter().flat_map(|(_, seen)| seen).collect();
    toml::render(&group(names, seen, |port| port >= 32_768), "a test", is_now)
}

#[test]
fn one_program_is_one_entry_whatever_the_order_it_was_seen_in() {
    let nginx = |port, since: &str| listener(port, &format!(r#"{},"since":{since}"#, process("/usr/sbin/nginx")));
    let listeners = [
        nginx(443, "\"2026-11-20T01:02:03Z\""),
        nginx(80, "null"),
        nginx(443, "\"2026-11-21T01:02:03Z\""),
        listener(40_000, &process("/usr/bin/agent")),
    ];
    let text = learned(vec![host("web-7", &listeners)]);
    let reversed: Vec<_> = listeners.iter().rev().cloned().collect();
    assert_eq!(text, learned(vec![host("web-7", &reversed)]));
    assert_eq!(
        text,
        r#"# Expected listeners, by `portreeve learn` from a test.
# Read it before you use it: what stands here is told no more.
# Of ports that it does not name it says nothing. To have a new one told and
# fail a gate, set default = "unexpected" in [policy], or let the gate be
# `portreeve list --fail-on unruled`.

[[expect]]
name = "agent"
exe = "/usr/bin/agent"
user = "www"
namespace = "host"
protocols = ["tcp"]
automatic = true # a port that the kernel chose

[[expect]]
name = "nginx"
exe = "/usr/sbin/nginx"
user = "www"
namespace = "host"
ports = [
    "tcp/80", # open now
    "tcp/443", # open now, since 2026-11-20
]
"#
    );
}

#[test]
fn of_several_hosts_it_is_said_on_how_many_a_port_was_seen() {
    let sshd = || listener(22, &format!(r#"{},"unit":"ssh.service""#, process("/usr/sbin/sshd")));
    let odd = listener(2222, &format!(r#"{},"unit":"ssh.service""#, process("/usr/sbin/sshd")));
    let hosts = vec![host("a", &[sshd(), sshd()]), host("b", &[sshd(), odd]), host("c", &[])];
    let text = learned_of(hosts, false);
    assert!(text.contains("unit = \"ssh.service\""), "{text}");
    assert!(
        text.contains("\"tcp/22\", # seen on 2 of 3 hosts\n    \"tcp/2222\", # seen on 1 of 3 hosts"),
        "{text}"
    );
}

#[test]
fn what_is_unexpected_is_for_a_person_to_allow_and_what_has_no_program_is_left_out() {
    let unexpected = listener(1992, &process("/usr/bin/nc"));
    let hidden = listener(631, r#""process":null"#).replace("[]", "[\"process\"]");
    let kernel = listener(2049, r#""process":null"#);
    let text = learned(vec![host("a", &[unexpected, hidden, kernel])]);
    assert!(text.contains("#name = \"nc\""), "{text}");
    assert!(
        text.contains("#    \"tcp/1992\", # open now, rule dormant-port\n"),
        "{text}"
    );
    assert!(text.contains("# tcp/631 (?): its process may not be seen"), "{text}");
    assert!(text.contains("# tcp/2049 (?): no process holds it"), "{text}");
    assert_eq!(live(&text), "");
}

#[test]
fn a_hostile_path_stays_a_string_and_a_comment_a_line() {
    let path = "/tmp/x\"\n[[rule]]\nname = \"*'''\u{7f}";
    for port in [81, 1992] {
        let text = learned(vec![host("a", &[listener(port, &process(path))])]);
        let text: String = text
            .lines()
            .map(|line| {
                format!(
                    "{}\n",
                    line.strip_prefix("#")
                        .filter(|rest| !rest.starts_with(' ') || rest.starts_with("   "))
                        .unwrap_or(line)
                )
            })
            .collect();
        let table: ::toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(table.keys().collect::<Vec<_>>(), ["expect"], "{text}");
        let exe = table["expect"][0]["exe"].as_str().unwrap();
        assert_eq!(exe.replace("[*]", "*").replace("[[]", "[").replace("[]]", "]"), path);
    }
}

#[test]
fn a_hostile_name_of_a_host_stays_in_the_comment() {
    let text = toml::render(&group(BTreeSet::new(), Vec::new(), |_| false), "a\n[policy]", false);
    assert_eq!(live(&text), "", "{text}");
}

#[test]
fn a_path_that_is_no_text_is_left_out_since_others_look_the_same() {
    let text = learned(vec![host("a", &[listener(81, &process("/tmp/a\u{fffd}b"))])]);
    assert!(!text.contains("[[expect]]"), "{text}");
    assert!(
        text.contains(
            "# tcp/81 (a\u{fffd}b): the path of its program is no UTF-8, so that no pattern can tell it from others"
        ),
        "{text}"
    );
    let user = process("/usr/bin/b").replace("www", "w\u{fffd}w");
    let text = learned(vec![host("a", &[listener(82, &user)])]);
    assert!(text.contains("user = \"33\""), "{text}");
}

#[test]
fn something_else_than_a_listing_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.json");
    std::fs::write(&file, "{\"host\":\"a\"}").unwrap();
    let error = read(&file, &judge("")).unwrap_err().to_string();
    assert!(
        error.contains("is no document of `portreeve list --json`: missing field `listeners`"),
        "{error}"
    );
    let error = read(&folder.path().join("gone"), &judge("")).unwrap_err().to_string();
    assert!(
        error.contains("cannot read") && error.contains("No such file"),
        "{error}"
    );
}

#[test]
fn the_past_is_judged_by_the_rules_of_now() {
    let rows = || {
        vec![
            row(1992, Verdict::Unruled, None),
            row(8081, Verdict::Unexpected, Some("gone")),
            row(8082, Verdict::Expected, None),
        ]
    };
    let text = learned_since("", rows());
    assert!(
        text.contains("#    \"tcp/1992\", # 1970-01-01, once, rule dormant-port\n"),
        "{text}"
    );
    assert!(
        live(&text).contains("tcp/8081") && live(&text).contains("tcp/8082"),
        "{text}"
    );
    assert!(!text.contains("gone"), "{text}");
    let watched = learned_since("[watch]\nports = [8082]", rows());
    assert!(
        watched.contains("#    \"tcp/8082\", # 1970-01-01, once, rule watched-port\n"),
        "{watched}"
    );
    let mut own = row(1992, Verdict::Expected, None);
    own.exe = std::env::current_exe().unwrap().to_str().map(str::to_owned);
    let text = learned_since("", vec![own]);
    assert!(live(&text).contains("tcp/1992"), "{text}");
}

#[test]
fn a_rule_finds_in_the_past_each_thing_that_it_asks_for() {
    let past = Row {
        unit: Some("sshd.socket".to_owned()),
        container: Some("docker:0123456789abcdef".to_owned()),
        ..row(8081, Verdict::Unruled, None)
    };
    let asked = [
        "ports = [8081]",
        "exe = \"/usr/bin/nc\"",
        "user = \"alice\"",
        "user = 1000",
        "unit = \"sshd.socket\"",
        "unit = \"sshd.service\"",
        "container = \"0123456789ab\"",
        "automatic = false",
        "scope = \"exposed\"",
        "namespace = \"host\"",
    ];
    for asks in asked {
        let rules = format!("[[rule]]\nname = \"r\"\nseverity = \"info\"\n{asks}\n[[expect]]\nports = [22]");
        let text = learned_since(&rules, vec![past.clone()]);
        assert!(text.contains(", rule r\n") && live(&text).is_empty(), "{asks}: {text}");
    }
}

#[test]
fn documents_of_other_hosts_are_judged_by_the_rules_of_here() {
    let listeners = [
        listener(1992, &process("/usr/bin/a")),
        listener(9229, &process("/usr/bin/b")),
        listener(80, &process("/usr/bin/c")).replace("unruled\"", "unexpected\",\"rule\":\"theirs\""),
    ];
    let rules = "[[rule]]\nname = \"no-debuggers\"\nports = [9229]\nseverity = \"info\"";
    let text = learned_of(vec![host_under(rules, "b", &listeners)], false);
    assert!(text.contains("#    \"tcp/1992\", # rule dormant-port\n"), "{text}");
    assert!(text.contains("#    \"tcp/9229\", # rule no-debuggers\n"), "{text}");
    assert!(live(&text).contains("tcp/80") && !text.contains("theirs"), "{text}");
}

#[test]
fn what_the_default_alone_makes_unexpected_is_what_there_is_to_learn() {
    let sshd = "[[expect]]\nports = [22]\nexe = \"/usr/sbin/sshd\"\n[policy]\ndefault = \"unexpected\"";
    let listeners = [
        listener(80, &process("/usr/bin/c")),
        listener(22, &process("/usr/bin/d")),
    ];
    let text = learned(vec![host_under(sshd, "a", &listeners)]);
    assert!(
        live(&text).contains("tcp/80") && !live(&text).contains("tcp/22"),
        "{text}"
    );
    assert!(
        text.contains("tcp/22\", # open now, rule unexpected-listener\n"),
        "{text}"
    );
}

#[test]
fn an_entry_that_would_allow_something_unexpected_too_is_a_comment() {
    let exposed = "[[rule]]\nname = \"exposed\"\nports = [8080]\nscope = \"exposed\"\nseverity = \"info\"\n\
                   [[expect]]\nports = [22]";
    let wide = listener(8080, &format!(r#"{},"unit":"a.service""#, process("/usr/bin/a")));
    let local = listener(8080, &process("/usr/bin/a")).replace("wildcard", "loopback");
    let other = listener(8080, &process("/usr/bin/b")).replace("wildcard", "loopback");
    let text = learned(vec![host_under(exposed, "a", &[wide, local, other])]);
    assert!(
        !live(&text).contains("/usr/bin/a") && live(&text).contains("/usr/bin/b"),
        "{text}"
    );
    assert_eq!(text.matches("rule exposed").count(), 2, "{text}");

    let automatic = |port| listener(port, &process("/usr/bin/nc"));
    let text = learned(vec![host("a", &[automatic(40_000), automatic(1992)])]);
    assert!(live(&text).is_empty(), "nobody knows who chose 1992: {text}");
    assert!(
        text.contains("#automatic = true # a port that the kernel chose, rule dormant-port\n"),
        "{text}"
    );
    let asked_for = automatic(1992).replace("\"scope\"", "\"automatic\":false,\"scope\"");
    let text = learned(vec![host("a", &[automatic(40_000), asked_for])]);
    assert!(live(&text).contains("automatic = true"), "{text}");
}
