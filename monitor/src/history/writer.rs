//! The thread that writes: it opens the file, keeps it in its bounds, and goes on whatever happens to it.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    queue::{Batch, Message},
    recorder::Shared,
    store::{Bounds, Store, move_aside},
    trouble::{Kind, Trouble},
};

/// How often the agent says that it lives, looks whether the file is too large, and tries again what failed.
const ROUND: Duration = Duration::from_secs(60);

/// Spans after which the size is looked at before its time.
const MANY_SPANS: usize = 8_192;

pub(super) struct Writer {
    shared: Arc<Shared>,
    path: PathBuf,
    boot: String,
    bounds: Bounds,
    store: Option<Store>,
    /// What is wrong and was said.
    said: Option<Kind>,
    /// Spans that were written since the size was looked at.
    written: usize,
}

impl Writer {
    pub(super) const fn new(shared: Arc<Shared>, path: PathBuf, boot: String, bounds: Bounds) -> Self {
        Self {
            shared,
            path,
            boot,
            bounds,
            store: None,
            said: None,
            written: 0,
        }
    }

    /// Until the queue is stopped.
    pub(super) fn run(mut self) {
        self.open();
        let mut round = Instant::now() + ROUND;
        loop {
            let Batch { messages, stop } = self.shared.queue.take(round);
            if !messages.is_empty() {
                self.write(&messages);
            }
            drop(messages);
            if stop || Instant::now() >= round || self.written >= MANY_SPANS {
                self.round();
                round = Instant::now() + ROUND;
            }
            if stop {
                return;
            }
        }
    }

    /// Opens the file; a damaged one is moved aside first.
    fn open(&mut self) {
        let mut opened = Store::open(&self.path, &self.boot, self.bounds, now());
        if let Err(trouble) = &opened
            && trouble.kind == Kind::Damaged
        {
            self.complain(trouble);
            self.put_aside();
            opened = Store::open(&self.path, &self.boot, self.bounds, now());
        }
        match opened {
            Ok(store) => {
                self.store = Some(store);
                self.well();
            }
            Err(trouble) => self.complain(&trouble),
        }
    }

    fn put_aside(&mut self) {
        match move_aside(&self.path, now()) {
            Ok(aside) => ::log::warn!("the damaged history is {} now", aside.display()),
            Err(error) => self.complain(&error.into()),
        }
    }

    /// Writes what came, or counts it as lost.
    fn write(&mut self, messages: &[Message]) {
        let mut outcome = self.try_to_write(messages);
        if outcome == Some(Kind::Damaged) {
            // Into the new file.
            outcome = self.try_to_write(messages);
        }
        let spans = messages.iter().filter(|message| matches!(message, Message::Span(_)));
        if outcome.is_none() && self.store.is_some() {
            self.written += messages.len();
            self.well();
        } else {
            self.shared.unwritten(spans.count() as u64);
        }
    }

    /// Says what kept it from being written.
    fn try_to_write(&mut self, messages: &[Message]) -> Option<Kind> {
        let trouble = self.store.as_mut()?.write(messages, now()).err()?;
        Some(self.fail(&trouble))
    }

    /// What follows from a failure: a file that is full or locked is tried again with what comes next, any other is left.
    fn fail(&mut self, trouble: &Trouble) -> Kind {
        self.complain(trouble);
        if !matches!(trouble.kind, Kind::Full | Kind::Locked) {
            self.store = None;
        }
        if trouble.kind == Kind::Damaged {
            self.put_aside();
            self.open();
        }
        trouble.kind
    }

    /// Once a minute, and at the end.
    fn round(&mut self) {
        self.written = 0;
        if self.store.as_ref().is_some_and(|store| !store.is_in_place()) {
            self.store = None;
            self.complain(&Trouble::new(Kind::Io, "somebody removed or replaced it"));
        }
        if self.store.is_none() {
            self.open();
        }
        let Some(store) = &mut self.store else { return };
        let outcome = keep(store, self.bounds);
        match outcome {
            Ok(bytes) => {
                self.shared.is_of(bytes);
                self.well();
            }
            Err(trouble) => {
                self.fail(&trouble);
            }
        }
    }

    /// Says what is wrong, where it is not what was said before, and counts it.
    fn complain(&mut self, trouble: &Trouble) {
        self.shared.failed(trouble.kind);
        if self.said != Some(trouble.kind) {
            ::log::warn!(kind = trouble.kind.as_str(); "{}", trouble.sentence(&self.path));
            self.said = Some(trouble.kind);
        }
    }

    /// It was written: what listens now, and was told meanwhile, is to be told again.
    fn well(&mut self) {
        if self.said.take().is_some() {
            ::log::info!("the history is written again, in {}", self.path.display());
            self.shared.ask_for_all();
        }
    }
}

/// The heartbeat, and the bounds. Returns what the file takes.
fn keep(store: &mut Store, bounds: Bounds) -> Result<u64, Trouble> {
    store.beat(now())?;
    while store.trim(bounds, now())? {}
    store.size()
}

/// Nanoseconds since the Unix epoch.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
