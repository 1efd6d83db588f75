use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
    sync::Arc,
};

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

/// An agent that has the folder.
fn state(folder: &Path, boot: &str) -> State {
    let mut state = State::new(folder, true, boot.to_owned());
    state.claim();
    state
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
        fired: 3,
        notice: Arc::new(notice(1994)),
        ..alert(1990)
    };
    outbox.fire(over.clone(), Duration::from_secs(60));
    let ended = Ended {
        at: 9,
        why: Over::Unruled,
    };
    outbox.end(&over.key, over.severity, ended);
    outbox.fire(alert(1990), Duration::from_secs(60));
    let receivers = BTreeMap::from([("webhook/a".to_owned(), outbox.kept().collect())]);
    write(&mut state(folder.path(), "one"), &alerts, &receivers);
    let (read, _) = state(folder.path(), "one").read();
    let of = |port| read.iter().find(|stored| stored.port == port).unwrap();
    let known = |port| of(port).receivers["webhook/a"].accepted;
    assert_eq!((known(1992), known(1990), known(1994)), (Some(6), None, None));
    assert_eq!((of(1992).ended(), of(1994).ended()), (None, Some(ended)));
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
        let _ = fs::remove_file(folder.path().join("firing.json.new"));
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
    let number = || fs::metadata(folder.path().join(FILE)).unwrap().ino();
    let before = number();
    write(&mut state, &alerts, &BTreeMap::new());
    assert_eq!(number(), before);
    state.write(alerts.changes() + 1, Vec::new);
    assert_ne!(number(), before);
}

#[test]
fn without_a_folder_nothing_is_kept_and_nothing_fails() {
    let mut state = State::new(Path::new("/nowhere/at/all"), false, "one".to_owned());
    write(&mut state, &firing(), &BTreeMap::new());
    assert!(state.read().0.is_empty());
}

#[test]
fn others_may_not_read_it() {
    let folder = tempfile::tempdir().unwrap();
    write(&mut state(folder.path(), "one"), &firing(), &BTreeMap::new());
    for entry in fs::read_dir(folder.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_second_agent_keeps_nothing_until_the_first_one_is_gone_and_then_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = state(folder.path(), "one");
    write(&mut first, &firing(), &BTreeMap::new());
    let mut second = State::new(folder.path(), true, "one".to_owned());
    assert!(!second.claim());
    assert_eq!(second.said, Some(Trouble::InUse));
    write(&mut second, &Alerts::default(), &BTreeMap::new());
    assert!(second.read().0.is_empty());
    drop(first);
    assert!(second.claim() && !second.claim(), "once");
    assert_eq!(second.read().0.len(), 2, "what the first one wrote");
}

#[test]
fn of_a_file_that_is_torn_the_one_before_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut state, alerts) = (state(folder.path(), "one"), firing());
    write(&mut state, &alerts, &BTreeMap::new());
    state.write(alerts.changes() + 1, Vec::new);
    let mut newest = OpenOptions::new().write(true).open(folder.path().join(FILE)).unwrap();
    newest.write_all(b"\0\0\0").unwrap();
    assert_eq!(state.read().0.len(), 2);
}

/// So many alerts that fire, of which a receiver accepted every third.
fn many(count: u16) -> Vec<Stored> {
    let mut alerts = Alerts::default();
    for port in 0..count {
        let key = AlertKey {
            rule: port.to_string(),
            ..key(port)
        };
        alerts.matched(&key, Severity::Critical, Terms::default(), None, 5, || notice(port));
    }
    let mut stored = stored(alerts.all(), &BTreeMap::new(), Clock::read());
    for stored in stored.iter_mut().filter(|stored| stored.port % 3 == 0) {
        let known = Known { accepted: Some(6) };
        stored.receivers.insert("webhook/a".to_owned(), known);
    }
    stored
}

#[test]
fn many_alerts_fit_and_when_they_are_over_the_file_is_small_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = state(folder.path(), "one");
    let size = || fs::metadata(folder.path().join(FILE)).unwrap().len();
    state.write(1, Vec::new);
    assert_eq!(size(), reserved::STEP);
    state.write(2, || many(4_000));
    assert_eq!(state.read().0.len(), 4_000);
    assert!(size() > 4 * reserved::STEP);
    for changes in 3..=5 {
        state.write(changes, Vec::new);
    }
    assert_eq!((size(), state.read().0.len()), (reserved::STEP, 0));
}

/// A disk that is full, in a child that may mount one: it fills it up, has alerts fire, and gives it room again.
#[test]
fn on_a_full_disk_what_was_reserved_is_written_and_what_somebody_was_told_comes_first() {
    const FOLDER: &str = "PORTREEVE_TEST_FULL_DISK";
    const NAME: &str =
        "agent::state::tests::on_a_full_disk_what_was_reserved_is_written_and_what_somebody_was_told_comes_first";
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        let folder = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=1m tmpfs \"$1\" || exit 77; exec \"$2\" --exact \"$3\" --nocapture";
        let child = Command::new("unshare")
            .args(["-rm", "sh", "-c", script, "sh"])
            .arg(folder.path())
            .arg(std::env::current_exe().unwrap())
            .arg(NAME)
            .env(FOLDER, folder.path())
            .output();
        match child {
            Ok(child) if child.status.success() => {}
            Ok(child) if child.status.code() == Some(101) => {
                panic!("{}", String::from_utf8_lossy(&child.stderr))
            }
            _ => eprintln!("not run: this user may mount nothing"),
        }
        return;
    };
    let fill = || {
        let mut file = fs::File::create(folder.join("filler")).unwrap();
        while file.write(&[7; 4_096]).is_ok_and(|written| written > 0) {}
    };
    // Nothing was ever written, and there is no room: that is said, and tried again.
    fill();
    let mut state = state(&folder, "one");
    state.write(1, || many(3));
    assert!(
        matches!(state.said, Some(Trouble::Full | Trouble::Io)),
        "{:?}",
        state.said
    );
    fs::remove_file(folder.join("filler")).unwrap();
    state.write(1, || many(3));
    assert_eq!((state.said, state.read().0.len()), (None, 3));
    // A disk that was full later takes what fits, again and again.
    fill();
    for changes in 2..10 {
        state.write(changes, || many(60));
        assert_eq!(state.read().0.len(), 60, "{:?}", state.said);
    }
    state.write(10, || many(4_000));
    assert_eq!(state.said, Some(Trouble::Full));
    let kept = state.read().0;
    assert!(kept.len() > 100 && kept.len() < 2_000, "{}", kept.len());
    assert!(
        kept.iter().take(1_334).all(Stored::is_known),
        "who was told is to be told of the end"
    );
    // The next agent finds it, and with room all is well.
    drop(state);
    let mut next = self::state(&folder, "one");
    assert_eq!(next.read().0.len(), kept.len());
    fs::remove_file(folder.join("filler")).unwrap();
    next.write(1, || many(400));
    assert_eq!((next.said, next.read().0.len()), (None, 400));
}
