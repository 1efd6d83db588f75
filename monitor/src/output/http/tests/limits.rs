//! Nobody may take more than their share.

use std::time::Instant;

use super::*;

fn quick(setting: &mut Setting) {
    setting.limits.head = Duration::from_millis(200);
    setting.limits.connection = Duration::from_millis(600);
    setting.limits.last_answer = Duration::from_millis(200);
}

/// Whether the server closes the connection, rather than to wait for ever.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    // Cut off is closed too.
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn whoever_sends_a_head_slowly_is_not_waited_for() {
    let server = Server::start(quick);
    let mut slow = server.connect();
    let begin = Instant::now();
    let mut letters = "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nX: "
        .bytes()
        .chain(std::iter::repeat(b'x'));
    slow.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
    let closed = loop {
        assert!(begin.elapsed() < DEADLINE, "it is waited for");
        let sent = slow.write_all(&[letters.next().unwrap()]);
        let mut byte = [0];
        match (sent, slow.read(&mut byte)) {
            (Err(_), _) | (_, Ok(0)) => break true,
            (_, Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => break true,
            // An answer that it took too long is as good.
            (_, Ok(_)) => break true,
            _ => {}
        }
    };
    assert!(closed && begin.elapsed() >= Duration::from_millis(150));
}

#[test]
fn whoever_says_nothing_is_not_waited_for_either() {
    let server = Server::start(quick);
    assert!(is_closed(&mut server.connect()));
}

#[test]
fn a_connection_ends_after_a_time_and_not_amid_an_answer() {
    let server = Server::start(quick);
    let mut stream = server.connect();
    let begin = Instant::now();
    let mut answers = 0;
    // Asks without a pause: each request is answered whole, until there is no connection any more.
    loop {
        assert!(begin.elapsed() < DEADLINE, "it lasts for ever");
        if write!(stream, "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n").is_err() {
            break;
        }
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"portreeve is healthy.\n") {
            match stream.read(&mut byte) {
                Ok(1) => text.push(byte[0]),
                _ => break,
            }
        }
        if text.is_empty() {
            break;
        }
        assert!(
            text.ends_with(b"healthy.\n"),
            "an answer was cut: {}",
            String::from_utf8_lossy(&text)
        );
        answers += 1;
    }
    assert!(answers > 1);
}

#[test]
fn whoever_does_not_take_an_answer_is_cut_off() {
    let server = Server::start(quick);
    tell(&server.shared.recent, &mut lines(), crate::output::recent::KEPT);
    // Each connection is one more, as long as it lasts.
    let tasks = || server.runtime.metrics().num_alive_tasks();
    let before = tasks();
    let mut stream = server.connect();
    // More than all buffers between hold: some forty megabytes.
    for _ in 0..50 {
        // It may be cut off meanwhile.
        let _ = write!(
            stream,
            "GET /api/v1/events?limit=512 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
    }
    assert!(stream.read(&mut [0]).is_ok_and(|bytes| bytes == 1));
    let end = Instant::now() + DEADLINE;
    while tasks() > before {
        assert!(Instant::now() < end, "it is waited for");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_head_and_a_body_have_a_size() {
    let server = Server::start(|setting| setting.lifecycle = true);
    let answer = server.ask("GET", "/-/healthy", &format!("X-Large: {}\r\n", "x".repeat(20_000)));
    assert_eq!(answer.status, 431, "{answer:?}");
    let many: String = (0..100).map(|number| format!("X-{number}: x\r\n")).collect();
    assert_eq!(server.ask("GET", "/-/healthy", &many).status, 431);
    assert_eq!(server.get(&format!("/{}", "x".repeat(20_000))).status, 431);
    for headers in ["Content-Length: 2000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let answer = server.ask("POST", "/-/reload", headers);
        assert_eq!(
            (answer.status, answer.header("connection")),
            (413, Some("close")),
            "{answer:?}"
        );
    }
    let mut stream = server.connect();
    write!(
        stream,
        "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody"
    )
    .unwrap();
    assert_eq!(Answer::read(stream).status, 200);
}

#[test]
fn whoever_keeps_connections_and_says_nothing_gives_way_to_those_who_ask() {
    let server = Server::start(|setting| setting.limits.connections = 4);
    let mut idle: Vec<_> = (0..16).map(|_| server.connect()).collect();
    let begin = Instant::now();
    assert_eq!(server.get("/-/healthy").status, 200);
    // Before the time of any of them is over.
    assert!(begin.elapsed() < Duration::from_secs(4));
    assert!(is_closed(&mut idle[0]));
}
