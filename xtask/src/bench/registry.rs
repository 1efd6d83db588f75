//! What a look-up in the registry takes, and how long `explain` takes beside what asks the host's own table.
//!
//! xtask must not depend on `monitor`: the look-ups are measured by a program of that crate, `monitor/benches/registry.rs`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::sample::{Sample, Shown, ratio};
use super::start::whole;
use super::table::Table;
use crate::command::cargo;
use crate::workspace::Workspace;

/// A look-up is to stay below this.
const LOOK_UP: Duration = Duration::from_nanos(100);
/// `explain`, from its start to its end.
const EXPLAIN: Duration = Duration::from_millis(10);
const PAIRS: usize = 100;

/// Measures look-ups in this process's machine code, and whole processes in turns.
///
/// # Errors
/// Where the program cannot be built, or a process fails.
pub(super) fn measure(workspace: &Workspace, agent: &Path, table: &mut Table) -> Result<()> {
    let output = cargo()
        .args([
            "bench",
            "--quiet",
            "--locked",
            "--package",
            "monitor",
            "--bench",
            "registry",
        ])
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target)
        .output()
        .context("cannot run cargo bench")?;
    ensure!(
        output.status.success(),
        "the look-ups cannot be measured: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    for line in output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| line.starts_with(b"{"))
    {
        let (what, median, least) = look_up(line)?;
        // A name is not on the way of an event, and has no figure to reach.
        if what.contains("port") {
            table.time(&format!("look-up of {what}, median"), median, LOOK_UP, least);
        } else {
            table.plain(&format!("look-up of {what}, median"), nanoseconds(median), least);
        }
    }
    let (mut explain, mut getent) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        explain.push(whole(agent, ["explain", "1992"], &[0])?);
        // Where /etc/services has no name for it, getent ends with 2.
        getent.push(whole("getent", ["services", "1992/tcp"], &[0, 2])?);
    }
    let (explain, getent) = (Sample::new(explain)?, Sample::new(getent)?);
    table.time(
        "explain 1992, whole process, median",
        explain.median(),
        EXPLAIN,
        explain.range(),
    );
    table.plain(
        "  getent services 1992/tcp, in turns with it, median",
        Shown(getent.median()).to_string(),
        format!(
            "{}; explain is {:.1} times that",
            getent.range(),
            ratio(explain.median(), getent.median())
        ),
    );
    Ok(())
}

/// What was looked up, the median, and the least in words.
fn look_up(line: &[u8]) -> Result<(String, Duration, String)> {
    let value: Value = serde_json::from_slice(line).context("cannot read what the look-ups took")?;
    let duration = |key: &str| {
        value
            .get(key)
            .and_then(Value::as_u64)
            .map(|tenths| Duration::from_nanos(tenths.div_ceil(10)))
    };
    let what = value.get("what").and_then(Value::as_str);
    let (median, least) = (duration("tenths_of_ns"), duration("least_tenths_of_ns"));
    let (what, median, least) = what
        .zip(median)
        .zip(least)
        .map(|((what, median), least)| (what, median, least))
        .context("what the look-ups took is not said")?;
    Ok((
        what.to_owned(),
        median,
        format!("{}; min {}", nanoseconds(median), nanoseconds(least)),
    ))
}

fn nanoseconds(duration: Duration) -> String {
    format!("{} ns", duration.as_nanos())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::look_up;

    #[test]
    fn a_line_of_the_look_ups_is_read() {
        let line = br#"{"what":"a random port","tenths_of_ns":415,"least_tenths_of_ns":300}"#;
        let (what, median, least) = look_up(line).unwrap();
        assert_eq!((what.as_str(), median), ("a random port", Duration::from_nanos(42)));
        assert_eq!(least, "42 ns; min 30 ns");
        assert!(look_up(b"{}").is_err());
    }
}
