use super::*;
use crate::event::Protocol;

const SECOND: u64 = 1_000_000_000;
const KEEP: Duration = Duration::from_secs(60);

const ALERTMANAGER: Style = Style {
    resend: Some(Duration::from_secs(60)),
    batch: 64,
    keeps: true,
};

const WEBHOOK: Style = Style {
    resend: None,
    batch: 1,
    keeps: true,
};

fn alert(port: u16, severity: Severity, second: i64) -> Outgoing {
    let notice = Notice {
        labels: [("port".to_owned(), port.to_string())].into(),
        ..Notice::default()
    };
    Outgoing {
        key: AlertKey {
            rule: "dormant-port".into(),
            protocol: Protocol::Tcp,
            port,
            process: "nc".into(),
            netns: 1,
        },
        severity,
        notice: Arc::new(notice),
        fired: u64::try_from(second).unwrap() * SECOND,
        starts_at: Timestamp::from_second(second).unwrap(),
    }
}

fn critical(port: u16) -> Outgoing {
    alert(port, Severity::Critical, 0)
}

/// An outbox with an alert on 1992.
fn fired(style: Style) -> Outbox {
    let mut outbox = Outbox::new(style);
    outbox.fire(critical(1992), KEEP);
    outbox
}

fn closed(at: u64) -> Ended {
    Ended { at, why: Over::Closed }
}

fn end(outbox: &mut Outbox, now: u64) {
    assert!(outbox.end(&critical(1992).key, Severity::Critical, closed(now)));
}

fn told(outbox: &Outbox, fired: u64) -> Option<(Option<u64>, Option<u64>)> {
    let times = outbox.told(&critical(1992).key, Severity::Critical, fired * SECOND)?;
    let seconds = |at| at / SECOND;
    Some((times.firing.map(seconds), times.resolved.map(seconds)))
}

/// What is sent at this second, and accepted.
fn send(outbox: &mut Outbox, second: u64) -> Vec<Status> {
    match outbox.next(second * SECOND) {
        Next::Send(parcels) => {
            outbox.accept(&parcels, second * SECOND);
            parcels.iter().map(|parcel| parcel.status).collect()
        }
        Next::Wait(_) => Vec::new(),
    }
}

#[test]
fn what_opened_and_closed_during_an_outage_is_told_as_firing_first() {
    for style in [ALERTMANAGER, WEBHOOK] {
        let mut outbox = fired(style);
        end(&mut outbox, 2 * SECOND);
        assert_eq!(outbox.waiting(3 * SECOND), 1);
        // The receiver comes back after half an hour.
        assert_eq!(send(&mut outbox, 1800), [Status::Firing]);
        assert_eq!(send(&mut outbox, 1801), [], "{style:?}");
        assert_eq!(send(&mut outbox, 1859), []);
        assert_eq!(send(&mut outbox, 1860), [Status::Resolved]);
        assert_eq!((outbox.next(u64::MAX), outbox.waiting(u64::MAX)), (Next::Wait(None), 0));
    }
}

#[test]
fn what_fires_is_told_alertmanager_each_minute_and_a_webhook_once() {
    for (style, again) in [(ALERTMANAGER, vec![Status::Firing]), (WEBHOOK, vec![])] {
        let mut outbox = fired(style);
        assert_eq!(send(&mut outbox, 0), [Status::Firing]);
        assert_eq!(send(&mut outbox, 59), []);
        assert_eq!(outbox.waiting(59 * SECOND), 0);
        for minute in 1..5 {
            assert_eq!(send(&mut outbox, minute * 60), again);
        }
    }
}

#[test]
fn an_end_is_told_as_when_it_was_and_not_before_it_may() {
    let mut outbox = fired(WEBHOOK);
    send(&mut outbox, 100);
    end(&mut outbox, 200 * SECOND);
    let Next::Send(parcels) = outbox.next(200 * SECOND) else {
        panic!()
    };
    assert_eq!(parcels[0].ended, Some(closed(200 * SECOND)));
    let mut outbox = fired(WEBHOOK);
    send(&mut outbox, 100);
    end(&mut outbox, 101 * SECOND);
    assert_eq!(outbox.next(101 * SECOND), Next::Wait(Some(160 * SECOND)));
    let Next::Send(parcels) = outbox.next(160 * SECOND) else {
        panic!()
    };
    assert_eq!(
        parcels[0].ended,
        Some(closed(160 * SECOND)),
        "to the receiver it fired until then"
    );
}

#[test]
fn the_journal_is_told_of_an_end_at_once() {
    let mut outbox = fired(Style {
        keeps: false,
        ..WEBHOOK
    });
    send(&mut outbox, 0);
    end(&mut outbox, SECOND);
    assert_eq!(send(&mut outbox, 1), [Status::Resolved]);
}

#[test]
fn one_that_fires_again_before_its_end_was_told_never_ended() {
    let mut outbox = fired(WEBHOOK);
    let id = critical(1992).id();
    send(&mut outbox, 0);
    end(&mut outbox, SECOND);
    outbox.fire(alert(1992, Severity::Critical, 30), KEEP);
    assert_eq!(send(&mut outbox, 60), []);
    end(&mut outbox, 90 * SECOND);
    let Next::Send(parcels) = outbox.next(90 * SECOND) else {
        panic!()
    };
    assert_eq!((parcels[0].status, parcels[0].alert.id()), (Status::Resolved, id));
}

#[test]
fn one_that_fires_again_while_its_end_is_on_the_way_is_told_as_another_one() {
    let mut outbox = fired(WEBHOOK);
    send(&mut outbox, 0);
    end(&mut outbox, 60 * SECOND);
    let Next::Send(on_the_way) = outbox.next(60 * SECOND) else {
        panic!()
    };
    outbox.fire(alert(1992, Severity::Critical, 61), KEEP);
    outbox.accept(&on_the_way, 62 * SECOND);
    let Next::Send(parcels) = outbox.next(62 * SECOND) else {
        panic!()
    };
    assert_eq!(parcels[0].status, Status::Firing);
    assert_ne!(parcels[0].alert.id(), on_the_way[0].alert.id());
}

#[test]
fn a_worse_alert_ends_the_one_before_if_that_was_told_at_all() {
    let warning = alert(1992, Severity::Warning, 0);
    let mut outbox = Outbox::new(ALERTMANAGER);
    outbox.fire(warning.clone(), KEEP);
    outbox.supersede(&warning.key, Severity::Warning, closed(SECOND));
    assert_eq!(outbox.next(SECOND), Next::Wait(None), "it is nothing to tell any more");
    outbox.fire(warning.clone(), KEEP);
    send(&mut outbox, 1);
    outbox.supersede(&warning.key, Severity::Warning, closed(2 * SECOND));
    outbox.fire(critical(1992), KEEP);
    let Next::Send(parcels) = outbox.next(2 * SECOND) else {
        panic!()
    };
    let told: Vec<_> = parcels
        .iter()
        .map(|parcel| (parcel.alert.severity, parcel.status))
        .collect();
    assert_eq!(
        told,
        [
            (Severity::Critical, Status::Firing),
            (Severity::Warning, Status::Resolved)
        ]
    );
}

#[test]
fn the_worst_that_nobody_knows_goes_first_and_a_message_has_a_bound() {
    let mut outbox = Outbox::new(Style {
        batch: 3,
        ..ALERTMANAGER
    });
    for port in 1..=3 {
        outbox.fire(alert(port, Severity::Info, 0), KEEP);
    }
    assert_eq!(send(&mut outbox, 0).len(), 3);
    outbox.fire(alert(4, Severity::Warning, 0), KEEP);
    outbox.fire(alert(5, Severity::Critical, 0), KEEP);
    let Next::Send(parcels) = outbox.next(60 * SECOND) else {
        panic!()
    };
    let ports: Vec<_> = parcels.iter().map(|parcel| parcel.alert.key.port).collect();
    assert_eq!(ports, [5, 4, 1]);
}

#[test]
fn of_a_message_that_is_refused_each_alert_is_tried_by_itself_and_then_once_a_minute() {
    let mut outbox = Outbox::new(ALERTMANAGER);
    outbox.fire(critical(1), KEEP);
    outbox.fire(critical(2), KEEP);
    let next = |outbox: &Outbox, second: u64| match outbox.next(second * SECOND) {
        Next::Send(parcels) => parcels,
        Next::Wait(_) => Vec::new(),
    };
    let both = next(&outbox, 0);
    assert_eq!(both.len(), 2);
    outbox.refuse(&both, 0);
    let one = next(&outbox, 0);
    assert_eq!(one.len(), 1);
    outbox.refuse(&one, 0);
    let other = next(&outbox, 0);
    assert_eq!(other.len(), 1);
    assert_ne!(one[0].alert.key, other[0].alert.key);
    outbox.accept(&other, 0);
    assert_eq!(outbox.next(0), Next::Wait(Some(60 * SECOND)));
    assert_eq!(outbox.waiting(0), 1);
    assert_eq!(
        next(&outbox, 60).len(),
        1,
        "the one that was refused is alone, the other one's turn is next"
    );
}

#[test]
fn a_restart_repeats_nothing_and_forgets_nothing() {
    let mut before = Outbox::new(WEBHOOK);
    for port in 1..=3 {
        before.fire(critical(port), KEEP);
    }
    let Next::Send(first) = before.next(0) else { panic!() };
    before.accept(&first, 0);
    let Next::Send(second) = before.next(0) else { panic!() };
    before.accept(&second, 0);
    before.end(&second[0].alert.key, Severity::Critical, closed(SECOND));
    let mut after = Outbox::new(WEBHOOK);
    for kept in before.kept() {
        after.restore(kept, 10 * SECOND);
    }
    let Next::Send(parcels) = after.next(10 * SECOND) else {
        panic!()
    };
    assert!(parcels[0].alert.key != first[0].alert.key && parcels[0].alert.key != second[0].alert.key);
    after.accept(&parcels, 10 * SECOND);
    assert_eq!(after.next(10 * SECOND), Next::Wait(Some(60 * SECOND)));
    assert_eq!(send(&mut after, 60), [Status::Resolved]);
    let news = after.take_accepted();
    assert_eq!(news.len(), 1, "what was accepted before is no news");
    let known = after.told(&first[0].alert.key, Severity::Critical, 0).unwrap();
    assert_eq!((known.firing, known.resolved), (Some(0), None));
}

#[test]
fn what_is_accepted_is_told_once_and_with_its_time() {
    let mut outbox = fired(ALERTMANAGER);
    send(&mut outbox, 7);
    send(&mut outbox, 67);
    assert_eq!(
        outbox.take_accepted(),
        [Accepted {
            key: critical(1992).key,
            severity: Severity::Critical,
            at: 7 * SECOND
        }]
    );
    assert_eq!(outbox.take_accepted(), []);
}

#[test]
fn past_the_bound_an_end_is_forgotten_and_what_fires_is_not() {
    let mut outbox = Outbox::new(WEBHOOK);
    let all = u16::try_from(ALERTS_MAX).unwrap();
    for port in 0..=all {
        outbox.fire(critical(port), KEEP);
    }
    for port in 0..all {
        assert!(outbox.end(&critical(port).key, Severity::Critical, closed(0)));
    }
    assert!(!outbox.end(&critical(all).key, Severity::Critical, closed(0)));
    outbox.fire(critical(all), KEEP);
    assert_eq!(outbox.waiting(0), ALERTS_MAX + 1);
}

#[test]
fn an_id_depends_on_the_labels_and_the_time_alone() {
    let one = critical(1992);
    let mut more = one.clone();
    Arc::make_mut(&mut more.notice).add_address("::");
    assert_eq!(one.id(), more.id());
    assert_ne!(one.id(), critical(1991).id());
    assert_ne!(one.id(), alert(1992, Severity::Critical, 1).id());
    assert_eq!(one.id().len(), 32);
}

#[test]
fn what_was_accepted_is_known_after_the_end_until_many_others_ended() {
    let mut outbox = fired(WEBHOOK);
    assert_eq!(told(&outbox, 0), None);
    send(&mut outbox, 2);
    assert_eq!(told(&outbox, 0), Some((Some(2), None)));
    end(&mut outbox, 3 * SECOND);
    send(&mut outbox, 62);
    assert_eq!(told(&outbox, 0), Some((Some(2), Some(62))));
    // It fires again, and that is another alert.
    outbox.fire(alert(1992, Severity::Critical, 100), KEEP);
    assert_eq!(
        (told(&outbox, 100), told(&outbox, 0)),
        (None, Some((Some(2), Some(62))))
    );
    for port in 1..=u16::try_from(ENDED_MAX).unwrap() {
        outbox.fire(critical(port), Duration::ZERO);
        outbox.end(&critical(port).key, Severity::Critical, closed(0));
    }
    while !send(&mut outbox, 200).is_empty() {}
    assert_eq!((told(&outbox, 100), told(&outbox, 0)), (Some((Some(200), None)), None));
    assert_eq!(outbox.done.len(), ENDED_MAX);
}

#[test]
fn what_fired_again_before_its_end_was_told_is_known_as_the_one_alert_that_it_is_to_the_receiver() {
    let mut outbox = fired(WEBHOOK);
    send(&mut outbox, 2);
    end(&mut outbox, 3 * SECOND);
    outbox.fire(alert(1992, Severity::Critical, 30), KEEP);
    assert_eq!(told(&outbox, 30), Some((Some(2), None)));
    end(&mut outbox, 70 * SECOND);
    send(&mut outbox, 70);
    for fired in [0, 30] {
        assert_eq!(told(&outbox, fired), Some((Some(2), Some(70))), "{fired}");
    }
    assert_eq!(told(&outbox, 31), None);
}

#[test]
fn what_fires_again_before_it_was_taken_over_is_known_as_the_one_before() {
    let mut before = fired(WEBHOOK);
    send(&mut before, 2);
    let mut after = Outbox::new(WEBHOOK);
    after.fire(alert(1992, Severity::Critical, 30), KEEP);
    for kept in before.kept() {
        after.restore(kept, 31 * SECOND);
    }
    assert_eq!(send(&mut after, 31), []);
    assert_eq!(
        (told(&after, 0), told(&after, 30)),
        (Some((Some(2), None)), Some((Some(2), None)))
    );
}
