//! Rules, expectations and verdicts, alerts and their life. Pure: facts and the time come in.

pub mod alerts;
mod expect;
mod facts;
mod glob;
mod hiding;
pub mod notice;
mod rule;
mod selector;
pub mod template;

pub use expect::Expect;
pub use facts::Facts;
pub use glob::Glob;
pub use hiding::{hiding, says_the_same};
pub use rule::{KEEP_FIRING_FOR, On, RESERVED_LABELS, Rule, Severity, UNEXPECTED, WATCHED};
use selector::Fit;
pub use selector::{Automatic, Namespace, Reach, Selector, UserIs, covers};
pub use template::Template;

use crate::event::{Kind, Protocol};

/// What is thought of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// An expectation takes it.
    Expected,
    /// A rule matches, or expectations name its port and none takes it.
    Unexpected,
    /// Neither.
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

/// A rule that matched, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the rule.
    pub rule: String,
    /// Its severity here.
    pub severity: Severity,
    /// Whether it is about something that happened and is over (a bind, a connect, an accept), not about what is there.
    pub span: bool,
}

/// What is thought of a socket, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The rules that match, the most severe first.
    pub findings: Vec<Finding>,
}

/// The rules and expectations in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    expects: Vec<Expect>,
    /// What a listener is that nothing names.
    otherwise: Verdict,
}

impl Policy {
    /// Makes a policy of rules, in their order, and of the verdict where none matches.
    pub fn new(rules: Vec<Rule>, otherwise: Verdict) -> Self {
        Self {
            rules,
            expects: Vec::new(),
            otherwise,
        }
    }

    /// Adds what may be there. With the first expectation comes the rule on what is unexpected, unless there is one by that
    /// name.
    #[must_use]
    pub fn with_expectations(mut self, expects: Vec<Expect>) -> Self {
        self.expects.extend(expects);
        if !self.expects.is_empty() && !self.rules.iter().any(|rule| rule.name == UNEXPECTED) {
            self.rules.push(Rule::unexpected());
        }
        self
    }

    /// The same with another verdict on what nothing names.
    #[must_use]
    pub fn with_default(self, otherwise: Verdict) -> Self {
        Self { otherwise, ..self }
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The expectations, in order.
    pub fn expectations(&self) -> &[Expect] {
        &self.expects
    }

    /// The rules that match nothing until there is an expectation.
    pub fn waiting(&self) -> impl Iterator<Item = &Rule> {
        let waits = self.expects.is_empty();
        self.rules.iter().filter(move |rule| waits && rule.waits())
    }

    /// The rules that tell of whoever picks one of their ports and listens there.
    pub fn telling(&self) -> impl Iterator<Item = &Rule> {
        let waits = self.expects.is_empty();
        let rules = self.rules.iter().filter(move |rule| !(waits && rule.waits()));
        rules.filter(|rule| rule.tells_of_whoever())
    }

    /// What names ports: rules first.
    pub fn selectors(&self) -> impl Iterator<Item = &Selector> {
        let rules = self.rules.iter().map(|rule| &rule.selector);
        rules.chain(self.expects.iter().map(|expect| &expect.selector))
    }

    /// Whether a rule or an expectation names this port.
    pub fn names(&self, protocol: Protocol, port: u16) -> bool {
        self.selectors().any(|selector| selector.names(protocol, port))
    }

    /// What is thought of this, and why. The agent's own (`own`) is expected, whatever rules say.
    pub fn judge(&self, facts: &Facts<'_>, own: bool) -> Judgement {
        if own {
            return Judgement::without_findings(Verdict::Expected);
        }
        match facts.kind {
            Kind::Listen | Kind::Bind => match self.expectation(facts) {
                Expectation::Met => Judgement::without_findings(Verdict::Expected),
                Expectation::Missed => self.by_rules(facts, Verdict::Unexpected),
                // It may be what is expected: who cannot see cannot accuse.
                Expectation::Open => self.by_rules(facts, Verdict::Unruled),
                Expectation::None if facts.kind == Kind::Listen => self.by_rules(facts, self.otherwise),
                Expectation::None => self.by_rules(facts, Verdict::Unruled),
            },
            // Who asks for each accept wants to hear of an expected listener's too.
            Kind::Accept if self.expectation(facts) == Expectation::Met => self.by_rules(facts, Verdict::Expected),
            _ => self.by_rules(facts, Verdict::Unruled),
        }
    }

    /// What the rules say; where none matches, it is `otherwise`.
    fn by_rules(&self, facts: &Facts<'_>, otherwise: Verdict) -> Judgement {
        let finding = |rule: &Rule| Finding {
            rule: rule.name.clone(),
            severity: rule.severity_of(facts),
            span: facts.kind != Kind::Listen,
        };
        let speaks = |rule: &&Rule| !(self.expects.is_empty() && rule.waits()) && rule.matches(facts);
        let matching = self.rules.iter().filter(|rule| rule.name != UNEXPECTED).filter(speaks);
        let mut findings: Vec<_> = matching.map(finding).collect();
        findings.sort_by_key(|found| std::cmp::Reverse(found.severity));
        if !findings.is_empty() {
            return Judgement {
                verdict: Verdict::Unexpected,
                findings,
            };
        }
        let mut judged = Judgement::without_findings(otherwise);
        if otherwise == Verdict::Unexpected {
            let unexpected = self.rules.iter().filter(|rule| rule.name == UNEXPECTED).filter(speaks);
            judged.findings.extend(unexpected.map(finding));
        }
        judged
    }

    fn expectation(&self, facts: &Facts<'_>) -> Expectation {
        let mut found = Expectation::None;
        for expect in &self.expects {
            found = found.max(match expect.selector.fit(facts, None) {
                Fit::Full => return Expectation::Met,
                Fit::Open => Expectation::Open,
                Fit::No if expect.selector.names(facts.protocol, facts.port) => Expectation::Missed,
                Fit::No => Expectation::None,
            });
        }
        found
    }
}

/// What all expectations together say of something, the strongest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Expectation {
    /// None speaks of it.
    None,
    /// One names the port, and none takes what is there.
    Missed,
    /// One may take it, if the process that may not be seen is the expected one.
    Open,
    /// One takes it.
    Met,
}

impl Judgement {
    const fn without_findings(verdict: Verdict) -> Self {
        Self {
            verdict,
            findings: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
