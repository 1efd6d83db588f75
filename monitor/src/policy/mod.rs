//! Rules and verdicts, alerts and their life. Pure: facts and the time come in.

pub mod alerts;
pub mod notice;
mod rule;
pub mod template;

pub use rule::{Automatic, KEEP_FIRING_FOR, On, RESERVED_LABELS, Reach, Rule, Severity, WATCHED, covers};
pub use template::Template;

use crate::event::{Kind, Protocol, Scope};

/// What rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What happened.
    pub kind: Kind,
    /// Whether it failed.
    pub failed: bool,
    /// Protocol of the socket.
    pub protocol: Protocol,
    /// Its port.
    pub port: u16,
    /// Who can reach it.
    pub scope: Scope,
    /// Whether its namespace is the host's.
    pub host_netns: bool,
    /// Whether the kernel chose the port.
    pub automatic: bool,
}

/// What is thought of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Somebody said that it may be there. No configuration says so yet.
    Expected,
    /// A rule matches.
    Unexpected,
    /// Nothing names it.
    Unruled,
}

impl Verdict {
    /// The name in events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expected => "expected",
            Self::Unexpected => "unexpected",
            Self::Unruled => "unruled",
        }
    }
}

/// A rule that matches, and how severe it takes this one to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Its severity here.
    pub severity: Severity,
}

/// A rule that matched, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the rule.
    pub rule: String,
    /// Its severity here.
    pub severity: Severity,
}

/// What is thought of a socket, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The rules that match, the most severe first.
    pub findings: Vec<Finding>,
}

/// The rules in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    /// What a listener is that nothing names.
    otherwise: Verdict,
}

impl Policy {
    /// Makes a policy of rules, in their order, and of the verdict where none matches.
    pub fn new(rules: Vec<Rule>, otherwise: Verdict) -> Self {
        Self { rules, otherwise }
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules that match, the most severe first, then in their order.
    pub fn matches(&self, facts: &Facts) -> Vec<Match<'_>> {
        let mut matches: Vec<_> = self
            .rules
            .iter()
            .filter(|rule| rule.matches(facts))
            .map(|rule| Match {
                rule,
                severity: rule.severity_of(facts),
            })
            .collect();
        matches.sort_by_key(|found| std::cmp::Reverse(found.severity));
        matches
    }

    /// What is thought of this, and why. The agent's own (`own`) is expected, whatever rules say.
    pub fn judge(&self, facts: &Facts, own: bool) -> Judgement {
        let matches = if own { Vec::new() } else { self.matches(facts) };
        let verdict = match (own, facts.kind) {
            (true, _) => Verdict::Expected,
            // The verdict for what nothing names is one on listeners.
            (false, kind) if kind != Kind::Listen && matches.is_empty() => Verdict::Unruled,
            (false, _) => self.verdict(&matches),
        };
        let findings = matches.into_iter().map(|found| Finding {
            rule: found.rule.name.clone(),
            severity: found.severity,
        });
        Judgement {
            verdict,
            findings: findings.collect(),
        }
    }

    /// The verdict, given the rules that match.
    pub fn verdict(&self, matches: &[Match<'_>]) -> Verdict {
        if matches.is_empty() {
            self.otherwise
        } else {
            Verdict::Unexpected
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{PortSpec, Transport};

    fn tcp(port: u16) -> PortSpec {
        PortSpec {
            transport: Some(Transport::Tcp),
            first: port,
            last: port,
        }
    }

    fn policy() -> Policy {
        Policy::new(
            vec![Rule::dormant_port(), Rule::watched(vec![tcp(22)])],
            Verdict::Unruled,
        )
    }

    fn facts(port: u16) -> Facts {
        Facts {
            kind: Kind::Listen,
            failed: false,
            protocol: Protocol::Tcp,
            port,
            scope: Scope::Wildcard,
            host_netns: true,
            automatic: false,
        }
    }

    #[test]
    fn the_dormant_ports_are_unexpected_and_their_neighbours_are_not() {
        let policy = policy();
        for (port, verdict) in [
            (1989, Verdict::Unruled),
            (1990, Verdict::Unexpected),
            (1991, Verdict::Unexpected),
            (1992, Verdict::Unexpected),
            (1993, Verdict::Unruled),
            (1994, Verdict::Unexpected),
            (1995, Verdict::Unruled),
            (0x07c8u16.swap_bytes(), Verdict::Unruled),
        ] {
            assert_eq!(policy.verdict(&policy.matches(&facts(port))), verdict, "port {port}");
        }
    }

    #[test]
    fn an_automatic_port_lowers_the_default_rule_to_a_warning() {
        let policy = policy();
        let severity = |automatic| {
            policy.matches(&Facts {
                automatic,
                ..facts(1992)
            })[0]
                .severity
        };
        assert_eq!(
            (severity(false), severity(true)),
            (Severity::Critical, Severity::Warning)
        );
    }

    #[test]
    fn udp_is_named_by_the_default_rule_and_not_by_a_tcp_watch() {
        let policy = policy();
        let names = |protocol, port| policy.rules().iter().any(|rule| rule.names(protocol, port));
        assert!(names(Protocol::Udp, 1992) && names(Protocol::Tcp, 22));
        assert!(!names(Protocol::Udp, 22));
    }

    #[test]
    fn a_bind_does_not_match_a_rule_on_listens() {
        assert!(
            policy()
                .matches(&Facts {
                    kind: Kind::Bind,
                    ..facts(1992)
                })
                .is_empty()
        );
    }

    #[test]
    fn a_judgement_names_the_rules_and_spares_the_agents_own() {
        let judged = policy().judge(&facts(1992), false);
        assert_eq!(judged.verdict, Verdict::Unexpected);
        assert_eq!(judged.findings[0].rule, "dormant-port");
        let own = policy().judge(&facts(1992), true);
        assert_eq!((own.verdict, own.findings), (Verdict::Expected, vec![]));
        // The verdict for what nothing names is one on listeners.
        let strict = Policy::new(Vec::new(), Verdict::Unexpected);
        let bind = Facts {
            kind: Kind::Bind,
            ..facts(1992)
        };
        assert_eq!(strict.judge(&facts(1), false).verdict, Verdict::Unexpected);
        assert_eq!(strict.judge(&bind, false).verdict, Verdict::Unruled);
    }

    #[test]
    fn the_most_severe_rule_comes_first() {
        let mut loud = Rule::watched(vec![tcp(1992)]);
        loud.name = "first".into();
        let policy = Policy::new(vec![loud, Rule::dormant_port()], Verdict::Unruled);
        let names: Vec<_> = policy
            .matches(&facts(1992))
            .iter()
            .map(|found| found.rule.name.clone())
            .collect();
        assert_eq!(names, ["dormant-port", "first"]);
    }

    #[test]
    fn a_rule_on_what_is_exposed_leaves_loopback_and_other_namespaces_alone() {
        let mut rule = Rule::dormant_port();
        rule.scope = Reach::Exposed;
        let policy = Policy::new(vec![rule], Verdict::Unruled);
        let hits = |facts: &Facts| policy.matches(facts).len();
        assert_eq!(hits(&facts(1992)), 1);
        assert_eq!(
            hits(&Facts {
                scope: Scope::Loopback,
                ..facts(1992)
            }),
            0
        );
        assert_eq!(
            hits(&Facts {
                host_netns: false,
                ..facts(1992)
            }),
            0
        );
    }
}
