use super::*;

const SECOND: u64 = 1_000_000_000;
const CRITICAL: Severity = Severity::Critical;

fn key(port: u16) -> AlertKey {
    AlertKey {
        rule: "dormant-port".into(),
        protocol: Protocol::Tcp,
        port,
        process: "nc".into(),
        netns: 1,
    }
}

fn terms(wait: u64, keep: u64) -> Terms {
    Terms {
        wait: Duration::from_secs(wait),
        keep: Duration::from_secs(keep),
    }
}

fn socket(number: u64) -> Option<SocketKey> {
    Some(SocketKey::new(number))
}

/// Opens a listener of a rule that keeps its alerts for a minute.
fn open(alerts: &mut Alerts, port: u16, number: u64, now: u64) -> Fired {
    let fired = alerts.matched(&key(port), CRITICAL, terms(0, 60), socket(number), now, Notice::default);
    alerts.delivered(&key(port), CRITICAL, now);
    fired
}

/// What happens to one alert, in seconds.
enum Step {
    Open(u64),
    Close(u64),
    Event,
    Deliver,
    /// The pending alerts are looked at: whether it fires then.
    Tick(bool),
    /// Whether it is over.
    Over(bool),
}

#[test]
fn the_life_of_an_alert_as_a_table() {
    use Step::{Close, Deliver, Event, Open, Over, Tick};
    type Case = (&'static str, Terms, &'static [(u64, Step)]);
    let cases: &[Case] = &[
        (
            "a listener of two seconds fires for keep_firing_for from its first delivery on",
            terms(0, 60),
            &[
                (0, Open(1)),
                (2, Close(1)),
                (10, Deliver),
                (20, Deliver),
                (69, Over(false)),
                (70, Over(true)),
            ],
        ),
        (
            "one that nobody took does not end",
            terms(0, 0),
            &[
                (0, Open(1)),
                (1, Close(1)),
                (9_999, Over(false)),
                (9_999, Deliver),
                (9_999, Over(true)),
            ],
        ),
        (
            "it fires while one of two sockets is open",
            terms(0, 0),
            &[
                (0, Open(1)),
                (0, Open(2)),
                (0, Deliver),
                (1, Close(1)),
                (100, Over(false)),
                (100, Close(2)),
                (100, Over(true)),
            ],
        ),
        (
            "one that comes back meanwhile keeps it",
            terms(0, 60),
            &[
                (0, Open(1)),
                (0, Deliver),
                (1, Close(1)),
                (30, Open(2)),
                (100, Over(false)),
            ],
        ),
        (
            "with `for` it is pending first, and fires once",
            terms(30, 0),
            &[
                (0, Open(1)),
                (29, Tick(false)),
                (30, Tick(true)),
                (31, Tick(false)),
                (31, Over(false)),
            ],
        ),
        (
            "a gap begins `for` again",
            terms(30, 0),
            &[
                (0, Open(1)),
                (20, Close(1)),
                (21, Open(2)),
                (40, Tick(false)),
                (50, Tick(false)),
                (51, Tick(true)),
            ],
        ),
        (
            "a second socket without a gap does not",
            terms(30, 0),
            &[(0, Open(1)), (20, Open(2)), (21, Close(1)), (30, Tick(true))],
        ),
        (
            "an event fires for a span after the last one, and `for` means nothing to it",
            terms(30, 60),
            &[
                (0, Event),
                (0, Deliver),
                (50, Event),
                (109, Over(false)),
                (110, Over(true)),
            ],
        ),
        (
            "a span that is delivered late is kept from there on",
            terms(0, 60),
            &[
                (0, Event),
                (100, Over(false)),
                (100, Deliver),
                (159, Over(false)),
                (160, Over(true)),
            ],
        ),
    ];
    for (name, terms, steps) in cases {
        let mut alerts = Alerts::default();
        for (second, step) in *steps {
            let now = second * SECOND;
            let at = format!("{name}, at {second} s");
            match step {
                Open(number) => {
                    alerts.matched(&key(1992), CRITICAL, *terms, socket(*number), now, Notice::default);
                }
                Event => {
                    alerts.matched(&key(1992), CRITICAL, *terms, None, now, Notice::default);
                }
                Close(number) => alerts.closed(SocketKey::new(*number)),
                Deliver => alerts.delivered(&key(1992), CRITICAL, now),
                Tick(fires) => assert_eq!(alerts.fire_due(now).len() == 1, *fires, "{at}"),
                Over(over) => assert_eq!(alerts.resolve(now).len() == 1, *over, "{at}"),
            }
        }
    }
}

#[test]
fn two_sockets_of_one_service_are_one_alert() {
    let mut alerts = Alerts::default();
    assert_eq!(open(&mut alerts, 1992, 1, 0), Fired::New);
    assert_eq!(open(&mut alerts, 1992, 2, 0), Fired::Already);
    assert_eq!(alerts.len(), 1);
}

#[test]
fn an_alert_that_gets_worse_takes_the_place_of_the_one_before_and_none_gets_better() {
    let mut alerts = Alerts::default();
    let mut add = |number, severity, now| {
        let fired = alerts.matched(&key(1992), severity, terms(0, 60), socket(number), now, Notice::default);
        alerts.delivered(&key(1992), severity, now);
        fired
    };
    assert_eq!(add(1, Severity::Warning, 1), Fired::New);
    let Fired::Worse(before) = add(2, CRITICAL, 2) else {
        panic!("a critical one fires")
    };
    assert_eq!((before.severity, before.fired), (Severity::Warning, 1));
    assert_eq!(add(3, Severity::Warning, 3), Fired::Already);
    let alert = alerts.get(&key(1992)).unwrap();
    assert_eq!((alert.severity, alert.fired, alert.delivered()), (CRITICAL, 2, Some(2)));
    // The listener of the first one holds the second.
    alerts.closed(SocketKey::new(2));
    alerts.closed(SocketKey::new(3));
    assert!(alerts.resolve(100 * SECOND).is_empty());
}

#[test]
fn who_takes_the_lesser_alert_late_has_not_taken_the_worse_one() {
    let mut alerts = Alerts::default();
    for (number, severity) in [(1, Severity::Warning), (2, CRITICAL)] {
        alerts.matched(&key(1992), severity, terms(0, 0), socket(number), 0, Notice::default);
    }
    alerts.delivered(&key(1992), Severity::Warning, 1);
    assert_eq!(alerts.get(&key(1992)).unwrap().delivered(), None);
}

#[test]
fn past_the_rate_alerts_are_held_back_counted_and_fire_later_if_they_are_still_there() {
    let mut alerts = Alerts::default();
    let port = |index: u64| u16::try_from(1000 + index).unwrap();
    let rate = u64::from(RATE);
    for index in 0..rate {
        assert_eq!(open(&mut alerts, port(index), index, 0), Fired::New);
    }
    for index in rate..rate + 3 {
        assert_eq!(open(&mut alerts, port(index), index, SECOND), Fired::Held);
    }
    // An event past the rate has nothing to wait for.
    let fired = alerts.matched(&key(9), CRITICAL, terms(0, 0), None, SECOND, Notice::default);
    assert_eq!(fired, Fired::Held);
    let held = alerts.take_held();
    let [(rule, held)] = held.as_slice() else {
        panic!("{held:?}")
    };
    assert_eq!(
        (rule.as_str(), held.sentence().as_str()),
        (
            "dormant-port",
            "4 alerts held back: 9/tcp nc, 1060/tcp nc, 1061/tcp nc, 1062/tcp nc"
        )
    );
    assert_eq!(alerts.take_held(), []);
    assert_eq!((alerts.len(), alerts.all().count()), (60, 63));
    // Another rule has a rate of its own.
    let other = AlertKey {
        rule: "other".into(),
        ..key(9)
    };
    let fired = alerts.matched(&other, CRITICAL, terms(0, 0), socket(9), SECOND, Notice::default);
    assert_eq!(fired, Fired::New);
    alerts.closed(SocketKey::new(rate));
    assert!(alerts.fire_due(59 * SECOND).is_empty());
    assert_eq!(alerts.take_held(), [], "each is counted once");
    let keys: Vec<_> = alerts
        .fire_due(60 * SECOND)
        .into_iter()
        .map(|alert| AlertKey::clone(&alert.key))
        .collect();
    assert_eq!(keys, [key(port(rate + 1)), key(port(rate + 2))]);
}

#[test]
fn of_those_that_wait_the_most_severe_fires_first() {
    let mut alerts = Alerts::default();
    for (port, severity) in [(1, Severity::Info), (2, CRITICAL), (3, Severity::Warning)] {
        alerts.matched(
            &key(port),
            severity,
            terms(5, 0),
            socket(port.into()),
            0,
            Notice::default,
        );
    }
    let ports: Vec<_> = alerts.fire_due(5 * SECOND).iter().map(|alert| alert.key.port).collect();
    assert_eq!(ports, [2, 3, 1]);
}

#[test]
fn one_of_before_waits_for_its_listener_and_a_pending_one_without_is_forgotten() {
    let mut alerts = Alerts::default();
    let before = |port, pending, delivered| {
        Alert::of_before(key(port), CRITICAL, Notice::default(), (0, pending), (delivered, None))
    };
    alerts.restore(before(1, false, Some(0)), terms(0, 60));
    alerts.restore(before(2, true, None), terms(30, 60));
    alerts.restore(before(3, true, None), terms(30, 60));
    assert_eq!(open(&mut alerts, 1, 1, 100 * SECOND), Fired::Already);
    let fired = alerts.matched(
        &key(3),
        CRITICAL,
        terms(30, 60),
        socket(3),
        100 * SECOND,
        Notice::default,
    );
    assert_eq!(fired, Fired::Pending);
    assert!(alerts.resolve(100 * SECOND).is_empty());
    let fired = alerts.fire_due(100 * SECOND);
    assert_eq!(
        fired.len(),
        1,
        "its time has passed, and the one without a listener is gone"
    );
    assert_eq!(*fired[0].key, key(3));
}

#[test]
fn a_further_address_is_told_once() {
    let mut alerts = Alerts::default();
    open(&mut alerts, 1992, 1, 0);
    assert!(alerts.also_at(&key(1992), "::").is_some());
    assert!(alerts.also_at(&key(1992), "::").is_none());
    assert!(alerts.also_at(&key(1), "::").is_none());
}

#[test]
fn past_the_bound_an_alert_is_dropped_and_one_that_fires_is_not() {
    let mut alerts = Alerts::default();
    let mut open = |index: usize| {
        let key = AlertKey {
            process: index.to_string(),
            rule: (index % 100).to_string(),
            ..key(1992)
        };
        alerts.matched(&key, Severity::Info, terms(0, 0), socket(1), 0, Notice::default)
    };
    for index in 0..ALERTS_MAX {
        assert_eq!(open(index), Fired::New);
    }
    assert_eq!((open(ALERTS_MAX), open(0)), (Fired::Dropped, Fired::Already));
    assert_eq!(alerts.firing().count(), ALERTS_MAX);
}

#[test]
fn what_was_held_back_is_named_up_to_a_bound_and_each_name_once() {
    let mut held = Held::default();
    held.note(&key(1992));
    assert_eq!(held.sentence(), "1 alert held back: 1992/tcp nc");
    for port in [1992, 7, 8, 9, 10, 11, 12, 13, 14, 15] {
        let mut further = Held::default();
        further.note(&key(port));
        held.extend(further);
    }
    assert_eq!(
        held.sentence(),
        "11 alerts held back: 7/tcp nc, 8/tcp nc, 9/tcp nc, 10/tcp nc, 11/tcp nc, 12/tcp nc, 13/tcp nc, 1992/tcp nc ×2, and 2 more"
    );
}

#[test]
fn a_socket_keeps_up_each_of_its_alerts_once_and_its_end_ends_no_other() {
    let mut alerts = Alerts::default();
    for port in [1, 2] {
        // Told twice, as after a reload.
        open(&mut alerts, port, 7, 0);
        open(&mut alerts, port, 7, 0);
    }
    open(&mut alerts, 2, 8, 0);
    alerts.closed(SocketKey::new(7));
    let over = alerts.resolve(60 * SECOND);
    assert_eq!(over.iter().map(|alert| alert.key.port).collect::<Vec<_>>(), [1]);
    alerts.closed(SocketKey::new(8));
    assert_eq!(alerts.resolve(60 * SECOND).len(), 1);
    assert!(alerts.by_socket.is_empty());
}

#[test]
fn other_rules_end_what_they_no_longer_match_and_leave_what_ended_by_itself_its_time() {
    let mut alerts = Alerts::default();
    for port in 1..=4 {
        open(&mut alerts, port, port.into(), 0);
    }
    open(&mut alerts, 2, 9, 0);
    alerts.closed(SocketKey::new(3));
    let over = alerts.reconfigure(
        |key| (key.port != 4).then_some(terms(0, 60)),
        |_, socket| ![1, 2].map(SocketKey::new).contains(&socket),
    );
    let ports: Vec<_> = over.iter().map(|alert| alert.key.port).collect();
    assert_eq!(ports, [1, 4], "2 has another listener, and 3 goes on for its time");
    assert_eq!(alerts.by_socket.len(), 1);
    assert_eq!(alerts.resolve(60 * SECOND).len(), 1);
}

#[test]
fn a_span_of_before_lasts_from_its_last_event_on() {
    let mut alerts = Alerts::default();
    let of_before = |last| Alert::of_before(key(1), CRITICAL, Notice::default(), (0, false), (Some(0), last));
    alerts.restore(of_before(Some(50 * SECOND)), terms(0, 60));
    assert!(alerts.resolve(109 * SECOND).is_empty());
    assert_eq!(alerts.resolve(110 * SECOND).len(), 1);
}

#[test]
fn the_last_event_of_a_span_is_worth_a_write_now_and_then() {
    let mut alerts = Alerts::default();
    let mut event = |second: u64| {
        alerts.matched(&key(1), CRITICAL, terms(0, 60), None, second * SECOND, Notice::default);
        alerts.changes()
    };
    let first = event(0);
    assert_eq!((event(1), event(9)), (first, first));
    assert_eq!((event(10), event(19), event(20)), (first + 1, first + 1, first + 2));
}
