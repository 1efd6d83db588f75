//! What became of the history.

use anyhow::Result;
use prometheus::{IntCounterVec, IntGauge, Registry};

use super::{Metrics, made};
use crate::history::{KINDS, Tally};

/// The families of the history.
pub(super) struct Families {
    errors: IntCounterVec,
    bytes: IntGauge,
}

impl Families {
    /// Makes them, with a series for each kind of error.
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        let errors = made(registry, "portreeve_history_errors_total", IntCounterVec::new)?;
        let bytes = made(registry, "portreeve_history_bytes", |opts, _| IntGauge::with_opts(opts))?;
        for kind in KINDS {
            errors.with_label_values(&[kind]).reset();
        }
        Ok(Self { errors, bytes })
    }
}

impl Metrics {
    /// What became of the history since the last time.
    pub fn remembered(&self, tally: &Tally) {
        for (kind, count) in KINDS.into_iter().zip(tally.failures) {
            self.history.errors.with_label_values(&[kind]).inc_by(count);
        }
        self.history.bytes.set(i64::try_from(tally.bytes).unwrap_or(i64::MAX));
        // The log has said why; it would say so each second otherwise.
        self.lost("history", tally.unwritten);
    }
}
