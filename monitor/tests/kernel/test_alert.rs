//! `portreeve test-alert`, beside an agent that sees its listener.

use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::Value;

use super::{
    Named, Test,
    agent::{Agent, backend, binary, file, output},
    command_line::contains,
    listeners::free_port,
};

/// The tests, by name.
pub const ALL: &[Named] = &[("test_alert_follows_a_listener_to_the_end_of_its_alert", test_alert)];

fn test_alert() -> Test {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("history.db");
    let path = path.to_str().ok_or("a name that is no text")?;
    let (_folder, configuration) = file("history.toml", format!("[history]\npath = \"{path}\"\n"))?;
    let mut agent = Agent::start(&backend()?, &["--config.file", &configuration])?;
    let address = format!("127.0.0.1:{}", agent.port());
    let run = |port: &str, timeout: &str| {
        output(&[
            "test-alert",
            "--json",
            "--agent",
            &address,
            "--port",
            port,
            "--timeout",
            timeout,
        ])
    };
    let followed = run("1994", "20s")?;
    let document: Value = serde_json::from_slice(&followed.stdout)
        .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&followed.stderr)))?;
    let steps: Vec<_> = document["steps"].as_array().into_iter().flatten().collect();
    let names: Vec<_> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
    if names != ["hook", "rule", "resolved"] || document["rule"] != "dormant-port" {
        return Err(document.to_string().into());
    }
    if !steps
        .iter()
        .all(|step| step["milliseconds"].as_f64().is_some_and(|time| time >= 0.0))
    {
        return Err(document.to_string().into());
    }
    agent.wait_for_metric(
        "portreeve_alerts",
        &[("rule", "dormant-port"), ("severity", "critical")],
        Some(0.0),
    )?;
    let unruled_port = free_port()?;
    let unruled = run(&unruled_port.to_string(), "1s")?;
    contains(
        &String::from_utf8(unruled.stderr)?,
        &["no alert: the agent saw", "finds it unruled"],
    )?;
    if unruled.status.code() != Some(1) {
        return Err(unruled.status.to_string().into());
    }
    // Of all that, the history has what was no test.
    let other = TcpListener::bind(("127.0.0.1", free_port()?))?;
    let port = other.local_addr()?.port();
    agent.event_on("listen", port)?;
    agent.stop(Signal::TERM)?;
    let of = |program: std::path::PathBuf| program.file_name().map(|name| name.to_string_lossy().into_owned());
    let (this, ours) = (of(std::env::current_exe()?), of(binary()));
    let kept = |names: &[&str]| -> Result<Vec<Value>, Box<dyn std::error::Error>> {
        let read = output(&[&["history", "--json", "--history.file", path][..], names].concat())?;
        let document: Value = serde_json::from_slice(&read.stdout)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&read.stderr)))?;
        let listeners = document["listeners"].as_array().cloned().unwrap_or_default();
        Ok(listeners.into_iter().map(|mut one| one["port"].take()).collect())
    };
    if !kept(&[this.as_deref().unwrap_or_default()])?.contains(&port.into()) {
        return Err(format!("the history has no {port} of {this:?}: {:?}", kept(&[])?).into());
    }
    let ours = kept(&[ours.as_deref().unwrap_or_default()])?;
    // An agent of the test before may still have been on its way out.
    if !ours.contains(&agent.port().into()) || ours.contains(&1992.into()) || ours.contains(&unruled_port.into()) {
        return Err(format!("the history has tests ({unruled_port}): {ours:?}").into());
    }
    let unknown = output(&["history", "nosuchprogram", "--history.file", path])?;
    contains(
        &String::from_utf8(unknown.stderr)?,
        &["portreeve: the history has no program `nosuchprogram`, and "],
    )?;
    if unknown.status.code() == Some(2) {
        Ok(())
    } else {
        Err(unknown.status.to_string().into())
    }
}
