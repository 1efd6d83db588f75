//! The event path's side of the history.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::{
    KINDS, Span,
    queue::{Message, Queue},
    store::Bounds,
    trouble::Kind,
    writer::Writer,
};
use crate::{
    config,
    confinement::{self, Part},
};

/// Takes spans and never waits. Without a file it takes them and forgets them.
#[derive(Debug, Default)]
pub struct Recorder {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// What the two threads share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) queue: Queue,
    overflowed: AtomicU64,
    unwritten: AtomicU64,
    failures: [AtomicU64; KINDS.len()],
    bytes: AtomicU64,
    asks_for_all: AtomicBool,
}

/// What became of the history since the last time somebody asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Spans that found the queue full.
    pub overflowed: u64,
    /// Spans that could not be written, of which the log has said why.
    pub unwritten: u64,
    /// Failures, as [`KINDS`] has them.
    pub failures: [u64; KINDS.len()],
    /// Bytes of the file with the log beside it, as of the last minute.
    pub bytes: u64,
}

impl Recorder {
    /// Starts the thread that writes, for a boot with this id, where there is to be a history: like the folder of what outlives
    /// the agent, that of the history is not made, and is missed only where the configuration names it.
    #[must_use]
    pub fn start(settings: &config::History, boot: String) -> Self {
        let path = settings.path.clone();
        let has_folder = path.parent().is_some_and(std::path::Path::is_dir);
        if !settings.enabled || !has_folder {
            if settings.enabled && settings.asked {
                ::log::warn!(
                    "[history] path: {} lies in no folder that is there; no history is kept",
                    path.display()
                );
            }
            return Self::default();
        }
        let shared = Arc::<Shared>::default();
        let bounds = Bounds {
            keep: settings.keep,
            max_size: settings.max_size,
        };
        let writable = confinement::of_database(path.parent().unwrap_or(&path));
        let writer = Writer::new(Arc::clone(&shared), path, boot, bounds);
        match thread::Builder::new().name("history".to_owned()).spawn(move || {
            let folders = writable.iter().map(PathBuf::as_path);
            confinement::give_up_files_too(Part::History, folders);
            writer.run();
        }) {
            Ok(thread) => Self {
                running: Some(Running { shared, thread }),
            },
            Err(error) => {
                ::log::error!("cannot start the thread that writes the history: {error}; none is kept");
                Self::default()
            }
        }
    }

    /// Whether there is a history.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.running.is_some()
    }

    /// Takes a span that opened, ended, or is told again.
    pub fn put(&self, span: impl FnOnce() -> Span) {
        if let Some(Running { shared, .. }) = &self.running
            && !shared.queue.put(Message::Span(Box::new(span())))
        {
            shared.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All that listens was put.
    pub fn settled(&self) {
        if let Some(Running { shared, .. }) = &self.running {
            shared.queue.put(Message::Settled);
        }
    }

    /// Whether all that listens is to be put again, since the file is another one now. It is said once.
    #[must_use]
    pub fn asks_for_all(&self) -> bool {
        let asks = |running: &Running| running.shared.asks_for_all.swap(false, Ordering::Relaxed);
        self.running.as_ref().is_some_and(asks)
    }

    /// What happened since the last time this was called.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.running.as_ref().map_or_else(Tally::default, |running| {
            let shared = &running.shared;
            Tally {
                overflowed: shared.overflowed.swap(0, Ordering::Relaxed),
                unwritten: shared.unwritten.swap(0, Ordering::Relaxed),
                failures: shared.failures.each_ref().map(|count| count.swap(0, Ordering::Relaxed)),
                bytes: shared.bytes.load(Ordering::Relaxed),
            }
        })
    }

    /// Waits until all is written. A disk that hangs would hold it up, so it belongs on a thread of its own.
    pub fn finish(self) {
        if let Some(Running { shared, thread }) = self.running {
            shared.queue.stop();
            let _ = thread.join();
        }
    }
}

impl Shared {
    pub(super) fn unwritten(&self, spans: u64) {
        self.unwritten.fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, kind: Kind) {
        if let Some(count) = self.failures.get(kind.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn is_of(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn ask_for_all(&self) {
        self.asks_for_all.store(true, Ordering::Relaxed);
    }
}
