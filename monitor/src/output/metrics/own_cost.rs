//! What the hooks cost, and what they were left out of.

use super::Metrics;

impl Metrics {
    /// Misses of hooks stand at these sums now. Returns what was missed since the last time, by hook.
    pub fn hooks_missed(&mut self, now: &[(&'static str, u64)]) -> Vec<(&'static str, u64)> {
        let mut missed = Vec::new();
        for (hook, now) in now {
            let before = self.misses.get(hook).copied().unwrap_or(0);
            // A sum that falls was read while calls were under way: what was counted stays counted.
            let more = now.saturating_sub(before);
            self.hook_misses.with_label_values(&[hook]).inc_by(more);
            if more > 0 {
                self.misses.insert(hook, *now);
                missed.push((*hook, more));
            }
        }
        missed
    }

    /// The programs of the hooks ran for these nanoseconds by now, by hook. The sums only grow.
    pub fn hooks_ran(&self, now: &[(&'static str, u64)]) {
        for (hook, nanoseconds) in now {
            let series = self.hook_seconds.with_label_values(&[hook]);
            // A counter can only be added to; what is nothing, or less by a rounding, adds nothing.
            let more = *nanoseconds as f64 / 1e9 - series.get();
            series.inc_by(more.max(0.0));
        }
    }
}
