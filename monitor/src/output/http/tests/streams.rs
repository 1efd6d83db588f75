//! The stream of events.

use std::io::{BufRead as _, BufReader, Read as _};

use super::*;
use crate::output::recent::KEPT;

/// A message of the stream.
#[derive(Debug, Default, PartialEq)]
struct Message {
    id: Option<String>,
    event: Option<String>,
    data: Option<Value>,
}

struct Reader(BufReader<TcpStream>);

impl Server {
    fn stream(&self, path: &str, headers: &str) -> Reader {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        let mut reader = Reader(reader);
        assert_eq!(reader.next(), Message::default());
        reader
    }
}

impl Reader {
    /// The next message; the lines between chunks are no part of it.
    fn next(&mut self) -> Message {
        let mut message = Message::default();
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
            let text = line.trim_end_matches(['\r', '\n']);
            match text.split_once(": ") {
                Some(("id", id)) => message.id = Some(id.to_owned()),
                Some(("event", event)) => message.event = Some(event.to_owned()),
                Some(("data", data)) => message.data = serde_json::from_str(data).ok(),
                _ if line == "\n" => return message,
                _ => {}
            }
        }
    }
}

#[test]
fn events_come_as_they_happen_and_after_the_one_that_was_seen_last() {
    let server = Server::start(|_| ());
    let (recent, mut lines) = (&server.shared.recent, lines());
    tell(recent, &mut lines, 3);
    let mut new = server.stream("/api/v1/events/stream", "");
    let mut back = server.stream("/api/v1/events/stream", "Last-Event-ID: run-2\r\n");
    assert_eq!(back.next().id.as_deref(), Some("run-3"));
    tell(recent, &mut lines, 2);
    for sequence in 4..6 {
        for reader in [&mut new, &mut back] {
            let message = reader.next();
            let id = format!("run-{sequence}");
            assert_eq!(message.id.as_ref(), Some(&id));
            let data = message.data.unwrap();
            assert_eq!((&data["id"], &data["event"]), (&id.into(), &"listen".into()));
        }
    }
}

#[test]
fn a_stream_ends_once_another_web_configuration_says_who_may_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yml");
    let users = |name: &str| format!("basic_auth_users:\n  {name}: {}\n", bcrypt::hash("first", 4).unwrap());
    std::fs::write(&file, users("ada")).unwrap();
    let server = Server::start(|setting| {
        setting.web = Current::open(Some(file.clone())).unwrap().looking_every(Duration::ZERO);
    });
    let (recent, mut lines) = (&server.shared.recent, lines());
    // "ada:first".
    let mut reader = server.stream("/api/v1/events/stream", "Authorization: Basic YWRhOmZpcnN0\r\n");
    tell(recent, &mut lines, 1);
    assert_eq!(reader.next().id.as_deref(), Some("run-1"));
    std::fs::write(&file, users("bob")).unwrap();
    tell(recent, &mut lines, 1);
    let mut rest = String::new();
    reader.0.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("run-2"), "{rest}");
}

#[test]
fn a_reader_that_was_gone_too_long_is_told_how_much_it_missed() {
    let server = Server::start(|_| ());
    tell(&server.shared.recent, &mut lines(), KEPT + 8);
    let mut reader = server.stream("/api/v1/events/stream?after=run-3", "");
    let message = reader.next();
    assert_eq!(message.event.as_deref(), Some("skipped"));
    assert_eq!(message.data.unwrap()["count"], 5);
    assert_eq!(reader.next().id.as_deref(), Some("run-9"));
    // Of another run of the agent nobody knows.
    drop(reader);
    let mut reader = server.stream("/api/v1/events/stream", "Last-Event-ID: other-3\r\n");
    assert_eq!(reader.next().data.unwrap()["count"], Value::Null);
    assert_eq!(reader.next().id.as_deref(), Some("run-9"));
}

#[test]
fn a_slow_reader_holds_up_nobody_and_is_told_what_it_lost() {
    let server = Server::start(|_| ());
    let (recent, mut lines) = (&server.shared.recent, lines());
    let mut slow = server.stream("/api/v1/events/stream", "");
    // More than all buffers between hold: some megabytes.
    let mut told = 0;
    for _ in 0..200 {
        tell(recent, &mut lines, 100);
        told += 100;
        // The writer has its turn.
        std::thread::yield_now();
    }
    let (mut seen, mut skipped, mut last) = (0, 0, 0);
    while last < told {
        let message = slow.next();
        if message.event.as_deref() == Some("skipped") {
            skipped += message.data.unwrap()["count"].as_u64().unwrap();
        } else if let Some(id) = message.id {
            last = recent.sequence(&id).unwrap();
            seen += 1;
        }
    }
    assert_eq!(seen + skipped, told);
    assert!(skipped > 0);
}

#[test]
fn there_are_only_so_many_readers_and_a_place_is_free_once_one_is_gone() {
    let server = Server::start(|_| ());
    let one = server.stream("/api/v1/events/stream", "");
    let _other = server.stream("/api/v1/events/stream", "");
    assert_eq!(server.get("/api/v1/events/stream").status, 503);
    drop(one);
    let end = std::time::Instant::now() + DEADLINE;
    while server.shared.readers.available_permits() == 0 {
        assert!(std::time::Instant::now() < end, "the place is not given back");
        std::thread::yield_now();
    }
    server.stream("/api/v1/events/stream", "");
}

#[test]
fn a_stream_outlasts_other_connections_and_ends_where_nobody_reads() {
    let server = Server::start(|setting| {
        setting.limits.connection = Duration::from_millis(300);
        setting.limits.connections = 2;
    });
    let (recent, mut lines) = (&server.shared.recent, lines());
    let mut reader = server.stream("/api/v1/events/stream", "");
    let begin = std::time::Instant::now();
    let mut seen = 0;
    while begin.elapsed() < Duration::from_millis(900) {
        tell(recent, &mut lines, 1);
        seen += 1;
        assert_eq!(reader.next().id, Some(recent.id(seen)));
        // It gives its place to nobody.
        assert_eq!(server.get("/-/healthy").status, 200);
    }
    // From here on it takes nothing: what was begun is cut.
    let end = std::time::Instant::now() + DEADLINE;
    while server.shared.readers.available_permits() < 2 {
        assert!(std::time::Instant::now() < end, "it is written to for ever");
        tell(recent, &mut lines, 100);
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
