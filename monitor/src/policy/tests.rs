use super::*;
use crate::{
    event::{Endpoint, Event, Scope},
    identity::ProcessIdentity,
    output::samples,
    registry::{PortSpec, Transport},
};

fn tcp(port: u16) -> PortSpec {
    PortSpec {
        transport: Some(Transport::Tcp),
        first: port,
        last: port,
    }
}

fn glob(text: &str) -> Vec<Glob> {
    vec![Glob::parse(text).unwrap()]
}

fn policy() -> Policy {
    Policy::new(
        vec![Rule::dormant_port(), Rule::watched(vec![tcp(22)])],
        Verdict::Unruled,
    )
}

/// On 22 sshd, as root, by its service.
fn expect() -> Expect {
    Expect {
        name: "sshd".to_owned(),
        selector: Selector {
            exe: glob("/usr/sbin/sshd"),
            user: vec![UserIs::Name("root".to_owned())],
            unit: glob("ssh.service"),
            ..Selector::on(vec![tcp(22)])
        },
    }
}

fn facts(port: u16) -> Facts<'static> {
    Facts {
        automatic: Some(false),
        ..Facts::of_listener(Protocol::Tcp, port, Scope::Wildcard, true)
    }
}

fn sshd() -> Facts<'static> {
    Facts {
        exe: Some("/usr/sbin/sshd"),
        uid: Some(0),
        user: Some("root"),
        unit: Some("ssh.service"),
        ..facts(22)
    }
}

fn nc() -> Facts<'static> {
    Facts {
        exe: Some("/usr/bin/nc"),
        uid: Some(1000),
        user: Some("alice"),
        unit: Some("session-3.scope"),
        ..facts(22)
    }
}

/// The verdict and the rules that fire.
fn judge(policy: &Policy, facts: &Facts<'_>) -> (Verdict, Vec<String>) {
    let judged = policy.judge(facts, false);
    let rules = judged.findings.into_iter().map(|finding| finding.rule);
    (judged.verdict, rules.collect())
}

#[test]
fn the_dormant_ports_are_unexpected_and_their_neighbours_are_not() {
    let policy = policy();
    for (port, verdict) in [
        (1989, Verdict::Unruled),
        (1990, Verdict::Unexpected),
        (1991, Verdict::Unexpected),
        (1992, Verdict::Unexpected),
        (1993, Verdict::Unruled),
        (1994, Verdict::Unexpected),
        (1995, Verdict::Unruled),
        (0x07c8u16.swap_bytes(), Verdict::Unruled),
    ] {
        assert_eq!(judge(&policy, &facts(port)).0, verdict, "port {port}");
    }
}

#[test]
fn an_automatic_port_lowers_the_default_rule_to_a_warning() {
    let severity = |automatic| {
        let facts = Facts {
            automatic,
            ..facts(1992)
        };
        policy().judge(&facts, false).findings[0].severity
    };
    assert_eq!(
        [Some(false), None, Some(true)].map(severity),
        [Severity::Critical, Severity::Critical, Severity::Warning]
    );
}

#[test]
fn udp_is_named_by_the_default_rule_and_not_by_a_tcp_watch() {
    let policy = policy();
    assert!(policy.names(Protocol::Udp, 1992) && policy.names(Protocol::Tcp, 22));
    assert!(!policy.names(Protocol::Udp, 22));
}

#[test]
fn a_rule_matches_what_it_is_on_and_what_is_over_is_a_span() {
    let kinds = [
        (On::Listen, Kind::Listen, false),
        (On::Bind, Kind::Bind, false),
        (On::BindFailed, Kind::Bind, true),
        (On::Connect, Kind::Connect, true),
        (On::Connect, Kind::Connect, false),
        (On::Accept, Kind::Accept, false),
    ];
    for (on, ..) in kinds {
        let mut rule = Rule::dormant_port();
        rule.on = vec![on];
        let policy = Policy::new(vec![rule], Verdict::Unexpected);
        for (of, kind, failed) in kinds {
            let facts = Facts {
                kind,
                failed,
                ..facts(1992)
            };
            let judged = policy.judge(&facts, false);
            let spans: Vec<_> = judged.findings.iter().map(|finding| finding.span).collect();
            let expected = if of == on { vec![on != On::Listen] } else { vec![] };
            assert_eq!(spans, expected, "{on:?}, {kind:?}");
        }
    }
}

#[test]
fn a_judgement_names_the_rules_and_spares_the_agents_own() {
    assert_eq!(
        judge(&policy(), &facts(1992)),
        (Verdict::Unexpected, vec!["dormant-port".to_owned()])
    );
    let own = policy().judge(&facts(1992), true);
    assert_eq!((own.verdict, own.findings), (Verdict::Expected, vec![]));
    // The verdict for what nothing names is one on listeners, and it alone sets off no alert.
    let strict = Policy::new(Vec::new(), Verdict::Unexpected);
    let bind = Facts {
        kind: Kind::Bind,
        ..facts(1992)
    };
    assert_eq!(judge(&strict, &facts(1)), (Verdict::Unexpected, vec![]));
    assert_eq!(judge(&strict, &bind), (Verdict::Unruled, vec![]));
}

#[test]
fn the_most_severe_rule_comes_first() {
    let mut loud = Rule::watched(vec![tcp(1992)]);
    loud.name = "first".into();
    let policy = Policy::new(vec![loud, Rule::dormant_port()], Verdict::Unruled);
    assert_eq!(judge(&policy, &facts(1992)).1, ["dormant-port", "first"]);
}

#[test]
fn what_is_expected_is_silent_and_another_program_on_its_port_is_unexpected() {
    let policy = policy().with_expectations(vec![expect()]);
    let nothing = Vec::<String>::new();
    // A rule names 22 too.
    assert_eq!(judge(&policy, &sshd()), (Verdict::Expected, nothing.clone()));
    assert_eq!(
        judge(&policy, &nc()),
        (Verdict::Unexpected, vec!["watched-port".to_owned()])
    );
    assert_eq!(judge(&policy, &facts(80)), (Verdict::Unruled, nothing.clone()));

    let policy = Policy::new(Vec::new(), Verdict::Unruled).with_expectations(vec![expect()]);
    let unexpected = vec![UNEXPECTED.to_owned()];
    assert_eq!(judge(&policy, &nc()), (Verdict::Unexpected, unexpected.clone()));
    let unknown = facts(22);
    assert_eq!(judge(&policy, &unknown), (Verdict::Unexpected, unexpected.clone()));
    // Who may not see the process cannot accuse it.
    let hidden = Facts {
        hidden: true,
        uid: Some(0),
        user: Some("root"),
        ..unknown
    };
    assert_eq!(judge(&policy, &hidden), (Verdict::Unruled, nothing.clone()));
    // What is known of it may be enough.
    let alices = Facts {
        uid: Some(1000),
        user: Some("alice"),
        ..hidden
    };
    assert_eq!(judge(&policy, &alices), (Verdict::Unexpected, unexpected.clone()));
    let udp = Facts {
        protocol: Protocol::Udp,
        ..nc()
    };
    assert_eq!(judge(&policy, &udp), (Verdict::Unruled, nothing));

    let strict = Policy::new(Vec::new(), Verdict::Unexpected).with_expectations(vec![expect()]);
    assert_eq!(judge(&strict, &facts(80)), (Verdict::Unexpected, unexpected));
}

#[test]
fn an_expectation_is_about_listeners_and_their_binds() {
    let mut rule = Rule::watched(vec![tcp(22)]);
    rule.on = vec![On::Bind, On::BindFailed, On::Connect, On::Accept];
    let policy = Policy::new(vec![rule], Verdict::Unruled).with_expectations(vec![expect()]);
    let of = |kind, facts| judge(&policy, &Facts { kind, ..facts });
    let fired = vec![WATCHED.to_owned()];
    assert_eq!(of(Kind::Bind, sshd()), (Verdict::Expected, vec![]));
    assert_eq!(of(Kind::Accept, sshd()), (Verdict::Unexpected, fired.clone()));
    assert_eq!(of(Kind::Connect, sshd()), (Verdict::Unexpected, fired));
    // Without a rule.
    let policy = Policy::new(Vec::new(), Verdict::Unruled).with_expectations(vec![expect()]);
    let of = |kind, facts| judge(&policy, &Facts { kind, ..facts }).0;
    assert_eq!(of(Kind::Accept, sshd()), Verdict::Expected);
    assert_eq!(of(Kind::Connect, sshd()), Verdict::Unruled);
    assert_eq!(of(Kind::Bind, nc()), Verdict::Unexpected);
    assert_eq!(
        judge(
            &policy,
            &Facts {
                kind: Kind::Bind,
                ..nc()
            }
        )
        .1,
        Vec::<String>::new()
    );
}

#[test]
fn a_rule_on_what_is_exposed_waits_for_the_first_expectation() {
    let mut exposed = Rule::dormant_port();
    exposed.selector.scope = Reach::Exposed;
    let mut alices = Rule::dormant_port();
    alices.name = "alices".into();
    alices.selector = Selector {
        user: vec![UserIs::Uid(1000)],
        ..Selector::all()
    };
    let policy = Policy::new(vec![exposed, alices], Verdict::Unruled);
    let on_1992 = Facts { port: 1992, ..nc() };
    assert_eq!(judge(&policy, &on_1992), (Verdict::Unruled, vec![]));
    assert_eq!(policy.waiting().count(), 2);
    let policy = policy.with_expectations(vec![expect()]);
    assert_eq!(judge(&policy, &on_1992).1, ["dormant-port", "alices"]);
    assert_eq!(policy.waiting().count(), 0);
}

#[test]
fn a_selector_takes_what_all_its_fields_take() {
    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let all = Selector::all;
    let contained = Facts {
        container: Some(ID),
        host_netns: false,
        ..sshd()
    };
    let activated = Facts {
        unit: Some("ssh.socket"),
        service: Some("ssh.service"),
        ..sshd()
    };
    let local = Facts {
        scope: Scope::Loopback,
        ..sshd()
    };
    let one_address = Facts {
        scope: Scope::Address,
        ..sshd()
    };
    #[rustfmt::skip]
    let cases = [
        ("exe", Selector { exe: glob("/usr/sbin/sshd"), ..all() }, sshd(), true),
        ("a glob", Selector { exe: glob("/usr/*/sshd"), ..all() }, sshd(), true),
        ("a star stays in its folder", Selector { exe: glob("/usr/*"), ..all() }, sshd(), false),
        ("two stars do not", Selector { exe: glob("/usr/**/sshd"), ..all() }, sshd(), true),
        ("another exe", Selector { exe: glob("/usr/sbin/sshd"), ..all() }, nc(), false),
        ("an unknown exe", Selector { exe: glob("*"), ..all() }, facts(22), false),
        ("one of two", Selector { exe: [glob("/x"), glob("/usr/bin/nc")].concat(), ..all() }, nc(), true),
        ("a uid", Selector { user: vec![UserIs::Uid(0)], ..all() }, sshd(), true),
        ("a name", Selector { user: vec![UserIs::Name("root".into())], ..all() }, nc(), false),
        ("root by its number", Selector { user: vec![UserIs::Uid(0)], ..all() }, Facts { user: None, ..sshd() }, true),
        ("root by its name", Selector { user: vec![UserIs::Name("root".into())], ..all() }, Facts { user: None, ..sshd() }, true),
        ("a unit", Selector { unit: glob("session-*.scope"), ..all() }, nc(), true),
        ("the socket unit", Selector { unit: glob("ssh.socket"), ..all() }, activated, true),
        ("its service", Selector { unit: glob("ssh.service"), ..all() }, activated, true),
        ("a container", Selector { container: glob(ID), ..all() }, contained, true),
        ("its short id", Selector { container: glob("0123456789ab"), ..all() }, contained, true),
        ("any container", Selector { container: glob("*"), ..all() }, contained, true),
        ("no container", Selector { container: glob("*"), ..all() }, sshd(), false),
        ("host", Selector { namespace: Namespace::Host, ..all() }, contained, false),
        ("other", Selector { namespace: Namespace::Other, ..all() }, contained, true),
        ("exposed", Selector { scope: Reach::Exposed, ..all() }, one_address, true),
        ("not exposed", Selector { scope: Reach::Exposed, ..all() }, local, false),
        ("not exposed elsewhere", Selector { scope: Reach::Exposed, ..all() }, contained, false),
        ("loopback", Selector { scope: Reach::Loopback, ..all() }, local, true),
        ("wildcard", Selector { scope: Reach::Wildcard, ..all() }, one_address, false),
        ("automatic", Selector { automatic: Automatic::Only(true), ..all() }, sshd(), false),
        ("asked for", Selector { automatic: Automatic::Only(false), ..all() }, sshd(), true),
        ("ports", Selector::on(vec![tcp(23)]), sshd(), false),
    ];
    for (what, selector, facts, fits) in cases {
        assert_eq!(selector.fit(&facts, None) == Fit::Full, fits, "{what}");
    }
}

#[test]
fn where_nobody_knows_who_chose_the_port_rules_take_it_for_asked_for_and_expectations_for_either() {
    let unknown = Facts {
        automatic: None,
        ..facts(1992)
    };
    for automatic in [true, false] {
        let selector = Selector {
            automatic: Automatic::Only(automatic),
            ..Selector::all()
        };
        assert_eq!(selector.fit(&unknown, None), Fit::Full);
        assert_eq!(selector.fit(&unknown, Some(false)) == Fit::Full, !automatic);
    }
}

#[test]
fn the_port_of_a_client_says_nothing_of_who_chose_the_port_that_it_asks_for() {
    let mut rule = Rule::dormant_port();
    rule.on = vec![On::Listen, On::Connect, On::Accept];
    let policy = Policy::new(vec![rule], Verdict::Unruled);
    let process = ProcessIdentity::default();
    let mut event = samples::listen();
    event.socket.automatic = true;
    let severity = |event: &Event| {
        let facts = Facts::of_event(event, &process, None, true);
        assert_eq!(facts.automatic, event.automatic());
        policy
            .judge(&facts, false)
            .findings
            .first()
            .map(|finding| finding.severity)
    };
    assert_eq!(severity(&event), Some(Severity::Warning));
    event.kind = Kind::Accept;
    assert_eq!(severity(&event), Some(Severity::Critical));
    event.kind = Kind::Connect;
    event.peer = Some(Endpoint {
        address: "127.0.0.1".parse().unwrap(),
        port: 1994,
    });
    event.socket.port = 40_112;
    assert_eq!(severity(&event), Some(Severity::Critical));
}

#[test]
fn selectors_say_the_same_where_they_mean_the_same() {
    let on = |specs: &[(u16, u16)]| {
        let spec = |(first, last): &(u16, u16)| PortSpec {
            transport: None,
            first: *first,
            last: *last,
        };
        Selector::on(specs.iter().map(spec).collect())
    };
    let with = |scope, namespace| Selector {
        scope,
        namespace,
        ..on(&[(22, 22)])
    };
    let of = |exe: &[&str]| Selector {
        exe: exe.iter().map(|text| Glob::parse(text).unwrap()).collect(),
        ..on(&[(22, 22)])
    };
    let udp = |port| PortSpec {
        transport: Some(Transport::Udp),
        ..tcp(port)
    };
    let tcp_alone = Selector {
        protocols: vec![Protocol::Tcp],
        ..on(&[(22, 22)])
    };
    for (one, other, same) in [
        (on(&[(22, 22), (23, 23)]), on(&[(23, 23), (22, 22)]), true),
        (on(&[(22, 23)]), on(&[(23, 23), (22, 22), (22, 22)]), true),
        (Selector::on(vec![udp(22), tcp(22)]), on(&[(22, 22)]), true),
        (Selector::on(vec![tcp(22)]), tcp_alone, true),
        (of(&["/a", "/b"]), of(&["/b", "/a", "/b"]), true),
        (
            with(Reach::Exposed, Namespace::Any),
            with(Reach::Exposed, Namespace::Host),
            true,
        ),
        (of(&["/a"]), of(&["/a", "/b"]), false),
        (of(&["/a"]), of(&[]), false),
        (Selector::on(vec![tcp(22)]), on(&[(22, 22)]), false),
        (on(&[(1, 65_535)]), Selector::all(), false),
        (
            with(Reach::Loopback, Namespace::Any),
            with(Reach::Loopback, Namespace::Host),
            false,
        ),
    ] {
        assert_eq!(says_the_same(&one, &other), same, "{one:?}\n{other:?}");
        assert_eq!(says_the_same(&other, &one), same, "{other:?}\n{one:?}");
    }
}

#[test]
fn rules_tell_of_whoever_listens_where_they_ask_for_nobody() {
    let narrow = Rule {
        selector: expect().selector,
        ..Rule::watched(vec![tcp(22)])
    };
    let mut exposed = Rule::watched(vec![tcp(23)]);
    exposed.selector.scope = Reach::Exposed;
    let mut connects = Rule::watched(vec![tcp(24)]);
    connects.on = vec![On::Connect];
    let policy = Policy::new(vec![Rule::dormant_port(), narrow, exposed, connects], Verdict::Unruled);
    assert_eq!(policy.telling().count(), 1);
    assert_eq!(policy.with_expectations(vec![expect()]).telling().count(), 2);
}

#[test]
fn a_selector_knows_whether_it_takes_all_of_another() {
    let on = |first, last| {
        Selector::on(vec![PortSpec {
            transport: None,
            first,
            last,
        }])
    };
    let sshd = || expect().selector;
    let exe = |text: &str, selector: Selector| Selector {
        exe: glob(text),
        ..selector
    };
    let exposed = || Selector {
        scope: Reach::Exposed,
        ..on(1, 99)
    };
    let host = || Selector {
        namespace: Namespace::Host,
        ..on(1, 99)
    };
    let by = |user| Selector {
        user: vec![user],
        ..on(22, 22)
    };
    for (what, wide, narrow, takes) in [
        ("itself", sshd(), sshd(), true),
        ("all", Selector::all(), sshd(), true),
        ("the port", on(22, 22), sshd(), true),
        ("not the other way", sshd(), on(22, 22), false),
        ("a part of the ports", on(22, 23), on(22, 24), false),
        (
            "two stretches",
            Selector::on([on(1, 9).ports, on(10, 20).ports].concat()),
            on(5, 15),
            true,
        ),
        ("not all protocols", Selector::on(vec![tcp(22)]), on(22, 22), false),
        ("all ports", on(1, 65_535), Selector::all(), true),
        ("a glob", exe("/usr/sbin/*", on(22, 22)), sshd(), true),
        (
            "two globs",
            exe("/usr/b*", Selector::all()),
            exe("/usr/*", Selector::all()),
            false,
        ),
        (
            "a glob of the same beginning",
            exe("/usr/**", Selector::all()),
            exe("/usr/bin/nc*", Selector::all()),
            true,
        ),
        (
            "root by its number",
            by(UserIs::Name("root".into())),
            by(UserIs::Uid(0)),
            true,
        ),
        (
            "root by its name",
            by(UserIs::Uid(0)),
            by(UserIs::Name("root".into())),
            true,
        ),
        (
            "a user who has another number elsewhere",
            by(UserIs::Uid(33)),
            by(UserIs::Name("www-data".into())),
            false,
        ),
        ("another exe", exe("/bin/nc", on(22, 22)), sshd(), false),
        ("exposed is the host's", host(), exposed(), true),
        ("the host's is more than exposed", exposed(), host(), false),
    ] {
        assert_eq!(hiding(&narrow, &[&wide]) == [[0]], takes, "{what}");
    }
}

#[test]
fn an_expectation_without_a_name_is_called_by_program_and_port() {
    assert_eq!(Expect::name_of(&expect().selector), "sshd-22");
    assert_eq!(Expect::name_of(&Selector::on(vec![tcp(80)])), "80");
    let by_user = Selector {
        user: vec![UserIs::Uid(7)],
        ..Selector::all()
    };
    assert_eq!(Expect::name_of(&by_user), "7");
}
