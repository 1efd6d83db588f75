use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Instant,
};

use super::*;
use crate::{
    identity::Clock,
    output::{
        notify::{
            client::Client,
            outbox::{Ended, Outgoing},
            servers::{Answer, endpoint, nobody, serve, serve_at, status},
        },
        samples::parcel,
        webhook::{self, Webhook},
    },
    policy::notice::Over,
};

const PAUSES: Pauses = Pauses {
    first: Duration::from_millis(1),
    most: Duration::from_millis(4),
};

/// How long anything may take that happens at once.
const PATIENCE: Duration = Duration::from_secs(30);

fn closed() -> Ended {
    Ended {
        at: clock::boot_now(),
        why: Over::Closed,
    }
}

fn ok() -> Answer {
    status("200 OK", "")
}

/// The thread of a receiver at an address, and what comes of each message.
fn start(address: std::net::SocketAddr) -> (Arc<Postbox>, JoinHandle<()>, mpsc::Receiver<Sent>) {
    let client = Client::new(endpoint("http", address, Duration::from_millis(400))).unwrap();
    let postbox = Arc::new(Postbox::new(Outbox::new(webhook::STYLE)));
    let (count, counted) = mpsc::channel();
    let at = Arc::clone(&postbox);
    let thread = std::thread::spawn(move || {
        run(
            "webhook/test",
            &at,
            Webhook::new(client, "web-7".to_owned()),
            PAUSES,
            |sent, alerts| {
                assert_eq!(alerts, 1);
                let _ = count.send(sent);
            },
        );
    });
    (postbox, thread, counted)
}

fn fire(postbox: &Postbox, keep: Duration) -> Outgoing {
    let alert = parcel(Clock::read()).alert;
    postbox.with(|outbox| outbox.fire(alert.clone(), keep));
    alert
}

#[test]
fn an_alert_gets_through_whatever_happened_to_it_before_and_is_the_same_each_time() {
    let failures = [
        status("500 Internal Server Error", ""),
        Answer::Close,
        Answer::Hang,
        status("503 Service Unavailable", ""),
    ];
    let (address, came) = serve(failures.iter().cloned().chain([ok(), ok()]).collect());
    let (postbox, thread, counted) = start(address);
    let alert = fire(&postbox, Duration::ZERO);
    for _ in &failures {
        assert_eq!(counted.recv_timeout(PATIENCE), Ok(Sent::Error));
    }
    assert_eq!(counted.recv_timeout(PATIENCE), Ok(Sent::Ok));
    let told: Vec<_> = (0..4).map(|_| came.recv_timeout(PATIENCE).unwrap().body).collect();
    assert!(told.iter().all(|body| *body == told[0]), "{told:#?}");
    assert!(told[0].contains(&format!("{}-firing", alert.id())), "{}", told[0]);
    assert_eq!(postbox.read(Outbox::take_accepted).len(), 1);
    postbox.with(|outbox| outbox.end(&alert.key, alert.severity, closed()));
    assert_eq!(counted.recv_timeout(PATIENCE), Ok(Sent::Ok));
    assert!(came.recv_timeout(PATIENCE).unwrap().body.contains("-resolved"));
    postbox.stop();
    thread.join().unwrap();
}

#[test]
fn what_opened_and_closed_while_the_receiver_was_down_is_told_once_it_is_up() {
    let address = nobody();
    let (postbox, _thread, counted) = start(address);
    let alert = fire(&postbox, Duration::from_millis(20));
    postbox.with(|outbox| outbox.end(&alert.key, alert.severity, closed()));
    for _ in 0..3 {
        assert_eq!(counted.recv_timeout(PATIENCE), Ok(Sent::Error));
    }
    // It is started, answers once, is killed, and is started again.
    for expected in ["-firing", "-resolved"] {
        let (_, came) = serve_at(address, vec![ok()]);
        let body = came.recv_timeout(PATIENCE).unwrap().body;
        assert!(body.contains(expected), "{expected}: {body}");
    }
}

#[test]
fn who_refuses_an_alert_is_not_asked_again_at_once() {
    let (address, came) = serve(vec![status("404 Not Found", ""), ok()]);
    let (postbox, thread, counted) = start(address);
    fire(&postbox, Duration::ZERO);
    assert_eq!(counted.recv_timeout(PATIENCE), Ok(Sent::Error));
    came.recv_timeout(PATIENCE).unwrap();
    let now = clock::boot_now();
    let next = postbox.read(|outbox| outbox.next(now));
    assert!(
        matches!(next, Next::Wait(Some(until)) if until > now + 50_000_000_000),
        "{next:?}"
    );
    postbox.stop();
    thread.join().unwrap();
    assert_eq!(postbox.read(|outbox| outbox.waiting(now)), 1);
}

#[test]
fn the_thread_sleeps_until_something_is_new_and_then_sends_at_once() {
    let (address, came) = serve(vec![ok()]);
    let (postbox, thread, _counted) = start(address);
    let begin = Instant::now();
    fire(&postbox, Duration::ZERO);
    came.recv_timeout(PATIENCE).unwrap();
    // The figure itself is measured elsewhere: here the machine may be busy.
    assert!(begin.elapsed() < Duration::from_secs(5));
    postbox.stop();
    thread.join().unwrap();
}

#[test]
fn a_thread_whose_receiver_is_down_ends_when_it_is_told_to() {
    let (postbox, thread, counted) = start(nobody());
    fire(&postbox, Duration::ZERO);
    assert_eq!(counted.recv_timeout(PATIENCE), Ok(Sent::Error));
    postbox.stop();
    thread.join().unwrap();
}

#[test]
fn pauses_double_up_to_a_bound_and_are_shared_out() {
    let after = |failures| Pauses::USUAL.after(failures, 1.0).as_millis();
    assert_eq!(
        [after(1), after(2), after(3), after(8), after(1_000)],
        [250, 500, 1_000, 30_000, 30_000]
    );
    assert_eq!(Pauses::USUAL.after(8, 0.5), Duration::from_secs(15));
    let chances: Vec<_> = (0..100).map(|_| chance()).collect();
    assert!(chances.iter().all(|chance| (0.0..=1.0).contains(chance)));
    assert!(chances.iter().any(|chance| *chance < 0.5) && chances.iter().any(|chance| *chance > 0.5));
}
