use std::sync::Arc;

use super::*;
use crate::{
    event::SocketKey,
    output::notify::outbox::{Next, Outbox, Style},
    policy::alerts::{Alerts, Terms},
};

fn key(port: u16) -> AlertKey {
    AlertKey {
        rule: "dormant-port".to_owned(),
        protocol: Protocol::Tcp,
        port,
        process: "nc\n\"".to_owned(),
        netns: 7,
    }
}

fn notice(port: u16) -> Notice {
    Notice {
        labels: [("port".to_owned(), port.to_string())].into(),
        ..Notice::default()
    }
}

/// Two alerts, of which 1992 was delivered.
fn firing() -> Alerts {
    let mut alerts = Alerts::default();
    let terms = Terms {
        keep: Duration::from_secs(900),
        ..Terms::default()
    };
    for port in [1992, 1990] {
        let socket = Some(SocketKey::new(u64::from(port)));
        alerts.matched(&key(port), Severity::Critical, terms, socket, 5, || notice(port));
    }
    alerts.delivered(&key(1992), Severity::Critical, 6);
    alerts
}

fn state(folder: &Path, boot: &str) -> State {
    State::new(folder, true, boot.to_owned())
}

fn write(state: &mut State, alerts: &Alerts, receivers: &BTreeMap<String, Vec<Kept>>) {
    state.write(alerts.changes(), || stored(alerts.all(), receivers, Clock::read()));
}

#[test]
fn what_fires_is_read_again_as_it_was_told_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let alerts = firing();
    write(&mut state(folder.path(), "one"), &alerts, &BTreeMap::new());
    let (read, same_boot) = state(folder.path(), "one").read();
    assert!(same_boot);
    assert_eq!(read.len(), 2, "what nobody took is kept too");
    for stored in read {
        let alert = stored.alert().unwrap();
        let before = alerts.get(&alert.key).unwrap();
        assert_eq!(
            (alert.fired, alert.delivered(), &alert.notice, alert.pending),
            (5, before.delivered(), &before.notice, false)
        );
    }
    let (read, same_boot) = state(folder.path(), "two").read();
    assert_eq!((read.len(), same_boot), (2, false));
    let told = read
        .iter()
        .find(|stored| stored.port == 1992)
        .unwrap()
        .of_another_boot();
    assert_eq!(
        (told.fired, told.delivered),
        (0, Some(0)),
        "times of another boot are long ago"
    );
}

#[test]
fn what_each_receiver_knows_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let alerts = firing();
    let alert = |port| outgoing(alerts.get(&key(port)).unwrap(), Clock::read());
    let mut outbox = Outbox::new(Style {
        resend: None,
        batch: 1,
        keeps: true,
    });
    outbox.fire(alert(1992), Duration::from_secs(60));
    let Next::Send(parcels) = outbox.next(0) else { panic!() };
    outbox.accept(&parcels, 6);
    // One that is over, and that this receiver was not told of.
    let over = Outgoing {
        key: key(1994),
        notice: Arc::new(notice(1994)),
        ..alert(1990)
    };
    outbox.fire(over.clone(), Duration::from_secs(60));
    outbox.end(&over.key, over.severity, 9);
    outbox.fire(alert(1990), Duration::from_secs(60));
    let receivers = BTreeMap::from([("webhook/a".to_owned(), outbox.kept().collect())]);
    write(&mut state(folder.path(), "one"), &alerts, &receivers);
    let (read, _) = state(folder.path(), "one").read();
    let of = |port| read.iter().find(|stored| stored.port == port).unwrap();
    let known = |port| of(port).receivers["webhook/a"].accepted;
    assert_eq!((known(1992), known(1990), known(1994)), (Some(6), None, None));
    assert_eq!((of(1992).ended, of(1994).ended), (None, Some(9)));
    assert_eq!(of(1994).outgoing(), Some(over));
    assert_eq!(of(1992).outgoing().unwrap().id(), parcels[0].alert.id());
    assert_eq!(of(1994).keep(), Duration::from_secs(60));
}

#[test]
fn a_file_that_is_cut_short_or_something_else_gives_nothing_and_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    for text in [
        &b""[..],
        b"{\"schema\":2,\"boot\":\"one\",\"alerts\":[{",
        b"{\"schema\":1,\"boot\":\"one\",\"alerts\":[]}",
        b"[]",
        b"\xff",
    ] {
        fs::write(folder.path().join(FILE), text).unwrap();
        let mut state = state(folder.path(), "one");
        assert!(state.read().0.is_empty());
        write(&mut state, &firing(), &BTreeMap::new());
        assert_eq!(state.read().0.len(), 2);
    }
}

#[test]
fn without_a_change_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (mut state, alerts) = (state(folder.path(), "one"), firing());
    write(&mut state, &alerts, &BTreeMap::new());
    fs::remove_file(folder.path().join(FILE)).unwrap();
    write(&mut state, &alerts, &BTreeMap::new());
    assert!(state.read().0.is_empty());
}

#[test]
fn without_a_folder_nothing_is_kept_and_nothing_fails() {
    let mut state = State::new(Path::new("/nowhere/at/all"), false, "one".to_owned());
    write(&mut state, &firing(), &BTreeMap::new());
    assert!(state.read().0.is_empty());
}

#[test]
fn others_may_not_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    write(&mut state(folder.path(), "one"), &firing(), &BTreeMap::new());
    let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
