//! Rules for dashboards: each panel is a question with an explanation, each metric is one of the agent's or a recorded one, and links
//! lead somewhere.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::tidy::Violation;

const BOARDS: &str = "deploy/grafana/dashboards/";
const METRICS: &str = "docs/metrics.md";
const RECORDING: &str = "deploy/prometheus/portreeve.recording.yaml";
/// What the name of each metric of the agent begins with.
const PREFIX: &str = "portreeve_";

/// Whether this file has to do with dashboards.
pub(crate) fn concerns(file: &str) -> bool {
    file.starts_with(BOARDS) || file == METRICS || file == RECORDING
}

/// Checks all dashboards.
pub(crate) fn check(files: &[(String, String)]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let documented: BTreeSet<&str> = files
        .iter()
        .filter(|(file, _)| file == METRICS)
        .flat_map(|(_, text)| metrics(text))
        .collect();
    let recording = files.iter().filter(|(file, _)| file == RECORDING);
    let recorded: BTreeSet<&str> = recording
        .clone()
        .flat_map(|(_, text)| text.lines())
        .filter_map(|line| line.trim().strip_prefix("- record: "))
        .collect();
    for (file, text) in recording {
        for (index, line) in text.lines().enumerate() {
            let unknown = metrics(line).filter(|metric| !documented.contains(metric));
            let sentence = |metric: &str| format!("{METRICS} has no metric {metric}");
            violations.extend(unknown.map(|metric| Violation::new(file, index + 1, sentence(metric))));
        }
    }
    let mut boards = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| file.starts_with(BOARDS)) {
        match serde_json::from_str::<Value>(text) {
            Ok(board) => boards.push((file, text, board)),
            Err(error) => violations.push(Violation::new(file, error.line(), format!("it is not JSON: {error}"))),
        }
    }
    let uids: BTreeSet<&str> = boards
        .iter()
        .filter_map(|(.., board)| board.get("uid")?.as_str())
        .collect();
    for (file, text, board) in &boards {
        let mut ids = BTreeSet::new();
        for panel in board.get("panels").and_then(Value::as_array).into_iter().flatten() {
            let (title, number) = (word(panel, "title"), panel.get("id").and_then(Value::as_u64));
            let line = line_of(text, title);
            if !number.is_some_and(|number| ids.insert(number)) {
                violations.push(Violation::new(file, line, format!("`{title}` has no id of its own")));
            }
            if word(panel, "type") == "row" {
                continue;
            }
            if !title.ends_with('?') {
                violations.push(Violation::new(file, line, format!("`{title}` is no question")));
            }
            if word(panel, "description").is_empty() {
                violations.push(Violation::new(file, line, format!("`{title}` has no description")));
            }
        }
        for (index, line) in text.lines().enumerate() {
            let mut refuse = |sentence: String| violations.push(Violation::new(file, index + 1, sentence));
            for metric in metrics(line).filter(|metric| !documented.contains(metric)) {
                refuse(format!("{METRICS} has no metric {metric}"));
            }
            for series in recorded_names(line).filter(|series| !recorded.contains(series)) {
                refuse(format!("{RECORDING} records no {series}"));
            }
            for linked in linked(line).filter(|uid| !uids.contains(uid)) {
                refuse(format!("there is no dashboard with the uid {linked}"));
            }
        }
    }
    violations
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The line that a title stands in; the first where it cannot be found.
fn line_of(text: &str, title: &str) -> usize {
    text.lines()
        .position(|line| line.contains(title))
        .map_or(1, |index| index + 1)
}

/// Metrics that a text names. A name before `(` is the beginning of a pattern, and none.
fn metrics(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.match_indices(PREFIX).filter_map(move |(at, _)| {
        let (before, rest) = (text.get(..at)?, text.get(at..)?);
        let name = rest.split(|c| !is_part(c)).next()?;
        (!before.ends_with(is_part) && name != PREFIX).then_some(name)
    })
}

/// Series of recording rules that a text names, LEVEL:METRIC:OPERATION as they are by custom.
fn recorded_names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
        .filter(|word| word.split(':').nth(1).is_some_and(|metric| metric.starts_with(PREFIX)))
}

/// Dashboards that a line leads to.
fn linked(line: &str) -> impl Iterator<Item = &str> {
    line.split("\"/d/")
        .skip(1)
        .filter_map(|rest| rest.split(['?', '/', '"']).next())
}

#[cfg(test)]
mod tests {
    use super::{METRICS, RECORDING, check};

    const BOARD: &str = r#"{"uid": "a", "panels": [
{"id": 1, "type": "row", "title": "Row"},
{"id": 2, "type": "stat", "title": "How many?", "description": "Some.",
"expr": "sum(portreeve_listeners) + on () {__name__=~\"portreeve_(x|y)\"}",
"url": "/d/a?x=y"}]}"#;

    const RECORDED: &str =
        "    - record: cluster:portreeve_listeners:sum\n      expr: sum by (cluster) (portreeve_listeners)\n";

    fn refused(board: &str) -> Vec<String> {
        refused_with(RECORDED, board)
    }

    fn refused_with(recorded: &str, board: &str) -> Vec<String> {
        let files = [
            (METRICS, "`portreeve_listeners`"),
            (RECORDING, recorded),
            ("deploy/grafana/dashboards/a.json", board),
        ];
        let files = files.map(|(file, text)| (file.to_owned(), text.to_owned()));
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_dashboard_that_asks_of_what_there_is_passes() {
        assert!(refused(BOARD).is_empty(), "{:?}", refused(BOARD));
    }

    #[test]
    fn a_metric_that_is_not_documented_is_refused_with_its_line() {
        assert_eq!(
            refused(&BOARD.replace("portreeve_listeners", "portreeve_listener")),
            ["deploy/grafana/dashboards/a.json:4: docs/metrics.md has no metric portreeve_listener"]
        );
    }

    #[test]
    fn a_recorded_series_is_one_of_the_recording_rules_and_these_name_metrics_that_there_are() {
        let board = BOARD.replace("sum(portreeve_listeners)", "cluster:portreeve_listeners:sum");
        assert!(refused(&board).is_empty(), "{:?}", refused(&board));
        assert_eq!(
            refused(&board.replace("listeners:sum", "listeners:max")),
            [format!(
                "deploy/grafana/dashboards/a.json:4: {RECORDING} records no cluster:portreeve_listeners:max"
            )]
        );
        assert_eq!(
            refused_with(&RECORDED.replace("(portreeve_listeners)", "(portreeve_x)"), BOARD),
            [format!("{RECORDING}:2: docs/metrics.md has no metric portreeve_x")]
        );
    }

    #[test]
    fn a_link_that_leads_nowhere_is_refused() {
        assert_eq!(refused(&BOARD.replace("/d/a", "/d/b")).len(), 1);
    }

    #[test]
    fn a_panel_is_a_question_with_a_description_and_an_id_of_its_own() {
        assert_eq!(refused(&BOARD.replace("many?", "many")).len(), 1);
        assert_eq!(refused(&BOARD.replace("Some.", "")).len(), 1);
        assert_eq!(refused(&BOARD.replace("\"id\": 2", "\"id\": 1")).len(), 1);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        assert_eq!(refused("{").len(), 1);
    }
}
