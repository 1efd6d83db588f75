//! What listened is handed to the history.

use super::{Known, Pipeline};
use crate::{
    event::Event,
    history::{End, Span},
    inventory::Listener,
    output::{Report, http::lock},
};

impl Pipeline {
    /// A listener opened. That of `test-alert` is no part of what happened here, and would be the one finding of a quiet host.
    pub(super) fn remember(&self, event: &Event, report: &Report) {
        if !self.is_test(event) {
            self.history.put(|| Span::opened(event, report, self.clock));
        }
    }

    /// A listener ended, at this time in nanoseconds since boot.
    pub(super) fn remember_end(&self, listener: &Listener<Known>, time: u64, end: End) {
        if !self.is_test(&listener.opened) {
            self.history.put(|| self.span(listener).closed(time, end, self.clock));
        }
    }

    /// Once a second: what became of the history, and all that listens, where the file is another one now.
    pub(super) fn count_history(&mut self) {
        let tally = self.history.tally();
        if tally.overflowed > 0 {
            self.lose("history", tally.overflowed);
        }
        lock(&self.metrics).remembered(&tally);
        // Before the first look not all that listens is known.
        if self.first_look.is_some() && self.history.asks_for_all() {
            for listener in self.inventory.iter().filter(|listener| !self.is_test(&listener.opened)) {
                self.history.put(|| self.span(listener).again());
            }
            self.history.settled();
        }
    }

    fn span(&self, listener: &Listener<Known>) -> Span {
        Span::opened(&listener.opened, &listener.known.report, self.clock)
    }
}
