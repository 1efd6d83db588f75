//! What the metrics know of the agent itself, for whoever asks otherwise than by a scrape.

use super::{DRIFT, EDGES, Metrics};

/// Sums since the start, and moments in seconds since the epoch, 0 for never.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tallies {
    /// Losses, by edge.
    pub lost: Vec<(&'static str, u64)>,
    /// What looks found wrong, by kind.
    pub drift: Vec<(&'static str, u64)>,
    /// When the self-test last succeeded.
    pub selftest: f64,
    /// When all that listens was last looked at.
    pub looked: f64,
    /// What that took, in seconds.
    pub look_took: f64,
    /// Whether the last attempt to read the configuration succeeded.
    pub config_successful: bool,
    /// When it was last read.
    pub config_read: f64,
}

impl Metrics {
    /// How the agent is.
    #[must_use]
    pub fn tallies(&self) -> Tallies {
        let edges = self.kernel_lost.iter().map(|(edge, _)| *edge).chain(EDGES);
        Tallies {
            lost: edges
                .map(|edge| (edge, self.lost.with_label_values(&[edge]).get()))
                .collect(),
            drift: DRIFT
                .map(|kind| (kind, self.drift.with_label_values(&[kind]).get()))
                .into(),
            selftest: self.selftest.get(),
            looked: self.snapshot_time.get(),
            look_took: self.snapshot_duration.get(),
            config_successful: self.config_reload_successful.get() == 1,
            config_read: self.config_reload_time.get(),
        }
    }
}
