//! What leaves the pipeline: lines, and what was lost.

use super::Pipeline;
use crate::{
    event::Event,
    inventory::reconcile::is_missed,
    kernel::is_of_listens,
    output::{
        Report,
        http::lock,
        log, sentence,
        writer::{Unwritten, Writer},
    },
};

impl Pipeline {
    /// One line for each thing that happened: JSON where that is asked for, else in the log.
    pub(super) fn tell(&mut self, event: &Event, report: &Report) {
        if self.writer.is_some() {
            let line = self.lines.socket(event, report, self.clock);
            self.write(line);
        } else {
            sentence::log(event, report);
            let line = self.lines.socket_later(event, report, self.clock);
            self.recent.put(self.lines.sequence(), line);
        }
    }

    /// The last line that was made.
    pub(super) fn write(&mut self, line: String) {
        let sequence = self.lines.sequence();
        let Some(writer) = &self.writer else {
            self.recent.put(sequence, || line);
            return;
        };
        let copy = line.clone();
        self.recent.put(sequence, || copy);
        if !writer.write(line) {
            self.lose("stdout", 1);
        }
    }

    /// Counts a loss in user space, at one of the edges of `metrics`.
    pub(super) fn lose(&mut self, edge: &'static str, count: u64) {
        lock(&self.metrics).lost(edge, count);
        *self.losses.entry(edge).or_default() += count;
    }

    /// Tells what was lost since the last time.
    pub(super) fn count_losses(&mut self, now: u64) {
        let missed = match self.counters.read(now) {
            Ok(counters) => {
                let mut metrics = lock(&self.metrics);
                self.losses.extend(metrics.kernel_counters(&counters));
                if let Some(times) = &self.times {
                    metrics.hooks_ran(&times.nanoseconds());
                }
                metrics.hooks_missed(&self.misses.add(&counters.misses()))
            }
            Err(error) => {
                ::log::error!("{error:#}");
                Vec::new()
            }
        };
        for (hook, count) in missed {
            ::log::warn!(hook = hook, count = count; "the kernel left out runs of a hook");
            if is_of_listens(hook) {
                self.lose("hook", count);
            }
        }
        let unwritten = self
            .writer
            .as_ref()
            .map_or_else(Unwritten::default, Writer::take_unwritten);
        if unwritten.events > 0 {
            self.lose("stdout", unwritten.events);
        }
        lock(&self.metrics).lost("stdout", unwritten.about_losses);
        let unlogged = log::take_lost();
        if unlogged > 0 {
            self.lose("log", unlogged);
        }
        for (edge, count) in std::mem::take(&mut self.losses) {
            if is_missed(edge) {
                self.reconcile.lost();
            }
            // Of lines of the log the log cannot say it: that would be one more.
            if edge != "log" {
                ::log::warn!(edge = edge, count = count; "events were lost");
            }
            let line = self.lines.lost(edge, count, now, self.clock);
            let copy = line.clone();
            self.recent.put(self.lines.sequence(), || copy);
            // Where even this line is not written, only the metric says so: telling it would lose another one.
            if self
                .writer
                .as_ref()
                .is_some_and(|writer| !writer.write_about_loss(line))
            {
                lock(&self.metrics).lost("stdout", 1);
            }
        }
    }
}
