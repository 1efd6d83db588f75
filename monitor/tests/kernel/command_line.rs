//! What the other subcommands print, and the pages beside the metrics.

use std::{
    io::Write,
    net::TcpListener,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    Named, Test,
    agent::{Agent, binary, doctor, file, output},
    listeners::{Program, free_port, inode},
};

/// The tests, by name.
pub const ALL: &[Named] = &[
    (
        "explain_1992_shows_both_registrations_the_range_and_the_neighbours",
        explain,
    ),
    (
        "list_shows_a_listener_with_its_process_and_fails_where_a_script_asks_it_to",
        list,
    ),
    (
        "an_expected_listener_passes_the_gate_and_another_program_on_its_port_does_not",
        gate,
    ),
    ("check_loads_everything_and_attaches_nothing", check_attaches_nothing),
    (
        "doctor_names_backends_blind_spots_capabilities_and_obstacles",
        doctor_speaks,
    ),
    ("without_events_a_readable_log_line_tells_it", log_line),
    ("the_pages_for_supervisors_answer", pages),
    ("sigint_stops_the_agent_as_sigterm_does", sigint),
    (
        "on_sighup_a_newer_registry_names_what_listens_and_a_damaged_one_leaves_it",
        sighup,
    ),
    (
        "connections_that_say_nothing_do_not_keep_the_page_from_others",
        idle_connections,
    ),
    (
        "the_history_knows_a_listener_once_it_ended_and_when_the_agent_was_killed",
        history,
    ),
    ("test_alert_follows_a_listener_to_the_end_of_its_alert", test_alert),
    ("a_reader_that_went_away_does_not_stop_the_agent", closed_stdout),
];

/// The backend that the agent would choose.
pub fn backend() -> Result<String, Box<dyn std::error::Error>> {
    Ok(doctor()?["chosen"]
        .as_str()
        .ok_or("no backend attaches here")?
        .to_owned())
}

fn contains(text: &str, parts: &[&str]) -> Test {
    match parts.iter().find(|part| !text.contains(**part)) {
        None => Ok(()),
        Some(part) => Err(format!("no `{part}` in:\n{text}").into()),
    }
}

fn explain() -> Test {
    let output = output(&["explain", "1992"])?;
    let text = String::from_utf8(output.stdout)?;
    contains(
        &text,
        &[
            "stun-p3",
            "ipsendmsg",
            "This entry records an unassigned but widespread use",
        ],
    )?;
    contains(
        &text,
        &[
            "registered (user) port",
            "1024–49151",
            "stun-p1",
            "stun-p2",
            "stun-port",
        ],
    )?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{}", output.status).into())
    }
}

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

fn gate() -> Test {
    let port = free_port()?;
    let _listener = TcpListener::bind(("127.0.0.1", port))?;
    let own = std::env::current_exe()?.display().to_string();
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("portreeve.toml").display().to_string();
    for (exe, verdict, code) in [(own.as_str(), "expected", 0), ("/nonexistent", "unexpected", 3)] {
        std::fs::write(&config, format!("[[expect]]\nports = [{port}]\nexe = {exe:?}\n"))?;
        let checked = output(&["check", &config])?;
        contains(&String::from_utf8(checked.stdout)?, &["ok, 0 rules, 1 expectation\n"])?;
        let wanted = format!("tcp/{port}");
        let found = output(&[
            "list",
            "--json",
            "--config.file",
            &config,
            "--fail-on",
            "unexpected",
            &wanted,
        ])?;
        let document: Value = serde_json::from_slice(&found.stdout)?;
        if document["listeners"][0]["verdict"] != verdict || found.status.code() != Some(code) {
            return Err(format!("{exe}: {}: {document}", found.status).into());
        }
    }
    Ok(())
}

fn list() -> Test {
    let port = free_port()?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let wanted = format!("tcp/{port}");
    let found = output(&["list", "--json", &wanted])?;
    let document: Value = serde_json::from_slice(&found.stdout)?;
    let row = &document["listeners"][0];
    let said = (&row["socket"], &row["process"]["pid"], &row["address"], &row["verdict"]);
    let own = (inode(&listener)?.into(), std::process::id().into());
    if said != (&own.0, &own.1, &"127.0.0.1".into(), &"unruled".into()) || found.status.code() != Some(0) {
        return Err(format!("{}: {document}", found.status).into());
    }
    let finding = output(&["list", "--fail-on", "unruled", &wanted])?;
    contains(
        &String::from_utf8(finding.stderr)?,
        &[&format!("portreeve: unruled: tcp 127.0.0.1:{port} of ")],
    )?;
    contains(&String::from_utf8(finding.stdout)?, &["1 listener, none unexpected"])?;
    let none = output(&["list", "--fail-on", "unexpected", &wanted])?;
    match (finding.status.code(), none.status.code()) {
        (Some(3), Some(0)) => Ok(()),
        _ => Err(format!("{} and {}", finding.status, none.status).into()),
    }
}

fn check_attaches_nothing() -> Test {
    let output = output(&["run", "--check", "--web.listen-address", "127.0.0.1:0"])?;
    let text = String::from_utf8(output.stdout)?;
    contains(&text, &["tracepoint: inet_sock_set_state for listens: loads", "\nok: "])?;
    if output.status.code() == Some(0) {
        Ok(())
    } else {
        Err(format!("{}: {text}", output.status).into())
    }
}

fn doctor_speaks() -> Test {
    let chosen = backend()?;
    let output = output(&["doctor"])?;
    let text = String::from_utf8(output.stdout)?;
    contains(
        &text,
        &[
            "BACKEND",
            "fexit",
            "tracepoint",
            "inet_csk_listen_start",
            "inet_sock_set_state",
        ],
    )?;
    contains(
        &text,
        &[
            &format!("chosen: {chosen}"),
            "CAP_BPF",
            "CAP_PERFMON",
            "refused_before_hook",
        ],
    )?;
    if std::env::var("PORTREEVE_GUEST_WITHOUT").as_deref() == Ok("inet_diag") {
        contains(&text, &["sock_diag:", "/proc/net is read instead"])?;
    }
    Ok(())
}

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

fn sighup() -> Test {
    let folder = tempfile::tempdir()?;
    let (config, table) = (folder.path().join("p.toml"), folder.path().join("registry.bin"));
    std::fs::write(&config, format!("[registry]\npath = \"{}\"\n", table.display()))?;
    let config = config.display().to_string();
    let mut agent = Agent::start(&backend()?, &["--config.file", &config])?;
    agent.wait_for_log("No such file or directory (os error 2); the built-in registry is used")?;
    let program = Program::listening_on(1994)?;
    let of_1994 = |registration| [("port", "1994"), ("protocol", "tcp"), ("registration", registration)];
    agent.wait_for_metric("portreeve_listeners", &of_1994("stun-port"), Some(1.0))?;

    std::fs::write(folder.path().join("new.csv"), newer_csv())?;
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

    std::fs::write(&table, "PORTREEV and nothing sound")?;
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

/// `promtool check metrics` reads the page on its standard input.
pub fn promtool_accepts_the_page() -> Test {
    let mut agent = Agent::start(&backend()?, &[])?;
    let _program = Program::listening_on(1992)?;
    agent.event_on("listen", 1992)?;
    let (_, page) = agent.get("/metrics")?;
    let promtool = std::env::var("PROMTOOL")?;
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().ok_or("no stdin")?.write_all(page.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() && said.trim().is_empty() {
        Ok(())
    } else {
        Err(said.into())
    }
}
