//! The thread that writes: it opens the file, keeps it in its bounds, and goes on whatever happens to it.
//!
//! What cannot be written is kept in memory, the newest of it, and tried again after a pause that doubles.

use std::{
    collections::VecDeque,
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

/// How often the agent says that it lives, and looks whether the file is too large.
const ROUND: Duration = Duration::from_secs(60);

/// Until what failed is tried again: the first time, and after many.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), ROUND);

/// Messages that are kept while they cannot be written: they take 2 MiB, then.
pub(super) const KEPT_MAX: usize = 8_192;

/// Spans after which the size is looked at before its time.
const MANY_SPANS: usize = 8_192;

pub(super) struct Writer {
    shared: Arc<Shared>,
    path: PathBuf,
    boot: String,
    bounds: Bounds,
    store: Option<Store>,
    /// What is to be written, the oldest first.
    kept: VecDeque<Message>,
    /// What is wrong and was said.
    said: Option<Kind>,
    /// When what failed is tried again, and the pause after that.
    again: Option<(Instant, Duration)>,
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
            kept: VecDeque::new(),
            said: None,
            again: None,
            written: 0,
        }
    }

    /// Until the queue is stopped.
    pub(super) fn run(mut self) {
        self.open();
        let mut round = Instant::now() + ROUND;
        loop {
            let until = match self.again {
                Some((again, _)) => again.min(round),
                // It can be written again by now.
                None if !self.kept.is_empty() => Instant::now(),
                None => round,
            };
            let Batch { messages, stop } = self.shared.queue.take(until);
            self.kept.extend(messages);
            self.try_again(stop);
            if stop || Instant::now() >= round || self.written >= MANY_SPANS {
                self.round();
                round = Instant::now() + ROUND;
            }
            if stop {
                return;
            }
        }
    }

    /// Writes what is kept, but not before its time after a failure. What there is no hope or no room for is counted as lost.
    fn try_again(&mut self, is_last: bool) {
        if is_last || self.again.is_none_or(|(again, _)| Instant::now() >= again) {
            if self.store.is_none() && self.again.is_some() {
                self.open();
            }
            self.write();
        }
        let is_hopeless = is_last || matches!(self.said, Some(Kind::Foreign | Kind::Newer));
        let most = if is_hopeless { 0 } else { KEPT_MAX };
        if self.kept.len() > most {
            // Not all that listens was told, then; once it can be written, it is told anew.
            self.kept.retain(|message| matches!(message, Message::Span(_)));
            let surplus = self.kept.len().saturating_sub(most);
            self.kept.drain(..surplus);
            self.shared.unwritten(surplus as u64);
        }
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
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

    /// Writes what is kept.
    fn write(&mut self) {
        if self.kept.is_empty() {
            return;
        }
        let mut outcome = self.try_to_write();
        if outcome == Some(Kind::Damaged) {
            // Into the new file.
            outcome = self.try_to_write();
        }
        if outcome.is_none() && self.store.is_some() {
            self.written += self.kept.len();
            self.kept.clear();
            self.well();
        }
    }

    /// Says what kept it from being written.
    fn try_to_write(&mut self) -> Option<Kind> {
        let trouble = self.store.as_mut()?.write(self.kept.make_contiguous(), now()).err()?;
        Some(self.fail(&trouble))
    }

    /// What follows from a failure: a file that is full or locked is tried again as it is, any other is opened anew.
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
        let pause = self.again.map_or(PAUSES.0, |(_, pause)| pause);
        self.again = Some((Instant::now() + pause, PAUSES.1.min(pause * 2)));
    }

    /// It was written: what listens now, and was told meanwhile, is to be told again.
    fn well(&mut self) {
        self.again = None;
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
