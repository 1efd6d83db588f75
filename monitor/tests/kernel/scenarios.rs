//! What every backend must get right.

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Command, Stdio},
    thread,
};

use rustix::{
    net::{AddressFamily, Shutdown, SocketType, listen, shutdown, socket, sockopt},
    process::Signal,
};
use serde_json::Value;

use super::{
    Test,
    agent::{Agent, brief, file},
    listeners::{Bound, Program, in_another_namespace, inode},
    losses,
};

/// A scenario and its name; it gets the backend to use.
pub type Scenario = (&'static str, fn(&str) -> Test);

/// The scenarios, by name. The numbers are those of the traps that the project keeps a list of, one of tracing listen,
/// bind and connect: what goes wrong there, and what a right implementation does.
pub const ALL: &[Scenario] = &[
    (
        "a_program_on_1992_is_reported_counted_and_alerted_and_its_end_too_trap_23_65_69_70",
        on_1992,
    ),
    (
        "an_automatic_port_is_known_with_and_without_a_bind_trap_2_9_51_52",
        automatic_port,
    ),
    ("ipv6_addresses_are_whole_and_scopes_right_trap_24_62", ipv6),
    ("a_listen_that_fails_is_no_listener_trap_3_42_55", failed_listen),
    ("a_second_listen_on_a_listener_is_no_event_trap_7_67", listen_twice),
    (
        "a_socket_that_is_shut_down_may_listen_again_trap_8",
        shutdown_and_listen_again,
    ),
    ("two_sockets_of_one_port_are_one_alert_trap_11", reuseport),
    (
        "the_same_port_in_another_namespace_is_told_apart_trap_21_65",
        other_namespace,
    ),
    ("a_killed_listener_ends_trap_10", killed),
    ("a_process_that_is_gone_is_still_named_trap_17", gone),
    ("two_thousand_listeners_in_a_row_are_each_seen_once_trap_68", churn),
    ("the_self_test_succeeds_and_shows_nowhere_trap_40", selftest),
    ("an_inherited_listener_outlives_its_opener_trap_12_66", inherited),
    (
        "a_listener_whose_end_was_lost_is_found_out_and_its_loss_counted_trap_37",
        losses::lost_end,
    ),
    (
        "a_lost_begin_is_told_with_its_end_where_a_rule_speaks_of_it",
        losses::lost_begin,
    ),
    (
        "a_listener_that_is_shut_down_unseen_is_no_listen_that_failed",
        losses::shut_down_unseen,
    ),
    (
        "a_lost_end_is_told_where_another_listener_got_its_memory_trap_37",
        losses::lost_end_of_memory_in_use,
    ),
    (
        "a_lost_end_and_the_lost_begin_of_another_in_its_memory_are_both_found_trap_37",
        losses::lost_end_and_begin,
    ),
    (
        "what_is_lost_and_what_is_seen_is_what_was_done_trap_37_68",
        losses::exact_losses,
    ),
];

pub type Outcome<T> = Result<T, Box<dyn Error>>;

fn check(holds: bool, what: &str, line: &Value) -> Test {
    if holds {
        Ok(())
    } else {
        Err(format!("{what} is wrong in {line}").into())
    }
}

/// Compares fields of a line, by JSON pointer.
pub fn fields(line: &Value, expected: &[(&str, Value)]) -> Test {
    for (pointer, expected) in expected {
        let found = line.pointer(pointer).ok_or_else(|| format!("no {pointer} in {line}"))?;
        if found != expected {
            return Err(format!("{pointer} is {found}, not {expected}, in {line}").into());
        }
    }
    Ok(())
}

/// The ids of a run count up from one, without a gap.
fn ids_have_no_gaps(lines: &[Value]) -> Test {
    for (index, line) in lines.iter().enumerate() {
        let id = line["id"].as_str().ok_or("a line without an id")?;
        let number: usize = id.rsplit('-').next().unwrap_or_default().parse()?;
        if number != index + 1 {
            return Err(format!("id {id} at place {}", index + 1).into());
        }
    }
    Ok(())
}

fn rule(ports: &str, keep: &str) -> Outcome<(tempfile::TempDir, String)> {
    file(
        "rules.toml",
        format!(
            "[[rule]]\nname = \"dormant-port\"\nports = [{ports}]\nseverity = \"critical\"\n\
             automatic_severity = \"warning\"\nkeep_firing_for = \"{keep}\"\n"
        ),
    )
}

fn on_1992(backend: &str) -> Test {
    let (_folder, rules) = rule("1992", "1s")?;
    let mut agent = Agent::start(backend, &["--config.file", &rules])?;
    let watched = |port| [("protocol", "tcp"), ("port", port)];
    agent.wait_for_metric("portreeve_watched_port_listeners", &watched("1992"), Some(0.0))?;
    agent.wait_for_metric("portreeve_watched_port_listens_total", &watched("1992"), Some(0.0))?;
    assert_metric(
        &agent,
        "portreeve_alerts",
        &[("rule", "dormant-port"), ("severity", "critical")],
        0.0,
    )?;

    let mut program = Program::listening_on(1992)?;
    let line = agent.event_on("listen", 1992)?;
    fields(
        &line,
        &[
            ("/schema", 1.into()),
            ("/origin", "event".into()),
            ("/result", "ok".into()),
            ("/errno", Value::Null),
            ("/protocol", "tcp".into()),
            ("/scope", "wildcard".into()),
            ("/automatic", false.into()),
            ("/host_netns", true.into()),
            ("/process/uid", 0.into()),
            ("/process/user", "root".into()),
            ("/kernel_thread", false.into()),
            ("/registry/0/service", "stun-p3".into()),
            ("/registry/1/service", "ipsendmsg".into()),
            (
                "/registry/1/note",
                "This entry records an unassigned but widespread use".into(),
            ),
            ("/verdict", "unexpected".into()),
            ("/rule", "dormant-port".into()),
            ("/missing", Value::Array(Vec::new())),
        ],
    )?;
    let process = &line["process"];
    let pid = process["pid"].as_u64().ok_or("no pid")?;
    let exe = std::fs::read_link(format!("/proc/{pid}/exe"))?;
    check(
        process["exe"].as_str().map(Into::into) == Some(exe.clone()),
        "exe",
        &line,
    )?;
    check(process["exe_state"] == "file", "exe_state", &line)?;
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"))?;
    check(process["comm"] == comm.trim_end(), "comm", &line)?;
    check(process["cmdline"].to_string().contains("1992"), "cmdline", &line)?;
    let ancestors = process["ancestors"].as_array().ok_or("no ancestors")?;
    check(
        ancestors.iter().any(|ancestor| ancestor["pid"] == std::process::id()),
        "ancestors",
        &line,
    )?;
    let cgroup = line["cgroup"].as_str().ok_or("no cgroup")?;
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    check(
        cgroups.lines().any(|line| line.ends_with(&format!(":{cgroup}"))),
        "cgroup",
        &line,
    )?;
    let netns = std::fs::read_link("/proc/self/ns/net")?;
    check(
        netns.to_string_lossy() == format!("net:[{}]", line["netns"]),
        "netns",
        &line,
    )?;
    check(holds(pid, line["socket"].as_u64()), "socket", &line)?;
    let time = line["time"].as_str().unwrap_or_default();
    check(
        time.len() == "2026-11-23T03:20:00.123456789Z".len() && time.ends_with('Z'),
        "time",
        &line,
    )?;

    let alert = agent.wait_for("the alert", |line| line["event"] == "alert")?;
    fields(
        &alert,
        &[
            ("/rule", "dormant-port".into()),
            ("/severity", "critical".into()),
            ("/port", 1992.into()),
        ],
    )?;
    let summary = alert["summary"].as_str().unwrap_or_default();
    check(
        summary.contains("stun-p3") && summary.contains("ipsendmsg"),
        "summary",
        &alert,
    )?;

    assert_metric(&agent, "portreeve_watched_port_listeners", &watched("1992"), 1.0)?;
    assert_metric(&agent, "portreeve_watched_port_listens_total", &watched("1992"), 1.0)?;
    let listener = [
        ("port", "1992"),
        ("registration", "stun-p3,ipsendmsg"),
        ("verdict", "unexpected"),
    ];
    assert_metric(&agent, "portreeve_listeners", &listener, 1.0)?;
    assert_metric(
        &agent,
        "portreeve_alerts",
        &[("rule", "dormant-port"), ("severity", "critical")],
        1.0,
    )?;
    assert_metric(
        &agent,
        "portreeve_port_info",
        &[("port", "1992"), ("registrations", "2")],
        1.0,
    )?;
    assert_metric(&agent, "portreeve_probe_info", &[("backend", backend)], 1.0)?;
    assert_metric(&agent, "portreeve_blind_spot", &[("situation", "sctp")], 1.0)?;
    assert_metric(&agent, "portreeve_build_info", &[], 1.0)?;
    for edge in ["ring_listen", "ring_unlisten", "listeners_map", "stdout"] {
        assert_metric(&agent, "portreeve_events_lost_total", &[("edge", edge)], 0.0)?;
    }

    program.kill()?;
    let end = agent.event_on("unlisten", 1992)?;
    fields(
        &end,
        &[
            ("/socket", line["socket"].clone()),
            ("/process/pid", pid.into()),
            ("/holder/pid", pid.into()),
        ],
    )?;
    fields(
        &end,
        &[
            ("/verdict", "unexpected".into()),
            ("/missing", Value::Array(Vec::new())),
        ],
    )?;
    agent.wait_for_metric("portreeve_watched_port_listeners", &watched("1992"), Some(0.0))?;
    agent.wait_for_metric("portreeve_listeners", &[("port", "1992")], None)?;
    agent.wait_for_metric("portreeve_listener_opened_timestamp_seconds", &[("port", "1992")], None)?;
    agent.wait_for("the end of the alert", |line| line["event"] == "alert_resolved")?;
    agent.wait_for_metric(
        "portreeve_alerts",
        &[("rule", "dormant-port"), ("severity", "critical")],
        Some(0.0),
    )?;
    assert_metric(&agent, "portreeve_alerts_fired_total", &[("severity", "critical")], 1.0)?;

    let status = agent.stop(Signal::TERM)?;
    if !status.success() {
        return Err(format!("the agent ended with {status}").into());
    }
    ids_have_no_gaps(agent.seen())
}

fn assert_metric(agent: &Agent, name: &str, labels: &[(&str, &str)], expected: f64) -> Test {
    match agent.metric(name, labels)? {
        Some(value) if value == expected => Ok(()),
        other => Err(format!("{name}{labels:?} is {other:?}, not {expected}").into()),
    }
}

/// Whether a process has a socket open.
fn holds(pid: u64, inode: Option<u64>) -> bool {
    let Some(inode) = inode else { return false };
    let wanted = format!("socket:[{inode}]");
    std::fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy() == wanted))
        })
    })
}

fn automatic_port(backend: &str) -> Test {
    let mut agent = Agent::start(backend, &[])?;
    let bound = TcpListener::bind(("127.0.0.1", 0))?;
    let line = agent.event("listen", inode(&bound)?)?;
    let port = bound.local_addr()?.port();
    fields(
        &line,
        &[
            ("/port", port.into()),
            ("/automatic", true.into()),
            ("/scope", "loopback".into()),
        ],
    )?;
    fields(
        &line,
        &[("/result", "ok".into()), ("/backlog", Value::from(backlog_of_std()?))],
    )?;

    // No bind at all: the port is chosen inside listen().
    let unbound = Bound(socket(AddressFamily::INET, SocketType::STREAM, None)?);
    unbound.listen(7)?;
    let line = agent.event("listen", inode(&unbound.0)?)?;
    fields(
        &line,
        &[
            ("/port", unbound.port()?.into()),
            ("/automatic", true.into()),
            ("/backlog", 7.into()),
        ],
    )?;
    fields(&line, &[("/address", "0.0.0.0".into()), ("/result", "ok".into())])?;
    let ephemeral = [("port", "ephemeral"), ("scope", "loopback")];
    assert_metric(&agent, "portreeve_listeners", &ephemeral, 1.0)?;

    // At the end the kernel has given the port back already.
    let (socket, expected) = (inode(&unbound.0)?, unbound.port()?);
    drop(unbound);
    let end = agent.event("unlisten", socket)?;
    fields(&end, &[("/port", expected.into())])
}

/// The backlog that std asks for, after the kernel's limit.
fn backlog_of_std() -> Outcome<u32> {
    let limit: u32 = std::fs::read_to_string("/proc/sys/net/core/somaxconn")?
        .trim()
        .parse()?;
    Ok(limit.min(128))
}

fn ipv6(backend: &str) -> Test {
    let mut agent = Agent::start(backend, &[])?;
    let plain = |_: &_| Ok(());
    for (address, v6only, scope, dual_stack, shown) in [
        ("[::]:0", false, "wildcard", Value::Bool(true), "::"),
        ("[::]:0", true, "wildcard", Value::Bool(false), "::"),
        ("[::1]:0", true, "loopback", Value::Null, "::1"),
        ("[::ffff:127.0.0.1]:0", false, "loopback", Value::Null, "127.0.0.1"),
    ] {
        let bound = Bound::to(address.parse::<SocketAddr>()?, |socket| {
            sockopt::set_ipv6_v6only(socket, v6only)?;
            plain(socket)
        })?;
        bound.listen(1)?;
        let line = agent.event("listen", inode(&bound.0)?)?;
        fields(
            &line,
            &[
                ("/family", "ipv6".into()),
                ("/address", shown.into()),
                ("/scope", scope.into()),
            ],
        )?;
        fields(
            &line,
            &[
                ("/dual_stack", dual_stack),
                ("/port", bound.port()?.into()),
                ("/result", "ok".into()),
            ],
        )?;
    }
    Ok(())
}

fn failed_listen(backend: &str) -> Test {
    let mut agent = Agent::start(backend, &[])?;
    // Two sockets may be bound to one port with SO_REUSEADDR; only one of them may listen.
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let first = Bound::to(any, |_| Ok(()))?;
    let port = first.port()?;
    let second = Bound::to(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), |_| Ok(()))?;
    first.listen(1)?;
    agent.event("listen", inode(&first.0)?)?;
    if second.listen(1) != Err(rustix::io::Errno::ADDRINUSE) {
        return Err("the second socket listens too".into());
    }
    let line = agent.event("listen", inode(&second.0)?)?;
    let errno = if backend == "tracepoint" {
        Value::Null
    } else {
        "EADDRINUSE".into()
    };
    fields(
        &line,
        &[("/result", "error".into()), ("/errno", errno), ("/port", port.into())],
    )?;
    let (failed, worked) = (inode(&second.0)?, inode(&first.0)?);
    drop(second);
    drop(first);
    agent.event("unlisten", worked)?;
    let ended = agent
        .seen()
        .iter()
        .any(|line| line["event"] == "unlisten" && line["socket"] == failed);
    if ended {
        Err("a socket that never listened is said to have stopped".into())
    } else {
        Ok(())
    }
}

fn listen_twice(backend: &str) -> Test {
    let mut agent = Agent::start(backend, &[])?;
    let bound = Bound::to("127.0.0.1:0".parse()?, |_| Ok(()))?;
    bound.listen(1)?;
    let socket = inode(&bound.0)?;
    agent.event("listen", socket)?;
    bound.listen(2)?;
    drop(bound);
    agent.event("unlisten", socket)?;
    let listens = agent
        .seen()
        .iter()
        .filter(|line| line["event"] == "listen" && line["socket"] == socket)
        .count();
    if listens == 1 {
        Ok(())
    } else {
        Err(format!("{listens} listens").into())
    }
}

fn shutdown_and_listen_again(backend: &str) -> Test {
    let mut agent = Agent::start(backend, &[])?;
    let bound = Bound::to("127.0.0.1:0".parse()?, |_| Ok(()))?;
    let socket = inode(&bound.0)?;
    for round in 1..=2 {
        bound.listen(1)?;
        wait_for_count(&mut agent, "listen", socket, round)?;
        shutdown(&bound.0, Shutdown::Both)?;
        wait_for_count(&mut agent, "unlisten", socket, round)?;
    }
    Ok(())
}

/// Waits for the n-th event of a kind on a socket.
fn wait_for_count(agent: &mut Agent, kind: &str, socket: u64, count: usize) -> Test {
    let is_it = |line: &Value| line["event"] == kind && line["socket"] == socket;
    while agent.seen().iter().filter(|line| is_it(line)).count() < count {
        let seen = agent.seen().len();
        // Only a line that has not been looked at can be the next one.
        let place = std::cell::Cell::new(0);
        agent.wait_for(&format!("{kind} number {count} of socket {socket}"), |line| {
            place.set(place.get() + 1);
            place.get() > seen && is_it(line)
        })?;
    }
    Ok(())
}

fn reuseport(backend: &str) -> Test {
    let port = super::listeners::free_port()?;
    let (_folder, rules) = rule(&port.to_string(), "15m")?;
    let mut agent = Agent::start(backend, &["--config.file", &rules])?;
    let open = || {
        let bound = Bound::to(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), |socket| {
            sockopt::set_socket_reuseport(socket, true)
        })?;
        bound.listen(1)?;
        Ok::<_, Box<dyn Error>>(bound)
    };
    let (first, second) = (open()?, open()?);
    agent.event("listen", inode(&first.0)?)?;
    agent.event("listen", inode(&second.0)?)?;
    let port = port.to_string();
    let labels = [("protocol", "tcp"), ("port", port.as_str())];
    agent.wait_for_metric("portreeve_watched_port_listeners", &labels, Some(2.0))?;
    assert_metric(&agent, "portreeve_alerts", &[("severity", "critical")], 1.0)?;
    drop(first);
    agent.wait_for_metric("portreeve_watched_port_listeners", &labels, Some(1.0))?;
    agent.wait_for_metric("portreeve_listeners", &[("port", port.as_str())], Some(1.0))?;
    drop(second);
    agent.wait_for_metric("portreeve_listeners", &[("port", port.as_str())], None)?;
    let alerts = agent.seen().iter().filter(|line| line["event"] == "alert").count();
    if alerts == 1 {
        Ok(())
    } else {
        Err(format!("{alerts} alerts").into())
    }
}

fn other_namespace(backend: &str) -> Test {
    let here = Bound::to("0.0.0.0:0".parse()?, |_| Ok(()))?;
    let port = here.port()?;
    let mut agent = Agent::start(backend, &[])?;
    here.listen(1)?;
    let (there, namespace) = in_another_namespace(port)?;
    let line = agent.event("listen", inode(&here.0)?)?;
    fields(
        &line,
        &[
            ("/host_netns", true.into()),
            ("/port", port.into()),
            ("/result", "ok".into()),
        ],
    )?;
    let line = agent.event("listen", inode(&there)?)?;
    fields(&line, &[("/host_netns", false.into()), ("/port", port.into())])?;
    check(line["netns"] == namespace, "netns", &line)?;
    // The opener's thread, and with it the way into the namespace, may be gone before the tracepoint backend looks.
    check(
        line["result"] == "ok" || (backend == "tracepoint" && line["missing"] == serde_json::json!(["result"])),
        "result",
        &line,
    )?;
    let socket = inode(&there)?;
    drop(there);
    agent.event("unlisten", socket)?;
    Ok(())
}

fn killed(backend: &str) -> Test {
    let port = super::listeners::free_port()?;
    let mut agent = Agent::start(backend, &[])?;
    let mut program = Program::listening_on(port)?;
    let line = agent.event_on("listen", port)?;
    program.kill()?;
    let end = agent.event_on("unlisten", port)?;
    fields(
        &end,
        &[
            ("/socket", line["socket"].clone()),
            ("/process", line["process"].clone()),
        ],
    )
}

fn gone(backend: &str) -> Test {
    let port = super::listeners::free_port()?;
    let mut agent = Agent::start(backend, &[])?;
    // The agent sleeps while a process listens and goes: what the kernel side recorded is all there is to know of it.
    agent.signal(Signal::STOP)?;
    let mut program = Program::listening_on(port)?;
    let pid = program.pid();
    wait_until_listening(pid)?;
    let exe = std::fs::read_link(format!("/proc/{pid}/exe"))?;
    let exe = exe.to_str().ok_or("a path that is not UTF-8")?;
    program.kill()?;
    agent.signal(Signal::CONT)?;
    let line = agent.wait_for("the listen of the process that is gone", |line| {
        line["event"] == "listen" && line["port"] == port && line["process"]["pid"] == pid
    })?;
    fields(&line, &[("/result", "ok".into()), ("/process/uid", 0.into())])?;
    // The executable's path was taken by the kernel side; /proc alone would have told the arguments.
    fields(
        &line,
        &[
            ("/process/exe", exe.into()),
            ("/process/exe_state", "file".into()),
            ("/process/cmdline", Value::Null),
        ],
    )?;
    check(
        line["process"]["comm"].as_str().is_some_and(|comm| !comm.is_empty()),
        "comm",
        &line,
    )?;
    // Beside trees of cgroup v1 the id in the record may be that of the unified tree's root, which says nothing.
    let missing = if line["cgroup"].is_null() {
        serde_json::json!(["cmdline", "cgroup", "ancestors"])
    } else {
        serde_json::json!(["cmdline", "ancestors"])
    };
    check(line["missing"] == missing, "missing", &line)?;
    let has_unified_only = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    check(!(has_unified_only && line["cgroup"].is_null()), "cgroup", &line)?;
    agent.event("unlisten", line["socket"].as_u64().unwrap_or_default())?;
    agent.wait_for_metric_of(
        "portreeve_identity_incomplete_total",
        &[("field", "cmdline")],
        |value| value >= Some(1.0),
    )
}

/// Waits until a process has a listening socket.
fn wait_until_listening(pid: u32) -> Test {
    let end = std::time::Instant::now() + super::agent::DEADLINE;
    while std::time::Instant::now() < end {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp"))?
            + &std::fs::read_to_string(format!("/proc/{pid}/net/tcp6")).unwrap_or_default();
        for row in table.lines() {
            let columns: Vec<_> = row.split_whitespace().collect();
            let (Some(&"0A"), Some(inode)) = (columns.get(3), columns.get(9)) else {
                continue;
            };
            if holds(pid.into(), inode.parse().ok()) {
                return Ok(());
            }
        }
        thread::park_timeout(std::time::Duration::from_millis(5));
    }
    Err("the program does not listen".into())
}

fn churn(backend: &str) -> Test {
    const ROUNDS: usize = 2_000;
    let mut agent = Agent::start(backend, &[])?;
    let mut sockets = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        sockets.push((inode(&listener)?, listener.local_addr()?.port()));
    }
    let last = TcpListener::bind(("127.0.0.1", 0))?;
    let last_socket = inode(&last)?;
    agent.event("listen", last_socket)?;
    drop(last);
    agent.event("unlisten", last_socket)?;
    let own = u64::from(std::process::id());
    let of = |kind: &str| -> Vec<(u64, u16)> {
        let lines = agent
            .seen()
            .iter()
            .filter(|line| line["event"] == kind && line["process"]["pid"] == own);
        lines
            .filter(|line| line["result"] == "ok")
            .filter_map(|line| Some((line["socket"].as_u64()?, u16::try_from(line["port"].as_u64()?).ok()?)))
            .filter(|(socket, _)| *socket != last_socket)
            .collect()
    };
    sockets.sort_unstable();
    for kind in ["listen", "unlisten"] {
        let mut seen = of(kind);
        seen.sort_unstable();
        if seen != sockets {
            let missed: Vec<_> = sockets.iter().filter(|socket| !seen.contains(socket)).take(3).collect();
            let odd: Vec<_> = agent
                .seen()
                .iter()
                .filter(|line| line["result"] != "ok")
                .take(3)
                .map(brief)
                .collect();
            return Err(format!("{} of {ROUNDS} {kind}s; missed {missed:?}; odd {odd:?}", seen.len()).into());
        }
    }
    ids_have_no_gaps(agent.seen())
}

pub fn selftest_succeeds(agent: &Agent) -> Test {
    let time = "portreeve_selftest_last_success_timestamp_seconds";
    agent.wait_for_metric_of(time, &[], |time| time.is_some_and(|time| time > 0.0))
}

fn selftest(backend: &str) -> Test {
    let mut agent = Agent::start(backend, &[])?;
    selftest_succeeds(&agent)?;
    // What the agent had to say of its own listener would stand before this one's line.
    let marker = TcpListener::bind(("127.0.0.1", 0))?;
    agent.event("listen", inode(&marker)?)?;
    let own = u64::from(agent.pid());
    // What serves HTTP is a listener as any other.
    let http = agent.port();
    let mut of_its_own = agent.seen().iter().filter(|line| line["process"]["pid"] == own);
    match of_its_own.find(|line| line["port"] != http) {
        None => Ok(()),
        Some(line) => Err(format!("the agent reports itself: {line}").into()),
    }
}

fn inherited(backend: &str) -> Test {
    let mut agent = Agent::start(backend, &[])?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let socket = inode(&listener)?;
    agent.event("listen", socket)?;
    // A child gets the listener as its standard input; then the opener closes its own.
    let mut heir = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener.try_clone()?)))
        .stdout(Stdio::null())
        .spawn()?;
    drop(listener);
    // Another listener's events come after anything that the close could have caused.
    let marker = TcpListener::bind(("127.0.0.1", 0))?;
    agent.event("listen", inode(&marker)?)?;
    let ended = |agent: &Agent| {
        agent
            .seen()
            .iter()
            .any(|line| line["event"] == "unlisten" && line["socket"] == socket)
    };
    let too_early = ended(&agent);
    heir.kill()?;
    heir.wait()?;
    if too_early {
        return Err("the listener was said to end while its heir held it".into());
    }
    let end = agent.event("unlisten", socket)?;
    fields(
        &end,
        &[
            ("/process/pid", std::process::id().into()),
            ("/holder/pid", heir.id().into()),
        ],
    )?;
    let _ = listen(&marker, 1);
    Ok(())
}
