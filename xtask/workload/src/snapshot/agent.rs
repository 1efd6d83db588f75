//! The agent while it runs beside a crowd, and what it says of its looks.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::lines::log_field;
use crate::process::memory;
use crate::scrape;
use crate::tool::{last_words, shown};

/// How long the agent may take for anything it is asked; under emulation some takes a while.
const LIMIT: Duration = Duration::from_secs(120);

/// How often is looked whether it is there. Not often, since what it is asked costs it time too.
const STEP: Duration = Duration::from_millis(200);

/// As often as it can look.
const CONFIGURATION: &str = "[agent]\nreconcile = \"1s\"\n";

/// The metrics that say what a look took. Only [`Look::on`] reads them.
const WHEN: &str = "portreeve_last_snapshot_timestamp_seconds";
const TOOK: &str = "portreeve_snapshot_duration_seconds";
const LISTENERS: &str = "portreeve_listeners";
/// More than 0 where there were too many series for all listeners to be in one.
const LIMITED: &str = "portreeve_series_limited_total";

/// An agent that is armed. It is ended when it is dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    address: SocketAddr,
    /// The backend that it chose.
    pub backend: String,
    /// Listeners that it knew once it was armed.
    pub known: u64,
}

/// What the agent says of its last look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Seconds since the epoch: tells one look from the next.
    when: f64,
    /// What it took.
    pub took: Duration,
    /// Listeners that the agent knows of the whole machine; none where its metrics do not hold them all.
    pub listeners: Option<u64>,
}

impl Look {
    /// Reads the metrics page.
    ///
    /// # Errors
    /// Where a metric is missing.
    fn on(page: &str) -> Result<Self> {
        let took = scrape::value(page, TOOK)?;
        Ok(Self {
            when: scrape::value(page, WHEN)?,
            took: Duration::try_from_secs_f64(took).with_context(|| format!("{TOOK} is {took}"))?,
            listeners: (scrape::sum(page, LIMITED) == 0).then(|| scrape::sum(page, LISTENERS)),
        })
    }
}

impl Agent {
    /// Starts it with its configuration and log in a folder and a free port for HTTP, and waits until it is armed.
    ///
    /// # Errors
    /// Where it cannot be started, ends, or is not armed in time: with what it said.
    pub fn start(command: &[String], folder: &Path) -> Result<Self> {
        let (program, arguments) = command.split_first().context("an agent without a program")?;
        let (log, configuration) = (folder.join("agent.log"), folder.join("agent.toml"));
        fs::write(&configuration, CONFIGURATION)
            .with_context(|| format!("cannot write {}", configuration.display()))?;
        let to = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(program)
            .args(arguments)
            .args(["--web.listen-address", "127.0.0.1:0", "--config.file"])
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(to)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        // From here on dropping it ends the process, whatever fails.
        let mut agent = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            backend: String::new(),
            known: 0,
        };
        let end = Instant::now() + LIMIT;
        let serving = agent.await_line(&log, "serving http://", end)?;
        let known = agent.await_line(&log, "what listened before is known", end)?;
        let armed = agent.await_line(&log, "armed: listeners are reported", end)?;
        agent.address = log_field(&serving, "address")?
            .parse()
            .with_context(|| format!("the agent logged a strange address: {serving}"))?;
        agent.known = log_field(&known, "listeners")?
            .parse()
            .with_context(|| format!("the agent logged a strange number: {known}"))?;
        agent.backend = log_field(&armed, "backend")?.to_owned();
        Ok(agent)
    }

    fn await_line(&mut self, log: &Path, text: &str, end: Instant) -> Result<String> {
        loop {
            if let Some(line) = line_with(log, text)? {
                return Ok(line);
            }
            let ended = self.child.try_wait().context("cannot wait for the agent")?;
            let words = || last_words(log).unwrap_or_else(|| "it said nothing".to_owned());
            match ended {
                Some(status) => bail!("the agent ended with {}: {}", shown(status), words()),
                None if Instant::now() > end => {
                    bail!("the agent did not say `{text}` within {LIMIT:?}: {}", words())
                }
                None => thread::sleep(STEP),
            }
        }
    }

    /// Resident memory in bytes: now, and the most so far.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn memory(&self) -> Result<(u64, u64)> {
        memory(self.child.id())
    }

    /// Stops it where it stands, so that its looks do not cost others time.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on, waits for a look that began after that, and pauses it again.
    ///
    /// # Errors
    /// Where it has ended, does not say what a look took, or does not look again in time.
    pub fn look(&self) -> Result<Look> {
        self.signal(Signal::CONT)?;
        let look = self.whole_look();
        self.pause()?;
        look
    }

    fn whole_look(&self) -> Result<Look> {
        let before = self.last_look()?;
        // The pause may lie in the next one, and would count as its time.
        let interrupted = self.look_after(&before)?;
        self.look_after(&interrupted)
    }

    fn look_after(&self, last: &Look) -> Result<Look> {
        let end = Instant::now() + LIMIT;
        loop {
            thread::sleep(STEP);
            let look = self.last_look()?;
            if look.when > last.when {
                return Ok(look);
            }
            if Instant::now() > end {
                bail!(
                    "the agent did not look again within {LIMIT:?} ({WHEN} stays {})",
                    look.when
                );
            }
        }
    }

    fn last_look(&self) -> Result<Look> {
        Look::on(&scrape::page(self.address, LIMIT)?)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("cannot send {signal:?} to the agent"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended; nobody is left to be told.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first whole line of a log that holds this.
fn line_with(log: &Path, text: &str) -> Result<Option<String>> {
    let bytes = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    let read = String::from_utf8_lossy(&bytes);
    let mut lines = read.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    Ok(lines
        .find(|line| line.contains(text))
        .map(|line| line.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Look;

    #[test]
    fn a_look_is_read_from_the_metrics_page() {
        let page = "portreeve_last_snapshot_timestamp_seconds 1.5e9\nportreeve_snapshot_duration_seconds 0.027\n\
                    portreeve_listeners{port=\"22\"} 1\nportreeve_listeners{port=\"80\"} 2\n";
        let expected = Look {
            when: 1.5e9,
            took: Duration::from_millis(27),
            listeners: Some(3),
        };
        assert_eq!(Look::on(page).unwrap(), expected);
        let limited = format!("{page}portreeve_series_limited_total{{metric=\"listeners\"}} 7\n");
        assert_eq!(Look::on(&limited).unwrap().listeners, None);
        let error = Look::on("portreeve_listeners{port=\"22\"} 1\n").unwrap_err();
        assert!(error.to_string().contains("portreeve_snapshot_duration_seconds"));
    }
}
