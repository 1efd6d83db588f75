//! An agent as its supervisor has it: its log, its pages for probes, its end, and what others do to its connections.

use std::{
    io::Write as _,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    Named, Test,
    agent::{Agent, backend, binary},
    command_line::contains,
    listeners::Program,
};

/// The tests, by name.
pub const ALL: &[Named] = &[
    ("without_events_a_readable_log_line_tells_it", log_line),
    ("the_pages_for_supervisors_answer", pages),
    ("sigint_stops_the_agent_as_sigterm_does", sigint),
    (
        "connections_that_say_nothing_do_not_keep_the_page_from_others",
        idle_connections,
    ),
    ("a_reader_that_went_away_does_not_stop_the_agent", closed_stdout),
];

fn log_line() -> Test {
    let mut command = Command::new(binary());
    command.args(["run", "--backend", &backend()?, "--web.listen-address", "127.0.0.1:0"]);
    let mut agent = Agent::spawn(&mut command)?;
    let _program = Program::listening_on(1994)?;
    let line = agent.wait_for_log("listens on 1994/tcp")?;
    contains(
        &line,
        &[
            "level=warn",
            "registered: stun-port",
            "rule=dormant-port",
            "verdict=unexpected",
        ],
    )?;
    agent.stop(Signal::TERM)?;
    if agent.seen().is_empty() {
        Ok(())
    } else {
        Err("something stands on stdout".into())
    }
}

fn pages() -> Test {
    let agent = Agent::start(&backend()?, &["--web.telemetry-path", "/telemetry"])?;
    for (path, status, part) in [
        ("/-/healthy", 200, "healthy"),
        ("/-/ready", 200, "ready"),
        ("/telemetry", 200, "portreeve_build_info"),
        ("/", 200, "href=\"telemetry\""),
        ("/metrics", 404, ""),
    ] {
        let (found, body) = agent.get(path)?;
        if found != status || !body.contains(part) {
            return Err(format!("{path} answered {found}: {body}").into());
        }
    }
    Ok(())
}

fn sigint() -> Test {
    let mut agent = Agent::start(&backend()?, &[])?;
    let status = agent.stop(Signal::INT)?;
    if status.code() != Some(0) {
        return Err(format!("{status}").into());
    }
    contains(&agent.log().join("\n"), &["stopping: SIGINT", "stopped"])
}

fn idle_connections() -> Test {
    let agent = Agent::start(&backend()?, &[])?;
    // Several times as many as there are places, and all that they would have to say is still to come. Whoever asks takes the
    // place of one of them at once, long before their time is over.
    let idle: Result<Vec<_>, std::io::Error> = (0..300)
        .map(|_| {
            let mut connection = agent.connect()?;
            connection.write_all(b"GET /me")?;
            Ok(connection)
        })
        .collect();
    let idle = idle?;
    let asked = Instant::now();
    let (status, _) = agent.get("/metrics")?;
    let took = asked.elapsed();
    drop(idle);
    if status == 200 && took < Duration::from_secs(3) {
        Ok(())
    } else {
        Err(format!("{status} after {took:?}").into())
    }
}

fn closed_stdout() -> Test {
    let mut command = Command::new(binary());
    command.args([
        "run",
        "--events=json",
        "--backend",
        &backend()?,
        "--web.listen-address",
        "127.0.0.1:0",
    ]);
    let mut agent = Agent::spawn(&mut command)?;
    agent.forget_stdout();
    let program = Program::listening_on(1994)?;
    agent.wait_for_metric(
        "portreeve_watched_port_listeners",
        &[("port", "1994"), ("protocol", "tcp")],
        Some(1.0),
    )?;
    drop(program);
    agent.wait_for_metric(
        "portreeve_watched_port_listeners",
        &[("port", "1994"), ("protocol", "tcp")],
        Some(0.0),
    )?;
    agent.wait_for_log("cannot write events to stdout")?;
    // The listen and its alert may be what makes the reader notice that it is gone; the end is counted.
    agent.wait_for_metric_of("portreeve_events_lost_total", &[("edge", "stdout")], |lost| {
        lost >= Some(2.0)
    })?;
    // What tells of a loss is lost as well, once, and not told again: after the last tick that has something to tell, the
    // count stands still. How many ticks that takes depends on the machine.
    let mut counts = Vec::new();
    for _ in 0..5 {
        let lost = agent.metric("portreeve_events_lost_total", &[("edge", "stdout")])?;
        if counts.last() == Some(&lost) {
            agent.signal(Signal::TERM)?;
            return agent.wait_for_log("stopped").map(drop);
        }
        counts.push(lost);
        std::thread::park_timeout(Duration::from_secs(3));
    }
    Err(format!("losses feed themselves; every 3 seconds: {counts:?}").into())
}
