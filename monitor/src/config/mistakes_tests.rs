//! Files with more than one mistake, and mistakes that more than one thing makes.

use std::path::Path;

use super::tests::{gathered, parse, wrong};
use crate::registry::Registry;

#[test]
fn contradictions_and_what_can_never_match_are_refused() {
    let rule = |rest: &str| format!("[[rule]]\nname = \"r\"\nseverity = \"info\"\n{rest}\n");
    let expect = |rest: &str| format!("[[expect]]\n{rest}\n");
    let twice = rule("ports = [1]") + &rule("ports = [1]").replace("\"r\"", "\"s\"");
    let hiding =
        rule("ports = [5005]\non = [\"listen\", \"bind\"]") + &expect("name = \"all\"\nports = [\"5000-5009\"]");
    for (text, expected) in [
        (
            rule("scope = \"exposed\"\nnamespace = \"other\""),
            "line 5 column 13: the rule `r` can never match: scope = \"exposed\" is about the host's namespace",
        ),
        (
            rule("exe = \"/x\"\non = [\"connect\"]"),
            "line 1 column 1: the rule `r` can never match but listens: binds, connects and accepts",
        ),
        (
            rule("ports = [\"udp/53\"]\non = [\"accept\", \"bind\"]"),
            "line 1 column 1: the rule `r` can never match: UDP accepts nothing",
        ),
        (
            rule(""),
            "line 1 column 1: the rule `r` names neither ports nor a status, nor anything else",
        ),
        (
            rule("ports = [1]\nautomatic = false\nautomatic_severity = \"info\""),
            "line 6 column 22: automatic_severity is of no use",
        ),
        (
            rule("ports = [1]\nautomatic = true\nautomatic_severity = \"info\""),
            "line 6 column 22: beside automatic = true this is the only severity, and `severity` is of no use",
        ),
        (
            rule("ports = [1]\non = [\"accept\", \"bind_failed\"]\nautomatic_severity = \"info\""),
            "line 6 column 22: automatic_severity is of no use where a rule is on no listen and no bind",
        ),
        (
            rule("ports = [1]\non = [\"accept\"]\nautomatic = true"),
            "line 6 column 13: the rule `r` can never match on accept: only of listens and binds is it known",
        ),
        (
            rule("ports = [1]\non = [\"listen\", \"connect\", \"bind_failed\"]\nautomatic = true"),
            "line 6 column 13: the rule `r` can never match on connect and bind_failed: only",
        ),
        (
            rule("ports = [1]\non = [\"connect\"]\nscope = \"wildcard\""),
            "line 6 column 9: the rule `r` can never match on connect: nobody connects to the wildcard address",
        ),
        (
            rule("exe = [\"/a\", \"/usr/bin/[b-a]x\"]"),
            "line 4 column 14: `/usr/bin/[b-a]x` is no pattern: no letter lies between b and a; write [a-b]",
        ),
        (
            rule("unit = \"{a,b}.service\""),
            "line 4 column 8: `{a,b}.service` is no pattern: {a,b} is no choice here; write a list",
        ),
        (
            rule("ports = [22, 23]") + &rule("ports = [\"22-23\"]\non = [\"listen\"]").replace("\"r\"", "\"s\""),
            "line 5 column 1: but for its name this is the rule `r`",
        ),
        (
            rule("ports = [22]\nuser = 0") + &rule("ports = [22]\nuser = [\"root\", 0]").replace("\"r\"", "\"s\""),
            "line 6 column 1: but for its name this is the rule `r`",
        ),
        (
            expect("ports = [22]\nexe = \"/usr/sbin/sshd\"") + &expect("ports = [\"ssh\"]\nexe = [\"/usr/sbin/sshd\"]"),
            "line 4 column 1: this is the expectation `sshd-22` (p.toml line 1 column 1) again",
        ),
        (
            rule("ports = [22]\nuser = \"0\"") + &expect("name = \"all\"\nports = [22]\nuser = \"root\""),
            "line 6 column 1: the expectation `all` takes all that the rule `r`",
        ),
        (
            rule("exe = \"/usr/bin/nc*\"") + &expect("name = \"all\"\nexe = \"/usr/**\""),
            "line 5 column 1: the expectation `all` takes all that the rule `r`",
        ),
        (
            rule("ports = [1]\non = [\"accept\"]\nfor = \"5m\""),
            "line 6 column 7: `for` is about what lasts",
        ),
        (
            rule("ports = [1]\non = [\"acept\"]"),
            "line 5 column 7: `acept` is not known here; did you mean `accept`?",
        ),
        (
            rule("ports = [1]\nautomatic = true\nautomatic = true"),
            "line 6 column 1: ",
        ),
        (
            rule("exe = \"sshd\""),
            "line 4 column 7: `sshd` matches no path, which begins with /",
        ),
        (rule("exe = \"/a**\""), "line 4 column 7: `/a**` is no pattern: "),
        (rule("exe = []"), "line 4 column 7: this list is empty"),
        (rule("user = [1, -1]"), "line 4 column 12: `-1` is no user"),
        (
            rule("user = [1, true]"),
            "line 4 column 12: write a text, or a list of texts",
        ),
        (
            rule("names = [\"http\", \"80\"]"),
            "line 4 column 18: `80` is no name of a service",
        ),
        (
            rule("names = [\"htpp\"]"),
            "line 4 column 10: no service is registered as `htpp`",
        ),
        (
            twice,
            "line 5 column 1: but for its name this is the rule `r` (p.toml line 1 column 1)",
        ),
        (
            hiding,
            "line 6 column 1: the expectation `all` takes all that the rule `r` (p.toml line 1 column 1) is about",
        ),
        (
            expect("protocols = [\"udp\"]"),
            "line 1 column 1: this expectation takes every listener",
        ),
        (
            expect("name = \"a\"\nports = [1]") + &expect("name = \"a\"\nports = [2]"),
            "line 5 column 8: there is an expectation `a` already (p.toml line 1 column 1)",
        ),
        (
            expect("ports = [1]") + &expect("ports = [1]"),
            "line 3 column 1: this is the expectation `1` (p.toml line 1 column 1) again",
        ),
        (
            expect("status = [\"dormant\"]"),
            "line 2 column 1: unknown key `status`",
        ),
    ] {
        let wrong = wrong(&text);
        let [error] = wrong.as_slice() else { panic!("{wrong:?}") };
        assert!(error.starts_with(&format!("p.toml {expected}")), "{text}\n{error}");
    }
    let not_whole = rule("ports = [5005]") + &expect("ports = [5005]\nexe = \"/usr/bin/java\"");
    assert!(parse(&not_whole).is_ok());
    // What users are called is another host's affair.
    let www = rule("ports = [80]\nuser = 33") + &expect("ports = [80]\nuser = \"www-data\"");
    assert!(parse(&www).is_ok());
    // Some words of `on` may have what others cannot.
    for rest in [
        "automatic_severity = \"info\"\non = [\"connect\", \"bind\"]",
        "scope = \"wildcard\"\non = [\"listen\", \"accept\"]",
        "automatic = false\non = [\"connect\"]",
    ] {
        assert!(parse(&rule(&format!("ports = [1]\n{rest}"))).is_ok(), "{rest}");
    }
    // Who asks for each accept hears of an expected listener's too.
    let accepts = rule("ports = [5005]\non = [\"accept\"]") + &expect("ports = [5005]");
    assert!(parse(&accepts).is_ok());
}

#[test]
fn a_rule_that_expectations_hide_is_told_also_where_it_is_built_in_or_they_do_so_together() {
    let rule = |rest: &str| format!("[[rule]]\nname = \"r\"\nseverity = \"info\"\n{rest}\n");
    let expect = |rest: &str| format!("[[expect]]\n{rest}\n");
    for (text, expected) in [
        (
            expect("name = \"all\"\nports = [\"1-65535\"]"),
            "line 1 column 1: the expectation `all` takes all that the built-in rule `dormant-port` is about, so that it can \
             never fire; narrow the expectation (exe, user, unit), or write a rule of that name",
        ),
        (
            expect("ports = [\"1980-2000\"]\nscope = \"loopback\"")
                + &expect("ports = [\"1990-1994\"]\nscope = \"exposed\"")
                + &expect("ports = [\"1990-1994\"]\nnamespace = \"other\""),
            "line 7 column 1: the expectations `1980` (p.toml line 1 column 1), 1 more and `1990-2` together take all that \
             the built-in rule `dormant-port` is about",
        ),
        (
            rule("ports = [5005]") + &expect("ports = [\"tcp/5005\"]") + &expect("ports = [\"udp/5005\"]"),
            "line 7 column 1: the expectations `5005` (p.toml line 5 column 1) and `5005-2` together take all that the rule \
             `r` (p.toml line 1 column 1) is about, so that it can never fire; narrow one of them (exe, user, unit), or \
             leave out the rule",
        ),
        (
            // Neither the second one nor the fourth has a part in it.
            rule("ports = [\"5000-5009\"]\nexe = \"/x\"")
                + &expect("ports = [\"5000-5003\"]")
                + &expect("ports = [\"5002-5004\"]")
                + &expect("ports = [\"5004-5010\"]\nexe = [\"/x\", \"/y\"]")
                + &expect("ports = [\"5000-5010\"]\nexe = \"/y\""),
            "line 10 column 1: the expectations `5000` (p.toml line 6 column 1) and `x-5004` together take",
        ),
    ] {
        let wrong = wrong(&text);
        let [error] = wrong.as_slice() else { panic!("{wrong:?}") };
        assert!(error.starts_with(&format!("p.toml {expected}")), "{text}\n{error}");
    }
    for text in [
        // A rule of that name is another one.
        expect("ports = [\"1-65535\"]")
            + &rule("user = \"alice\"\non = [\"accept\"]\nports = [1]").replace("\"r\"", "\"dormant-port\""),
        expect("ports = [\"1-65535\"]\nautomatic = true"),
        expect("ports = [\"1-1993\"]"),
        expect("ports = [\"1-1993\"]") + &expect("ports = [\"1995-65535\"]"),
        expect("ports = [\"1-65535\"]\nscope = \"wildcard\"") + &expect("ports = [\"1-65535\"]\nscope = \"loopback\""),
    ] {
        assert_eq!(parse(&text).err().map(|error| error.to_string()), None, "{text}");
    }
}

#[test]
fn mistakes_of_all_kinds_are_told_at_once_in_the_order_of_the_file() {
    let text = r#"
[agent]
reconcile = "0s"
labels = { severity = "x", "a-b" = "y", rule = 3 }
bogus = 1
instnce = "q"
[history]
path = "h.db"
keep = "5s"
max_size = "1"
enabled = "yes"
[[rule]]
name = "a"
ports = [0, true]
severity = "loud"
for = "1000000000d"
keep_firing_for = "366d"
[[rule]]
name = "a"
ports = [1]
severity = "info"
[watch]
bogus = 1
[alertmanager]
urls = ["http://me:hush@a:9093", "ftp://hush/", 3]
timeout = "5m"
ca_file = "ca.pem"
bearer_token_file = "/t"
basic_auth = { username = "a:b", pass = "hush" }
[[webhook]]
url = "http://a/1"
timeout = "x"
[[webhook]]
url = "http://a/2"
[metrics]
max_series = "7"
[policy]
default = 3
[[service]]
name = "80"
port = 0
"#;
    let wrong = wrong(text);
    let expected = [
        "3 column 13: [agent] reconcile is `0s`",
        "4 column 12: each alert has the label `severity` already",
        "4 column 28: `a-b` is no name for a label",
        "4 column 41: each alert has the label `rule` already",
        "4 column 48: invalid type: integer `3`, expected a string",
        "5 column 1: unknown key `bogus`; known here: instance, reconcile, state, labels",
        "6 column 1: unknown key `instnce`; did you mean `instance`?",
        "8 column 8: [history] path is `h.db`",
        "9 column 8: [history] keep is `5s`",
        "10 column 12: [history] max_size is `1`",
        "11 column 11: invalid type: string \"yes\", expected a boolean",
        "14 column 10: `0` has port 0 in it",
        "14 column 13: write a port (8080), or a text",
        "15 column 12: `loud` is not known here",
        "16 column 7: `1000000000d` is too long; write a duration up to 365d, like 15m",
        "17 column 19: `366d` is too long; write a duration up to 365d, like 15m",
        "19 column 8: there is a rule `a` already (p.toml line 12 column 1)",
        "23 column 1: unknown key `bogus`; known here: ports",
        "25 column 9: a user and a password do not belong into a URL",
        "25 column 34: this URL begins neither with http:// nor",
        "25 column 49: invalid type: integer `3`, expected a string",
        "26 column 11: timeout is `5m`",
        "27 column 11: ca_file is `ca.pem`",
        "29 column 14: the key `password_file` is missing here",
        "29 column 14: there are basic_auth and bearer_token_file",
        "29 column 27: the username of basic_auth is empty, or has a colon",
        "29 column 34: unknown key `pass`; known here: username, password_file",
        "32 column 11: timeout is `x`",
        "33 column 1: there is a receiver `webhook/a:80` already",
        "36 column 14: invalid type: string \"7\", expected a whole number",
        "38 column 11: this is a word: write it in quotes",
        "40 column 8: `80` is no name for a service",
        "41 column 8: `0` is neither a port from 1 to 65535",
    ];
    assert_eq!(wrong.len(), expected.len(), "{wrong:#?}");
    for (told, expected) in wrong.iter().zip(expected) {
        assert!(
            told.starts_with(&format!("p.toml line {expected}")),
            "{expected}\n{told}"
        );
        assert!(!told.contains("hush"), "{told}");
    }
}

#[test]
fn each_mistake_in_a_text_is_told() {
    let wrong = wrong("[[rule]]\nname = \"r\"\nports = [1]\nseverity = \"info\"\nsummary = \"{proces} x {\"\n");
    let [first, second] = wrong.as_slice() else {
        panic!("{wrong:?}")
    };
    assert!(
        first.starts_with("p.toml line 5 column 11: `{proces}` stands for nothing"),
        "{first}"
    );
    assert!(
        second.starts_with("p.toml line 5 column 11: a `{` has no `}`"),
        "{second}"
    );
}

#[test]
fn what_is_no_toml_at_all_stops_its_own_file_alone() {
    let mut files = gathered("[agent\n");
    files.add(
        Path::new("q.toml"),
        "[agent]\nbogus = 1\n[watch]\nports = [0]".to_owned(),
    );
    let error = files.resolve(Registry::embedded()).unwrap_err();
    let places: Vec<_> = error
        .0
        .iter()
        .map(|problem| problem.place.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(
        places,
        [
            "p.toml line 1 column 7",
            "q.toml line 2 column 1",
            "q.toml line 4 column 10"
        ]
    );
}

#[test]
fn one_slip_does_not_hide_the_next_and_none_is_told_twice() {
    let text = r#"
[agent]
instanse = "x"
state = "here"
[watch]
ports = [70000]
[[rule]]
name = "a"
ports = [1]
severity = "loud"
[[rule]]
name = "b"
prots = [2]
severity = "info"
fro = "5m"
[[rule]]
name = "c"
severity = "info"
[[rule]]
ports = [3]
severity = "info"
"#;
    let expected = [
        "line 3 column 1: unknown key `instanse`; did you mean `instance`?",
        "line 10 column 12: `loud` is not known here; write one of info, warning, critical",
        "line 13 column 1: unknown key `prots`; did you mean `ports`?",
        "line 15 column 1: unknown key `fro`; did you mean `for`?",
        "line 19 column 1: the key `name` is missing here",
        "line 4 column 9: [agent] state is `here`",
        "line 6 column 10: port 70000 is out of range",
        "line 16 column 1: the rule `c` names neither ports",
    ];
    let wrong = wrong(text);
    assert_eq!(wrong.len(), expected.len(), "{wrong:#?}");
    for expected in expected {
        let begin = format!("p.toml {expected}");
        assert!(
            wrong.iter().any(|wrong| wrong.starts_with(&begin)),
            "{expected}\n{wrong:#?}"
        );
    }
    let error = parse(text).unwrap_err().to_string();
    assert!(
        error.ends_with(" (and 7 more: `portreeve check` tells them all)"),
        "{error}"
    );
    assert_eq!(self::wrong("[agent\n[watch\nports = [").len(), 3);
}
