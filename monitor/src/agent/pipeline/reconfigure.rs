//! Another configuration: what is known already is judged anew.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Known, Pipeline, alerting::terms, lock, seconds};
use crate::{
    config::Settings,
    event::SocketKey,
    identity::clock,
    output::notify::Exchange,
    policy::{Facts, Finding, notice::Over},
    registry::{Registry, name_matches},
};

impl Pipeline {
    /// Names, judges and tells by this configuration from now on, also what is known already. The one before is not kept.
    /// `exchange` brings its receivers.
    pub(in crate::agent) fn reconfigure(&mut self, settings: &Settings, registry: Arc<Registry>, exchange: Exchange) {
        let before = std::mem::replace(&mut self.policy, settings.policy.clone());
        self.recent.settle();
        self.registry = registry;
        self.look_every = settings.reconcile.as_secs().max(1);
        let mut metrics = lock(&self.metrics);
        metrics.reconfigure(&before, &self.policy, &self.registry, settings.max_series);
        let (mut lost, mut found) = (HashSet::new(), Vec::new());
        let mut all: Vec<_> = self.inventory.known_mut().collect();
        // Who has a series of its own keeps it.
        all.sort_by_key(|(_, known)| known.series.as_ref().is_none_or(|series| series.is_other()));
        for (event, known) in all {
            let Known { report, series } = known;
            report.registrations = report.registrations.again(&self.registry);
            report.name_matches = event
                .opener
                .is_known()
                .then(|| name_matches(report.registrations.iter(), &report.label))
                .flatten();
            let facts = Facts::of_event(event, &report.process, report.socket_unit.as_ref(), report.host_netns);
            let judged = self.policy.judge(&facts, event.opener.tgid == self.own);
            report.verdict = judged.verdict;
            let then = std::mem::replace(&mut report.findings, judged.findings);
            let is_new = |finding: &&Finding| !then.contains(finding);
            let is_gone = |finding: &&Finding| !report.findings.contains(finding);
            lost.extend(
                then.iter()
                    .filter(is_gone)
                    .map(|finding| (finding.rule.clone(), event.socket.key)),
            );
            if report.findings.iter().any(|finding| is_new(&finding)) {
                found.push((event.clone(), report.clone()));
            }
            *series = metrics.shown(event, report, &self.registry, seconds(self.clock, event.time));
        }
        drop(metrics);
        self.end_alerts(&lost);
        self.receivers.commit(exchange, self.alerts.firing(), self.clock);
        for (event, report) in &found {
            self.alert(event, report);
        }
        self.count_alerts();
    }

    /// Ends the alerts whose rule is gone or no longer matches: `lost` are such rules, with the sockets.
    fn end_alerts(&mut self, lost: &HashSet<(String, SocketKey)>) {
        let now = clock::boot_now();
        let rules: HashMap<_, _> = self
            .policy
            .rules()
            .iter()
            .map(|rule| (rule.name.as_str(), terms(rule)))
            .collect();
        let over = self.alerts.reconfigure(
            |key| rules.get(key.rule.as_str()).copied(),
            |key, socket| !lost.contains(&(key.rule.clone(), socket)),
        );
        for alert in &over {
            self.receivers.supersede(alert, Over::Unruled, now);
            self.told_as_over(alert, Over::Unruled, now);
        }
    }
}
