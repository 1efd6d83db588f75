//! The figures, a row each, with the target beside.

use std::time::Duration;

use serde_json::{Value, json};

use super::sample::Shown;
use crate::say;

/// All rows so far.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<[String; 5]>,
    missing: bool,
}

/// The heads of the columns.
const HEADS: [&str; 5] = ["what", "figure", "target", "", "more"];

impl Table {
    /// A duration that is to stay below another.
    pub(super) fn time(&mut self, what: &str, figure: Duration, below: Duration, more: String) {
        let target = format!("< {}", Shown(below));
        self.push(what, Shown(figure).to_string(), target, verdict(figure < below), more);
    }

    /// Memory or a file, in bytes, that is to stay below so many MiB.
    pub(super) fn bytes(&mut self, what: &str, figure: u64, below: u64, more: String) {
        let target = format!("< {below} MiB");
        self.push(what, mebibytes(figure), target, verdict(figure < (below << 20)), more);
    }

    /// Something that must hold.
    pub(super) fn must(&mut self, what: &str, figure: String, target: &str, met: bool, more: String) {
        self.push(what, figure, target.to_owned(), verdict(met), more);
    }

    /// A figure without a target.
    pub(super) fn plain(&mut self, what: &str, figure: String, more: String) {
        self.push(what, figure, String::new(), "", more);
    }

    /// What could not be measured, and why.
    pub(super) fn not_measured(&mut self, what: impl Into<String>, reason: String) {
        self.missing = true;
        self.rows.push([
            what.into(),
            "not measured".to_owned(),
            String::new(),
            String::new(),
            reason,
        ]);
    }

    /// Whether everything could be measured.
    pub(super) fn is_complete(&self) -> bool {
        !self.missing
    }

    /// The rows as JSON: an object each, with the heads as names.
    pub(super) fn json(&self) -> Value {
        let object = |[what, figure, target, verdict, more]: &[String; 5]| json!({ "what": what.trim(), "figure": figure, "target": target, "verdict": verdict, "more": more });
        self.rows.iter().map(object).collect()
    }

    /// Prints the table.
    pub(super) fn print(&self) {
        say!("");
        for line in self.lines() {
            say!("{line}");
        }
    }

    fn push(&mut self, what: &str, figure: String, target: String, verdict: &str, more: String) {
        self.rows
            .push([what.to_owned(), figure, target, verdict.to_owned(), more]);
    }

    fn lines(&self) -> Vec<String> {
        let heads = HEADS.map(str::to_owned);
        let all = || std::iter::once(&heads).chain(&self.rows);
        let [what, figure, target, verdict, _] = std::array::from_fn(|column| {
            all()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        });
        all()
            .map(|[a, b, c, d, more]| {
                let line = format!("{a:<what$}  {b:>figure$}  {c:<target$}  {d:<verdict$}  {more}");
                line.trim_end().to_owned()
            })
            .collect()
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

/// Bytes in MiB with one digit behind the point.
#[expect(
    clippy::cast_precision_loss,
    reason = "for people to read, with one digit behind the point"
)]
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Table, mebibytes};

    #[test]
    fn a_target_is_met_below_it_and_missed_at_it() {
        let mut table = Table::default();
        let millisecond = Duration::from_millis(1);
        table.time("quick", Duration::from_micros(999), millisecond, String::new());
        table.time("slow", millisecond, millisecond, "max 2 ms".to_owned());
        table.bytes("small", (12 << 20) - 1, 12, String::new());
        table.bytes("large", 12 << 20, 12, String::new());
        assert_eq!(
            table.lines(),
            [
                "what     figure  target             more",
                "quick    999 µs  < 1.00 ms  met",
                "slow    1.00 ms  < 1.00 ms  missed  max 2 ms",
                "small  12.0 MiB  < 12 MiB   met",
                "large  12.0 MiB  < 12 MiB   missed",
            ]
        );
        assert!(table.is_complete());
    }

    #[test]
    fn what_was_not_measured_stands_in_the_table_and_makes_it_incomplete() {
        let mut table = Table::default();
        table.not_measured("Churn", "the agent ended".to_owned());
        assert!(!table.is_complete());
        assert!(table.lines().iter().any(|line| line.ends_with("the agent ended")));
    }

    #[test]
    fn bytes_are_shown_in_mebibytes() {
        assert_eq!(mebibytes(7 << 20), "7.0 MiB");
        assert_eq!(mebibytes((3 << 19) + 1), "1.5 MiB");
    }
}
