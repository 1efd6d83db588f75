//! What the agent takes for an Alertmanager: a server that takes everything and says when it came.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};

use super::lines::{Lines, QUEUE, Stamped};

/// Starts it. Each message is a line, stamped when it had come whole.
///
/// # Errors
/// Where no port can be had.
pub(super) fn start() -> Result<(SocketAddr, Lines)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1 for alerts")?;
    let address = listener.local_addr().context("cannot learn a port for alerts")?;
    let (sender, posts) = sync_channel(QUEUE);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            // The agent keeps its connections.
            thread::spawn(move || take(&stream, &sender));
        }
    });
    Ok((address, Lines(posts)))
}

/// Takes the messages of a connection until it ends.
fn take(mut stream: &TcpStream, sender: &SyncSender<Stamped>) {
    let mut reader = BufReader::new(stream);
    while let Some(text) = body(&mut reader) {
        let arrived = Instant::now();
        let answered = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        if answered.is_err() || sender.try_send(Stamped { arrived, text }).is_err() {
            return;
        }
    }
}

/// The body of the next message; `None` where there is none that can be read.
fn body(reader: &mut BufReader<&TcpStream>) -> Option<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok()?,
            None if line == "\r\n" => break,
            None if line.is_empty() => return None,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    String::from_utf8(body).ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::Duration;

    #[test]
    fn two_messages_of_one_connection_come_out_whole_and_are_answered() {
        let (address, posts) = super::start().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        for text in ["[1]", "[2,3]"] {
            let head = format!(
                "POST /api/v2/alerts HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
                text.len()
            );
            stream.write_all(format!("{head}{text}").as_bytes()).unwrap();
            let post = posts.wait_for("a message", Duration::from_secs(10), |_| true).unwrap();
            assert_eq!(post.text, text);
            let mut answer = [0; 15];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
            let mut rest = [0; 23];
            stream.read_exact(&mut rest).unwrap();
        }
    }
}
