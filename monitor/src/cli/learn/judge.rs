//! What of all that was seen is unexpected, by the rules in force now: an entry for it would silence them.

use std::collections::{BTreeMap, BTreeSet};

use super::seen::{Owner, Seen};
use crate::policy::{Facts, Policy, Verdict};

/// Who judges.
#[derive(Debug)]
pub struct Judge {
    policy: Policy,
    /// The path of this program: the agent's own sockets are under no rule.
    own: Option<String>,
}

impl Judge {
    /// Judges by these rules and expectations, and not by the verdict on what nothing names: to name that is what it is learned for.
    pub fn new(policy: Policy) -> Self {
        let own = std::env::current_exe().ok();
        Self {
            policy: policy.with_default(Verdict::Unruled),
            own: own.and_then(|path| path.into_os_string().into_string().ok()),
        }
    }

    /// The rule that a listener is against, where it is unexpected; empty where no rule speaks of it.
    pub fn unexpected(&self, facts: &Facts<'_>) -> Option<String> {
        let is_own = facts.exe.is_some() && facts.exe == self.own.as_deref();
        let judged = self.policy.judge(facts, is_own);
        let rule = judged.findings.into_iter().next().map(|finding| finding.rule);
        (judged.verdict == Verdict::Unexpected).then(|| rule.unwrap_or_default())
    }
}

/// Something unexpected of one program: port, whether the kernel chose it, user and unit, and the rule.
type Marked<'a> = (u16, Option<bool>, Option<&'a str>, Option<&'a str>, &'a str);

/// Marks what cannot be allowed without something unexpected beside it. An entry asks for less than rules do: that of a program on
/// 127.0.0.1:8080 would take 0.0.0.0:8080 as well, and one for automatic ports each port of which nobody knows who chose it.
pub fn mark(seen: &mut [Seen], is_automatic: impl Fn(u16) -> bool) {
    let mut programs = BTreeMap::<_, BTreeSet<Marked<'_>>>::new();
    for unexpected in seen.iter() {
        if let (Ok(owner), Some(rule)) = (&unexpected.owner, &unexpected.unexpected) {
            let place = (owner.exe.as_str(), unexpected.host_netns, unexpected.protocol.as_str());
            let (user, unit) = (owner.user.as_deref(), owner.unit.as_deref());
            let marked = (unexpected.port, unexpected.automatic, user, unit, rule.as_str());
            programs.entry(place).or_default().insert(marked);
        }
    }
    let rule_beside = |seen: &Seen| {
        let owner = seen.owner.as_ref().ok()?;
        let marked = programs.get(&(owner.exe.as_str(), seen.host_netns, seen.protocol.as_str()))?;
        let is_any_port = seen.automatic.unwrap_or_else(|| is_automatic(seen.port));
        let beside = marked.iter().find(|(port, automatic, user, unit, _)| {
            let on_port = if is_any_port {
                *automatic != Some(false)
            } else {
                *port == seen.port
            };
            on_port && takes(owner, *user, *unit)
        });
        beside.map(|(.., rule)| (*rule).to_owned())
    };
    let rules: Vec<_> = seen.iter().map(rule_beside).collect();
    for (seen, rule) in seen.iter_mut().zip(rules) {
        seen.unexpected = seen.unexpected.take().or(rule);
    }
}

/// Whether an entry for this owner takes what this user opened in this unit.
fn takes(owner: &Owner, user: Option<&str>, unit: Option<&str>) -> bool {
    let fits = |asked: &Option<String>, is: Option<&str>| asked.as_deref().is_none_or(|asked| is == Some(asked));
    fits(&owner.user, user) && fits(&owner.unit, unit)
}
