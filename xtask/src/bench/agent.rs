//! The agent as a child process.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use workload::lines::log_field;
use workload::scrape;

use super::lines::Lines;

/// How long the agent may take for anything it is asked.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// An agent that is armed. It is ended when it is dropped.
#[derive(Debug)]
pub(super) struct Agent {
    child: Child,
    stdout: Option<ChildStdout>,
    log: Lines,
    address: SocketAddr,
    /// The backend that it chose.
    pub(super) backend: String,
    /// From before the spawn to the log line that says so.
    pub(super) armed_after: Duration,
}

impl Agent {
    /// Starts it with JSON lines on stdout and a free port for HTTP, and waits until it is armed. Its stdout is a pipe that
    /// somebody must read: see [`Agent::stdout`].
    ///
    /// # Errors
    /// Where it cannot be started or is not armed in time.
    pub(super) fn start(binary: &Path) -> Result<Self> {
        Self::start_with(binary, &[])
    }

    /// The same with further flags.
    ///
    /// # Errors
    /// As those of [`Agent::start`].
    pub(super) fn start_with(binary: &Path, flags: &[&str]) -> Result<Self> {
        let started = Instant::now();
        let mut child = Command::new(binary)
            .args(["run", "--events=json", "--web.listen-address", "127.0.0.1:0"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let stdout = child.stdout.take();
        let log = match child.stderr.take() {
            Some(stderr) => Lines::of(stderr),
            None => bail!("the agent was started without a pipe for its log"),
        };
        // From here on dropping it ends the process, whatever fails.
        let mut agent = Self {
            child,
            stdout,
            log,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            backend: String::new(),
            armed_after: Duration::ZERO,
        };
        let serving = agent.log.wait_for("the log line with its address", LIMIT, |line| {
            line.contains("serving http://")
        })?;
        let armed = agent.log.wait_for("the log line `armed`", LIMIT, |line| {
            line.contains("armed: listeners are reported")
        })?;
        agent.armed_after = armed.arrived.saturating_duration_since(started);
        agent.backend = log_field(&armed.text, "backend")?.to_owned();
        agent.address = log_field(&serving.text, "address")?
            .parse()
            .with_context(|| format!("the agent logged a strange address: {}", serving.text.trim_end()))?;
        Ok(agent)
    }

    /// The pipe of the JSON lines.
    ///
    /// # Errors
    /// Where it was taken before.
    pub(super) fn stdout(&mut self) -> Result<ChildStdout> {
        self.stdout.take().context("somebody reads the agent's stdout already")
    }

    /// Process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it serves HTTP.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A scrape: the page, and the time from before the connection to its last byte.
    ///
    /// # Errors
    /// Where the agent does not answer, or not with 200.
    pub(super) fn scrape(&self) -> Result<(String, Duration)> {
        let start = Instant::now();
        let page = scrape::page(self.address, LIMIT)?;
        Ok((page, start.elapsed()))
    }

    /// Ends it as a supervisor does.
    ///
    /// # Errors
    /// Where it does not end in time, or not well.
    pub(super) fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("cannot send SIGTERM to the agent")?;
        let end = Instant::now() + LIMIT;
        loop {
            match self.child.try_wait().context("cannot wait for the agent")? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the agent ended with {status} at SIGTERM"),
                None if Instant::now() > end => bail!("the agent did not end within {LIMIT:?} of SIGTERM"),
                None => thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended; nobody is left to be told.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
