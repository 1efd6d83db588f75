//! `portreeve history`, beside the agent that writes it.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    Named, Test,
    agent::{Agent, backend, file, output},
    command_line::contains,
};

/// The tests, by name.
pub const ALL: &[Named] = &[(
    "the_history_knows_a_listener_once_it_ended_and_when_the_agent_was_killed",
    history,
)];

fn history() -> Test {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("history.db");
    let path = path.to_str().ok_or("a name that is no text")?;
    let none = output(&["history", "--history.file", path])?;
    if none.status.code() != Some(1) {
        return Err(format!("without a file: {}", none.status).into());
    }
    contains(&String::from_utf8(none.stderr)?, &["portreeve: there is no history: "])?;
    let (_folder, configuration) = file("history.toml", format!("[history]\npath = \"{path}\"\n"))?;
    let mut agent = Agent::start(&backend()?, &["--config.file", &configuration])?;
    let (ended, killed) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let ports = [ended.local_addr()?.port(), killed.local_addr()?.port()];
    for port in ports {
        agent.event_on("listen", port)?;
    }
    drop(ended);
    agent.event_on("unlisten", ports[0])?;
    let asked = ports.map(|port| port.to_string());
    let ends = || -> Result<Vec<Value>, Box<dyn std::error::Error>> {
        let read = output(&["history", "--json", "--history.file", path, &asked[0], &asked[1]])?;
        let document: Value = serde_json::from_slice(&read.stdout).unwrap_or_default();
        let listeners = document["listeners"].as_array().cloned().unwrap_or_default();
        let end = |port: u16| {
            listeners
                .iter()
                .find(|one| one["port"] == port)
                .map(|one| one["end"].clone())
        };
        Ok(ports.into_iter().filter_map(end).collect())
    };
    let wait_for = |expected: [Value; 2]| -> Test {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let ends = ends()?;
            if ends == expected {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("the ends are {ends:?} and not {expected:?}").into());
            }
            std::thread::yield_now();
        }
    };
    wait_for(["seen".into(), Value::Null])?;
    agent.stop(Signal::KILL)?;
    wait_for(["seen".into(), "unwatched".into()])?;
    // The next agent finds the one again that listens still, and the file is as good as ever.
    let mut agent = Agent::start(&backend()?, &["--config.file", &configuration])?;
    wait_for(["seen".into(), Value::Null])?;
    agent.stop(Signal::TERM)?;
    drop(killed);
    Ok(())
}
