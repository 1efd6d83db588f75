use super::*;
use crate::{
    event::Protocol,
    policy::{Automatic, Reach, UserIs},
};
use std::time::Duration;

/// One file of this text.
pub(in crate::config) fn files(text: &str) -> Result<Files, ConfigError> {
    let files = gathered(text);
    let wrong = files.wrong();
    if wrong.is_empty() {
        Ok(files)
    } else {
        Err(ConfigError(wrong))
    }
}

pub(super) fn gathered(text: &str) -> Files {
    let mut files = Files::default();
    files.add(Path::new("p.toml"), text.to_owned());
    files
}

pub(super) fn parse(text: &str) -> Result<File, ConfigError> {
    gathered(text).resolve(Registry::embedded())
}

#[test]
fn every_key_of_this_version_is_understood() {
    let file = parse(
        r#"
        [agent]
        instance = "web-7"
        reconcile = "2m"
        state = "/srv/portreeve"
        [watch]
        ports = ["1990-1994", "stun-p3", "tcp/8080", 22]
        [policy]
        default = "unexpected"
        [[rule]]
        name = "dormant-port"
        ports = ["1990-1992", 1994]
        protocols = ["tcp"]
        on = ["listen"]
        scope = "exposed"
        automatic = false
        severity = "critical"
        keep_firing_for = "2s"
        for = "30s"
        summary = "{process} is on {port}"
        description = "{{look}}"
        runbook_url = "https://wiki.example/ports?p=1992#top"
        labels = { team = "net" }
        [metrics]
        max_series = 5
        [privacy]
        cmdline = "none"
        "#,
    )
    .unwrap();
    assert_eq!(file.instance.as_deref(), Some("web-7"));
    assert_eq!(file.reconcile, Some(Duration::from_secs(120)));
    assert_eq!(file.state.as_deref(), Some(Path::new("/srv/portreeve")));
    assert_eq!(file.default, Some(Verdict::Unexpected));
    assert_eq!((file.max_series, file.privacy), (Some(5), Some(Privacy::None)));
    let [rule] = file.rules.as_slice() else { panic!() };
    assert_eq!(
        (rule.keep_firing_for, rule.selector.automatic),
        (Duration::from_secs(2), Automatic::Only(false))
    );
    assert_eq!(
        (rule.selector.scope, rule.selector.protocols.as_slice()),
        (Reach::Exposed, [Protocol::Tcp].as_slice())
    );
    assert!(rule.selector.names(Protocol::Tcp, 1992) && !rule.selector.names(Protocol::Tcp, 1993));
    assert_eq!(rule.for_, Duration::from_secs(30));
    let texts = [&rule.summary, &rule.description].map(|text| text.as_ref().unwrap().to_string());
    assert_eq!(texts, ["{process} is on {port}", "{{look}}"]);
    assert_eq!(rule.runbook.as_deref(), Some("https://wiki.example/ports?p=1992#top"));
    assert_eq!(rule.labels.get("team").map(String::as_str), Some("net"));
    assert!(file.watch.len() >= 4);
}

#[test]
fn what_is_wrong_is_said_with_file_line_and_what_to_do() {
    let rule = |rest: &str| format!("\n[[rule]]\nname = \"r\"\nports = [1]\nseverity = \"info\"\n{rest}\n");
    for (text, expected) in [
        (
            "[watch]\nprots = []".to_owned(),
            "p.toml line 2 column 1: unknown key `prots`; did you mean `ports`?",
        ),
        (
            "[zzz]\npath = 1".to_owned(),
            "p.toml line 1 column 2: unknown key `zzz`; known here: agent, watch, policy, rule, expect, metrics, privacy",
        ),
        (
            rule("keep_firing_for = \"15\""),
            "p.toml line 6 column 19: `15` is no duration; write 15m, 90s or 1h30m",
        ),
        (
            rule("automatic = \"yes\""),
            "p.toml line 6 column 13: automatic is \"any\", true or false, not \"yes\"",
        ),
        ("[watch]\nports = [70000]".to_owned(), "p.toml line 2 column 10: "),
        (
            "[[rule]]\nname = \"r\"\nseverity = \"info\"\nstatus = [\n\"dormant\",\n\"dormnat\"]".to_owned(),
            "p.toml line 6 column 1: `dormnat` is no status; did you mean `dormant`?",
        ),
        (
            "[[rule]]\nname = \"r\"\nseverity = \"info\"\nstatus = [\"dead\"]".to_owned(),
            "p.toml line 4 column 11: `dead` is no status; there are dormant, unauthorised, assigned, reserved, unassigned",
        ),
        (
            "[[rule]]\nname = \"r\"\nseverity = \"info\"\nports = [22]\nstatus = [\"dormant\"]".to_owned(),
            "p.toml line 1 column 1: the rule `r` can never match: its ports, status and protocols leave",
        ),
        (
            "[[rule]]\nname = \"r\"\nports = []\nseverity = \"info\"".to_owned(),
            "p.toml line 1 column 1: the rule `r` names neither ports nor a status, nor anything",
        ),
        (
            "[[rule]]\nname = \"A b\"\nports = [1]\nseverity = \"info\"".to_owned(),
            "p.toml line 2 column 8: `A b` is no name for a rule: use a-z, 0-9 and -, like dormant-port",
        ),
        (
            "[agent]\ninstance = \"\"".to_owned(),
            "p.toml line 2 column 12: [agent] instance is empty or has",
        ),
        ("[agent\n".to_owned(), "p.toml line 1 column 7: "),
        (
            "[agent]\ninstance = \"a\\nb\"".to_owned(),
            "p.toml line 2 column 12: [agent] instance is empty or has control",
        ),
        (
            "[agent]\nstate = \"here\"".to_owned(),
            "p.toml line 2 column 9: [agent] state is `here`; write",
        ),
        (
            "[agent]\nreconcile = \"500ms\"".to_owned(),
            "p.toml line 2 column 13: [agent] reconcile is `500ms`; write",
        ),
        (
            "[metrics]\nmax_series = -1".to_owned(),
            "p.toml line 2 column 14: invalid value: integer `-1`, expected a whole number from 0 on",
        ),
        (
            "[watch]\nports = \"8080\"".to_owned(),
            "p.toml line 2 column 9: this is a list: write it in brackets, ports = [ … ]",
        ),
        (
            "[watch]\nports = [\"sctp/80\"]".to_owned(),
            "p.toml line 2 column 10: `sctp/80` is neither TCP nor UDP",
        ),
        (
            "[watch]\nports = [0]".to_owned(),
            "p.toml line 2 column 10: `0` has port 0 in it",
        ),
        (
            "[[rule]]\nname = \"r\"\nports = [1]".to_owned(),
            "p.toml line 1 column 1: the key `severity` is missing here",
        ),
        (
            "[rule]\nname = \"r\"".to_owned(),
            "p.toml line 1 column 1: this is a list: write it with two brackets",
        ),
        (
            rule("summary = \"{prot}\""),
            "p.toml line 6 column 11: `{prot}` stands for nothing; did you mean `{port}`?",
        ),
        (
            rule("runbook_url = \"wiki/ports\""),
            "p.toml line 6 column 15: `wiki/ports` is no URL; write one that begins with https://",
        ),
        (
            rule("labels = { severity = \"x\" }"),
            "p.toml line 6 column 12: each alert has the label `severity` already",
        ),
        (
            rule("labels = { \"a-b\" = \"x\" }"),
            "p.toml line 6 column 12: `a-b` is no name for a label",
        ),
        (rule("for = \"soon\""), "p.toml line 6 column 7: `soon` is no duration"),
        (
            rule("protocols = []"),
            "p.toml line 2 column 1: the rule `r` can never match",
        ),
        (rule("on = []"), "p.toml line 2 column 1: the rule `r` can never match"),
        (
            "[[rule]]\nname = \"r\"\nports = [\"udp/53\"]\nprotocols = [\"tcp\"]\nseverity = \"info\"".to_owned(),
            "p.toml line 1 column 1: the rule `r` can never match",
        ),
        (
            "[[rule]]\nname = \"watched-port\"\nports = [1]\nseverity = \"info\"".to_owned(),
            "p.toml line 2 column 8: `watched-port` is the rule of",
        ),
    ] {
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}\n{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_rule_on_a_status_covers_the_ports_that_have_it_alone_or_among_ports() {
    let rule = |rest: &str| {
        let text = format!("[[rule]]\nname = \"r\"\nseverity = \"info\"\n{rest}");
        parse(&text).unwrap().rules.remove(0)
    };
    let dormant = rule("status = [\"dormant\"]");
    assert!(dormant.selector.names(Protocol::Tcp, 1992) && dormant.selector.names(Protocol::Udp, 1987));
    assert!(!dormant.selector.names(Protocol::Tcp, 22));
    let among = rule("status = [\"dormant\"]\nports = [\"1990-2000\", 22]\nprotocols = [\"tcp\"]");
    assert!(among.selector.names(Protocol::Tcp, 1992) && among.selector.names(Protocol::Tcp, 1996));
    assert!(!among.selector.names(Protocol::Tcp, 1987) && !among.selector.names(Protocol::Udp, 1992));
    // Too many, and too busy, to name each; within ports that are named they are.
    assert_eq!(rule("status = [\"dormant\", \"unassigned\"]").selector.named(), []);
    assert!(
        rule("status = [\"unassigned\"]\nports = [\"19000-19999\"]")
            .selector
            .names(Protocol::Tcp, 19_992)
    );
}

#[test]
fn a_second_rule_of_one_name_is_refused() {
    let rule = "[[rule]]\nname = \"r\"\nports = [1]\nseverity = \"info\"\n";
    let error = parse(&format!("{rule}{rule}")).unwrap_err().to_string();
    assert_eq!(
        error,
        "p.toml line 6 column 8: there is a rule `r` already (p.toml line 1 column 1)"
    );
}

#[test]
fn files_beside_are_read_in_the_order_of_their_names_and_later_values_win() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    };
    let main = write("portreeve.toml", "[agent]\ninstance = \"one\"\n[watch]\nports = [1]");
    write("conf.d/20.toml", "[agent]\ninstance = \"three\"");
    write("conf.d/10.toml", "[agent]\ninstance = \"two\"\n[watch]\nports = [2]");
    write("conf.d/30.toml.bak", "nonsense");
    let file = gather(&[main]).resolve(Registry::embedded()).unwrap();
    assert_eq!((file.instance.as_deref(), file.watch.len()), (Some("three"), 2));
    let error = read_names(&[folder.path().join("gone.toml")])
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("gone.toml") && error.contains("No such file"), "{error}");
}

#[test]
fn a_file_that_is_no_utf_8_is_told_with_the_place_where_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.toml");
    fs::write(&path, b"[agent]\ninstance = \"\xc3\xa9\xe9\"\n").unwrap();
    let error = gather(&[path]).resolve(Registry::embedded()).unwrap_err().to_string();
    assert!(
        error.ends_with("/p.toml line 2 column 14: the byte 0xe9 is no UTF-8 here; save the file in UTF-8"),
        "{error}"
    );
}

/// All that is wrong, a line each.
pub(super) fn wrong(text: &str) -> Vec<String> {
    let error = parse(text).unwrap_err();
    error.0.iter().map(ToString::to_string).collect()
}

#[test]
fn expectations_are_understood() {
    let text = r#"
        [[expect]]
        name = "sshd"
        ports = [22]
        protocols = ["tcp"]
        exe = "/usr/sbin/sshd"
        user = "root"
        unit = ["ssh.service", "ssh@*.service"]
        scope = "any"
        namespace = "host"
        automatic = "any"
        [[expect]]
        names = ["http"]
        user = [33, "root"]
        container = "*"
        [[expect]]
        ports = ["http"]
        exe = "/usr/bin/**/nginx"
        [[expect]]
        ports = [80]
        exe = "/opt/nginx"
        [[rule]]
        name = "alices"
        user = "alice"
        severity = "info"
    "#;
    let file = parse(text).unwrap();
    let names: Vec<_> = file.expects.iter().map(|expect| expect.name.as_str()).collect();
    assert_eq!(names, ["sshd", "*-80", "nginx-80", "nginx-80-2"]);
    assert_eq!(
        file.expects[1].selector.user,
        [UserIs::Uid(33), UserIs::Name("root".to_owned())]
    );
    assert!(file.expects[1].selector.names(Protocol::Tcp, 80) && !file.rules[0].selector.names_ports);
    assert!(file.rules[0].selector.covers(Protocol::Udp, 1));
    let read = (file.read[0].rules, file.read[0].expectations);
    assert_eq!(read, (1, 4));
}
