//! The whole way of a span, with files on the disk.

use std::{
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tempfile::TempDir;

use super::{
    End, Recorder, Span,
    queue::{Message, Queue, WAITING_MAX},
    read::{Query, Reader, Row, Unreadable},
    schema::{self, APPLICATION},
    span::Opener,
    store::{Bounds, Store, move_aside},
    trouble::Kind,
    writer::KEPT_MAX,
};
use crate::{
    config,
    event::{Protocol, SocketKey},
    identity::ProcessIdentity,
    output::Origin,
    policy::Verdict,
};

const SECOND: i64 = 1_000_000_000;
/// 2026-11-23T03:20:00Z.
const NOW: i64 = 1_795_404_000 * SECOND;
const BOOT: &str = "6b0f2a3c";
const BOUNDS: Bounds = Bounds {
    keep: Duration::from_secs(30 * 86_400),
    max_size: 64 << 20,
};

/// As little as it may be.
const SMALL: Bounds = Bounds {
    max_size: 1 << 20,
    ..BOUNDS
};

/// `nc` listens on 1992.
fn span(socket: u64) -> Span {
    Span {
        key: SocketKey::new(socket),
        inode: socket,
        netns: 4_026_531_840,
        host_netns: true,
        protocol: Protocol::Tcp,
        address: IpAddr::from([0, 0, 0, 0]),
        port: 1992,
        automatic: Some(false),
        label: "nc".to_owned(),
        opener: Some(Opener { pid: 812, uid: 1000 }),
        unit: Some("session-3.scope".to_owned()),
        process: Arc::new(ProcessIdentity {
            exe: Some("/usr/bin/nc".to_owned()),
            cmdline: Some(["nc", "--password", "hunter2"].map(str::to_owned).to_vec()),
            user: Some("alice".to_owned()),
            ..ProcessIdentity::default()
        }),
        origin: Origin::Event,
        verdict: Verdict::Unexpected,
        rule: Some("dormant-port".to_owned()),
        opened: NOW,
        closed: None,
        is_new: true,
    }
}

fn found(socket: u64) -> Span {
    Span {
        origin: Origin::Existing,
        is_new: false,
        ..span(socket)
    }
}

fn ended(span: Span, seconds: i64) -> Span {
    Span {
        closed: Some((NOW + seconds * SECOND, End::Seen)),
        is_new: false,
        ..span
    }
}

fn message(span: Span) -> Message {
    Message::Span(Box::new(span))
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.db");
    (folder, path)
}

fn open(path: &Path) -> Store {
    Store::open(path, BOOT, BOUNDS, NOW).unwrap()
}

fn rows(path: &Path) -> Vec<Row> {
    Reader::open(path).unwrap().rows(&Query::default(), BOOT).unwrap()
}

/// Waits for what a thread does, with a deadline.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_span_comes_back_as_it_went_in_with_its_command_line_masked() {
    let (_folder, path) = folder();
    let mut store = open(&path);
    store.write(&[message(span(1))], NOW).unwrap();
    store.write(&[message(ended(span(1), 5))], NOW + 5 * SECOND).unwrap();
    let rows = rows(&path);
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(
        (row.port, row.process.as_str(), row.pid, row.uid),
        (1992, "nc", Some(812), Some(1000))
    );
    assert_eq!(row.exe.as_deref(), Some("/usr/bin/nc"));
    assert_eq!(row.cmdline.as_deref().unwrap(), ["nc", "--password", "***"]);
    assert_eq!((row.opened, row.closed), (NOW, Some((NOW + 5 * SECOND, End::Seen))));
    assert_eq!(
        (row.verdict, row.rule.as_deref()),
        (Verdict::Unexpected, Some("dormant-port"))
    );
    assert_eq!(
        (row.scope.as_str(), row.origin, row.automatic),
        ("wildcard", Origin::Event, Some(false))
    );
}

#[test]
fn others_may_read_neither_the_file_nor_what_lies_beside_it() {
    let (folder, path) = folder();
    let mut store = open(&path);
    store.write(&[message(span(1))], NOW).unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{entry:?}"
        );
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["history.db", "history.db-shm", "history.db-wal"]);
}

#[test]
fn a_socket_that_outlives_the_agent_is_one_span_and_one_that_does_not_ended_unwatched() {
    let (_folder, path) = folder();
    let mut store = open(&path);
    store
        .write(&[message(span(1)), message(span(2))], NOW + 60 * SECOND)
        .unwrap();
    drop(store);
    let mut store = open(&path);
    store
        .write(&[message(found(1)), Message::Settled], NOW + 90 * SECOND)
        .unwrap();
    let ends: Vec<_> = rows(&path).iter().map(|row| row.closed).collect();
    assert_eq!(ends, [Some((NOW + 60 * SECOND, End::Unwatched)), None]);
    store
        .write(&[message(ended(found(1), 100))], NOW + 100 * SECOND)
        .unwrap();
    let rows = rows(&path);
    assert_eq!((rows.len(), rows[1].closed), (2, Some((NOW + 100 * SECOND, End::Seen))));
    assert_eq!(rows[1].origin, Origin::Event, "who saw it begin knows more");
}

#[test]
fn what_an_earlier_boot_left_open_ended_when_that_was_last_alive() {
    let (_folder, path) = folder();
    let mut store = open(&path);
    store.write(&[message(span(1))], NOW).unwrap();
    store.beat(NOW + 60 * SECOND).unwrap();
    drop(store);
    drop(Store::open(&path, "another", BOUNDS, NOW + 900 * SECOND).unwrap());
    assert_eq!(rows(&path)[0].closed, Some((NOW + 60 * SECOND, End::Unwatched)));
}

#[test]
fn what_the_file_calls_open_is_not_believed_where_nobody_watches() {
    let (_folder, path) = folder();
    let mut store = open(&path);
    store.write(&[message(span(1))], NOW).unwrap();
    assert_eq!(rows(&path)[0].closed, None);
    let rebooted = Reader::open(&path).unwrap().rows(&Query::default(), "another").unwrap();
    assert_eq!(rebooted[0].closed, Some((NOW, End::Unwatched)));
    drop(store);
    assert_eq!(rows(&path)[0].closed, Some((NOW, End::Unwatched)));
}

#[test]
fn a_clock_that_was_set_back_ends_nothing_before_its_begin() {
    let (_folder, path) = folder();
    let mut store = open(&path);
    store.write(&[message(span(1))], NOW).unwrap();
    store
        .write(&[message(ended(span(1), -3_600))], NOW - 3_600 * SECOND)
        .unwrap();
    assert_eq!(rows(&path)[0].closed, Some((NOW, End::Seen)));
}

#[test]
fn an_end_whose_begin_was_lost_is_kept_whole() {
    let (_folder, path) = folder();
    open(&path).write(&[message(ended(span(1), 5))], NOW).unwrap();
    let rows = rows(&path);
    assert_eq!((rows.len(), rows[0].opened), (1, NOW));
}

#[test]
fn what_is_told_again_is_there_once() {
    let (_folder, path) = folder();
    let mut store = open(&path);
    store.write(&[message(span(1)), message(span(2))], NOW).unwrap();
    store
        .write(
            &[message(span(1).again()), message(span(2).again()), Message::Settled],
            NOW,
        )
        .unwrap();
    assert_eq!(rows(&path).len(), 2);
}

#[test]
fn a_query_takes_ports_protocols_and_times() {
    let (_folder, path) = folder();
    let on = |socket, port, protocol, opened: i64| Span {
        port,
        protocol,
        opened: NOW + opened * SECOND,
        closed: Some((NOW + (opened + 10) * SECOND, End::Seen)),
        ..span(socket)
    };
    let spans = [
        on(1, 1992, Protocol::Tcp, 0),
        on(2, 1992, Protocol::Udp, 100),
        on(3, 80, Protocol::Tcp, 200),
    ];
    open(&path).write(&spans.map(message), NOW).unwrap();
    let reader = Reader::open(&path).unwrap();
    let ports_of = |query: Query| -> Vec<(u16, Protocol)> {
        let rows = reader.rows(&query, BOOT).unwrap();
        rows.iter().map(|row| (row.port, row.protocol)).collect()
    };
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    assert_eq!(ports_of(Query::default()), [(80, tcp), (1992, udp), (1992, tcp)]);
    let ports = vec![(Some(udp), 1990, 1994), (None, 80, 80)];
    assert_eq!(
        ports_of(Query {
            ports,
            ..Query::default()
        }),
        [(80, tcp), (1992, udp)]
    );
    let (since, until) = (Some(NOW + 105 * SECOND), Some(NOW + 150 * SECOND));
    let within = Query {
        since,
        until,
        ..Query::default()
    };
    assert_eq!(ports_of(within), [(1992, udp)]);
}

#[test]
fn a_query_takes_programs_by_name_and_pattern_beside_ports() {
    let (_folder, path) = folder();
    let of = |socket, port, label: &str| Span {
        port,
        label: label.to_owned(),
        ..span(socket)
    };
    let spans = [of(1, 8000, "python3.11"), of(2, 22, "sshd"), of(3, 80, "ngin'x")];
    open(&path).write(&spans.map(message), NOW).unwrap();
    let reader = Reader::open(&path).unwrap();
    let found = |programs: &[&str], ports: &[u16]| -> Vec<u16> {
        let query = Query {
            ports: ports.iter().map(|port| (None, *port, *port)).collect(),
            programs: programs.iter().map(|&program| program.to_owned()).collect(),
            ..Query::default()
        };
        let mut found: Vec<_> = reader.rows(&query, BOOT).unwrap().iter().map(|row| row.port).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(found(&["python*"], &[]), [8000]);
    assert_eq!(found(&["ssh"], &[]), [0_u16; 0]);
    assert_eq!(found(&["sshd", "ngin'x"], &[]), [22, 80]);
    assert_eq!(found(&["python3.?1"], &[22]), [22, 8000]);
}

#[test]
fn what_is_too_old_goes_and_what_listens_stays() {
    let (_folder, path) = folder();
    let mut store = open(&path);
    let messages: Vec<_> = (1..=2_500).map(|socket| message(ended(span(socket), 5))).collect();
    store.write(&messages, NOW).unwrap();
    store.write(&[message(span(9_999))], NOW).unwrap();
    let later = NOW + 31 * 86_400 * SECOND;
    while store.trim(BOUNDS, later).unwrap() {}
    let rows = rows(&path);
    assert_eq!(rows.len(), 1);
    assert!(rows[0].opened == NOW && store.connection().is_autocommit());
}

#[test]
fn past_its_size_the_oldest_go_and_the_disk_gets_the_room_back() {
    let (_folder, path) = folder();
    let mut store = Store::open(&path, BOOT, SMALL, NOW).unwrap();
    for batch in 0..20_u64 {
        let spans = (0..500).map(|socket| {
            let socket = batch * 500 + socket + 1;
            message(Span {
                opened: NOW + socket.cast_signed(),
                ..ended(span(socket), 5)
            })
        });
        store.write(&spans.collect::<Vec<_>>(), NOW).unwrap();
    }
    store.write(&[message(span(77))], NOW).unwrap();
    assert!(store.size().unwrap() > SMALL.max_size);
    while store.trim(SMALL, NOW).unwrap() {}
    assert!(store.size().unwrap() <= SMALL.max_size);
    let on_disk = fs::metadata(&path).unwrap().len();
    assert!(on_disk <= SMALL.max_size, "{on_disk}");
    let rows = rows(&path);
    assert!(rows.len() > 1_000, "{}", rows.len());
    assert!(rows.iter().any(|row| row.closed.is_none()));
}

#[test]
fn a_flood_that_nobody_minds_leaves_what_was_unexpected() {
    let (_folder, path) = folder();
    let mut store = Store::open(&path, BOOT, SMALL, NOW).unwrap();
    let unexpected = (1..=300).map(|socket| message(ended(span(socket), 5)));
    store.write(&unexpected.collect::<Vec<_>>(), NOW).unwrap();
    for batch in 1..=20_u64 {
        let flood = (0..500).map(|socket| {
            message(Span {
                verdict: Verdict::Unruled,
                rule: None,
                opened: NOW + SECOND,
                ..ended(span(batch * 1_000 + socket), 5)
            })
        });
        store.write(&flood.collect::<Vec<_>>(), NOW).unwrap();
        while store.trim(SMALL, NOW).unwrap() {}
    }
    assert!(store.size().unwrap() <= SMALL.max_size);
    let rows = rows(&path);
    let unexpected = rows.iter().filter(|row| row.verdict == Verdict::Unexpected).count();
    assert!(
        unexpected == 300 && rows.len() > 1_000,
        "{unexpected} of {}",
        rows.len()
    );
}

#[test]
fn a_newer_file_is_refused_and_left_as_it_is() {
    let (_folder, path) = folder();
    drop(open(&path));
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let trouble = Store::open(&path, BOOT, BOUNDS, NOW).unwrap_err();
    assert_eq!(trouble.kind, Kind::Newer);
    let sentence = trouble.sentence(&path);
    assert!(
        sentence.contains("a newer version of portreeve wrote it (schema 99; this one knows 1)"),
        "{sentence}"
    );
    let error = Reader::open(&path).unwrap_err();
    assert!(error.to_string().contains("its schema is 99"), "{error}");
}

#[test]
fn an_older_file_is_brought_up_to_date_step_by_step() {
    let (_folder, path) = folder();
    let mut connection = Connection::open(&path).unwrap();
    let first = "CREATE TABLE kept (number INTEGER); INSERT INTO kept VALUES (7)";
    schema::prepare(&mut connection, &[first]).unwrap();
    schema::prepare(
        &mut connection,
        &[first, "ALTER TABLE kept ADD COLUMN more INTEGER DEFAULT 8"],
    )
    .unwrap();
    let both = connection.query_row("SELECT number, more FROM kept", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    });
    assert_eq!(both.unwrap(), (7, 8));
    let number = |pragma| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!((number("user_version"), number("application_id")), (2, APPLICATION));
}

#[test]
fn a_migration_that_fails_leaves_the_file_as_it_was() {
    let (_folder, path) = folder();
    let mut connection = Connection::open(&path).unwrap();
    let first = "CREATE TABLE kept (number INTEGER)";
    schema::prepare(&mut connection, &[first]).unwrap();
    let broken = "CREATE TABLE another (number INTEGER); nonsense";
    assert!(schema::prepare(&mut connection, &[first, broken]).is_err());
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn a_database_of_something_else_and_a_file_of_another_kind_are_left_alone() {
    let (folder, path) = folder();
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("CREATE TABLE theirs (number INTEGER)")
        .unwrap();
    drop(connection);
    let before = fs::read(&path).unwrap();
    let trouble = Store::open(&path, BOOT, BOUNDS, NOW).unwrap_err();
    assert_eq!(
        (trouble.kind, fs::read(&path).unwrap() == before),
        (Kind::Foreign, true)
    );
    assert!(matches!(Reader::open(&path), Err(Unreadable::Unusable(..))));
    let refusal = Reader::open(folder.path()).unwrap_err().to_string();
    assert!(refusal.ends_with("it is a folder; name the file in it"), "{refusal}");
    let text = folder.path().join("passwd");
    fs::write(&text, "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    assert_eq!(Store::open(&text, BOOT, BOUNDS, NOW).unwrap_err().kind, Kind::Foreign);
    assert!(fs::read_to_string(&text).unwrap().starts_with("root:"));
}

#[test]
fn a_second_agent_does_not_write_what_the_first_one_writes() {
    let (_folder, path) = folder();
    let first = open(&path);
    let trouble = Store::open(&path, BOOT, BOUNDS, NOW).unwrap_err();
    assert_eq!(trouble.kind, Kind::Locked);
    drop(first);
    open(&path);
}

#[test]
fn a_full_disk_loses_what_comes_and_it_goes_on_when_there_is_room() {
    let (_folder, path) = folder();
    let mut store = open(&path);
    let pages = |store: &Store, most: i64| {
        let connection = store.connection();
        let pragma = format!("PRAGMA max_page_count = {most}");
        connection.query_row(&pragma, [], |row| row.get::<_, i64>(0)).unwrap();
    };
    pages(&store, 12);
    let many: Vec<_> = (1..=1_000).map(|socket| message(span(socket))).collect();
    let trouble = store.write(&many, NOW).unwrap_err();
    assert_eq!(trouble.kind, Kind::Full);
    assert!(trouble.sentence(&path).ends_with("make room, and it goes on"));
    assert!(rows(&path).is_empty(), "all or nothing");
    pages(&store, 100_000);
    store.write(&many, NOW).unwrap();
    assert_eq!(rows(&path).len(), 1_000);
}

#[test]
fn of_damaged_files_the_newest_two_are_kept() {
    let (folder, path) = folder();
    for seconds in 0..4 {
        fs::write(&path, format!("damage {seconds}")).unwrap();
        fs::write(folder.path().join("history.db-wal"), "log").unwrap();
        move_aside(&path, NOW + seconds * SECOND).unwrap();
    }
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        "20261123T032002Z",
        "20261123T032002Z-wal",
        "20261123T032003Z",
        "20261123T032003Z-wal",
    ];
    assert_eq!(names, expected.map(|name| format!("history.db.damaged-{name}")));
}

#[test]
fn several_that_are_damaged_within_a_second_have_names_of_their_own() {
    let (folder, path) = folder();
    for number in 0..5 {
        fs::write(&path, format!("damage {number}")).unwrap();
        move_aside(&path, NOW + number).unwrap();
    }
    let mut texts: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    texts.sort();
    assert_eq!(texts, ["damage 3", "damage 4"], "the newest");
    // A day later the numbers begin anew.
    fs::write(&path, "damage").unwrap();
    let aside = move_aside(&path, NOW + 86_400 * SECOND).unwrap();
    assert!(
        aside.to_str().unwrap().ends_with("damaged-20261124T032000Z"),
        "{aside:?}"
    );
}

fn settings(path: &Path) -> config::History {
    config::History {
        enabled: true,
        path: path.to_owned(),
        asked: true,
        keep: BOUNDS.keep,
        max_size: BOUNDS.max_size,
    }
}

#[test]
fn a_file_that_was_cut_short_or_overwritten_is_moved_aside_and_a_new_one_begun() {
    for damage in ["cut", "overwritten", "garbage"] {
        let (folder, path) = folder();
        let many: Vec<_> = (1..=1_000).map(|socket| message(ended(span(socket), 5))).collect();
        open(&path).write(&many, NOW).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        match damage {
            "cut" => bytes.truncate(bytes.len() / 2),
            "overwritten" => bytes[100..8_192].fill(0x5a),
            _ => bytes = b"this is no database".to_vec(),
        }
        fs::write(&path, bytes).unwrap();
        let recorder = Recorder::start(&settings(&path), BOOT.to_owned());
        recorder.put(|| span(1));
        let mut damaged = 0;
        until("asked for all that listens", || {
            damaged += recorder.tally().failures[Kind::Damaged.index()];
            recorder.asks_for_all()
        });
        recorder.finish();
        assert_eq!(rows(&path).len(), 1, "{damage}");
        assert_eq!(damaged, 1, "{damage}");
        let aside = fs::read_dir(folder.path()).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
            name.starts_with("history.db.damaged-") && !name.ends_with("-wal")
        });
        assert_eq!(aside.count(), 1, "{damage}");
    }
}

#[test]
fn what_is_put_is_written_at_the_latest_when_the_recorder_ends() {
    let (_folder, path) = folder();
    let recorder = Recorder::start(&settings(&path), BOOT.to_owned());
    recorder.put(|| span(1));
    recorder.put(|| ended(span(1), 5));
    recorder.put(|| span(2));
    recorder.settled();
    recorder.finish();
    let rows = rows(&path);
    assert_eq!(rows.len(), 2);
    let ends = rows.iter().filter_map(|row| Some(row.closed?.1));
    assert_eq!(
        ends.collect::<Vec<_>>(),
        [End::Unwatched, End::Seen],
        "the recorder has ended"
    );
}

#[test]
fn without_a_folder_or_switched_off_nothing_is_kept_and_nothing_fails() {
    let (folder, path) = folder();
    let nowhere = settings(Path::new("/nowhere/at/all/history.db"));
    let off = config::History {
        enabled: false,
        ..settings(&path)
    };
    for settings in [nowhere, off] {
        let recorder = Recorder::start(&settings, BOOT.to_owned());
        recorder.put(|| span(1));
        recorder.settled();
        assert_eq!(recorder.tally(), super::Tally::default());
        recorder.finish();
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_newer_file_does_not_stop_the_recorder_and_what_is_not_kept_is_counted() {
    let (_folder, path) = folder();
    drop(open(&path));
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let recorder = Recorder::start(&settings(&path), BOOT.to_owned());
    recorder.put(|| span(1));
    let (mut newer, mut unwritten) = (0, 0);
    until("counted", || {
        let tally = recorder.tally();
        newer += tally.failures[Kind::Newer.index()];
        unwritten += tally.unwritten;
        newer > 0 && unwritten > 0
    });
    recorder.finish();
    assert_eq!(unwritten, 1);
}

#[test]
fn a_short_listener_is_one_message_and_a_full_queue_refuses() {
    let queue = Queue::default();
    for socket in 1..=10 {
        assert!(queue.put(message(span(socket))));
        assert!(queue.put(message(ended(span(socket), 1))));
    }
    let batch = queue.take(Instant::now());
    assert_eq!(batch.messages.len(), 10);
    let whole = |message: &Message| matches!(message, Message::Span(span) if span.is_new && span.closed.is_some());
    assert!(batch.messages.iter().all(whole));
    for socket in 0..WAITING_MAX as u64 {
        assert!(queue.put(message(span(socket))));
    }
    assert!(!queue.put(message(span(u64::MAX))));
    assert!(
        queue.put(message(ended(span(5), 1))),
        "an end that is put to its begin takes no room"
    );
}

#[test]
fn a_reader_beside_the_writer_sees_what_is_committed_and_does_not_hold_it_up() {
    let (_folder, path) = folder();
    let mut store = open(&path);
    store.write(&[message(span(1))], NOW).unwrap();
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.rows(&Query::default(), BOOT).unwrap().len(), 1);
    store.write(&[message(span(2))], NOW).unwrap();
    assert_eq!(reader.rows(&Query::default(), BOOT).unwrap().len(), 2);
}

#[test]
fn no_file_is_one_sentence_and_reading_makes_none() {
    let (folder, path) = folder();
    let error = Reader::open(&path).unwrap_err();
    assert!(matches!(&error, Unreadable::Absent(_)) && error.to_string().starts_with("there is no history: "));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    drop(open(&path));
    assert!(rows(&path).is_empty());
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nor does it leave a log"
    );
}

#[test]
fn a_long_command_line_is_cut_to_whole_arguments() {
    let (_folder, path) = folder();
    let mut long = span(1);
    long.process = Arc::new(ProcessIdentity {
        cmdline: Some((0..400).map(|number| format!("argument-{number:04}")).collect()),
        ..ProcessIdentity::default()
    });
    open(&path).write(&[message(long)], NOW).unwrap();
    let cmdline = rows(&path)[0].cmdline.clone().unwrap();
    assert_eq!(
        (cmdline[0].as_str(), cmdline.last().unwrap().as_str()),
        ("argument-0000", "…")
    );
    assert!(serde_json::to_string(&cmdline).unwrap().len() <= 4_096);
}

#[test]
fn what_comes_and_goes_while_the_file_cannot_be_opened_is_there_soon_after_it_can() {
    let (_folder, path) = folder();
    // What keeps it from being opened, for a while: another agent.
    let other = open(&path);
    let recorder = Recorder::start(&settings(&path), BOOT.to_owned());
    until("noticed", || recorder.tally().failures[Kind::Locked.index()] > 0);
    recorder.put(|| span(1));
    recorder.put(|| ended(span(1), 5));
    recorder.put(|| found(2));
    recorder.settled();
    until("tried again", || recorder.tally().failures[Kind::Locked.index()] > 0);
    drop(other);
    until("written", || rows(&path).len() == 2);
    let tally = recorder.tally();
    assert_eq!((tally.unwritten, tally.overflowed), (0, 0));
    recorder.finish();
}

#[test]
fn of_what_cannot_be_written_the_newest_is_kept_and_the_rest_is_counted() {
    let (_folder, path) = folder();
    let other = open(&path);
    let recorder = Recorder::start(&settings(&path), BOOT.to_owned());
    until("noticed", || recorder.tally().failures[Kind::Locked.index()] > 0);
    let more = 100;
    for socket in 0..(KEPT_MAX + more) as u64 {
        recorder.put(|| ended(span(socket), 5));
    }
    recorder.settled();
    let mut unwritten = 0;
    until("counted", || {
        unwritten += recorder.tally().unwritten;
        unwritten >= more as u64
    });
    drop(other);
    until("written", || rows(&path).len() == KEPT_MAX);
    recorder.finish();
    assert_eq!(unwritten, more as u64);
    let inodes: Vec<_> = Connection::open(&path)
        .unwrap()
        .query_row("SELECT min(inode) FROM span", [], |row| row.get::<_, i64>(0))
        .into_iter()
        .collect();
    assert_eq!(inodes, [i64::try_from(more).unwrap()], "the newest");
}
