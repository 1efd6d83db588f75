//! The lines of a test binary (Rust's own harness and libtest-mimic write the same), read and counted.

use std::collections::BTreeMap;

use crate::report::Report;

/// What a test binary's output says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TestOutput {
    /// Tests that were announced (`running N tests`), over all binaries in the output.
    announced: usize,

    passed: usize,
    failed: Vec<String>,
    ignored: Vec<(String, Option<String>)>,
    /// Tests that began and never ended.
    unfinished: Vec<String>,
}

/// Reads the standard output of one or more test binaries, with one test at a time or many.
pub(crate) fn parse(output: &str) -> TestOutput {
    let mut read = TestOutput::default();
    for line in output.lines() {
        if let Some(count) = line.strip_prefix("running ").and_then(|rest| rest.split(' ').next()) {
            read.announced += count.parse::<usize>().unwrap_or(0);
            continue;
        }
        let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) else {
            continue;
        };
        let name = name.trim().to_owned();
        let (word, reason) = match result.split_once(", ") {
            Some((word, reason)) => (word.trim(), Some(reason.trim().to_owned())),
            None => (result.trim(), None),
        };
        match word {
            "ok" => read.passed += 1,
            "FAILED" => read.failed.push(name),
            "ignored" => read.ignored.push((name, reason)),
            _ => read.unfinished.push(name),
        }
    }
    // A test that was announced when the output broke off has no result at all.
    if let Some(name) = output
        .lines()
        .last()
        .and_then(|line| line.strip_prefix("test ")?.strip_suffix(" ..."))
    {
        read.unfinished.push(name.trim().to_owned());
    }
    read
}

/// The lines `not run: NAME: REASON` of a test binary's standard error.
pub(crate) fn reasons(errors: &str) -> BTreeMap<String, String> {
    let lines = errors
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix("not run: ")?.split_once(": "));
    lines
        .map(|(name, reason)| (name.trim().to_owned(), reason.trim().to_owned()))
        .collect()
}

impl TestOutput {
    /// Counts the tests in a report, each under `label`. A test without a result, and an output without any test, are
    /// failures: a run that broke off must not look like one that passed.
    pub(crate) fn count(&self, label: &str, reasons: &BTreeMap<String, String>, report: &mut Report) {
        report.passed(self.passed);
        for name in &self.failed {
            report.failed(&format!("{label}: {name}"), "the test failed; its output is above");
        }
        for (name, reason) in &self.ignored {
            let reason = reasons
                .get(name)
                .or(reason.as_ref())
                .map_or("it gave no reason", String::as_str);
            report.not_run(&format!("{label}: {name}"), reason);
        }
        for name in &self.unfinished {
            report.failed(&format!("{label}: {name}"), "the test began and never ended");
        }
        let seen = self.passed + self.failed.len() + self.ignored.len() + self.unfinished.len();
        if seen < self.announced {
            report.failed(
                label,
                format!("{} of {} tests have no result", self.announced - seen, self.announced),
            );
        }
    }

    /// Whether a test failed or never ended.
    pub(crate) fn has_failures(&self) -> bool {
        !self.failed.is_empty() || !self.unfinished.is_empty()
    }

    /// Whether the output holds no test at all, as of a binary that did not start or a filter that fits nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.announced == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{parse, reasons};
    use crate::report::Report;

    const OUTPUT: &str = "
running 4 tests
test a_listener_is_seen            ... ok
test a_scrape_is_valid             ... FAILED
test fexit_sees_the_result         ... ignored
test an_old_kernel                 ... ignored, needs 6.1

failures:

---- a_scrape_is_valid ----
no such series

test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.11s
";

    fn last_line(output: &str, errors: &str) -> String {
        let mut report = Report::default();
        parse(output).count("5.10", &reasons(errors), &mut report);
        report.step("", |_| Ok(crate::report::Outcome::Counted));
        format!("{report:?}")
    }

    #[test]
    fn results_are_counted_by_kind() {
        let read = parse(OUTPUT);
        assert_eq!((read.announced, read.passed), (4, 1));
        assert_eq!(read.failed, ["a_scrape_is_valid"]);
        assert_eq!(read.ignored.len(), 2);
        assert!(read.unfinished.is_empty());
    }

    #[test]
    fn the_reason_of_a_test_that_was_not_run_is_kept_with_the_kernel() {
        let report = last_line(
            OUTPUT,
            "noise\nnot run: fexit_sees_the_result: attach was refused: EPERM\r\n",
        );
        assert!(
            report.contains(r#"("5.10: fexit_sees_the_result", "attach was refused: EPERM")"#),
            "{report}"
        );
        assert!(report.contains(r#"("5.10: an_old_kernel", "needs 6.1")"#), "{report}");
    }

    #[test]
    fn a_run_that_breaks_off_within_a_test_fails() {
        let read = parse("running 2 tests\ntest one ... ok\ntest two   ...");
        assert_eq!(read.unfinished, ["two"]);
        let report = last_line("running 3 tests\ntest one ... ok\n", "");
        assert!(report.contains("2 of 3 tests have no result"), "{report}");
    }

    #[test]
    fn output_without_tests_is_empty() {
        assert!(parse("Kernel panic - not syncing").is_empty());
        assert!(!parse(OUTPUT).is_empty());
        assert_eq!(reasons("nothing"), BTreeMap::new());
    }

    #[test]
    fn output_of_rusts_own_harness_is_read_too() {
        let read = parse(
            "running 2 tests\ntest report::tests::x - should panic ... ok\ntest src/lib.rs - f (line 3) ... ok\n",
        );
        assert_eq!((read.announced, read.passed), (2, 2));
    }
}
