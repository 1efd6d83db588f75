use super::*;
use crate::cli::learn::seen::Seen;

fn listener(port: u16, more: &str) -> String {
    format!(r#"{{"protocol":"tcp","port":{port},"host_netns":true,"verdict":"unruled","missing":[],{more}}}"#)
}

fn process(exe: &str) -> String {
    let exe = serde_json::Value::String(exe.to_owned());
    format!(r#""process":{{"comm":"c","exe":{exe},"exe_state":"file","user":"www","uid":33}}"#)
}

fn host(name: &str, listeners: &[String]) -> (String, Vec<Seen>) {
    let document = format!(r#"{{"host":"{name}","listeners":[{}]}}"#, listeners.join(","));
    parse(document.as_bytes()).unwrap()
}

fn learned(hosts: Vec<(String, Vec<Seen>)>) -> String {
    learned_of(hosts, true)
}

fn learned_of(hosts: Vec<(String, Vec<Seen>)>, is_now: bool) -> String {
    let names = hosts.iter().map(|(name, _)| name.clone()).collect();
    let seen: Vec<_> = hosts.into_iter().flat_map(|(_, seen)| seen).collect();
    toml::render(&group(names, &seen, |port| port >= 32_768), "a test", is_now)
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
    let unexpected =
        listener(1992, &process("/usr/bin/nc")).replace("unruled\"", "unexpected\",\"rule\":\"dormant-port\"");
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
    let uncommented: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    assert_eq!(uncommented, [""; 0]);
}

#[test]
fn a_hostile_path_stays_a_string_and_a_comment_a_line() {
    let path = "/tmp/x\"\n[[rule]]\nname = \"*'''\u{7f}";
    for verdict in ["unruled", "unexpected"] {
        let listener = listener(81, &process(path)).replace("unruled", verdict);
        let text = learned(vec![host("a", &[listener])]);
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
    let error = read(&file).unwrap_err().to_string();
    assert!(
        error.contains("is no document of `portreeve list --json`: missing field `listeners`"),
        "{error}"
    );
    let error = read(&folder.path().join("gone")).unwrap_err().to_string();
    assert!(
        error.contains("cannot read") && error.contains("No such file"),
        "{error}"
    );
}
