//! Writes lines, those of events to stdout and those of the log to stderr, and never holds up who has them written.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};

use crate::confinement::{self, Part};

/// Lines that may wait for a reader that is slow.
pub(super) const QUEUE: usize = 8_192;

/// Bytes that are written in one call at most, but for a last line: what a pipe holds.
const TOGETHER: usize = 64 << 10;

/// Writes lines on a thread of its own, so that a reader that stops reading never holds up the events: past
/// [`QUEUE`] lines they are dropped and counted, and the gap in the ids shows which.
pub struct Writer {
    queue: Option<SyncSender<Queued>>,
    thread: Option<JoinHandle<()>>,
    failed: Arc<Failed>,
}

/// A line that waits to be written.
struct Queued {
    line: String,
    /// Whether it tells of a loss: where it is not written either, no further line may tell of that.
    about_loss: bool,
}

/// Lines that could not be written, of both kinds.
#[derive(Default)]
struct Failed {
    events: AtomicU64,
    about_losses: AtomicU64,
}

/// Lines that could not be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unwritten {
    /// Lines of what happened.
    pub events: u64,
    /// Lines that told of a loss.
    pub about_losses: u64,
}

impl Writer {
    /// Starts the writer on an output. `complain` is called once, at the first line that cannot be written.
    pub fn start(
        mut output: impl Write + Send + 'static,
        name: &str,
        complain: impl Fn(&io::Error) + Send + 'static,
    ) -> Result<Self> {
        let (queue, lines) = sync_channel::<Queued>(QUEUE);
        let failed = Arc::<Failed>::default();
        let count = Arc::clone(&failed);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                confinement::give_up_files_too(Part::Output, []);
                let mut said = false;
                while let Ok(Queued { line, about_loss }) = lines.recv() {
                    let (mut text, mut written, mut about_losses) = (line, 1, u64::from(about_loss));
                    text.push('\n');
                    // Lines that wait already go out together: never later than alone, and with fewer calls.
                    while text.len() < TOGETHER
                        && let Ok(next) = lines.try_recv()
                    {
                        text.push_str(&next.line);
                        text.push('\n');
                        written += 1;
                        about_losses += u64::from(next.about_loss);
                    }
                    if let Err(error) = output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
                        count.events.fetch_add(written - about_losses, Ordering::Relaxed);
                        count.about_losses.fetch_add(about_losses, Ordering::Relaxed);
                        if !std::mem::replace(&mut said, true) {
                            complain(&error);
                        }
                    }
                }
            })
            .with_context(|| format!("cannot start the thread that writes {name}"))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
            failed,
        })
    }

    /// Queues a line. Returns false where it was dropped.
    pub fn write(&self, line: String) -> bool {
        self.queue(Queued {
            line,
            about_loss: false,
        })
    }

    /// Queues a line that tells of a loss. Returns false where it was dropped.
    pub fn write_about_loss(&self, line: String) -> bool {
        self.queue(Queued { line, about_loss: true })
    }

    fn queue(&self, line: Queued) -> bool {
        match self.queue.as_ref().map(|queue| queue.try_send(line)) {
            Some(Ok(())) => true,
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => false,
        }
    }

    /// Lines that could not be written, since this was last asked.
    pub fn take_unwritten(&self) -> Unwritten {
        Unwritten {
            events: self.failed.events.swap(0, Ordering::Relaxed),
            about_losses: self.failed.about_losses.swap(0, Ordering::Relaxed),
        }
    }

    /// Writes what waits and ends. A reader that has stopped reading would hold this up for ever, so the caller
    /// bounds it.
    pub fn finish(mut self) -> io::Result<()> {
        drop(self.queue.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(io::Error::other("the thread that writes ended early")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, pipe},
        sync::mpsc::channel,
        time::{Duration, Instant},
    };

    use super::*;

    /// How long a thread may take for what it does at once.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_reader_that_stops_reading_costs_lines_and_never_holds_up_the_caller() {
        let (reader, output) = pipe().unwrap();
        let writer = Writer::start(output, "events", |_| {}).unwrap();
        // More than queue and pipe can hold; nobody reads until all of it was offered.
        let offered = QUEUE + 4_096;
        let (done, offer) = channel();
        thread::spawn(move || {
            let taken: Vec<_> = (0..offered)
                .map(|number| format!("{number:01023}"))
                .filter(|line| writer.write(line.clone()))
                .collect();
            done.send((writer, taken))
        });
        let (writer, taken) = offer.recv_timeout(PATIENCE).expect("the caller is held up");
        assert!(taken.len() >= QUEUE, "the queue takes {QUEUE}");
        assert!(taken.len() < offered, "what finds the queue full is dropped");
        let reading = thread::spawn(move || BufReader::new(reader).lines().map(Result::unwrap).collect::<Vec<_>>());
        writer.finish().unwrap();
        assert!(
            reading.join().unwrap() == taken,
            "what was taken arrives whole, in order"
        );
    }

    #[test]
    fn lines_for_a_reader_that_is_gone_are_counted_and_those_about_losses_by_themselves() {
        let (reader, output) = pipe().unwrap();
        drop(reader);
        let writer = Writer::start(output, "events", |_| {}).unwrap();
        assert!(writer.write("one".to_owned()) && writer.write("two".to_owned()));
        assert!(writer.write_about_loss("lost".to_owned()));
        let (deadline, mut events, mut about_losses) = (Instant::now() + PATIENCE, 0, 0);
        while events + about_losses < 3 {
            let unwritten = writer.take_unwritten();
            events += unwritten.events;
            about_losses += unwritten.about_losses;
            assert!(Instant::now() < deadline, "{events} and {about_losses} were counted");
            thread::yield_now();
        }
        assert_eq!((events, about_losses), (2, 1));
        assert_eq!(writer.take_unwritten(), Unwritten::default());
        writer.finish().unwrap();
    }
}
