//! From the return of `listen()` to the JSON line at the other end of the agent's stdout.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::agent::{Agent, LIMIT};
use super::lines::{Lines, event};
use super::listeners::Listener;
use super::sample::{Sample, Shown, ratio};
use super::table::Table;

/// Listens in each mode.
const LISTENS: usize = 1_000;

/// The pause of the second mode: long enough for everybody to fall asleep.
const PAUSE: Duration = Duration::from_millis(1);

/// What 99 of 100 must stay below.
const TARGET: Duration = Duration::from_millis(1);

/// Measures both modes, each after the floor: the way there and back through a process that only copies.
///
/// # Errors
/// Where the agent or the copying process cannot be run, or a line does not come.
pub(super) fn measure(binary: &Path, table: &mut Table) -> Result<()> {
    let mut agent = Agent::start(binary)?;
    let lines = Lines::of(agent.stdout()?);
    for (mode, pause) in [("one after another", Duration::ZERO), ("with 1 ms between", PAUSE)] {
        let floor = Echo::start()?.round_trips(LISTENS, pause)?;
        let sample = listens(&lines, LISTENS, pause)?;
        table.time(
            &format!("listen to line, p99, {mode}"),
            sample.per_mille(990),
            TARGET,
            format!(
                "p50 {}, {}; backend {}",
                Shown(sample.median()),
                sample.range(),
                agent.backend
            ),
        );
        table.plain(
            &format!("  a pipe's round trip, p99, {mode}"),
            Shown(floor.per_mille(990)).to_string(),
            format!(
                "p50 {}; listen to line is {:.1} times that (p50), {:.1} times (p99)",
                Shown(floor.median()),
                ratio(sample.median(), floor.median()),
                ratio(sample.per_mille(990), floor.per_mille(990)),
            ),
        );
    }
    agent.stop()
}

/// Listens so many times, each once the line about the end of the one before is there and after a pause.
///
/// # Errors
/// Where a listen fails or a line does not come.
pub(super) fn listens(lines: &Lines, count: usize, pause: Duration) -> Result<Sample> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        thread::sleep(pause);
        let listener = Listener::automatic()?;
        let is = |kind: &str, line: &str| event(line).is_some_and(|(of, inode)| of == kind && inode == listener.inode);
        let line = lines.wait_for("the line about a listen", LIMIT, |line| is("listen", line))?;
        times.push(line.arrived.saturating_duration_since(listener.listened));
        let inode = listener.inode;
        drop(listener);
        lines.wait_for("the line about an unlisten", LIMIT, |line| {
            event(line).is_some_and(|(of, ended)| of == "unlisten" && ended == inode)
        })?;
    }
    Sample::new(times)
}

/// A process that copies what it reads.
struct Echo {
    child: Child,
    to: ChildStdin,
    from: Lines,
}

impl Echo {
    fn start() -> Result<Self> {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start cat, the floor that latencies are compared with")?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(to), Some(from)) => Ok(Self {
                child,
                to,
                from: Lines::of(from),
            }),
            _ => bail!("cat was started without pipes"),
        }
    }

    /// Writes a line of the length of the agent's and waits until it is back, so many times.
    fn round_trips(&mut self, count: usize, pause: Duration) -> Result<Sample> {
        let line = format!("{}\n", "x".repeat(900));
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            thread::sleep(pause);
            let written = Instant::now();
            self.to.write_all(line.as_bytes()).context("cannot write to cat")?;
            let back = self.from.wait_for("the line that cat was given", LIMIT, |_| true)?;
            times.push(back.arrived.saturating_duration_since(written));
        }
        Sample::new(times)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It may have ended; nobody is left to be told.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Echo;

    #[test]
    fn every_line_of_the_floor_comes_back_and_takes_some_time() {
        let sample = Echo::start().unwrap().round_trips(5, Duration::ZERO).unwrap();
        assert!(sample.per_mille(0) > Duration::ZERO);
        assert!(sample.range().ends_with("5 times"));
    }
}
