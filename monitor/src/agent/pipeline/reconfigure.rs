//! Another configuration: what is known already is judged anew.

use std::sync::Arc;

use super::{Pipeline, lock, seconds};
use crate::{config::Settings, registry::Registry};

impl Pipeline {
    /// Names and judges by this configuration from now on, also the listeners that are known. The one before is not kept.
    pub(in crate::agent) fn reconfigure(&mut self, settings: &Settings, registry: Arc<Registry>) {
        let before = std::mem::replace(&mut self.policy, settings.policy.clone());
        self.registry = registry;
        self.look_every = settings.reconcile.as_secs().max(1);
        let mut metrics = lock(&self.metrics);
        metrics.reconfigure(&before, &self.policy, &self.registry, settings.max_series);
        for (event, known) in self.inventory.known_mut() {
            let report = &mut known.report;
            report.registrations = report.registrations.again(&self.registry);
            let opened = seconds(self.clock, event.time);
            known.series = metrics.shown(event, report, &self.registry, opened);
        }
    }
}
