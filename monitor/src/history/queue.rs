//! Spans on their way to the file: bounded, and never in the way of events.

use std::{
    collections::HashMap,
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::Span;
use crate::event::SocketKey;

/// Spans that may wait: what a fast host opens and closes while a slow disk takes its time. They take 8 MiB, then.
pub(super) const WAITING_MAX: usize = 32_768;

/// How long spans are gathered, so that they are written together.
const GATHER: Duration = Duration::from_secs(1);

/// Spans that are written without further waiting.
const MANY: usize = 256;

/// What waits to be written.
#[derive(Debug)]
pub(super) enum Message {
    /// A listener that opened, ended, or both.
    Span(Box<Span>),
    /// All that listens was told: whatever else is open in the file ended while nobody watched.
    Settled,
}

/// The queue between the event path and the writer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: Vec<Message>,
    /// Where listeners that opened stand among the messages: an end that comes soon is put there.
    open: HashMap<SocketKey, usize>,
    stop: bool,
}

/// What the writer takes.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) messages: Vec<Message>,
    /// Whether these are the last ones.
    pub(super) stop: bool,
}

impl Queue {
    /// Puts a message in. Says whether there was room.
    pub(super) fn put(&self, message: Message) -> bool {
        let mut waiting = self.lock();
        let span = match message {
            Message::Span(span) => match waiting.end_in_place(span) {
                None => return true,
                Some(span) => span,
            },
            // It takes no room worth counting, and the writer relies on it.
            Message::Settled => {
                waiting.messages.push(Message::Settled);
                self.bell.notify_one();
                return true;
            }
        };
        let position = waiting.messages.len();
        if position >= WAITING_MAX {
            return false;
        }
        if span.closed.is_none() {
            waiting.open.insert(span.key, position);
        }
        waiting.messages.push(Message::Span(span));
        if position == 0 || position + 1 == MANY {
            self.bell.notify_one();
        }
        true
    }

    /// Waits until there is enough to write, or what there is has waited long enough, or `until`.
    pub(super) fn take(&self, until: Instant) -> Batch {
        let mut waiting = self.lock();
        let mut due = until;
        loop {
            let now = Instant::now();
            if waiting.stop || waiting.messages.len() >= MANY || now >= due {
                break;
            }
            if !waiting.messages.is_empty() {
                due = due.min(now + GATHER);
            }
            (waiting, _) = self
                .bell
                .wait_timeout(waiting, due - now)
                .unwrap_or_else(PoisonError::into_inner);
        }
        waiting.open = HashMap::new();
        Batch {
            messages: mem::take(&mut waiting.messages),
            stop: waiting.stop,
        }
    }

    /// No further message comes.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.bell.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Puts the end of a listener to its begin, where that still waits; else gives the span back.
    fn end_in_place(&mut self, span: Box<Span>) -> Option<Box<Span>> {
        if span.closed.is_some()
            && let Some(position) = self.open.remove(&span.key)
            && let Some(Message::Span(begin)) = self.messages.get_mut(position)
        {
            begin.closed = span.closed;
            return None;
        }
        Some(span)
    }
}
