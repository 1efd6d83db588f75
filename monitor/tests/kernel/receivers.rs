//! Whom the agent tells: webhooks that the tests are, and a real Alertmanager, over outages and restarts.
//!
//! `PORTREEVE_ALERTMANAGER` names a folder where Debian's package is unpacked as below `/`; where it is not, that is said.

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    BACKENDS, Named, Test,
    agent::{Agent, DEADLINE},
    listeners::free_port,
};

/// What a step of a test gives: an error is a sentence.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// How fast an alert is to be at a receiver.
const TARGET: Duration = Duration::from_millis(50);

/// Alerts whose time is taken: fewer than a rule may fire within a minute.
const TIMED: usize = 50;

/// With receivers that the tests are.
pub const ALL: &[Named] = &[
    ("a_webhook_is_told_of_a_short_listener_and_of_its_end", webhook),
    ("an_alert_is_at_its_receiver_within_50_ms", soon),
    ("a_restart_tells_nobody_twice_and_sends_what_was_not_taken", restart),
];

/// With a real Alertmanager.
pub const WITH_ALERTMANAGER: &[Named] = &[
    ("alertmanager_shows_the_alert_tells_of_it_and_loses_it", alertmanager),
    ("alertmanager_that_was_away_is_told_of_what_came_and_went", outage),
];

/// Where Alertmanager is unpacked.
pub fn alertmanager_folder() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("PORTREEVE_ALERTMANAGER")?);
    folder
        .join("usr/bin/prometheus-alertmanager")
        .exists()
        .then_some(folder)
}

/// A document that a webhook got, and when.
pub struct Came {
    pub document: Value,
    pub at: Instant,
}

impl Came {
    /// Whether Alertmanager tells here that an alert of this host is in this state.
    pub fn has(&self, instance: &str, status: &str) -> bool {
        let alerts = self.document["alerts"].as_array();
        alerts
            .into_iter()
            .flatten()
            .any(|alert| alert["labels"]["instance"] == instance && alert["status"] == status)
    }
}

/// A webhook that takes everything.
pub struct Hook {
    pub address: SocketAddr,
    came: Receiver<Came>,
}

impl Hook {
    pub fn start() -> Outcome<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let (sender, came) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                // Alertmanager keeps its connections.
                thread::spawn(move || {
                    while let Some(document) = message(&stream) {
                        let at = Instant::now();
                        let taken = (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                        if taken.is_err() || sender.send(Came { document, at }).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Ok(Self { address, came })
    }

    fn next(&self) -> Outcome<Came> {
        Ok(self
            .came
            .recv_timeout(DEADLINE)
            .map_err(|_| "the webhook was told nothing more")?)
    }

    /// What a webhook of the agent gets next is in this state, of an alert on this port.
    pub fn expect(&self, status: &str, port: u16) -> Outcome<Came> {
        let came = self.next()?;
        let document = &came.document;
        if document["status"] == status && document["alert"]["port"] == port {
            return Ok(came);
        }
        Err(format!("expected {status} of {port}, got {document}").into())
    }

    /// What a webhook of Alertmanager gets, until it has an alert of this host in this state.
    pub fn expect_of_group(&self, instance: &str, status: &str) -> Outcome<Came> {
        let end = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        while Instant::now() < end {
            let came = self.next()?;
            if came.has(instance, status) {
                return Ok(came);
            }
            seen.push(came.document.to_string());
        }
        Err(format!("{instance} is never {status}; got {}", seen.join("\n")).into())
    }

    pub fn is_quiet(&self) -> Test {
        match self.came.try_recv() {
            Ok(came) => Err(format!("the webhook was told more: {}", came.document).into()),
            Err(_) => Ok(()),
        }
    }
}

/// A message's document.
fn message(mut stream: &TcpStream) -> Option<Value> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

/// An agent's configuration with these receivers, and the folder of its state. Alerts last for two seconds.
pub struct Setting {
    folder: tempfile::TempDir,
    config: String,
}

impl Setting {
    fn new(receivers: &str, ports: &str) -> Outcome<Self> {
        Self::with_rules(receivers, &[("dormant-port".to_owned(), ports.to_owned())])
    }

    /// With these rules: the name of each, and its ports as in a list.
    pub fn with_rules(receivers: &str, rules: &[(String, String)]) -> Outcome<Self> {
        let mut text = receivers.to_owned();
        for (name, ports) in rules {
            write!(
                text,
                "\n[[rule]]\nname = \"{name}\"\nports = [{ports}]\nseverity = \"critical\"\nkeep_firing_for = \"2s\""
            )?;
        }
        Self::of_host("web-7", &text)
    }

    /// Of a host of this name, with whatever else stands in its configuration.
    pub fn of_host(instance: &str, rest: &str) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("portreeve.toml");
        let text = format!(
            "[agent]\ninstance = \"{instance}\"\nstate = \"{}\"\nlabels = {{ cluster = \"eu\" }}\n{rest}\n",
            folder.path().display()
        );
        fs::write(&config, text)?;
        let config = config.to_str().ok_or("a path that is not UTF-8")?.to_owned();
        Ok(Self { folder, config })
    }

    /// What the agent keeps of alerts, as it stands in its file.
    pub fn kept(&self) -> Outcome<String> {
        Ok(fs::read_to_string(self.folder.path().join("firing.json"))?)
    }

    /// An agent with this configuration.
    pub fn agent(&self) -> Outcome<Agent> {
        let backend = BACKENDS
            .into_iter()
            .find(|backend| super::attaches(backend))
            .ok_or("no backend attaches here")?;
        Agent::start(backend, &["--config.file", &self.config])
    }
}

pub fn hook_at(address: SocketAddr) -> String {
    format!("[[webhook]]\nname = \"test\"\nurl = \"http://{address}/hook?token=hush\"")
}

fn webhook() -> Test {
    let (hook, port) = (Hook::start()?, free_port()?);
    let setting = Setting::new(&hook_at(hook.address), &port.to_string())?;
    let mut agent = setting.agent()?;
    drop(TcpListener::bind(("127.0.0.1", port))?);
    let firing = hook.expect("firing", port)?;
    let alert = &firing.document["alert"];
    for (label, value) in [
        ("alertname", "DormantPort"),
        ("instance", "web-7"),
        ("cluster", "eu"),
        ("netns", "host"),
        ("severity", "critical"),
    ] {
        if alert["labels"][label] != value {
            return Err(format!("{label}: {alert}").into());
        }
    }
    if firing.document["listener"]["pid"] != std::process::id() {
        return Err(format!("not by this process: {}", firing.document).into());
    }
    let resolved = hook.expect("resolved", port)?;
    let lasted = resolved.at - firing.at;
    if lasted < Duration::from_secs(2) {
        return Err(format!("resolved after {lasted:?}, which is less than keep_firing_for").into());
    }
    let receiver = [("receiver", "webhook/test"), ("result", "ok")];
    agent.wait_for_metric("portreeve_notifications_total", &receiver, Some(2.0))?;
    agent.wait_for_metric("portreeve_notification_queue_length", &receiver[..1], Some(0.0))?;
    agent.stop(Signal::TERM)?;
    if agent.log().iter().any(|line| line.contains("hush")) {
        return Err("the log shows the query of a URL".into());
    }
    hook.is_quiet()
}

/// From when `listen()` returns to when the message is there whole. The ports lie below those that the kernel chooses: the
/// webhook has one of these.
fn soon() -> Test {
    let hook = Hook::start()?;
    let setting = Setting::new(&hook_at(hook.address), "\"26000-26999\"")?;
    let _agent = setting.agent()?;
    let (mut times, mut kept) = (Vec::new(), Vec::new());
    for port in 26_000..27_000 {
        let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) else {
            continue;
        };
        let listened = Instant::now();
        times.push(hook.expect("firing", port)?.at.saturating_duration_since(listened));
        kept.push(listener);
        if times.len() == TIMED {
            break;
        }
    }
    times.sort();
    let (Some(half), Some(most)) = (times.get(times.len() / 2), times.last()) else {
        return Err("no port was free".into());
    };
    eprintln!(
        "from listen() to the whole message at a webhook: p50 {half:?}, at most {most:?} of {}",
        times.len()
    );
    // Guests are emulated: what takes a millisecond takes fifty there. And this machine may be busy: of 100 the slowest is what
    // `cargo xtask bench latency` is for.
    let is_native = std::env::var("PORTREEVE_KERNEL_LABEL").map_or(true, |label| label == "native");
    if is_native && *half > TARGET {
        return Err(format!("an alert took {half:?} in the median; the target is {TARGET:?}").into());
    }
    Ok(())
}

fn restart() -> Test {
    let (hook, told, untold) = (Hook::start()?, free_port()?, free_port()?);
    // The second receiver is not there until the second agent runs.
    let away = free_port()?;
    let receivers = format!(
        "{}\n[[webhook]]\nname = \"away\"\nurl = \"http://127.0.0.1:{away}/\"",
        hook_at(hook.address)
    );
    let setting = Setting::new(&receivers, &format!("{told}, {untold}"))?;
    let mut agent = setting.agent()?;
    let listener = TcpListener::bind(("127.0.0.1", told))?;
    hook.expect("firing", told)?;
    drop(TcpListener::bind(("127.0.0.1", untold))?);
    hook.expect("firing", untold)?;
    let away_name = [("receiver", "webhook/away")];
    agent.wait_for_metric("portreeve_notification_queue_length", &away_name, Some(2.0))?;
    let firing = || setting.kept();
    let end = Instant::now() + DEADLINE;
    while firing()?.matches("\"accepted\":null").count() != 2 || firing()?.matches("\"accepted\":").count() != 4 {
        if Instant::now() > end {
            return Err(format!("what receivers know is not kept: {}", firing()?).into());
        }
        thread::park_timeout(Duration::from_millis(20));
    }
    agent.stop(Signal::KILL)?;
    // While there is no agent, the listener ends.
    drop(listener);
    let late = TcpListener::bind(("127.0.0.1", away))?;
    let _agent = setting.agent()?;
    let mut ends = [hook.next()?.document, hook.next()?.document].map(|document| document["status"].clone());
    ends.sort_by_key(ToString::to_string);
    if ends != ["resolved", "resolved"] {
        return Err(format!("told twice: {ends:?}").into());
    }
    for _ in 0..2 {
        let (mut stream, _) = late.accept()?;
        let document = message(&stream).ok_or("no document")?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        if document["status"] != "firing" {
            return Err(format!("not told as firing first: {document}").into());
        }
    }
    hook.is_quiet()
}

/// A real Alertmanager that tells a webhook.
pub struct Alertmanager {
    programs: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
    pub hook: Hook,
}

impl Alertmanager {
    /// Starts one on a free port, which tells soon.
    pub fn new() -> Outcome<Self> {
        Self::with(|hook| {
            Ok(format!(
                "route:\n  receiver: hook\n  group_by: [alertname, port]\n  group_wait: 200ms\n  group_interval: 500ms\n\
                 receivers:\n  - name: hook\n    webhook_configs:\n      - url: http://{hook}/\n        send_resolved: true\n"
            ))
        })
    }

    /// Starts one on a free port with this configuration, which is made of the address of its webhook.
    pub fn with(config: impl FnOnce(SocketAddr) -> Outcome<String>) -> Outcome<Self> {
        let (folder, hook) = (tempfile::tempdir()?, Hook::start()?);
        fs::write(folder.path().join("alertmanager.yml"), config(hook.address)?)?;
        let mut alertmanager = Self {
            programs: alertmanager_folder().ok_or("PORTREEVE_ALERTMANAGER names no Alertmanager")?,
            folder,
            port: free_port()?,
            child: None,
            hook,
        };
        alertmanager.start()?;
        Ok(alertmanager)
    }

    /// Debian's build reads its templates below /usr/share, so it gets a /usr/share of its own that nobody else sees.
    pub fn start(&mut self) -> Test {
        let script = r#"mount -t tmpfs none /usr/share && mkdir /usr/share/prometheus &&
            cp -r "$1/usr/share/prometheus/alertmanager" /usr/share/prometheus/ &&
            exec "$1/usr/bin/prometheus-alertmanager" --config.file="$2/alertmanager.yml" --storage.path="$2/data" \
                --web.listen-address="127.0.0.1:$3" --cluster.listen-address="#;
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c", script, "sh"])
            .args([&self.programs, &self.folder.path().to_owned()])
            .arg(self.port.to_string());
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(quiet.spawn()?);
        let end = Instant::now() + DEADLINE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if Instant::now() > end {
                return Err("Alertmanager does not start".into());
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Kills it, so that it forgets what it was told.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn amtool(&self, arguments: &[&str]) -> Outcome<String> {
        let mut command = Command::new(self.programs.join("usr/bin/amtool"));
        command
            .arg(format!("--alertmanager.url=http://127.0.0.1:{}", self.port))
            .args(arguments);
        let output = command.output()?;
        if !output.status.success() {
            return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The labels of the alerts that it shows.
    pub fn shown(&self) -> Outcome<Vec<Value>> {
        let alerts: Vec<Value> = serde_json::from_str(&self.amtool(&["alert", "query", "--output=json"])?)?;
        Ok(alerts.into_iter().map(|mut alert| alert["labels"].take()).collect())
    }

    /// What its webhook gets next.
    pub fn told(&self) -> Outcome<Value> {
        Ok(self.hook.next()?.document)
    }

    /// As the agent's configuration names it.
    pub fn receiver(&self) -> String {
        format!("[alertmanager]\nurls = [\"http://127.0.0.1:{}\"]", self.port)
    }

    /// As the agent's metrics name it.
    pub fn name(&self) -> String {
        format!("alertmanager/127.0.0.1:{}", self.port)
    }

    fn setting(&self, port: u16) -> Outcome<Setting> {
        Setting::new(&self.receiver(), &port.to_string())
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.kill();
    }
}

fn alertmanager() -> Test {
    let (alertmanager, port) = (Alertmanager::new()?, free_port()?);
    let setting = alertmanager.setting(port)?;
    let _agent = setting.agent()?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let listened = Instant::now();
    while alertmanager.shown()?.is_empty() {
        if listened.elapsed() > DEADLINE {
            return Err("Alertmanager does not show the alert".into());
        }
    }
    eprintln!("from listen() to amtool: {:?}", listened.elapsed());
    let shown = alertmanager.shown()?;
    let process = std::env::current_exe()?;
    let process = process.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let expected = serde_json::json!({
        "alertname": "DormantPort", "rule": "dormant-port", "severity": "critical", "instance": "web-7", "cluster": "eu",
        "protocol": "tcp", "port": port.to_string(), "process": process.get(..32).unwrap_or(process), "netns": "host",
    });
    if shown != [expected.clone()] {
        return Err(format!("the labels are not those of the contract: {shown:?}, expected {expected}").into());
    }
    alertmanager.hook.expect_of_group("web-7", "firing")?;
    drop(listener);
    alertmanager.hook.expect_of_group("web-7", "resolved")?;
    let shown = alertmanager.shown()?;
    if shown.is_empty() {
        Ok(())
    } else {
        Err(format!("it still shows {shown:?}").into())
    }
}

fn outage() -> Test {
    let (mut alertmanager, port) = (Alertmanager::new()?, free_port()?);
    let setting = alertmanager.setting(port)?;
    let agent = setting.agent()?;
    alertmanager.kill();
    drop(TcpListener::bind(("127.0.0.1", port))?);
    let name = alertmanager.name();
    let failed = [("receiver", name.as_str()), ("result", "error")];
    agent.wait_for_metric_of("portreeve_notifications_total", &failed, |value| value >= Some(1.0))?;
    alertmanager.start()?;
    alertmanager.hook.expect_of_group("web-7", "firing")?;
    alertmanager.hook.expect_of_group("web-7", "resolved")?;
    Ok(())
}

/// What keeps Alertmanager's tests from running here.
pub fn missing() -> Option<String> {
    if alertmanager_folder().is_none() {
        return Some("PORTREEVE_ALERTMANAGER names no Alertmanager; it runs on the machine's own kernel".to_owned());
    }
    (!Path::new("/usr/bin/unshare").exists()).then(|| "there is no unshare".to_owned())
}
