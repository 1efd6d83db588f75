//! The events of a while, for whoever asks later or reads along: a ring, which knows what it no longer has.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// Events that are kept.
pub const KEPT: usize = 512;

type Line = LazyLock<String, Box<dyn FnOnce() -> String + Send>>;

/// An event.
pub struct Told {
    /// Its number in this run of the agent, from 1 on, without a gap.
    pub sequence: u64,
    /// Written when somebody reads it: most events nobody does.
    line: Line,
}

impl Told {
    /// The event as one JSON object.
    pub fn line(&self) -> &str {
        &self.line
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").field("sequence", &self.sequence).finish()
    }
}

/// The events that are kept, and a bell for whoever waits for the next one.
#[derive(Debug)]
pub struct Recent {
    run: String,
    told: Mutex<VecDeque<Arc<Told>>>,
    last: watch::Sender<u64>,
}

/// Some events in a row.
#[derive(Debug)]
pub struct Row {
    /// The events, the oldest first.
    pub events: Vec<Arc<Told>>,
    /// How many between them and the event that was named are no longer kept.
    pub skipped: u64,
}

impl Recent {
    /// None yet, of this run of the agent.
    #[must_use]
    pub fn new(run: String) -> Self {
        Self {
            run,
            told: Mutex::default(),
            last: watch::Sender::new(0),
        }
    }

    /// The id of this run of the agent.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The id of an event.
    #[must_use]
    pub fn id(&self, sequence: u64) -> String {
        format!("{}-{sequence}", self.run)
    }

    /// The number of an event of this run, by its id; of one that is still to come it is none.
    #[must_use]
    pub fn sequence(&self, id: &str) -> Option<u64> {
        let number = id.strip_prefix(self.run.as_str())?.strip_prefix('-')?;
        let sequence = number.parse().ok()?;
        (sequence <= self.last()).then_some(sequence)
    }

    /// Keeps an event, which `write` writes down if somebody wants to read it.
    pub fn put(&self, sequence: u64, write: impl FnOnce() -> String + Send + 'static) {
        let told = Arc::new(Told {
            sequence,
            line: Line::new(Box::new(write)),
        });
        let displaced = {
            let mut kept = self.lock();
            kept.push_back(told);
            (kept.len() > KEPT).then(|| kept.pop_front()).flatten()
        };
        // Not under the lock: it may be the last one to hold it.
        drop(displaced);
        self.last.send_replace(sequence);
    }

    /// Writes all of them down, and gives up what that takes: a registry that is exchanged must not live on here.
    pub fn settle(&self) {
        let kept: Vec<_> = self.lock().iter().cloned().collect();
        for told in kept {
            told.line();
        }
    }

    /// The number of the newest event; 0 where there was none.
    #[must_use]
    pub fn last(&self) -> u64 {
        *self.last.borrow()
    }

    /// Rings for each event that comes from now on.
    #[must_use]
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// At most so many events after the one with this number.
    #[must_use]
    pub fn after(&self, sequence: u64, limit: usize) -> Row {
        let kept = self.lock();
        let first = kept.partition_point(|told| told.sequence <= sequence);
        let events: Vec<_> = kept.iter().skip(first).take(limit).cloned().collect();
        let next = events.first().map(|told| told.sequence);
        Row {
            skipped: next.map_or(0, |next| next.saturating_sub(sequence + 1)),
            events,
        }
    }

    /// At most so many of the newest events.
    #[must_use]
    pub fn newest(&self, limit: usize) -> Row {
        let kept = self.lock();
        let first = kept.len().saturating_sub(limit);
        Row {
            events: kept.iter().skip(first).cloned().collect(),
            skipped: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Told>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(count: u64) -> Recent {
        let recent = Recent::new("run".to_owned());
        for sequence in 1..=count {
            recent.put(sequence, move || format!("{{\"n\":{sequence}}}"));
        }
        recent
    }

    fn numbers(row: &Row) -> Vec<u64> {
        row.events.iter().map(|told| told.sequence).collect()
    }

    #[test]
    fn what_came_after_an_event_is_told_with_what_is_gone() {
        let recent = with(KEPT as u64 + 10);
        let row = recent.after(3, 2);
        assert_eq!((numbers(&row), row.skipped), (vec![11, 12], 7));
        assert_eq!(row.events[0].line(), "{\"n\":11}");
        let row = recent.after(12, 1);
        assert_eq!((numbers(&row), row.skipped), (vec![13], 0));
        assert!(recent.after(recent.last(), 9).events.is_empty());
        assert_eq!(numbers(&recent.newest(1)), [recent.last()]);
    }

    #[test]
    fn an_id_is_known_in_its_own_run_alone() {
        let recent = with(5);
        assert_eq!(recent.sequence("run-3"), Some(3));
        assert_eq!(recent.id(3), "run-3");
        for other in ["run-6", "other-3", "run-", "run", "run--1", ""] {
            assert_eq!(recent.sequence(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_settled_keeps_nothing_alive_but_its_line() {
        let (recent, registry) = (Recent::new("run".to_owned()), Arc::new(()));
        let used = Arc::clone(&registry);
        recent.put(1, move || format!("{used:?}"));
        assert_eq!(Arc::strong_count(&registry), 2);
        recent.settle();
        assert_eq!(
            (Arc::strong_count(&registry), recent.newest(1).events[0].line()),
            (1, "()")
        );
    }

    #[test]
    fn a_line_that_nobody_reads_is_not_written() {
        let recent = Recent::new("run".to_owned());
        recent.put(1, || panic!("it is written"));
        assert_eq!(recent.newest(1).events.len(), 1);
    }
}
