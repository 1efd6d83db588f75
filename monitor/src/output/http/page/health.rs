//! How the agent is, for people: what needs a look first, then the facts.

use super::documents::{BlindSpot, Moment, Status};

/// Seconds after which a self-test is late: it runs each five minutes.
const SELFTEST_LATE: i64 = 660;

/// What a page shows of the agent.
pub(super) struct Health {
    /// One sentence for each thing that needs a look.
    pub(super) problems: Vec<String>,
    pub(super) facts: Vec<Fact>,
    pub(super) blind_spots: Vec<BlindSpot>,
    pub(super) unseen_namespaces: Vec<String>,
}

/// A fact and its value.
pub(super) struct Fact {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) is_bad: bool,
}

impl Health {
    pub(super) fn of(status: Status) -> Self {
        let mut health = Self {
            problems: Vec::new(),
            facts: Vec::new(),
            blind_spots: status.blind_spots,
            unseen_namespaces: status.unseen_namespaces,
        };
        let now = status.time;
        let ago =
            |moment: Option<Moment>| moment.map_or_else(|| "never".to_owned(), |at| format!("{} ago", at.age(now)));
        let refused: Vec<_> = status
            .hooks
            .iter()
            .filter(|hook| hook.refusal.is_some() && !hook.absent)
            .collect();
        let wanted = status.hooks.iter().filter(|hook| !hook.absent).count();
        let is_late = status
            .selftest
            .last_success
            .is_none_or(|at| at.is_older_than(SELFTEST_LATE, now));
        let (lost, drift) = (sum(&status.lost), sum(&status.drift));

        if !status.ready {
            health
                .problems
                .push("The agent is not ready: it has not looked at all that listens yet.".to_owned());
        }
        if is_late {
            let last = ago(status.selftest.last_success);
            health.problems.push(format!(
                "The agent last saw a listener of its own {last}: it may be blind."
            ));
        }
        for hook in &refused {
            let why = hook.refusal.as_deref().unwrap_or_default();
            health.problems.push(format!("{} is not attached: {why}", hook.hook));
        }
        if lost.total > 0 {
            health
                .problems
                .push(format!("{} events were lost: {}.", lost.total, lost.words));
        }
        if !status.config.last_reload_successful {
            let last = ago(status.config.last_success);
            health.problems.push(format!(
                "The configuration cannot be read again; that of {last} is in use."
            ));
        }

        let state = if status.ready { "ready" } else { "not ready" };
        health.add("State", state.to_owned(), !status.ready);
        health.add(
            "Backend",
            format!("{} on Linux {}", status.backend, status.kernel),
            false,
        );
        let attached = wanted.saturating_sub(refused.len());
        health.add("Hooks", format!("{attached} of {wanted} attached"), !refused.is_empty());
        health.add("Self-test", ago(status.selftest.last_success), is_late);
        let look = format!(
            "{}, took {:.0} ms",
            ago(status.look.last),
            status.look.seconds * 1_000.0
        );
        health.add("Last look", look, false);
        health.add("Lost", lost.words, lost.total > 0);
        health.add("Drift", drift.words, false);
        let read = ago(status.config.last_success);
        health.add(
            "Configuration",
            format!("read {read}"),
            !status.config.last_reload_successful,
        );
        health.add("Expectations", status.expectations.to_string(), false);
        let receivers = match status.receivers.as_slice() {
            [] => "none: nobody is told of alerts".to_owned(),
            names => names.join(", "),
        };
        health.add("Receivers", receivers, false);
        let registry = &status.registry;
        let registry = format!("{} rows, {} of {}", registry.records, registry.source, registry.updated);
        health.add("Registry", registry, false);
        health.add(
            "History",
            status.history.unwrap_or_else(|| "none is kept".to_owned()),
            false,
        );
        health.add("Started", ago(Some(status.started)), false);
        health.add("Version", status.version, false);
        health
    }

    fn add(&mut self, name: &'static str, value: String, is_bad: bool) {
        self.facts.push(Fact { name, value, is_bad });
    }
}

struct Sum {
    total: u64,
    words: String,
}

/// How much there is in all, and of what; `nothing` where there is none.
fn sum(counts: &std::collections::BTreeMap<String, u64>) -> Sum {
    let some = counts.iter().filter(|(_, count)| **count > 0);
    let words: Vec<_> = some.map(|(name, count)| format!("{count} {name}")).collect();
    Sum {
        total: counts.values().sum(),
        words: if words.is_empty() {
            "nothing".to_owned()
        } else {
            words.join(", ")
        },
    }
}
