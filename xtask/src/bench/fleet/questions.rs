//! What the dashboard of the fleet asks, with its variables filled in.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::workspace::Workspace;

const BOARD: &str = "deploy/grafana/dashboards/portreeve-fleet.json";

/// All hosts, as Grafana puts it in: then the recorded series answer.
const ALL: &str = ".*";
/// All hosts again, but as a choice: then the agents' own series answer.
const CHOSEN: &str = ".+";

/// What the interval of rates is where agents are scraped each 15 s.
const RATE_INTERVAL: &str = "60s";

/// A query of a panel.
#[derive(Debug)]
pub(super) struct Question {
    /// The panel's title, and which of its queries it is.
    pub(super) place: String,
    /// As of one moment, and not over the range shown.
    pub(super) instant: bool,
    /// As the dashboard asks it of all hosts.
    pub(super) expression: String,
    /// What it would ask without recording rules, where these help.
    pub(super) raw: Option<String>,
}

/// All queries of the dashboard, over so many seconds.
///
/// # Errors
/// Where the dashboard cannot be read.
pub(super) fn of_the_fleet(workspace: &Workspace, range: u64) -> Result<Vec<Question>> {
    let text = fs::read_to_string(workspace.root.join(BOARD)).with_context(|| format!("cannot read {BOARD}"))?;
    questions(&text, range).with_context(|| format!("cannot read what {BOARD} asks"))
}

fn questions(text: &str, range: u64) -> Result<Vec<Question>> {
    let board: Value = serde_json::from_str(text)?;
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let word = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut questions = Vec::new();
    for panel in list(&board, "panels") {
        for target in list(&panel, "targets") {
            let asked = word(&target, "expr");
            let expression = filled(&asked, ALL, range);
            let raw = without_sums(&filled(&asked, CHOSEN, range));
            let is_recorded = expression.split(|c: char| !is_part(c)).any(|word| word.contains(':'));
            questions.push(Question {
                place: format!("{} {}", word(&panel, "title"), word(&target, "refId")),
                instant: target.get("instant") == Some(&Value::Bool(true)),
                expression,
                raw: is_recorded.then_some(raw),
            });
        }
    }
    Ok(questions)
}

fn filled(asked: &str, instance: &str, range: u64) -> String {
    asked
        .replace("$instance", instance)
        .replace("$cluster", ".*")
        .replace("$port", ".*")
        .replace("$job", "portreeve")
        .replace("$__rate_interval", RATE_INTERVAL)
        .replace("$__range", &format!("{range}s"))
}

/// Recorded sums of one agent's counters stand in the dashboard whatever is chosen: the counters in their place.
fn without_sums(expression: &str) -> String {
    let mut raw = expression.to_owned();
    let sums = expression
        .split(|c: char| !is_part(c))
        .filter_map(|word| Some((word, word.strip_prefix("instance:")?.strip_suffix(":sum")?)));
    for (sum, counter) in sums {
        raw = raw.replace(sum, &format!("{counter}_total"));
    }
    raw
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

#[cfg(test)]
mod tests {
    use super::questions;

    const BOARD: &str = r#"{"panels": [{"type": "row"}, {"title": "How many?", "targets": [
        {"refId": "A", "instant": true, "expr": "sum(cluster:x:sum{all=~\"$instance\"} or x{instance=~\"$instance\",all!~\"$instance\"})"},
        {"refId": "B", "expr": "increase(instance:y:sum{instance=~\"$instance\"}[$__range])"},
        {"refId": "C", "expr": "rate(z{cluster=~\"$cluster\"}[$__rate_interval])"}]}]}"#;

    #[test]
    fn a_recorded_question_has_one_without_recording_rules() {
        let asked = questions(BOARD, 90).unwrap();
        let [a, b, c] = asked.as_slice() else {
            panic!("{asked:?}")
        };
        assert_eq!((a.place.as_str(), a.instant), ("How many? A", true));
        assert!(
            a.expression.starts_with("sum(cluster:x:sum{all=~\".*\"}"),
            "{}",
            a.expression
        );
        assert!(a.raw.as_ref().unwrap().contains("x{instance=~\".+\",all!~\".+\"}"));
        assert_eq!(b.raw.as_deref(), Some("increase(y_total{instance=~\".+\"}[90s])"));
        assert_eq!((c.raw.as_deref(), c.instant), (None, false));
        assert_eq!(c.expression, "rate(z{cluster=~\".*\"}[60s])");
    }
}
