//! Debian's Prometheus, on a free port of loopback, for a fleet of some size.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use workload::scrape;

use super::hosts::targets;
use crate::setup::promtool;
use crate::workspace::{Workspace, empty};

/// The rules that a fleet has: those that alert cost as well.
const RULES: [&str; 2] = ["portreeve.rules.yaml", "portreeve.recording.yaml"];

const CONFIG: &str = "global:
  scrape_interval: 15s
  evaluation_interval: 15s
rule_files: [portreeve.rules.yaml, portreeve.recording.yaml]
scrape_configs:
  - job_name: portreeve
    file_sd_configs:
      - files: [targets.json]
";

/// How long an answer may take: Prometheus's own limit is two minutes.
const LIMIT: Duration = Duration::from_secs(150);

/// One that runs. It is ended when it is dropped.
#[derive(Debug)]
pub(super) struct Prometheus {
    child: Child,
    address: SocketAddr,
}

/// What came of a query.
pub(super) enum Answer {
    /// How long it took, from the connection to the last byte, and the most samples that it had in memory.
    Given(Duration, f64),
    /// Prometheus's own sentence.
    Refused(String),
}

impl Prometheus {
    /// Fetches it where it is not there, and starts it with nothing in its memory for so many hosts.
    ///
    /// # Errors
    /// Where it cannot be fetched or started, or does not answer in time.
    pub(super) fn start(workspace: &Workspace, hosts: u32, fleet: SocketAddr) -> Result<Self> {
        let program = promtool::ensure_package(workspace)?.join("usr/bin/prometheus");
        let folder = workspace.target.join("bench/fleet");
        empty(&folder)?;
        for name in RULES {
            let from = workspace.root.join("deploy/prometheus").join(name);
            fs::copy(&from, folder.join(name)).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        write(&folder, "targets.json", &targets(hosts, fleet).to_string())?;
        write(&folder, "prometheus.yml", CONFIG)?;
        let address = free_address()?;
        let log = File::create(folder.join("log")).context("cannot write Prometheus's log")?;
        let child = Command::new(program)
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start prometheus")?;
        let mut prometheus = Self { child, address };
        prometheus.wait("that it answers", |prometheus| Ok(prometheus.get("/-/ready").is_ok()))?;
        Ok(prometheus)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time of all its threads so far, to the nanosecond: /proc/PID/stat counts hundredths of a second.
    ///
    /// # Errors
    /// Where it has ended.
    pub(super) fn used(&self) -> Result<Duration> {
        let folder = format!("/proc/{}/task", self.pid());
        let threads = fs::read_dir(&folder).with_context(|| format!("cannot list {folder}"))?;
        let times = threads.filter_map(|thread| {
            // One that ends meanwhile is nobody's query.
            let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
        });
        Ok(times.sum())
    }

    /// Waits until something holds.
    ///
    /// # Errors
    /// Where it never does, or Prometheus has ended.
    pub(super) fn wait(&mut self, what: &str, mut holds: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        let end = Instant::now() + LIMIT;
        while !holds(self)? {
            if let Some(status) = self.child.try_wait().context("cannot wait for Prometheus")? {
                bail!("Prometheus ended with {status}; its log is in target/bench/fleet");
            }
            if Instant::now() > end {
                bail!("waited for {LIMIT:?} and in vain: {what}");
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// A figure of its own metrics.
    ///
    /// # Errors
    /// Where it has none by this name.
    pub(super) fn own(&self, name: &str) -> Result<f64> {
        scrape::value(&self.page()?, name)
    }

    /// How long it last took to evaluate the recording rules.
    ///
    /// # Errors
    /// Where it does not say that.
    pub(super) fn recording_took(&self) -> Result<Duration> {
        let page = self.page()?;
        let seconds = page.lines().find_map(|line| {
            let labels = line.strip_prefix("prometheus_rule_group_last_duration_seconds{")?;
            let (labels, value) = labels.rsplit_once("} ")?;
            labels
                .contains("portreeve.recording.yaml")
                .then(|| value.parse().ok())?
        });
        Ok(Duration::from_secs_f64(
            seconds.context("Prometheus does not say what its rules took")?,
        ))
    }

    fn page(&self) -> Result<String> {
        let (status, page) = self.get("/metrics")?;
        if status != "200" {
            bail!("Prometheus answers its own metrics with {status}");
        }
        Ok(page)
    }

    /// The value of an expression that gives one; 0 where it gives none.
    ///
    /// # Errors
    /// Where Prometheus does not answer, or refuses it.
    pub(super) fn value(&self, expression: &str) -> Result<f64> {
        let (status, answer) = self.get(&format!("/api/v1/query?query={}", encoded(expression)))?;
        if status != "200" {
            bail!("Prometheus refuses {expression}: {answer}");
        }
        let answer: Value = serde_json::from_str(&answer).context("Prometheus's answer is not JSON")?;
        let value = answer.pointer("/data/result/0/value/1").and_then(Value::as_str);
        value.map_or(Ok(0.0), |value| value.parse().context("a value is no number"))
    }

    /// Asks as a panel does: of this moment, or of a range of so many seconds in so many steps.
    ///
    /// # Errors
    /// Where Prometheus does not answer.
    pub(super) fn ask(&self, expression: &str, range: Option<(u64, u32)>) -> Result<Answer> {
        let query = encoded(expression);
        let path = match range {
            None => format!("/api/v1/query?query={query}&stats=all"),
            Some((seconds, steps)) => {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .context("the clock is before 1970")?;
                let (now, seconds) = (now.as_secs_f64(), Duration::from_secs(seconds).as_secs_f64());
                let (begin, step) = (now - seconds, seconds / f64::from(steps));
                format!("/api/v1/query_range?query={query}&start={begin:.3}&end={now:.3}&step={step:.3}&stats=all")
            }
        };
        let start = Instant::now();
        let (status, answer) = self.get(&path)?;
        let elapsed = start.elapsed();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        if status == "200" {
            let samples = answer
                .pointer("/data/stats/samples/peakSamples")
                .and_then(Value::as_f64);
            return Ok(Answer::Given(elapsed, samples.unwrap_or_default()));
        }
        let sentence = answer
            .get("error")
            .and_then(Value::as_str)
            .unwrap_or("no reason is given");
        Ok(Answer::Refused(sentence.to_owned()))
    }

    /// Status and body, asked for by HTTP/1.0, which has no chunks.
    fn get(&self, path: &str) -> Result<(String, String)> {
        let mut stream = TcpStream::connect(self.address).context("Prometheus cannot be reached")?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .context("Prometheus does not answer in time")?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("Prometheus's answer has no end of headers")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        Ok((status.to_owned(), body.to_owned()))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended; nobody is left to be told.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// A text as a part of a path.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        // Writing into a string does not fail.
        let _ = write!(encoded, "%{byte:02X}");
    }
    encoded
}

/// An address that nothing listens on.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot have a port for Prometheus")?;
    listener.local_addr().context("cannot learn Prometheus's port")
}
