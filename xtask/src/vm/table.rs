//! docs/kernels.md: how every scenario went on every kernel with every backend, out of what the guests' tests said.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// Where the table is kept.
const FILE: &str = "docs/kernels.md";

/// The backends, in the order of a cell.
const BACKENDS: [&str; 3] = ["fexit", "kprobe", "tracepoint"];

/// What a test says of a scenario that went as it should.
const PASS: &str = "pass";

/// How the scenarios went on the kernels.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// The kernels, in the order in which they are shown: label and release.
    kernels: Vec<(String, String)>,
    /// The scenarios, in the order in which they were played.
    scenarios: Vec<String>,
    /// By scenario, kernel's label and backend.
    cells: BTreeMap<(String, String, String), String>,
}

impl Table {
    /// Takes the lines `cell: SCENARIO | BACKEND | WORDS` of one guest's console.
    pub(crate) fn take(&mut self, label: &str, release: &str, console: &str) {
        self.kernels.push((label.to_owned(), release.to_owned()));
        for line in console.lines() {
            let Some(cell) = line.trim_end().strip_prefix("cell: ") else {
                continue;
            };
            let mut parts = cell.splitn(3, " | ");
            let (Some(scenario), Some(backend), Some(words)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            if !self.scenarios.iter().any(|known| known == scenario) {
                self.scenarios.push(scenario.to_owned());
            }
            let key = (scenario.to_owned(), label.to_owned(), backend.to_owned());
            self.cells.insert(key, words.to_owned());
        }
    }

    /// Writes the table into the repository.
    pub(crate) fn write(&self, workspace: &Workspace) -> Result<()> {
        let path = workspace.root.join(FILE);
        fs::write(&path, self.to_text()).with_context(|| format!("cannot write {}", path.display()))
    }

    fn to_text(&self) -> String {
        let mut kernels = self.kernels.clone();
        kernels.sort_by_key(|(label, _)| order(label));
        let mut reasons: Vec<String> = Vec::new();
        let mut rows = String::new();
        for scenario in &self.scenarios {
            rows.push_str(&format!("| `{scenario}` |"));
            for (label, _) in &kernels {
                let marks: Vec<String> = BACKENDS
                    .iter()
                    .map(|backend| {
                        let key = (scenario.clone(), label.clone(), (*backend).to_owned());
                        let words = self.cells.get(&key).map_or("not run", String::as_str);
                        if words == PASS {
                            return "✓".to_owned();
                        }
                        let known = reasons.iter().position(|reason| reason == words);
                        let number = known.unwrap_or_else(|| {
                            reasons.push(words.to_owned());
                            reasons.len() - 1
                        });
                        format!("[{}]", number + 1)
                    })
                    .collect();
                rows.push_str(&format!(" {} |", marks.join(" ")));
            }
            rows.push('\n');
        }
        let mut text = String::from(HEAD);
        text.push_str("| Scenario |");
        for (label, release) in &kernels {
            text.push_str(&format!(" {label} ({release}) |"));
        }
        text.push_str(&format!("\n|---|{}\n", "---|".repeat(kernels.len())));
        text.push_str(&rows);
        text.push_str("\n## What is not a pass\n\n");
        for (index, reason) in reasons.iter().enumerate() {
            text.push_str(&format!("- [{}] {reason}\n", index + 1));
        }
        text
    }
}

/// 5.10 comes before 6.1, and words after numbers.
fn order(label: &str) -> (u32, u32) {
    let mut numbers = label.split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => (u32::MAX, 0),
    }
}

const HEAD: &str = "\
# Kernels

Each scenario is played by a program of its own (`scenarios/`), which says what it did; the test compares that with what the agent printed: none missed, none twice, none invented,
each field right. This page is written by `cargo xtask vm --full --table`.

A cell has the backends `fexit`, `kprobe` and `tracepoint`, in this order. ✓ is a pass; a number stands below the table with its reason. `not seen` names what
this backend cannot see, and `not known` what it cannot know of what it sees: the rest of the scenario passed.

A kernel that can be preempted leaves out a run of a program that was interrupted on the same processor (6.18 and newer do). That is counted, `portreeve_hook_misses_total`
tells, and the scenario is played again, four times at most.

";

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn each_cell_that_is_no_pass_has_its_reason_and_each_reason_one_number() {
        let mut table = Table::default();
        let console = "noise\ncell: mptcp | fexit | not there: no MPTCP\r\ncell: mptcp | kprobe | not there: no MPTCP\n\
                       cell: mptcp | tracepoint | FAILED\ncell: udp | fexit | pass\n";
        table.take("new", "7.3.4", "cell: mptcp | fexit | pass\n");
        table.take("5.10", "5.10.262", console);
        let text = table.to_text();
        assert!(
            text.contains("| Scenario | 5.10 (5.10.262) | new (7.3.4) |\n"),
            "{text}"
        );
        assert!(text.contains("| `mptcp` | [1] [1] [2] | ✓ [3] [3] |\n"), "{text}");
        assert!(text.contains("| `udp` | ✓ [3] [3] | [3] [3] [3] |\n"), "{text}");
        assert!(
            text.contains("- [1] not there: no MPTCP\n- [2] FAILED\n- [3] not run\n"),
            "{text}"
        );
    }
}
