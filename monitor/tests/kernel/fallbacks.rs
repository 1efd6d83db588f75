//! What stands in where a kernel refuses a hook: no kernel at hand does, so the agent of tests is told which to take for refused.

use std::{
    error::Error,
    net::{TcpListener, TcpStream},
    process::Command,
};

use serde_json::Value;

use super::{
    Test,
    agent::{Agent, binary},
    listeners::inode,
    scenarios::{Scenario, fields},
};

/// The tests of a backend, by name.
pub fn of(backend: &str) -> &'static [Scenario] {
    match backend {
        "fexit" => &[CONNECTS],
        "kprobe" => &[LISTENS],
        _ => &[],
    }
}

const CONNECTS: Scenario = (
    "connects_are_told_by_the_tracepoint_alone_where_their_functions_cannot_be_hooked_trap_26_36",
    connects,
);
const LISTENS: Scenario = (
    "another_function_of_a_listen_is_hooked_where_the_first_cannot_be_trap_36",
    listens,
);

const PORT: u16 = 24_701;

fn agent(refused: &str, arguments: &[&str]) -> Result<Agent, Box<dyn Error>> {
    let mut command = Command::new(binary());
    command
        .args(["run", "--events=json", "--log.level=debug"])
        .args(arguments);
    command.args(["--web.listen-address", "127.0.0.1:0", "--watch", &PORT.to_string()]);
    Agent::spawn(command.env("PORTREEVE_REFUSED_HOOKS", refused))
}

fn connects(backend: &str) -> Test {
    // One that is told which backend to use takes no help of another.
    let mut agent = agent("tcp_v4_connect", &[])?;
    agent.wait_for_metric("portreeve_probe_info", &[("backend", backend)], Some(1.0))?;
    agent.wait_for_metric("portreeve_hook_attached", &[("hook", "tcp_v4_connect")], None)?;
    let listener = TcpListener::bind(("127.0.0.1", PORT))?;
    let stream = TcpStream::connect(("127.0.0.1", PORT))?;
    let told = agent.wait_for("the connect", |line| {
        line["event"] == "connect" && line["result"] == "ok"
    })?;
    connect_is(&told, stream.local_addr()?.port())?;
    drop((listener, stream));
    if TcpStream::connect(("127.0.0.1", PORT)).is_ok() {
        return Err(format!("somebody else listens on {PORT}").into());
    }
    let told = agent.wait_for("the refused connect", |line| line["errno"] == "ECONNREFUSED")?;
    fields(&told, &[("/event", "connect".into()), ("/result", "error".into())])?;
    let connects = agent.seen().iter().filter(|line| line["event"] == "connect");
    if connects.count() != 2 {
        return Err("two connects are not two events".into());
    }
    Ok(())
}

fn connect_is(told: &Value, from: u16) -> Test {
    fields(
        told,
        &[
            ("/address", "127.0.0.1".into()),
            ("/port", PORT.into()),
            ("/local/port", from.into()),
            ("/process/pid", std::process::id().into()),
        ],
    )
}

fn listens(backend: &str) -> Test {
    let symbols = std::fs::read_to_string("/proc/kallsyms")?;
    let started = agent("inet_csk_listen_start", &["--backend", backend]);
    if !symbols.lines().any(|line| line.ends_with(" __inet_listen_sk")) {
        // Before 6.5 there is nothing between `listen()` and the function that is refused.
        return match started {
            Ok(_) => Err("nothing is left to hook, and the agent started".into()),
            Err(error) if error.to_string().contains("inet_csk_listen_start: a test refuses it") => Ok(()),
            Err(error) => Err(error),
        };
    }
    let mut agent = started?;
    agent.wait_for_metric("portreeve_hook_attached", &[("hook", "__inet_listen_sk")], Some(1.0))?;
    let listener = TcpListener::bind(("127.0.0.1", PORT))?;
    let socket = inode(&listener)?;
    let told = agent.event("listen", socket)?;
    fields(
        &told,
        &[
            ("/port", PORT.into()),
            ("/result", "ok".into()),
            ("/origin", "event".into()),
        ],
    )?;
    // Called again, the function changes the backlog, and nothing begins.
    rustix::net::listen(&listener, 7)?;
    drop(listener);
    let end = agent.event("unlisten", socket)?;
    fields(&end, &[("/origin", "event".into())])?;
    let told = agent
        .seen()
        .iter()
        .filter(|line| line["event"] == "listen" && line["socket"] == socket);
    if told.count() == 1 {
        Ok(())
    } else {
        Err("one listener is not one event".into())
    }
}
