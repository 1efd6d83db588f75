//! Another configuration while the agent runs: all of it or none, and no listener is lost over it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::PathBuf,
};

use rustix::process::Signal;

use super::{
    Named, Test,
    agent::{Agent, DEADLINE, backend, output},
    listeners::{Program, free_port, inode},
};

/// The tests, by name.
pub const ALL: &[Named] = &[
    (
        "a_reload_judges_what_listens_anew_and_keeps_the_alerts_that_fire",
        judged_anew,
    ),
    ("a_wrong_file_leaves_the_configuration_as_it_was_and_says_so", refused),
    (
        "no_listener_is_lost_while_the_configuration_is_read_again_and_again",
        churn,
    ),
    (
        "a_reload_by_http_is_answered_where_it_is_allowed_and_to_nobody_else",
        by_http,
    ),
    ("a_changed_file_is_taken_by_itself_where_that_is_asked_for", watched),
    (
        "on_sighup_a_newer_registry_names_what_listens_and_a_damaged_one_leaves_it",
        sighup,
    ),
];

const RELOADED: &str = "portreeve_config_last_reload_success_timestamp_seconds";
const SUCCESSFUL: &str = "portreeve_config_last_reload_successful";

/// A configuration that a test rewrites.
struct Config {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Config {
    fn new(text: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("portreeve.toml");
        fs::write(&path, text)?;
        Ok(Self { _folder: folder, path })
    }

    fn flag(&self) -> String {
        format!("--config.file={}", self.path.display())
    }

    /// Writes another text, and has it read.
    fn reload(&self, agent: &Agent, text: &str) -> Test {
        let before = agent.metric(RELOADED, &[])?;
        fs::write(&self.path, text)?;
        agent.signal(Signal::HUP)?;
        agent.wait_for_metric_of(RELOADED, &[], |now| now > before)
    }
}

fn rule(name: &str, port: u16) -> String {
    format!("[[rule]]\nname = \"{name}\"\nports = [{port}]\nseverity = \"warning\"\n")
}

fn fired(agent: &Agent, rule: &str) -> Result<Option<f64>, Box<dyn std::error::Error>> {
    agent.metric("portreeve_alerts_fired_total", &[("rule", rule)])
}

fn judged_anew() -> Test {
    let config = Config::new("")?;
    let mut agent = Agent::start(&backend()?, &[&config.flag()])?;
    let _program = Program::listening_on(1994)?;
    agent.event_on("alert", 1994)?;
    let port = free_port()?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    agent.event("listen", inode(&listener)?)?;
    let on_port = [("protocol", "tcp"), ("port", &*port.to_string())];

    config.reload(&agent, &rule("new-rule", port))?;
    agent.event_on("alert", port)?;
    let firing = |rule, count| agent.wait_for_metric("portreeve_alerts", &[("rule", rule)], count);
    firing("new-rule", Some(1.0))?;
    firing("dormant-port", Some(1.0))?;
    if fired(&agent, "dormant-port")? != Some(1.0) {
        return Err("what fired before fired again".into());
    }
    agent.wait_for_metric("portreeve_watched_port_listeners", &on_port, Some(1.0))?;
    // It was there before.
    agent.wait_for_metric("portreeve_watched_port_listens_total", &on_port, Some(0.0))?;
    let unexpected = [("port", on_port[1].1), ("verdict", "unexpected")];
    agent.wait_for_metric("portreeve_listeners", &unexpected, Some(1.0))?;

    // Without its rule the alert is over at once, and so are its series.
    config.reload(&agent, "")?;
    firing("new-rule", None)?;
    firing("dormant-port", Some(1.0))?;
    agent.wait_for_metric("portreeve_watched_port_listeners", &on_port, None)?;
    agent.wait_for_metric("portreeve_listeners", &unexpected, None)?;
    agent.event_on("alert_resolved", port)?;
    // It listens still, and nothing may say otherwise.
    agent.wait_for_log("the configuration has changed, and new-rule no longer speaks of")?;
    if agent
        .seen()
        .iter()
        .any(|line| line["event"] == "alert_resolved" && line["port"] == 1994)
    {
        return Err("the alert that fires was resolved".into());
    }
    Ok(())
}

fn refused() -> Test {
    let config = Config::new(&rule("one", 1993))?;
    let mut agent = Agent::start(&backend()?, &[&config.flag()])?;
    agent.wait_for_metric(SUCCESSFUL, &[], Some(1.0))?;
    fs::write(
        &config.path,
        "[[rule]]\nname = \"one\"\nprots = [1993]\nseverity = \"warning\"\n",
    )?;
    agent.signal(Signal::HUP)?;
    agent.wait_for_metric(SUCCESSFUL, &[], Some(0.0))?;
    let line = agent.wait_for_log("the configuration that is in use stays")?;
    if !line.contains("line 3") || !line.contains("did you mean `ports`") {
        return Err(line.into());
    }
    let listener = TcpListener::bind("127.0.0.1:1993")?;
    agent.event_on("alert", 1993)?;
    drop(listener);
    config.reload(&agent, &rule("one", 1993))?;
    agent.wait_for_metric(SUCCESSFUL, &[], Some(1.0))
}

fn churn() -> Test {
    const CYCLES: usize = 400;
    let ports = [free_port()?, free_port()?];
    let config = Config::new(&rule("one", ports[0]))?;
    let mut agent = Agent::start(&backend()?, &[&config.flag()])?;
    let mut inodes = Vec::new();
    for cycle in 0..CYCLES {
        if cycle % 8 == 0 {
            let port = ports[(cycle / 8) % 2];
            fs::write(&config.path, rule(&format!("rule-{cycle}"), port))?;
            agent.signal(Signal::HUP)?;
        }
        let listener = TcpListener::bind(("127.0.0.1", ports[cycle % 2]))?;
        inodes.push(inode(&listener)?);
    }
    for inode in &inodes {
        agent.event("listen", *inode)?;
        agent.event("unlisten", *inode)?;
    }
    let opened = agent.seen().iter().filter(|line| {
        let is_ours = line["socket"].as_u64().is_some_and(|inode| inodes.contains(&inode));
        line["event"] == "listen" && is_ours
    });
    match opened.count() {
        CYCLES => Ok(()),
        count => Err(format!("{CYCLES} listens were told as {count}").into()),
    }
}

/// Sends a request with these headers: status and body.
fn post(agent: &Agent, headers: &str) -> Result<(u16, String), Box<dyn std::error::Error>> {
    let mut stream = agent.connect()?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(
        stream,
        "POST /-/reload HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n",
        stream.peer_addr()?
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).ok_or("no status")?.parse()?;
    Ok((status, answer))
}

fn by_http() -> Test {
    let config = Config::new("")?;
    let backend = backend()?;
    let closed = Agent::start(&backend, &[&config.flag()])?;
    let (status, answer) = post(&closed, "")?;
    if status != 403 || !answer.contains("--web.enable-lifecycle") {
        return Err(answer.into());
    }
    let agent = Agent::start(&backend, &[&config.flag(), "--web.enable-lifecycle"])?;
    if agent.get("/-/reload")?.0 != 405 {
        return Err("a GET reloads".into());
    }
    let (status, answer) = post(&agent, "Origin: http://evil.example\r\n")?;
    if status != 403 {
        return Err(answer.into());
    }
    fs::write(&config.path, rule("by-http", 1993))?;
    let (status, answer) = post(&agent, "")?;
    if status != 200 || agent.metric("portreeve_alerts", &[("rule", "by-http")])? != Some(0.0) {
        return Err(answer.into());
    }
    fs::write(&config.path, "nonsense")?;
    let (status, answer) = post(&agent, "")?;
    if status != 500 || !answer.contains("line 1") || fired(&agent, "by-http")? != Some(0.0) {
        return Err(answer.into());
    }
    Ok(())
}

fn watched() -> Test {
    let config = Config::new("")?;
    let agent = Agent::start(&backend()?, &[&config.flag(), "--config.watch"])?;
    // As editors and Kubernetes do it: another file takes the name.
    let new = config.path.with_extension("new");
    fs::write(&new, rule("by-itself", 1993))?;
    fs::rename(&new, &config.path)?;
    agent.wait_for_metric("portreeve_alerts", &[("rule", "by-itself")], Some(0.0))?;
    let beside = config.path.with_file_name("conf.d");
    fs::create_dir(&beside)?;
    fs::write(beside.join("more.toml"), rule("beside", 1995))?;
    agent.wait_for_metric("portreeve_alerts", &[("rule", "beside")], Some(0.0))
}

fn sighup() -> Test {
    let folder = tempfile::tempdir()?;
    let (config, table) = (folder.path().join("p.toml"), folder.path().join("registry.bin"));
    fs::write(&config, format!("[registry]\npath = \"{}\"\n", table.display()))?;
    let config = config.display().to_string();
    let mut agent = Agent::start(&backend()?, &["--config.file", &config])?;
    agent.wait_for_log("No such file or directory (os error 2); the built-in registry is used")?;
    let program = Program::listening_on(1994)?;
    let of_1994 = |registration| [("port", "1994"), ("protocol", "tcp"), ("registration", registration)];
    agent.wait_for_metric("portreeve_listeners", &of_1994("stun-port"), Some(1.0))?;

    fs::write(folder.path().join("new.csv"), newer_csv())?;
    let new = folder.path().join("new.csv").display().to_string();
    let updated = output(&["registry", "update", "--config.file", &config, "--file", &new])?;
    if !updated.status.success() {
        return Err(String::from_utf8_lossy(&updated.stderr).into_owned().into());
    }
    agent.signal(Signal::HUP)?;
    agent.wait_for_metric("portreeve_registry_info", &[("updated", "2025-01-31")], Some(1.0))?;
    agent.wait_for_metric("portreeve_registry_records", &[], Some(15_000.0))?;
    agent.wait_for_metric("portreeve_listeners", &of_1994("renamed"), Some(1.0))?;
    agent.wait_for_metric("portreeve_listeners", &of_1994("stun-port"), None)?;

    fs::write(&table, "PORTREEV and nothing sound")?;
    agent.signal(Signal::HUP)?;
    agent.wait_for_log("the configuration that is in use stays")?;
    agent.wait_for_metric("portreeve_registry_records", &[], Some(15_000.0))?;
    drop(program);
    agent.wait_for_metric("portreeve_listeners", &of_1994("renamed"), None)?;
    if agent.get("/-/healthy")?.0 == 200 {
        Ok(())
    } else {
        Err("it is not healthy".into())
    }
}

/// As many rows as IANA's has, with another name for 1994.
fn newer_csv() -> String {
    let mut csv = String::from(
        "Service Name,Port Number,Transport Protocol,Description,Assignee,Contact,Registration Date,\
         Modification Date,Reference,Service Code,Unauthorized Use Reported,Assignment Notes\r\n\
         ssh,22,tcp,,,,,2025-01-31,,,,\r\nstun-p3,1992,tcp,,,,,,,,,\r\nipsendmsg,1992,tcp,,,,,,,,,\r\n\
         renamed,1994,tcp,,,,,,,,,\r\n",
    );
    csv.extend((4..15_000).map(|number| format!("n{number},,,,,,,,,,,\r\n")));
    csv
}
