//! What a real agent answers by HTTP, beside docs/openapi.yaml, and where it answers.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Command, Stdio},
    time::Instant,
};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    Named, Test,
    agent::{Agent, DEADLINE, backend, binary, file, has_program, output},
    listeners::{Program, inode},
    schema::violations,
};

/// The tests, by name.
pub const ALL: &[Named] = &[
    ("the_api_answers_what_its_document_says", answers),
    ("a_listener_comes_by_the_stream_of_events", streamed),
    (
        "a_unix_socket_serves_beside_an_address_and_goes_with_the_agent",
        unix_socket,
    ),
    ("what_cannot_be_served_is_said_before_anything_is_attached", refused),
];

/// Those that need a shell.
pub const WITH_SHELL: &[Named] = &[("a_socket_that_systemd_hands_over_is_served", handed_over)];

/// Why those cannot run here: nothing else gives a program a descriptor of a certain number without unsafe code.
pub fn missing() -> Option<String> {
    (!has_program("sh")).then(|| "there is no sh here; it runs on the machine's own kernel".to_owned())
}

/// A document that a real agent answers with, once it is what docs/openapi.yaml says of the path.
fn document(agent: &Agent, openapi: &Value, path: &str, said: &str) -> Result<Value, Box<dyn std::error::Error>> {
    let (status, body) = agent.get(path)?;
    if status != 200 {
        return Err(format!("{path}: {status} {body}").into());
    }
    let document = serde_json::from_str(&body)?;
    let schema = &openapi["paths"][said]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    if schema.is_null() {
        return Err(format!("{said} has no schema").into());
    }
    match violations(openapi, schema, &document, path).as_slice() {
        [] => Ok(document),
        wrong => Err(format!("{}: {body}", wrong.join("; ")).into()),
    }
}

fn answers() -> Test {
    let openapi: Value = serde_saphyr::from_str(include_str!("../../../docs/openapi.yaml"))?;
    let folder = tempfile::tempdir()?;
    let history = folder.path().join("history.db");
    let (_config, path) = file(
        "p.toml",
        format!("[history]\npath = {:?}\n", history.display().to_string()),
    )?;
    let mut agent = Agent::start(&backend()?, &["--config.file", &path])?;
    let program = Program::listening_on(1994)?;
    agent.event_on("alert", 1994)?;
    drop(program);
    agent.event_on("unlisten", 1994)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    agent.event("listen", inode(&listener)?)?;

    let all = document(&agent, &openapi, "/api/v1/listeners", "/api/v1/listeners")?;
    let path = format!("/api/v1/listeners?port={port}&scope=loopback&netns=host&limit=1");
    let one = document(&agent, &openapi, &path, "/api/v1/listeners")?;
    let listed = all["listeners"].as_array().map(Vec::len);
    if one["matched"] != 1 || one["listeners"][0]["port"] != port || all["total"].as_u64() != listed.map(|n| n as u64) {
        return Err(format!("{one}").into());
    }
    let events = document(&agent, &openapi, "/api/v1/events?limit=512", "/api/v1/events")?;
    let told = events["events"].as_array().ok_or("no events")?;
    if !told
        .iter()
        .any(|event| event["event"] == "alert" && event["port"] == 1994)
    {
        return Err(format!("{events}").into());
    }
    let alerts = document(&agent, &openapi, "/api/v1/alerts", "/api/v1/alerts")?;
    if alerts["alerts"][0]["labels"]["port"] != "1994" {
        return Err(format!("{alerts}").into());
    }
    let status = document(&agent, &openapi, "/api/v1/status", "/api/v1/status")?;
    if status["ready"] != true || status["history"].is_null() || status["hooks"][0]["refusal"] != Value::Null {
        return Err(format!("{status}").into());
    }
    document(
        &agent,
        &openapi,
        &format!("/api/v1/ports/{port}"),
        "/api/v1/ports/{port}",
    )?;
    // The history is written once a second.
    let end = Instant::now() + DEADLINE;
    loop {
        let port = document(&agent, &openapi, "/api/v1/ports/1994", "/api/v1/ports/{port}")?;
        if port["listened"][0]["end"] == "seen" {
            break;
        }
        if Instant::now() > end {
            return Err(format!("the history does not know it: {port}").into());
        }
    }
    // To read it must not have cost the agent the locks on its own file.
    let _again = Program::listening_on(1994)?;
    let end = Instant::now() + DEADLINE;
    while document(&agent, &openapi, "/api/v1/ports/1994", "/api/v1/ports/{port}")?["listened"][0]["times"] != 2 {
        if Instant::now() > end {
            return Err("the history no longer grows".into());
        }
    }
    agent.wait_for_metric("portreeve_history_errors_total", &[("kind", "io")], Some(0.0))
}

fn streamed() -> Test {
    let agent = Agent::start(&backend()?, &[])?;
    let mut stream = agent.connect()?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut lines = BufReader::new(stream).lines();
    lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line == ": portreeve")
        .ok_or("the stream does not begin")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let found = lines.map_while(Result::ok).find(|line| {
        let event = line
            .strip_prefix("data: ")
            .and_then(|data| serde_json::from_str::<Value>(data).ok());
        event.is_some_and(|event| event["event"] == "listen" && event["port"] == port)
    });
    found.map(drop).ok_or_else(|| "the listener does not come".into())
}

/// Asks over a stream: the status.
fn status(mut stream: impl Read + Write, path: &str) -> Result<u16, Box<dyn std::error::Error>> {
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split(' ').nth(1).ok_or("no status")?.parse()?)
}

fn unix_socket() -> Test {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("http.sock");
    let flag = format!("--web.listen-address=unix:{}", path.display());
    let mut agent = Agent::start(&backend()?, &[&flag])?;
    for path_of in ["/metrics", "/api/v1/status"] {
        let (there, here) = (status(UnixStream::connect(&path)?, path_of)?, agent.get(path_of)?.0);
        if (there, here) != (200, 200) {
            return Err(format!("{path_of}: {there} and {here}").into());
        }
    }
    let second = output(&["run", "--web.listen-address", &format!("unix:{}", path.display())])?;
    let said = String::from_utf8(second.stderr)?;
    if second.status.code() != Some(1) || !said.contains("somebody answers there") {
        return Err(said.into());
    }
    agent.stop(Signal::TERM)?;
    if path.exists() {
        return Err("the socket is left behind".into());
    }
    Ok(())
}

fn handed_over() -> Test {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    let start = |flag: &str| -> Result<Command, Box<dyn std::error::Error>> {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(binary());
        command.args(["run", "--events=json", "--backend", &backend()?, flag]);
        Ok(command)
    };
    let agent = Agent::spawn_with(
        &mut start("--web.systemd-socket")?,
        Stdio::from(OwnedFd::from(listener)),
    )?;
    let answered = status(TcpStream::connect(address)?, "/api/v1/status")?;
    if answered != 200 || agent.port() != address.port() {
        return Err(format!("{answered} at {address}").into());
    }
    Ok(())
}

fn refused() -> Test {
    let (folder, web) = file("web.yml", "basic_auth_users:\n  ada: secret\n")?;
    let elsewhere = folder.path().join("precious");
    fs::write(&elsewhere, "data")?;
    let unix = format!("unix:{}", elsewhere.display());
    for (arguments, code, sentence) in [
        (&["--web.config.file", &*web][..], 78, "is no bcrypt hash"),
        (
            &["--web.config.file", "/nowhere/web.yml"],
            78,
            "cannot read /nowhere/web.yml",
        ),
        (&["--check", "--web.config.file", &*web], 78, "is no bcrypt hash"),
        (&["--web.systemd-socket"], 1, "systemd hands over no socket"),
        (
            &["--web.listen-address", "unix:relative"],
            2,
            "write the whole path of the socket",
        ),
        (&["--web.listen-address", &*unix], 1, "there is something else"),
        (
            &["--web.systemd-socket", "--web.listen-address", ":1"],
            2,
            "cannot be used with",
        ),
    ] {
        let output = output(&[&["run"][..], arguments].concat())?;
        let said = String::from_utf8(output.stderr)?;
        let last = said.lines().last().unwrap_or_default();
        if output.status.code() != Some(code) || !last.contains(sentence) || last.contains("secret") {
            return Err(format!("{arguments:?}: {:?}: {said}", output.status.code()).into());
        }
    }
    Ok(())
}
