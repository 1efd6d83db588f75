//! What the agent takes for an Alertmanager: a server that says when each message came, and either takes everything itself
//! or stands before a real one.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};

use super::lines::{Lines, QUEUE, Stamped};

/// What a message is answered with that nobody else answers.
const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Starts it. Each message is a line, stamped when it had come whole. With a server behind it, each is handed on as it
/// came, the answer is handed back, and then there is a second line, stamped when the whole answer was here: its status, a
/// space, and the message again.
///
/// # Errors
/// Where no port can be had.
pub(super) fn start(behind: Option<SocketAddr>) -> Result<(SocketAddr, Lines)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1 for alerts")?;
    let address = listener.local_addr().context("cannot learn a port for alerts")?;
    let (sender, posts) = sync_channel(QUEUE);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            // The agent keeps its connections.
            thread::spawn(move || take(&stream, behind, &sender));
        }
    });
    Ok((address, Lines(posts)))
}

/// Takes the messages of a connection until it ends, or the one behind it does.
fn take(stream: &TcpStream, behind: Option<SocketAddr>, sender: &SyncSender<Stamped>) -> Option<()> {
    let server = behind.map(connect).transpose().ok()?;
    let mut answers = server.as_ref().map(BufReader::new);
    let mut reader = BufReader::new(stream);
    loop {
        let message = Message::read(&mut reader)?;
        let arrived = Instant::now();
        let text = message.body()?;
        let mut lines = vec![Stamped {
            arrived,
            text: text.clone(),
        }];
        let answer = match (&server, &mut answers) {
            (Some(server), Some(answers)) => {
                write(server, &message.bytes)?;
                let answer = Message::read(answers)?;
                lines.push(Stamped {
                    arrived: Instant::now(),
                    text: format!("{} {text}", answer.status()?),
                });
                answer.bytes
            }
            _ => TAKEN.to_vec(),
        };
        write(stream, &answer)?;
        for line in lines {
            sender.try_send(line).ok()?;
        }
    }
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn write(mut stream: &TcpStream, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).ok()
}

/// A message of HTTP whose length is known, as it came.
struct Message {
    bytes: Vec<u8>,
    /// Bytes of its head, with the empty line.
    head: usize,
}

impl Message {
    /// The next one; `None` where there is none that can be read.
    fn read(reader: &mut BufReader<&TcpStream>) -> Option<Self> {
        let (mut bytes, mut length) = (Vec::new(), 0);
        loop {
            let start = bytes.len();
            reader.read_until(b'\n', &mut bytes).ok()?;
            let line = str::from_utf8(bytes.get(start..)?).ok()?;
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().ok()?;
                }
                None if line == "\r\n" => break,
                None if line.is_empty() => return None,
                _ => {}
            }
        }
        let head = bytes.len();
        bytes.resize(head.checked_add(length)?, 0);
        reader.read_exact(bytes.get_mut(head..)?).ok()?;
        Some(Self { bytes, head })
    }

    fn body(&self) -> Option<String> {
        String::from_utf8(self.bytes.get(self.head..)?.to_vec()).ok()
    }

    /// Of an answer: `200`.
    fn status(&self) -> Option<&str> {
        str::from_utf8(self.bytes.get(..self.head)?).ok()?.split(' ').nth(1)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::start;

    fn post(stream: &mut TcpStream, text: &str) {
        let head = format!(
            "POST /api/v2/alerts HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        stream.write_all(format!("{head}{text}").as_bytes()).unwrap();
        let mut answer = [0; 38];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, super::TAKEN);
    }

    #[test]
    fn two_messages_of_one_connection_come_out_whole_and_are_answered() {
        let (address, posts) = start(None).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        for text in ["[1]", "[2,3]"] {
            post(&mut stream, text);
            let line = posts.wait_for("a message", Duration::from_secs(10), |_| true).unwrap();
            assert_eq!(line.text, text);
        }
    }

    #[test]
    fn a_message_reaches_the_server_behind_and_its_answer_comes_back() {
        let (behind, got) = start(None).unwrap();
        let (address, posts) = start(Some(behind)).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        for text in ["[1]", "[2,3]"] {
            post(&mut stream, text);
            let limit = Duration::from_secs(10);
            let came = posts.wait_for("a message", limit, |_| true).unwrap();
            let taken = posts.wait_for("an answer", limit, |_| true).unwrap();
            assert_eq!(
                (came.text.as_str(), taken.text.as_str()),
                (text, &*format!("200 {text}"))
            );
            assert!(came.arrived <= taken.arrived);
            assert_eq!(got.wait_for("a message", limit, |_| true).unwrap().text, text);
        }
    }
}
