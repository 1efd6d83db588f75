//! Rules for alerts: each says what a person needs, is tested both ways, and has a runbook; no text names one that is not there.
//!
//! The files are read line by line, in the form that `deploy/prometheus` has: promtool checks that they are YAML.

use std::collections::BTreeSet;

use crate::tidy::Violation;

const RULES: &str = "deploy/prometheus/portreeve.rules.yaml";
const TESTS: &str = "deploy/prometheus/portreeve.rules_test.yaml";
const RUNBOOKS: &str = "docs/runbooks/";
/// Severities, as the agent's own alerts have them; the sample route knows no other.
const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];
/// What the name of each alert begins with.
const PREFIX: &str = "Portreeve";

/// Whether this file has to do with alerts.
pub(crate) fn concerns(file: &str) -> bool {
    file.starts_with("deploy/") || file.starts_with(RUNBOOKS)
}

/// Checks all files that concern alerts: names and texts.
pub(crate) fn check(files: &[(String, String)]) -> Vec<Violation> {
    let text = |name: &str| {
        files
            .iter()
            .find(|(file, _)| file == name)
            .map(|(_, text)| text.as_str())
    };
    let (Some(rules), Some(tests)) = (text(RULES), text(TESTS)) else {
        return vec![Violation::new(RULES, 1, format!("there must be this file and {TESTS}"))];
    };
    let alerts = alerts(rules);
    let names: BTreeSet<&str> = alerts.iter().map(|alert| alert.name).collect();
    let mut violations = Vec::new();
    for alert in &alerts {
        let mut refuse = |sentence: String| violations.push(Violation::new(RULES, alert.line, sentence));
        for sentence in alert.missing() {
            refuse(sentence);
        }
        let page = format!("{RUNBOOKS}{}.md", alert.name);
        if text(&page).is_none() {
            refuse(format!("{} has no runbook: write {page}", alert.name));
        }
        let cases: Vec<bool> = cases(tests)
            .filter(|(name, _)| *name == alert.name)
            .map(|(_, fires)| fires)
            .collect();
        for (fires, what) in [(true, "fires"), (false, "does not fire (`exp_alerts: []`)")] {
            if !cases.contains(&fires) {
                refuse(format!(
                    "{} has no test case that {what}: add one to {TESTS}",
                    alert.name
                ));
            }
        }
    }
    for (file, text) in files {
        let page = file.strip_prefix(RUNBOOKS).and_then(|page| page.strip_suffix(".md"));
        if page.is_some_and(|page| page != "README" && !names.contains(page)) {
            violations.push(Violation::new(
                file,
                1,
                "no alert in the rules has this name: the page is nobody's",
            ));
        }
        for (index, line) in text.lines().enumerate() {
            let unknown = alert_names(line).filter(|name| !names.contains(name));
            violations.extend(unknown.map(|name| Violation::new(file, index + 1, format!("there is no alert {name}"))));
        }
    }
    violations
}

/// An alert of the rules: its name, where it begins, and the lines that follow.
struct Alert<'a> {
    name: &'a str,
    line: usize,
    body: Vec<&'a str>,
}

impl Alert<'_> {
    /// What it does not say and must.
    fn missing(&self) -> Vec<String> {
        let value = |key: &str| {
            let mut values = self
                .body
                .iter()
                .filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            values.next().map(str::trim)
        };
        let mut missing = Vec::new();
        if !value("severity").is_some_and(|severity| SEVERITIES.contains(&severity)) {
            missing.push(format!("{} has no severity of {}", self.name, SEVERITIES.join(", ")));
        }
        for key in ["summary", "description"] {
            if value(key).is_none() {
                missing.push(format!("{} has no {key}", self.name));
            }
        }
        let page = format!("/{}.md", self.name);
        if !value("runbook_url").is_some_and(|url| url.ends_with(&page)) {
            missing.push(format!("{} has no runbook_url that ends with {page}", self.name));
        }
        missing
    }
}

fn alerts(rules: &str) -> Vec<Alert<'_>> {
    let mut alerts: Vec<Alert<'_>> = Vec::new();
    for (index, line) in rules.lines().map(str::trim).enumerate() {
        if let Some(name) = line.strip_prefix("- alert: ") {
            alerts.push(Alert {
                name,
                line: index + 1,
                body: Vec::new(),
            });
        } else if let Some(alert) = alerts.last_mut() {
            alert.body.push(line);
        }
    }
    alerts
}

/// The cases of the tests: the alert that each is about, and whether it is to fire.
fn cases(tests: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut name = "";
    tests.lines().map(str::trim).filter_map(move |line| {
        if let Some(named) = line.strip_prefix("alertname: ") {
            name = named;
        }
        let alerts = line.strip_prefix("exp_alerts:")?;
        Some((name, alerts.trim() != "[]"))
    })
}

/// Words of a line that are names of alerts.
fn alert_names(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| {
        word.strip_prefix(PREFIX)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    })
}

#[cfg(test)]
mod tests {
    use super::{RULES, TESTS, check};

    const RULE: &str = "groups:\n  - name: a\n    rules:\n      - alert: PortreeveA\n        expr: up == 0\n        labels:\n          \
                        severity: info\n        annotations:\n          summary: 's'\n          description: >-\n            d\n          \
                        runbook_url: https://x/PortreeveA.md\n";
    const BOTH: &str = "- eval_time: 1m\n  alertname: PortreeveA\n  exp_alerts: []\n- eval_time: 2m\n  alertname: PortreeveA\n  \
                        exp_alerts:\n    - exp_labels: {}\n";

    /// What is refused of rules and tests, and of a runbook or another file.
    fn refused(rules: &str, tests: &str, other: (&str, &str)) -> Vec<String> {
        let files = [(RULES, rules), (TESTS, tests), other];
        let files = files.map(|(file, text)| (file.to_owned(), text.to_owned()));
        check(&files).iter().map(ToString::to_string).collect()
    }

    const PAGE: (&str, &str) = ("docs/runbooks/PortreeveA.md", "# PortreeveA\n");

    #[test]
    fn an_alert_with_a_page_and_both_cases_is_fine() {
        assert!(refused(RULE, BOTH, PAGE).is_empty());
    }

    #[test]
    fn an_alert_without_a_page_is_refused() {
        assert_eq!(
            refused(RULE, BOTH, ("docs/runbooks/README.md", "")),
            [format!(
                "{RULES}:4: PortreeveA has no runbook: write docs/runbooks/PortreeveA.md"
            )]
        );
    }

    #[test]
    fn a_page_without_an_alert_is_refused() {
        let found = refused(RULE, BOTH, ("docs/runbooks/PortreeveB.md", "text"));
        assert_eq!(found.len(), 2);
        assert!(
            found
                .iter()
                .any(|sentence| sentence.starts_with("docs/runbooks/PortreeveB.md:1: no alert"))
        );
    }

    #[test]
    fn an_alert_that_is_tested_one_way_alone_is_refused() {
        let fires = "- eval_time: 2m\n  alertname: PortreeveA\n  exp_alerts:\n    - exp_labels: {}\n";
        let found = refused(RULE, fires, PAGE);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found.iter().all(|sentence| sentence.contains("does not fire")));
        assert_eq!(refused(RULE, "", PAGE).len(), 2);
    }

    #[test]
    fn an_alert_that_says_too_little_is_refused() {
        for line in [
            "          severity: info\n",
            "          summary: 's'\n",
            "          description: >-\n",
            "          runbook_url: https://x/PortreeveA.md\n",
        ] {
            assert!(RULE.contains(line));
            assert_eq!(refused(&RULE.replace(line, ""), BOTH, PAGE).len(), 1, "{line}");
        }
        assert_eq!(
            refused(&RULE.replace("severity: info", "severity: page"), BOTH, PAGE).len(),
            1
        );
        assert_eq!(refused(&RULE.replace("x/PortreeveA.md", "x/y.md"), BOTH, PAGE).len(), 1);
    }

    #[test]
    fn a_text_that_names_an_alert_that_is_not_there_is_refused() {
        let route = "equal: [port]\nalertname=~\"PortreeveA|PortreeveGone\"";
        let files = [
            (RULES, RULE),
            (TESTS, BOTH),
            PAGE,
            ("deploy/alertmanager/alertmanager.yml", route),
        ];
        let files = files.map(|(file, text)| (file.to_owned(), text.to_owned()));
        let found: Vec<_> = check(&files).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["deploy/alertmanager/alertmanager.yml:2: there is no alert PortreeveGone"]
        );
    }
}
