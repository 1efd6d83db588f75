use super::*;
use crate::{
    event::{Endpoint, Kind},
    identity::ProcessIdentity,
    output::samples::{listen, listen_at, python, report, report_of},
    policy::Template,
};

fn ours() -> Labels {
    Labels {
        instance: "web-7".to_owned(),
        extra: [
            ("cluster".to_owned(), "eu".to_owned()),
            ("team".to_owned(), "infra".to_owned()),
        ]
        .into(),
    }
}

fn of(event: &Event, report: &Report, rule: &Rule) -> Notice {
    notice(event, report, rule, Severity::Critical, &ours())
}

fn python_on_1992(rule: &Rule) -> Notice {
    of(&listen(), &report(&listen()), rule)
}

#[test]
fn the_labels_are_those_of_the_contract_and_those_of_agent_and_rule() {
    let rule = Rule {
        labels: [("team".to_owned(), "net".to_owned())].into(),
        ..Rule::dormant_port()
    };
    let labels: Vec<_> = python_on_1992(&rule).labels.into_iter().collect();
    let expected = [
        ("alertname", "DormantPort"),
        ("cluster", "eu"),
        ("instance", "web-7"),
        ("netns", "host"),
        ("port", "1992"),
        ("process", "python3.11"),
        ("protocol", "tcp"),
        ("rule", "dormant-port"),
        ("severity", "critical"),
        ("team", "net"),
    ];
    assert_eq!(
        labels,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[test]
fn the_annotations_say_everything_else() {
    let annotations = python_on_1992(&Rule::dormant_port()).annotations;
    let names: Vec<_> = annotations.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "addresses",
            "exe",
            "expect",
            "note",
            "package",
            "pid",
            "registrations",
            "summary",
            "uid",
            "unit",
            "user"
        ]
    );
    assert_eq!(annotations["registrations"], "stun-p3, ipsendmsg");
    assert_eq!(
        annotations["note"],
        "This entry records an unassigned but widespread use"
    );
    assert!(annotations["summary"].starts_with("python3.11 (uid 0 root) opened 1992/tcp on 0.0.0.0 on web-7"));
}

#[test]
fn a_rules_own_texts_take_the_place_of_the_usual_ones() {
    let template = |text| Some(Template::parse(text).unwrap());
    let rule = Rule {
        summary: template("{process}[{pid}] has {port}/{protocol} of {registrations} in {netns}, {peer}"),
        description: template("rule {rule}, {severity}, {exe}, {address}, {unit}"),
        runbook: Some("https://wiki.example.net/1992".to_owned()),
        ..Rule::dormant_port()
    };
    let annotations = python_on_1992(&rule).annotations;
    assert_eq!(
        annotations["summary"],
        "python3.11[812] has 1992/tcp of stun-p3, ipsendmsg in host, -"
    );
    assert_eq!(
        annotations["description"],
        "rule dormant-port, critical, /usr/bin/python3.11, 0.0.0.0, session-3.scope"
    );
    assert_eq!(annotations["runbook_url"], "https://wiki.example.net/1992");
}

#[test]
fn another_namespace_is_another_alert() {
    let report = Report {
        host_netns: false,
        ..report(&listen())
    };
    let notice = of(&listen(), &report, &Rule::dormant_port());
    assert_eq!(notice.labels["netns"], listen().socket.netns.to_string());
}

#[test]
fn a_connect_is_about_its_destination_and_asks_for_no_expectation() {
    let mut event = listen();
    event.kind = Kind::Connect;
    event.peer = Some(Endpoint {
        address: "192.0.2.7".parse().unwrap(),
        port: 6379,
    });
    let notice = of(&event, &report(&event), &Rule::dormant_port());
    assert_eq!(notice.labels["port"], "6379");
    assert_eq!(notice.annotations["addresses"], "192.0.2.7");
    assert_eq!(notice.annotations["peer"], "192.0.2.7:6379");
    assert!(!notice.annotations.contains_key("expect"));
}

#[test]
fn the_block_for_this_is_fine_says_who_and_where() {
    let annotations = python_on_1992(&Rule::dormant_port()).annotations;
    assert_eq!(
        annotations["expect"],
        "[[expect]]\nname = \"python3-11-1992\"\nports = [\"tcp/1992\"]\nexe = \"/usr/bin/python3.11\"\nuser = \"root\"\n"
    );
    let service = ProcessIdentity {
        unit: Some("web.service".to_owned()),
        ..python()
    };
    let notice = of(&listen(), &report_of(&listen(), service), &Rule::dormant_port());
    assert!(notice.annotations["expect"].ends_with("unit = \"web.service\"\n"));
    let nobody = ProcessIdentity { exe: None, ..python() };
    let notice = of(&listen(), &report_of(&listen(), nobody), &Rule::dormant_port());
    assert!(!notice.annotations.contains_key("expect"), "it would allow everybody");
}

#[test]
fn a_hostile_name_breaks_out_of_no_string_and_allows_nothing_else() {
    for exe in [
        "/tmp/\"]\n[[expect]]\nports = [22]\n#",
        "/tmp/'''\"\"\"\\u0022",
        "/tmp/*",
        "/tmp/[a-z]?/**",
        "/tmp/\u{1b}[31m\u{202e}\r\n",
    ] {
        let process = ProcessIdentity {
            exe: Some(exe.to_owned()),
            ..python()
        };
        let notice = of(&listen(), &report_of(&listen(), process), &Rule::dormant_port());
        let block: toml::Table = toml::from_str(&notice.annotations["expect"]).unwrap();
        let all = block["expect"].as_array().unwrap();
        assert_eq!((block.len(), all.len()), (1, 1), "{exe:?}");
        let found = all[0]["exe"].as_str().unwrap();
        let plain = found
            .replace("[*]", "*")
            .replace("[?]", "?")
            .replace("[[]", "[")
            .replace("[]]", "]");
        assert_eq!(plain, exe);
        let rest = found
            .replace("[*]", "")
            .replace("[?]", "")
            .replace("[[]", "")
            .replace("[]]", "");
        assert!(!rest.contains(['*', '?', '[', ']']), "{found}");
        let shown = &notice.annotations["exe"];
        assert!(!shown.contains(['\n', '\r', '\u{1b}', '\u{202e}']), "{shown:?}");
    }
}

#[test]
fn an_ipv6_listener_has_its_address() {
    let event = listen_at("::", 1992);
    let notice = of(&event, &report(&event), &Rule::dormant_port());
    assert_eq!(notice.annotations["addresses"], "::");
}
