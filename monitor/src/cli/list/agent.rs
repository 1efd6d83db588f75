//! What a running agent knows beside: since when a socket listens, which the kernel does not keep.

use std::{
    collections::HashMap,
    io::{Error, ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};
use serde::Deserialize;

use crate::{config::Listen, output::http::LISTENERS};

/// How long an agent may take; a table without SINCE is better than one that is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// Bytes of an answer that are read: some 2 KiB a listener.
const ANSWER_MAX: u64 = 256 << 20;

/// Since when each socket listens, by namespace and inode, as far as an agent saw it begin.
pub type Since = HashMap<(u32, u64), Timestamp>;

#[derive(Deserialize)]
struct Document {
    listeners: Vec<Told>,
}

/// What is read of a listener; the rest is left alone.
#[derive(Deserialize)]
struct Told {
    netns: u32,
    socket: u64,
    origin: String,
    time: String,
}

/// Reads where an agent answers; what a browser calls it will do too.
///
/// # Errors
/// One sentence where it is no such address.
pub(in crate::cli) fn agent_address(text: &str) -> Result<Listen, String> {
    if text.starts_with("unix:") {
        return text.parse();
    }
    let place = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let whole = match place.split_once(':') {
        Some(("" | "localhost", port)) => format!("127.0.0.1:{port}"),
        _ => place.to_owned(),
    };
    whole.parse().map(Listen::Tcp).map_err(|_| {
        "write ADDRESS:PORT, like 127.0.0.1:19992 or [::1]:19992, or unix:PATH, as the agent's --web.listen-address"
            .to_owned()
    })
}

/// Asks the agent at this address.
///
/// # Errors
/// One sentence where there is none, or it is something else.
pub fn since(address: &Listen) -> Result<Since, String> {
    match ask(address, LISTENERS).map(|answer| read(&answer)) {
        Ok(Some(since)) => Ok(since),
        Ok(None) => Err(format!(
            "what answers at {address} is no agent of this version, or one that asks for TLS or a password"
        )),
        Err(error) => Err(format!("no agent answers at {address}: {error}")),
    }
}

/// The body of the agent's answer to a question.
///
/// # Errors
/// Where there is no agent, or it does not answer.
pub(in crate::cli) fn get(address: &Listen, path: &str) -> std::io::Result<Vec<u8>> {
    let answer = ask(address, path)?;
    Ok(body(&answer).to_vec())
}

fn ask(address: &Listen, path: &str) -> std::io::Result<Vec<u8>> {
    let answer = match address {
        Listen::Tcp(address) => TcpStream::connect_timeout(address, PATIENCE).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            ask_through(stream, path)
        }),
        Listen::Unix(socket) => connect_within_patience(socket).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            ask_through(stream, path)
        }),
    };
    answer.map_err(|error| match error.kind() {
        // What a socket says whose time is over.
        ErrorKind::WouldBlock => Error::new(ErrorKind::TimedOut, format!("no answer within {PATIENCE:?}")),
        _ => error,
    })
}

/// A connection to a socket of the file system waits where the other side accepts none, for as long as it may send.
fn connect_within_patience(path: &Path) -> std::io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

fn ask_through(mut stream: impl Read + Write, path: &str) -> std::io::Result<Vec<u8>> {
    // Of this version the answer comes in one piece.
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

fn body(answer: &[u8]) -> &[u8] {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    end.and_then(|end| answer.get(end + 4..)).unwrap_or_default()
}

fn read(answer: &[u8]) -> Option<Since> {
    let document = serde_json::from_slice::<Document>(body(answer)).ok()?;
    // Of one that a look found it is known only that it was there by then.
    let seen = document
        .listeners
        .into_iter()
        .filter(|told| told.origin == "event" && told.socket != 0);
    let seen = seen.filter_map(|told| Some(((told.netns, told.socket), told.time.parse().ok()?)));
    Some(seen.collect())
}

#[cfg(test)]
mod tests {
    use rustix::net::{bind, listen};

    use super::*;

    #[test]
    fn an_agent_that_accepts_no_connection_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        let agent = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        bind(&agent, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&agent, 0).unwrap();
        // The one place that there is.
        let _other = UnixStream::connect(&path).unwrap();
        let refused = since(&Listen::Unix(path.clone())).unwrap_err();
        assert_eq!(
            refused,
            format!("no agent answers at unix:{}: no answer within 500ms", path.display())
        );
    }

    #[test]
    fn what_the_agent_saw_begin_has_a_time_and_what_it_found_has_none() {
        let answer = b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{\"schema\":1,\"listeners\":[\
            {\"netns\":5,\"socket\":7,\"origin\":\"event\",\"time\":\"2026-11-23T03:20:00Z\",\"port\":1992},\
            {\"netns\":5,\"socket\":8,\"origin\":\"existing\",\"time\":\"2026-11-23T03:20:00Z\"}]}";
        let since = read(answer).unwrap();
        assert_eq!(since.len(), 1);
        assert_eq!(since[&(5, 7)].to_string(), "2026-11-23T03:20:00Z");
    }

    #[test]
    fn an_agent_is_found_by_its_address_or_its_url() {
        for (text, address) in [
            ("127.0.0.1:19992", Some("127.0.0.1:19992")),
            ("[::1]:1", Some("[::1]:1")),
            ("unix:/run/portreeve/http.sock", Some("unix:/run/portreeve/http.sock")),
            ("unix:http.sock", None),
            (":19992", Some("127.0.0.1:19992")),
            ("localhost:80", Some("127.0.0.1:80")),
            ("http://127.0.0.1:19992/", Some("127.0.0.1:19992")),
            ("https://127.0.0.1:19992", None),
            ("http://127.0.0.1:19992/metrics", None),
            ("19992", None),
            ("", None),
        ] {
            assert_eq!(
                agent_address(text).ok().map(|listen| listen.to_string()).as_deref(),
                address,
                "{text}"
            );
        }
    }

    #[test]
    fn something_else_that_answers_there_tells_nothing() {
        for answer in [
            &b""[..],
            b"HTTP/1.0 404 Not Found\r\n\r\nno",
            b"SSH-2.0-OpenSSH\r\n",
            b"\r\n\r\n{\"listeners\":7}",
        ] {
            assert_eq!(read(answer), None);
        }
    }
}
