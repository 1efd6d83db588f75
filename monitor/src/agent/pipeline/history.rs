//! What listened is handed to the history.

use super::{Known, Pipeline};
use crate::{
    history::{End, Span},
    inventory::Listener,
    output::http::lock,
};

impl Pipeline {
    /// A listener ended, at this time in nanoseconds since boot.
    pub(super) fn remember_end(&self, listener: &Listener<Known>, time: u64, end: End) {
        self.history.put(|| self.span(listener).closed(time, end, self.clock));
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
            for listener in self.inventory.iter() {
                self.history.put(|| self.span(listener).again());
            }
            self.history.settled();
        }
    }

    fn span(&self, listener: &Listener<Known>) -> Span {
        Span::opened(&listener.opened, &listener.known.report, self.clock)
    }
}
