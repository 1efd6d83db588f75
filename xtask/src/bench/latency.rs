//! From the return of `listen()` to the JSON line at the other end of the agent's stdout, to the message at a receiver of
//! alerts, and to the answer of a real Alertmanager.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::agent::{Agent, LIMIT};
use super::alertmanager::Alertmanager;
use super::lines::{Lines, event};
use super::listeners::Listener;
use super::receiver;
use super::sample::{Sample, Shown, ratio};
use super::table::Table;
use crate::workspace::Workspace;

/// Listens in each mode.
const LISTENS: usize = 1_000;

/// The pause of the second mode: long enough for everybody to fall asleep.
const PAUSE: Duration = Duration::from_millis(1);

/// What 99 of 100 must stay below.
const TARGET: Duration = Duration::from_millis(1);

/// The rules whose alerts are timed, by their ports: below those that the kernel chooses.
const ALERTED: [RangeInclusive<u16>; 4] = [20_000..=21_999, 22_000..=23_999, 24_000..=25_999, 26_000..=27_999];

/// Alerts of each rule: fewer than the 60 that it may fire within a minute.
const ALERTS: usize = 50;

/// What 99 of 100 alerts must stay below.
const ALERT_TARGET: Duration = Duration::from_millis(50);

/// Measures lines, and then alerts. Where there is no Alertmanager to be had, its rows say so.
///
/// # Errors
/// Where the agent or the copying process cannot be run, or a line or an alert does not come.
pub(super) fn measure(workspace: &Workspace, binary: &Path, table: &mut Table) -> Result<()> {
    lines(binary, table)?;
    let (address, posts) = receiver::start(None)?;
    let told = alerts(binary, address, |label| {
        let came = posts.wait_for("the alert", LIMIT, |post| post.contains(label))?;
        Ok(vec![came.arrived])
    })?;
    told.row("listen to the POST at a receiver, p99", 0, table)?;
    match Alertmanager::start(workspace) {
        Ok(alertmanager) => at_alertmanager(binary, &alertmanager, table),
        Err(error) => {
            table.not_measured("listen to Alertmanager", format!("{error:#}"));
            Ok(())
        }
    }
}

/// The way to a real Alertmanager, past a server that stamps what comes and hands it on: until the request is there, and
/// until its answer says that it has the alert.
fn at_alertmanager(binary: &Path, alertmanager: &Alertmanager, table: &mut Table) -> Result<()> {
    let (address, posts) = receiver::start(Some(alertmanager.address))?;
    let told = alerts(binary, address, |label| {
        let came = posts.wait_for("the alert", LIMIT, |post| post.starts_with('[') && post.contains(label))?;
        let taken = posts.wait_for("Alertmanager's 200", LIMIT, |post| {
            post.starts_with("200 ") && post.contains(label)
        })?;
        Ok(vec![came.arrived, taken.arrived])
    })?;
    let (has, sent) = (alertmanager.alerts()?, told.count());
    if has != u64::try_from(sent)? {
        bail!("Alertmanager has {has} alerts of the {sent} that it took");
    }
    told.row("listen to the POST at Alertmanager, p99", 0, table)?;
    told.row("listen to Alertmanager's 200, p99", 1, table)
}

/// Measures both modes, each after the floor: the way there and back through a process that only copies.
fn lines(binary: &Path, table: &mut Table) -> Result<()> {
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

/// How long it took after each `listen()` until one thing after the other had happened to its alert.
struct Told {
    times: Vec<Vec<Duration>>,
    backend: String,
}

impl Told {
    fn count(&self) -> usize {
        self.times.len()
    }

    /// A row on the thing of this place.
    fn row(&self, what: &str, place: usize, table: &mut Table) -> Result<()> {
        let times = self.times.iter().filter_map(|times| times.get(place).copied());
        let sample = Sample::new(times.collect())?;
        let more = format!(
            "p50 {}, {}; backend {}",
            Shown(sample.median()),
            sample.range(),
            self.backend
        );
        table.time(what, sample.per_mille(990), ALERT_TARGET, more);
        Ok(())
    }
}

/// Runs an agent that tells an Alertmanager at this address, and fires one alert after the other, each once `told` says when
/// things happened to the one before, which it knows by a label in the message. The listeners stay open, so that nothing is
/// told of their ends meanwhile.
fn alerts(binary: &Path, address: SocketAddr, told: impl Fn(&str) -> Result<Vec<Instant>>) -> Result<Told> {
    let config = std::env::temp_dir().join(format!("portreeve-bench-{}.toml", std::process::id()));
    let mut text = format!("[alertmanager]\nurls = [\"http://{address}\"]\n");
    for (index, ports) in ALERTED.iter().enumerate() {
        text += &format!(
            "[[rule]]\nname = \"bench-{index}\"\nports = [\"{}-{}\"]\nseverity = \"warning\"\n",
            ports.start(),
            ports.end()
        );
    }
    fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
    let flags = ["--config.file", &config.to_string_lossy()];
    let started = Agent::start_with(binary, &flags);
    // It has read the file, or failed.
    fs::remove_file(&config).with_context(|| format!("cannot remove {}", config.display()))?;
    let mut agent = started?;
    let _read = Lines::of(agent.stdout()?);
    let (mut times, mut open) = (Vec::with_capacity(ALERTED.len() * ALERTS), Vec::new());
    for mut ports in ALERTED {
        for _ in 0..ALERTS {
            thread::sleep(PAUSE);
            let (listener, port) = Listener::among(&mut ports)?;
            let told = told(&format!("\"port\":\"{port}\""))?;
            let since = |at: Instant| at.saturating_duration_since(listener.listened);
            times.push(told.into_iter().map(since).collect());
            open.push(listener);
        }
    }
    let backend = agent.backend.clone();
    agent.stop()?;
    Ok(Told { times, backend })
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
