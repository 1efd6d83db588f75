//! A real journald that the agent tells, and what journalctl makes of it.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    Named, Test,
    agent::{Agent, DEADLINE, backend, binary, file, output_of},
    listeners::free_port,
    scenarios::{Outcome, fields},
};

/// With a real journald.
pub const WITH_JOURNALD: &[Named] = &[(
    "journalctl_shows_an_alert_and_its_end_with_each_label_and_annotation_as_a_field",
    journal,
)];

const JOURNALD: &str = "/usr/lib/systemd/systemd-journald";

/// What keeps these tests from running here.
pub fn missing() -> Option<String> {
    let needed = [JOURNALD, "/usr/bin/journalctl", "/usr/bin/unshare", "/usr/bin/nsenter"];
    let missing = needed.into_iter().find(|program| !Path::new(program).exists())?;
    Some(format!(
        "there is no {missing}; it runs on the machine's own kernel, where systemd is installed"
    ))
}

/// A journald in a mount namespace of its own, where /run is empty, so that it takes no journal's place; and in a network
/// namespace of its own, where it can ask the kernel for no audit records. It is killed when it is dropped.
struct Journald(Child);

impl Journald {
    fn start() -> Outcome<Self> {
        const SCRIPT: &str = r#"mount -t tmpfs none /run && touch /run/ours && mount -t tmpfs none /etc/systemd && mkdir -p /run/systemd/journal &&
            printf '[Journal]\nStorage=volatile\nAudit=no\nReadKMsg=no\nForwardToWall=no\n' >/etc/systemd/journald.conf &&
            exec unshare -n "$1""#;
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", SCRIPT, "sh", JOURNALD]);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut journald = Self(quiet.spawn()?);
        let end = Instant::now() + DEADLINE;
        // Before it has an empty /run, what it sees is this machine's, and may be of another journald.
        let has_all = |journald: &Self| -> Outcome<bool> {
            let needed = [
                journald.path("run/ours"),
                journald.path("run/systemd/journal/socket"),
                journald.journal()?,
            ];
            Ok(needed.iter().all(|path| path.exists()))
        };
        while !has_all(&journald)? {
            if let Some(status) = journald.0.try_wait()? {
                return Err(format!("journald ended with {status}").into());
            }
            if Instant::now() > end {
                return Err("journald does not start".into());
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        Ok(journald)
    }

    /// A path as it sees it.
    fn path(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.0.id().to_string()).join("root").join(path)
    }

    /// The folder that it writes to: that of this machine.
    fn journal(&self) -> Outcome<PathBuf> {
        let machine = std::fs::read_to_string("/etc/machine-id")?;
        Ok(self.path("run/log/journal").join(machine.trim()))
    }

    /// An agent that it hears.
    fn agent(&self, config: &str) -> Outcome<Agent> {
        let mut command = Command::new("nsenter");
        command.args(["-m", "-t", &self.0.id().to_string()]).arg(binary());
        command.args(["run", "--events=json", "--log.level=debug", "--backend", &backend()?]);
        command.args(["--web.listen-address", "127.0.0.1:0", "--config.file", config]);
        Agent::spawn(&mut command)
    }

    /// What is written of a port, the oldest first, once there are so many messages.
    fn messages(&self, port: u16, count: usize) -> Outcome<Vec<Value>> {
        let end = Instant::now() + DEADLINE;
        loop {
            let mut command = Command::new("journalctl");
            command.args([
                "--all",
                "--output=json",
                &format!("PORTREEVE_PORT={port}"),
                "--directory",
            ]);
            let read = output_of(command.arg(self.journal()?))?;
            let messages: Vec<Value> = String::from_utf8(read.stdout)?
                .lines()
                .map(serde_json::from_str)
                .collect::<Result<_, _>>()?;
            if messages.len() >= count {
                return Ok(messages);
            }
            if Instant::now() > end {
                let said = String::from_utf8_lossy(&read.stderr).into_owned();
                return Err(format!("{count} messages never came: {messages:?} {said}").into());
            }
            thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn journal() -> Test {
    let journald = Journald::start()?;
    let port = free_port()?;
    let (_folder, config) = file(
        "portreeve.toml",
        format!(
            "[agent]\nlabels = {{ cluster = \"eu\" }}\n[journal]\nenabled = true\n\
             [[rule]]\nname = \"dormant-port\"\nports = [{port}]\nseverity = \"critical\"\nkeep_firing_for = \"1s\"\n"
        ),
    )?;
    let mut agent = journald.agent(&config)?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let alert = agent.wait_for("the alert", |line| line["event"] == "alert" && line["port"] == port)?;
    let firing = journald.messages(port, 1)?.remove(0);
    fields(
        &firing,
        &[
            ("/PRIORITY", "2".into()),
            ("/MESSAGE_ID", "6b0c3d0e5a8f4d7b9f7c1e1992c0a11e".into()),
            ("/SYSLOG_IDENTIFIER", "portreeve".into()),
            ("/PORTREEVE_STATUS", "firing".into()),
            // What journald says of it itself: by which way it came, and from whom.
            ("/_TRANSPORT", "journal".into()),
            ("/_PID", agent.pid().to_string().into()),
        ],
    )?;
    let message = format!("alert: {}", alert["summary"].as_str().unwrap_or_default());
    fields(&firing, &[("/MESSAGE", message.into())])?;
    let (labels, annotations) = (alert["labels"].as_object(), alert["annotations"].as_object());
    let told: Vec<_> = labels.into_iter().chain(annotations).flatten().collect();
    // Among them one of several lines.
    if !told
        .iter()
        .any(|(name, value)| *name == "expect" && value.to_string().contains("\\n"))
    {
        return Err(format!("the alert has no block for a configuration: {alert}").into());
    }
    for (name, value) in told {
        let field = format!("/PORTREEVE_{}", name.to_ascii_uppercase());
        fields(&firing, &[(&field, value.clone())])?;
    }

    drop(listener);
    let messages = journald.messages(port, 2)?;
    let [_, resolved] = &messages[..] else {
        return Err(format!("more than an alert and its end: {messages:?}").into());
    };
    fields(
        resolved,
        &[
            ("/PRIORITY", "6".into()),
            ("/MESSAGE_ID", "d1f4a6b27c3e4f0d8a9b5e1992c0a120".into()),
            ("/PORTREEVE_STATUS", "resolved".into()),
            ("/PORTREEVE_ALERT_ID", firing["PORTREEVE_ALERT_ID"].clone()),
            ("/PORTREEVE_RULE", "dormant-port".into()),
        ],
    )
}
