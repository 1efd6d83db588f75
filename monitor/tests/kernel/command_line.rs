//! What the subcommands print that answer and end.

use std::net::TcpListener;

use serde_json::Value;

use super::{
    Named, Test,
    agent::{backend, output},
    listeners::{free_port, inode},
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
];

/// That a text has all of these.
pub fn contains(text: &str, parts: &[&str]) -> Test {
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
