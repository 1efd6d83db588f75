//! What a run of several steps came to: each step with its time, what failed, and what was not run and why.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::say;

/// How a step ended that did not fail.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It ran and everything was as it must be.
    Passed,
    /// It could not run, or was left out: the reason, as a sentence.
    NotRun(String),
    /// It ran tests, each of which is counted by itself, and is nothing more than these.
    Counted,
}

/// The count of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    steps: Vec<(String, Duration, &'static str)>,
    passed: usize,
    failures: Vec<String>,
    not_run: Vec<(String, String)>,
}

impl Report {
    /// Runs a step, counts it, and says how it ended. An error is a failure of this step alone: gives whether what
    /// builds on the step can run.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Result<Outcome>) -> bool {
        say!("== {name}");
        let start = Instant::now();
        let failures_before = self.failures.len();
        let outcome = work(self);
        let word = match outcome {
            Ok(Outcome::Passed) => {
                self.passed(1);
                "passed"
            }
            Ok(Outcome::NotRun(reason)) => {
                self.not_run(name, reason);
                "not run"
            }
            Ok(Outcome::Counted) if self.failures.len() == failures_before => "passed",
            Ok(Outcome::Counted) => "FAILED",
            Err(error) => {
                self.failed(name, format!("{error:#}"));
                "FAILED"
            }
        };
        self.steps.push((name.to_owned(), start.elapsed(), word));
        self.failures.len() == failures_before
    }

    /// Counts tests that passed.
    pub(crate) fn passed(&mut self, count: usize) {
        self.passed += count;
    }

    /// Counts a failure, and says it at once.
    pub(crate) fn failed(&mut self, name: &str, why: impl Display) {
        say!("FAILED {name}: {why}");
        self.failures.push(format!("{name}: {why}"));
    }

    /// Counts what was not run, and why.
    pub(crate) fn not_run(&mut self, name: &str, reason: impl Display) {
        self.not_run.push((name.to_owned(), reason.to_string()));
    }

    /// Prints the summary; its last line is for machines. Gives whether nothing failed.
    pub(crate) fn finish(&self) -> bool {
        say!("");
        for (name, time, word) in &self.steps {
            say!("{:>7.1} s  {word:<8} {name}", time.as_secs_f64());
        }
        let total: Duration = self.steps.iter().map(|(_, time, _)| *time).sum();
        say!("{:>7.1} s  in all", total.as_secs_f64());
        if !self.failures.is_empty() {
            say!("\nfailed:");
            for failure in &self.failures {
                say!("  {failure}");
            }
        }
        if !self.not_run.is_empty() {
            say!("\nnot run:");
            for line in self.not_run_lines() {
                say!("  {line}");
            }
        }
        say!("\n{}", self.last_line());
        self.failures.is_empty()
    }

    /// A line for each thing that was not run; many with one reason share one.
    fn not_run_lines(&self) -> Vec<String> {
        let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, reason) in &self.not_run {
            match by_reason.iter_mut().find(|(known, _)| *known == reason.as_str()) {
                Some((_, names)) => names.push(name),
                None => by_reason.push((reason, vec![name])),
            }
        }
        let lines = by_reason
            .into_iter()
            .flat_map(|(reason, names)| match names.as_slice() {
                [first, _, _, .., last] => vec![format!("{} from `{first}` to `{last}`: {reason}", names.len())],
                few => few.iter().map(|name| format!("{name}: {reason}")).collect(),
            });
        lines.collect()
    }

    fn last_line(&self) -> String {
        let (failed, skipped) = (self.failures.len(), self.not_run.len());
        format!("checks: {} passed, {failed} failed, {skipped} skipped", self.passed)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::{Outcome, Report};

    #[test]
    fn the_last_line_counts_steps_and_tests() {
        let mut report = Report::default();
        assert!(report.step("one", |_| Ok(Outcome::Passed)));
        assert!(!report.step("two", |_| bail!("it broke")));
        assert!(report.step("three", |_| Ok(Outcome::NotRun("nothing is here".to_owned()))));
        let counted = report.step("four", |report| {
            report.passed(4);
            report.not_run("four: a test", "no kernel");
            Ok(Outcome::Counted)
        });
        assert!(counted);
        assert_eq!(report.last_line(), "checks: 5 passed, 1 failed, 2 skipped");
        assert!(!report.finish());
    }

    #[test]
    fn a_step_whose_tests_fail_is_not_passed() {
        let mut report = Report::default();
        let done = report.step("tests", |report| {
            report.passed(1);
            report.failed("tests: a_name", "see above");
            Ok(Outcome::Counted)
        });
        assert!(!done);
        assert_eq!(report.last_line(), "checks: 1 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn many_that_were_not_run_for_one_reason_share_a_line() {
        let mut report = Report::default();
        for name in ["a", "b", "c", "d", "e"] {
            report.not_run(name, if name == "b" { "two" } else { "one" });
        }
        assert_eq!(report.not_run_lines(), ["4 from `a` to `e`: one", "b: two"]);
    }

    #[test]
    fn what_was_not_run_is_no_failure() {
        let mut report = Report::default();
        report.step("one", |_| Ok(Outcome::NotRun("left out".to_owned())));
        assert!(report.finish());
    }
}
