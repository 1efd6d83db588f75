//! A real Prometheus that scrapes the agent and judges by the rules of `deploy/prometheus`.
//!
//! `PORTREEVE_PROMETHEUS` names a folder where Debian's package is unpacked as below `/`; where it is not, that is said.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use super::{Test, agent::DEADLINE, listeners::free_port, receivers::Outcome};

/// What is deployed.
const RULES: &str = include_str!("../../../deploy/prometheus/portreeve.rules.yaml");
const RECORDING: &str = include_str!("../../../deploy/prometheus/portreeve.recording.yaml");

/// The rule about 1992 and its relatives.
const DORMANT: &str = "PortreeveDormantPortListener";

/// A port of that rule that nothing opens.
const NEVER: u16 = 1994;

/// What keeps these tests from running here.
pub fn missing() -> Option<String> {
    let reason = "PORTREEVE_PROMETHEUS names no Prometheus; it runs on the machine's own kernel";
    program().is_none().then(|| reason.to_owned())
}

fn program() -> Option<PathBuf> {
    let program = PathBuf::from(std::env::var_os("PORTREEVE_PROMETHEUS")?).join("usr/bin/prometheus");
    program.exists().then_some(program)
}

/// A Prometheus that asks the agent each second. It is killed when it is dropped.
pub struct Prometheus {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one for the agent at this port, and waits until it answers.
    pub fn start(agent: u16) -> Outcome<Self> {
        let (folder, port) = (tempfile::tempdir()?, free_port()?);
        let config = folder.path().join("prometheus.yml");
        fs::write(folder.path().join("portreeve.rules.yaml"), RULES)?;
        // As often as it asks the agent, so that no test waits for half a minute.
        let recording = RECORDING.replace("interval: 30s", "interval: 1s");
        fs::write(folder.path().join("portreeve.recording.yaml"), recording)?;
        let text = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [portreeve.rules.yaml, portreeve.recording.yaml]\n\
             scrape_configs:\n  - job_name: portreeve\n    static_configs:\n      - targets: [\"127.0.0.1:{agent}\"]\n        \
             labels: {{ cluster: eu }}\n"
        );
        fs::write(&config, text)?;
        let mut command = Command::new(program().ok_or("PORTREEVE_PROMETHEUS names no Prometheus")?);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let prometheus = Self {
            child: quiet.spawn()?,
            port,
            _folder: folder,
        };
        wait("Prometheus answers", || Ok(prometheus.get("/-/ready").is_ok()))?;
        Ok(prometheus)
    }

    /// What its API has at this path. Asked by HTTP/1.0, which has no chunks.
    pub fn get(&self, path: &str) -> Outcome<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no end of headers")?;
        if head.split(' ').nth(1) == Some("200") {
            Ok(body.to_owned())
        } else {
            Err(format!("{path}: {head}\n{body}").into())
        }
    }

    /// The series that an expression gives, each with its labels and its value.
    pub fn vector(&self, expression: &str) -> Outcome<Vec<Value>> {
        let mut path = "/api/v1/query?query=".to_owned();
        for byte in expression.bytes() {
            write!(path, "%{byte:02X}")?;
        }
        let answer: Value = serde_json::from_str(&self.get(&path)?)?;
        Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
    }

    /// The one value of an expression; `None` where it has none.
    pub fn value(&self, expression: &str) -> Outcome<Option<f64>> {
        let series = self.vector(expression)?;
        let value = series.first().and_then(|series| series["value"][1].as_str());
        Ok(value.map(str::parse).transpose()?)
    }

    /// By how much the counter of listens on a port grew.
    pub fn listens(&self, port: u16) -> Outcome<Option<f64>> {
        self.value(&format!(
            "increase(portreeve_watched_port_listens_total{{protocol=\"tcp\",port=\"{port}\"}}[15m])"
        ))
    }

    /// The alerts of the rule that fire, by port.
    pub fn firing(&self) -> Outcome<BTreeMap<u16, Value>> {
        let answer: Value = serde_json::from_str(&self.get("/api/v1/alerts")?)?;
        let mut firing = BTreeMap::new();
        for alert in answer["data"]["alerts"].as_array().ok_or("no list of alerts")? {
            if alert["labels"]["alertname"] != DORMANT || alert["state"] != "firing" {
                continue;
            }
            let port = alert["labels"]["port"].as_str().ok_or("an alert without a port")?;
            if firing.insert(port.parse()?, alert.clone()).is_some() {
                return Err(format!("two alerts for {port}").into());
            }
        }
        Ok(firing)
    }

    /// Waits until the alerts of exactly these ports fire.
    pub fn wait_for_firing(&self, ports: &[u16]) -> Outcome<BTreeMap<u16, Value>> {
        wait(&format!("alerts fire for {ports:?}"), || {
            Ok(self.firing()?.into_keys().eq(ports.iter().copied()))
        })?;
        self.firing()
    }

    /// Waits until it has asked the agent some three times from now on, and judged what it got.
    pub fn wait_for_scrapes(&self) -> Test {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let scraped = format!("timestamp(portreeve_watched_port_listens_total{{protocol=\"tcp\",port=\"{NEVER}\"}})");
        wait("the agent is scraped", || {
            Ok(self.value(&scraped)?.is_some_and(|at| at > since + 3.0))
        })
    }

    /// Every rule of the files was judged, and none failed.
    pub fn check_rules(&self) -> Test {
        let count = RULES.matches("- alert: ").count() + RECORDING.matches("- record: ").count();
        let mut rules = Vec::new();
        wait("all rules are judged", || {
            let answer: Value = serde_json::from_str(&self.get("/api/v1/rules")?)?;
            let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
            rules = groups
                .iter()
                .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
                .collect();
            Ok(!rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown"))
        })?;
        if rules.len() != count {
            return Err(format!("{} rules are loaded of {count}", rules.len()).into());
        }
        match rules.iter().find(|rule| rule["health"] != "ok") {
            Some(rule) => Err(format!("{} is {}: {}", rule["name"], rule["health"], rule["lastError"]).into()),
            None => Ok(()),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until this holds.
pub fn wait(what: &str, mut holds: impl FnMut() -> Outcome<bool>) -> Test {
    let end = Instant::now() + DEADLINE;
    while !holds()? {
        if Instant::now() > end {
            return Err(format!("it never came to this: {what}").into());
        }
        thread::park_timeout(Duration::from_millis(100));
    }
    Ok(())
}
