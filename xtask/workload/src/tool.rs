//! One tool while it runs: ready before it is measured, read when it has told everything.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::calls::{MEASURED, Made, PROBE, round};
use crate::plan::{MadeOn, Plan, Port, Sight, Told, Tool, is_about};
use crate::processors::Processors;

/// How long a tool may take until it tells what it sees; under emulation some take a while.
const READY: Duration = Duration::from_secs(120);

/// How long a tool may take to end when it is told to.
const END: Duration = Duration::from_secs(30);

/// How long its output must not have grown before it is taken to have told everything.
const QUIET: Duration = Duration::from_millis(600);

/// How long that may take.
const CAUGHT_UP: Duration = Duration::from_secs(60);

/// How often is looked.
const STEP: Duration = Duration::from_millis(25);

/// Probing calls between two looks: some tools keep lines back until a few kilobytes are full.
const PROBES: u32 = 10;

/// A tool that sees. It is ended when it is dropped.
#[derive(Debug)]
pub struct Running<'a> {
    tool: &'a Tool,
    child: Child,
    stdout: PathBuf,
    /// From its start until it told what it was asked for.
    pub ready_after: Duration,
}

impl<'a> Running<'a> {
    /// Starts a tool with its output in files of a folder, and waits until it has told a call of each kind that it is to be
    /// asked for.
    ///
    /// # Errors
    /// Where it cannot be started, ends, or does not tell in time: with what it said.
    pub fn start(tool: &'a Tool, plan: &Plan, folder: &Path, processors: &Processors) -> Result<Self> {
        let (program, arguments) = tool.command.split_first().context("a tool without a program")?;
        let (stdout, stderr) = (folder.join("stdout"), folder.join("stderr"));
        let file = |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
        let start = Instant::now();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file(&stdout)?)
            .stderr(file(&stderr)?);
        let spawn = || command.spawn().with_context(|| format!("cannot start {program}"));
        let child = processors.among_tools(spawn)?;
        let mut running = Self {
            tool,
            child,
            stdout,
            ready_after: Duration::ZERO,
        };
        running.await_ready(plan, &stderr, start + READY)?;
        running.ready_after = start.elapsed();
        Ok(running)
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the tool has written nothing for a while.
    ///
    /// # Errors
    /// Where it writes on and on.
    pub fn await_quiet(&self) -> Result<()> {
        let end = Instant::now() + CAUGHT_UP;
        let (mut last, mut changed) = (self.written()?, Instant::now());
        while changed.elapsed() < QUIET {
            if Instant::now() > end {
                bail!("{} still writes {CAUGHT_UP:?} after the last call", self.tool.name);
            }
            thread::sleep(STEP);
            let now = self.written()?;
            if now != last {
                (last, changed) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Ends the tool as a user does at a terminal, and counts what it told of the calls that were made.
    ///
    /// # Errors
    /// Where it does not end, or its output cannot be read.
    pub fn stop(mut self, plan: &Plan, made: &MadeOn) -> Result<Vec<Told>> {
        kill_process(Pid::from_child(&self.child), Signal::INT)
            .with_context(|| format!("cannot send SIGINT to {}", self.tool.name))?;
        let end = Instant::now() + END;
        while self.ended()?.is_none() {
            if Instant::now() > end {
                bail!("{} did not end within {END:?} of SIGINT", self.tool.name);
            }
            thread::sleep(STEP);
        }
        self.told(plan, made)
    }

    fn await_ready(&mut self, plan: &Plan, stderr: &Path, end: Instant) -> Result<()> {
        if let Some(says) = &self.tool.says {
            while !holds(stderr, says) {
                self.still_runs(stderr, end, &format!("it did not say `{says}`"))?;
                thread::sleep(STEP);
            }
        }
        for sight in self.tool.sights.iter().filter(|sight| sight.probed) {
            let kind = sight.kind.name();
            while !self.any_line(sight, PROBE, plan.named)? {
                self.still_runs(stderr, end, &format!("it told no {kind}"))?;
                round(sight.kind, PROBE, plan.named, PROBES, &mut Made::default())
                    .with_context(|| format!("cannot probe with {kind}"))?;
                thread::sleep(STEP);
            }
        }
        Ok(())
    }

    /// # Errors
    /// Where it has ended, or the time is over: with the last that it said.
    fn still_runs(&mut self, stderr: &Path, end: Instant, what: &str) -> Result<()> {
        let ended = match self.ended()? {
            Some(status) => format!("it ended with {}", shown(status)),
            None if Instant::now() > end => format!("{what} within {READY:?}"),
            None => return Ok(()),
        };
        match last_words(stderr).or_else(|| last_words(&self.stdout)) {
            Some(words) => bail!("{ended}: {words}"),
            None => bail!("{ended}, and said nothing"),
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("cannot wait for {}", self.tool.name))
    }

    fn written(&self) -> Result<u64> {
        let metadata =
            fs::metadata(&self.stdout).with_context(|| format!("cannot look at {}", self.stdout.display()))?;
        Ok(metadata.len())
    }

    fn any_line(&self, sight: &Sight, address: Ipv4Addr, port: u16) -> Result<bool> {
        let mut found = false;
        self.each_line(|line| found |= is_about(line, &sight.line, address, port))?;
        Ok(found)
    }

    fn each_line(&self, mut each: impl FnMut(&str)) -> Result<()> {
        let tried = || format!("cannot read {}", self.stdout.display());
        let mut file = BufReader::new(File::open(&self.stdout).with_context(tried)?);
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line).with_context(tried)? > 0 {
            each(&String::from_utf8_lossy(&line));
            line.clear();
        }
        Ok(())
    }

    fn told(&self, plan: &Plan, made: &MadeOn) -> Result<Vec<Told>> {
        let mut told: Vec<(&Sight, Told)> = Vec::new();
        for sight in &self.tool.sights {
            for (port, made) in made.iter().filter(|(port, _)| sight.tells.contains(port)) {
                let (kind, port) = (sight.kind, *port);
                let made = made.of(kind);
                told.push((
                    sight,
                    Told {
                        kind,
                        port,
                        made,
                        lines: 0,
                    },
                ));
            }
        }
        let number = |port: Port| plan.port(port);
        self.each_line(|line| {
            for (sight, told) in &mut told {
                if is_about(line, &sight.line, MEASURED, number(told.port)) {
                    told.lines += 1;
                }
            }
        })?;
        Ok(told.into_iter().map(|(_, told)| told).collect())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // It may have ended; nobody is left to be told.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn holds(path: &Path, text: &str) -> bool {
    fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
}

/// The last lines that hold something, as one.
pub(crate) fn last_words(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(3)..)?;
    (!last.is_empty()).then(|| last.join(" | "))
}

/// How a process ended.
pub(crate) fn shown(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use crate::processors::Processors;

    use super::Running;
    use crate::calls::Kind;
    use crate::plan::{Plan, Port, Sight, Told, Tool};

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("workload-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn plan() -> Plan {
        Plan {
            repetitions: 1,
            rounds: 1,
            calls: 1,
            named: 21_890,
            other: 21_891,
            tools: Vec::new(),
        }
    }

    fn shell(script: &str) -> Tool {
        Tool {
            name: "shell".to_owned(),
            command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
            says: Some("armed".to_owned()),
            sights: vec![Sight {
                kind: Kind::Listen,
                line: vec!["listen {address}:{port} ".to_owned()],
                tells: vec![Port::Named],
                probed: true,
            }],
        }
    }

    #[test]
    fn a_tool_is_ready_once_it_has_told_a_probe_and_only_measured_calls_count() {
        let tool = shell(
            "trap 'exit 0' INT; echo armed >&2; echo listen 127.0.0.9:21890; echo listen 127.0.0.1:21890; \
             echo listen 127.0.0.1:21891; while :; do sleep 0.01; done",
        );
        let (plan, folder) = (plan(), folder("ready"));
        let running = Running::start(&tool, &plan, &folder, &Processors::divided().unwrap()).unwrap();
        running.await_quiet().unwrap();
        let made = Port::ALL.map(|port| (port, Default::default()));
        let told = running.stop(&plan, &made).unwrap();
        let expected = Told {
            kind: Kind::Listen,
            port: Port::Named,
            made: 0,
            lines: 1,
        };
        assert_eq!(told, [expected]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_tool_that_ends_says_why_in_its_own_words() {
        let tool = shell("echo cannot load >&2; exit 3");
        let folder = folder("refused");
        let error = Running::start(&tool, &plan(), &folder, &Processors::divided().unwrap())
            .unwrap_err()
            .to_string();
        assert_eq!(error, "it ended with status 3: cannot load");
        fs::remove_dir_all(folder).unwrap();
    }
}
