//! Readers of the agent's pipes.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Lines that may wait for who reads them; a pipe that is read more slowly is no measure of its writer.
pub(super) const QUEUE: usize = 65_536;

/// A line, and when it had come in whole.
#[derive(Debug)]
pub(super) struct Stamped {
    pub(super) arrived: Instant,
    pub(super) text: String,
}

/// The lines of a pipe, each stamped by the thread that reads it.
#[derive(Debug)]
pub(super) struct Lines(pub(super) Receiver<Stamped>);

impl Lines {
    /// Starts to read, until the pipe is closed.
    pub(super) fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, lines) = sync_channel(QUEUE);
        thread::spawn(move || {
            let mut pipe = BufReader::with_capacity(1 << 16, pipe);
            loop {
                let mut text = String::new();
                match pipe.read_line(&mut text) {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return,
                }
                let arrived = Instant::now();
                // Whoever does not listen to the end must not hold up the writer.
                let _ = sender.try_send(Stamped { arrived, text });
            }
        });
        Self(lines)
    }

    /// The next line of which this holds; others are passed over.
    ///
    /// # Errors
    /// Where it does not come in time, or the pipe is closed: with the last line that came.
    pub(super) fn wait_for(&self, what: &str, limit: Duration, is_it: impl Fn(&str) -> bool) -> Result<Stamped> {
        let end = Instant::now() + limit;
        let mut last = String::new();
        loop {
            match self.0.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if is_it(&line.text) => return Ok(line),
                Ok(line) => last = line.text,
                Err(RecvTimeoutError::Timeout) => {
                    bail!(
                        "{what} did not come within {limit:?}; the last line was: {}",
                        last.trim_end()
                    )
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the output ended before {what}; the last line was: {}", last.trim_end())
                }
            }
        }
    }
}

/// How many lines of each kind came, about the sockets of one process.
#[derive(Debug, Default)]
pub(super) struct Tally {
    listens: AtomicU64,
    unlistens: AtomicU64,
}

impl Tally {
    /// Starts to count the lines of a pipe, until it is closed. Reads as fast as the agent can write, so that what is lost
    /// is not lost for want of a reader.
    pub(super) fn of(pipe: impl Read + Send + 'static, pid: u32) -> Arc<Self> {
        let tally = Arc::new(Self::default());
        let counted = Arc::clone(&tally);
        thread::spawn(move || counted.read(pipe, pid));
        tally
    }

    fn read(&self, pipe: impl Read, pid: u32) {
        let opener = format!("\"process\":{{\"pid\":{pid},");
        let mut pipe = BufReader::with_capacity(1 << 20, pipe);
        let mut line = Vec::with_capacity(4096);
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if let Ok(text) = str::from_utf8(&line) {
                self.count(text, &opener);
            }
            line.clear();
        }
    }

    fn count(&self, line: &str, opener: &str) {
        // The agent writes its fields in one order; the whole of a line is not parsed, or the reader would be slower than
        // the writer.
        let Some(rest) = line.split_once("\"event\":\"").map(|(_, rest)| rest) else {
            return;
        };
        let kind = if rest.starts_with("listen\"") {
            &self.listens
        } else if rest.starts_with("unlisten\"") {
            &self.unlistens
        } else {
            return;
        };
        if rest.contains(opener) {
            kind.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines about listens so far.
    pub(super) fn listens(&self) -> u64 {
        self.listens.load(Ordering::Relaxed)
    }

    /// Lines about ends of listeners so far.
    pub(super) fn unlistens(&self) -> u64 {
        self.unlistens.load(Ordering::Relaxed)
    }
}

/// The kind of event and the socket's inode of one of the agent's JSON lines; `None` for other lines.
pub(super) fn event(line: &str) -> Option<(String, u64)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    Some((line.get("event")?.as_str()?.to_owned(), line.get("socket")?.as_u64()?))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::time::Duration;

    use super::{Lines, Tally, event};

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_line_is_waited_for_past_others() {
        let lines = Lines::of(Cursor::new("one\ntwo\nthree\n"));
        let line = lines.wait_for("three", LIMIT, |line| line.starts_with("th")).unwrap();
        assert_eq!(line.text, "three\n");
    }

    #[test]
    fn an_output_that_ends_early_says_what_was_waited_for() {
        let lines = Lines::of(Cursor::new("it is full\n"));
        let error = lines
            .wait_for("the line `armed`", LIMIT, |_| false)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("the line `armed`") && error.ends_with("it is full"),
            "{error}"
        );
    }

    #[test]
    fn lines_are_counted_by_kind_and_for_one_opener() {
        let line = |kind: &str, pid: u32| {
            format!("{{\"schema\":1,\"event\":\"{kind}\",\"process\":{{\"pid\":{pid},\"tid\":1}}}}\n")
        };
        let text = [
            line("listen", 42),
            line("listen", 421),
            line("unlisten", 42),
            line("lost", 42),
            line("listen", 42),
            "no JSON\n".to_owned(),
        ];
        let tally = Tally::default();
        tally.read(Cursor::new(text.concat()), 42);
        assert_eq!((tally.listens(), tally.unlistens()), (2, 1));
    }

    #[test]
    fn an_event_is_known_by_its_kind_and_inode() {
        let line = r#"{"event":"listen","port":1992,"socket":77,"process":{"pid":1}}"#;
        assert_eq!(event(line), Some(("listen".to_owned(), 77)));
        assert_eq!(event(r#"{"event":"lost","edge":"stdout"}"#), None);
        assert_eq!(event("time=now"), None);
    }
}
