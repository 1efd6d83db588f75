//! The whole metrics page of a running agent: what stands on it, what a flood does to it, and that Prometheus can join it.
//!
//! These run on the machine's own kernel: a flood of programs takes too long where one is emulated.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::Write as _,
    net::TcpListener,
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    Named, Test,
    agent::{Agent, DEADLINE, backend},
    deployed_rules::{agent, listen},
    listeners::Program,
    listeners::free_port,
    prometheus_server::{Prometheus, wait},
    receivers::Outcome,
};

/// On the machine's own kernel.
pub const WITH_PROMETHEUS: &[Named] = &[
    ("the_page_is_the_one_that_is_kept", golden),
    ("five_thousand_short_programs_do_not_hide_1992", flood),
    ("prometheus_joins_listeners_with_what_the_registry_says", join),
    ("the_kernel_says_what_the_hooks_cost_where_it_is_asked_trap_46", stats),
];

/// The port that this very program is to listen on for a moment, in place of any test.
pub const LISTEN_ONCE: &str = "PORTREEVE_LISTEN_ONCE";

/// The page as it is kept; `PORTREEVE_KEEP_PAGE=1` writes it.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/page.prom");

/// Programs of the flood, and how long they may take together.
const PROGRAMS: usize = 5_000;
const FLOOD: Duration = Duration::from_secs(240);

/// `[metrics] max_series` without a configuration.
const MAX_SERIES: usize = 1_000;

/// Listens and ends.
pub fn listen_once(port: &OsStr) -> ExitCode {
    let port = port.to_str().and_then(|port| port.parse::<u16>().ok());
    match port.map(|port| TcpListener::bind(("127.0.0.1", port))) {
        Some(Ok(_)) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn page(agent: &Agent) -> Outcome<String> {
    match agent.get("/metrics")? {
        (200, page) => Ok(page),
        (status, _) => Err(format!("/metrics answered {status}").into()),
    }
}

/// The series of a page: name, labels as they stand there, and value.
fn series(page: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next()?;
        Some((name, &series[name.len()..], value))
    })
}

/// Families whose series depend on the kernel, or on a version: one stands for all of them.
const OF_THE_KERNEL: [&str; 6] = [
    "portreeve_build_info",
    "portreeve_registry_info",
    "portreeve_hook_attached",
    "portreeve_hook_misses_total",
    "portreeve_blind_spot",
    "portreeve_probe_info",
];

/// Families whose series depend on what else listens on this machine: those on 1992 are kept.
const OF_THE_MACHINE: [&str; 4] = [
    "portreeve_listeners",
    "portreeve_listener_opened_timestamp_seconds",
    "portreeve_listens_total",
    "portreeve_port_info",
];

/// Families whose values are another each time.
const VOLATILE: [&str; 10] = [
    "portreeve_hook_runs_total",
    "portreeve_events_total",
    "portreeve_identity_incomplete_total",
    "portreeve_snapshot_duration_seconds",
    "portreeve_last_snapshot_timestamp_seconds",
    "portreeve_selftest_last_success_timestamp_seconds",
    "portreeve_config_last_reload_success_timestamp_seconds",
    "portreeve_listener_opened_timestamp_seconds",
    "portreeve_registry_records",
    "portreeve_history_bytes",
];

/// Families that are there only where somebody binds or connects meanwhile.
const OF_OTHERS: [&str; 3] = [
    "portreeve_binds_total",
    "portreeve_connects_total",
    "portreeve_accepts_total",
];

/// The page without what is another each time, on each kernel and on each machine; `process` is who listens on 1992 here.
fn normalised(page: &str, process: &str) -> String {
    let mut lines = Vec::new();
    for line in page.lines() {
        let words = line.split(' ').nth(2).filter(|_| line.starts_with('#'));
        let name = words.or_else(|| line.split(['{', ' ']).next()).unwrap_or_default();
        let labels = line.rsplit_once(' ').map_or(line, |(series, _)| series);
        let line = if OF_OTHERS.contains(&name) {
            continue;
        } else if line.starts_with('#') {
            line.to_owned()
        } else if OF_THE_KERNEL.contains(&name) {
            format!("{name}{{…}} …")
        } else if OF_THE_MACHINE.contains(&name) && !line.contains("port=\"1992\"") {
            continue;
        } else if VOLATILE.contains(&name) {
            format!("{labels} …")
        } else {
            line.to_owned()
        };
        let line = line.replace(&format!("process=\"{process}\""), "process=\"…\"");
        if lines.last() != Some(&line) {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}

/// Who opened a listener, as the label `process` has it.
fn process_of(line: &Value) -> String {
    let exe = line["process"]["exe"].as_str().unwrap_or_default();
    exe.rsplit('/').next().unwrap_or_default().to_owned()
}

fn golden() -> Test {
    let mut agent = Agent::start(&backend()?, &[])?;
    let _program = Program::listening_on(1992)?;
    let process = process_of(&agent.event_on("listen", 1992)?);
    // The self-test and the first look are over.
    agent.wait_for_metric_of("portreeve_selftest_last_success_timestamp_seconds", &[], |value| {
        value.is_some_and(|time| time > 0.0)
    })?;
    agent.wait_for_metric_of("portreeve_events_total", &[("event", "listen")], |value| {
        value.is_some_and(|count| count > 0.0)
    })?;
    // A line is told before what comes of it is counted.
    agent.wait_for_metric(
        "portreeve_alerts",
        &[("rule", "dormant-port"), ("severity", "critical")],
        Some(1.0),
    )?;
    let page = normalised(&page(&agent)?, &process);
    if std::env::var_os("PORTREEVE_KEEP_PAGE").is_some() {
        return Ok(fs::write(KEPT, page)?);
    }
    let kept = fs::read_to_string(KEPT)?;
    let (is, was): (BTreeSet<_>, BTreeSet<_>) = (page.lines().collect(), kept.lines().collect());
    let difference: Vec<_> = was
        .difference(&is)
        .map(|line| format!("- {line}"))
        .chain(is.difference(&was).map(|line| format!("+ {line}")))
        .collect();
    if difference.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the page is another than tests/kernel/page.prom (PORTREEVE_KEEP_PAGE=1 keeps it):\n{}",
        difference.join("\n")
    )
    .into())
}

/// Starts this program under a name of its own, which listens for a moment on a port that nobody names.
fn short_program(folder: &Path, number: usize) -> Outcome<()> {
    let name = folder.join(format!("flood-{number}"));
    fs::hard_link(folder.join("program"), &name)?;
    // Each on a port of its own, below those that the kernel hands out.
    let port = 2_100 + number * 5;
    // One that somebody has is none of the flood.
    Command::new(&name)
        .env(LISTEN_ONCE, port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    Ok(fs::remove_file(&name)?)
}

fn flood() -> Test {
    let folder = tempfile::tempdir()?;
    fs::copy(std::env::current_exe()?, folder.path().join("program"))?;
    let mut agent = Agent::start(&backend()?, &[])?;
    let watched = Program::listening_on(1992)?;
    let line = agent.event_on("listen", 1992)?;
    let process = process_of(&line);

    let (next, end) = (AtomicUsize::new(0), Instant::now() + FLOOD);
    let in_turn = || -> Result<(), String> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= PROGRAMS {
                return Ok(());
            }
            short_program(folder.path(), number).map_err(|error| format!("program {number}: {error}"))?;
            if Instant::now() > end {
                return Err(format!("{number} programs took longer than {FLOOD:?}"));
            }
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(in_turn)).collect();
        let ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ended
            .map(|ended| ended.unwrap_or_else(|_| Err("a thread of the flood broke off".to_owned())))
            .collect::<Result<Vec<()>, _>>()
    })?;
    // All that listened has ended, and is told.
    let is_last = |line: &Value| line["event"] == "unlisten" && line["port"] == 2_100 + (PROGRAMS - 1) * 5;
    agent.wait_for("the end of the last program", is_last)?;

    let page = page(&agent)?;
    let of_strangers = ["portreeve_connects_total", "portreeve_accepts_total"];
    let budgeted: Vec<_> = series(&page)
        .filter(|(name, labels, _)| {
            let is_watched = ["1990", "1991", "1992", "1994"]
                .iter()
                .any(|port| labels.contains(&format!("port=\"{port}\"")));
            (OF_THE_MACHINE.contains(name) || of_strangers.contains(name)) && !is_watched
        })
        .collect();
    let limited = series(&page)
        .filter(|(name, _, _)| *name == "portreeve_series_limited_total")
        .filter_map(|(_, _, value)| value.parse::<f64>().ok())
        .sum::<f64>();
    eprintln!(
        "{PROGRAMS} programs: {} series of {MAX_SERIES} on ports that nobody watches, {} in all; {limited} folded or left out",
        budgeted.len(),
        series(&page).count()
    );
    if budgeted.len() > MAX_SERIES || limited < 1.0 {
        return Err(format!("{} series on other ports, and {limited} were limited", budgeted.len()).into());
    }
    let ours = [("port", "1992"), ("process", process.as_str())];
    for family in ["portreeve_listeners", "portreeve_listens_total"] {
        if agent.metric(family, &ours)? != Some(1.0) {
            return Err(format!("{family} does not show {process} on 1992").into());
        }
    }
    // What has ended has no gauge.
    let stale = series(&page).find(|(name, labels, _)| *name == "portreeve_listeners" && labels.contains("flood-"));
    if let Some((_, labels, _)) = stale {
        return Err(format!("a listener that ended is still there: {labels}").into());
    }
    // One that opens after the flood is there too.
    drop(watched);
    agent.wait_for_metric("portreeve_listeners", &ours, None)?;
    let again = Program::listening_on(1992)?;
    agent.wait_for_metric("portreeve_listeners", &ours, Some(1.0))?;
    drop(again);
    agent.stop(Signal::TERM)?;
    Ok(())
}

/// What docs/metrics.md says joins the two.
fn documented_join() -> Outcome<&'static str> {
    let page = include_str!("../../../docs/metrics.md");
    let line = page.lines().find(|line| line.contains("group_left (description"));
    let query = line.and_then(|line| line.split('`').nth(1));
    Ok(query.ok_or("docs/metrics.md shows no join")?)
}

fn join() -> Test {
    let port = free_port()?;
    let mut agent = agent(port)?;
    let prometheus = Prometheus::start(port)?;
    let listener = listen(1992)?;
    agent.event_on("listen", 1992)?;
    let query = documented_join()?;
    let mut found = Vec::new();
    wait("the join has a series for 1992", || {
        found = prometheus.vector(query)?;
        found.retain(|series| series["metric"]["port"] == "1992");
        Ok(!found.is_empty())
    })?;
    let [series] = found.as_slice() else {
        return Err(format!("not one series: {found:?}").into());
    };
    let labels = &series["metric"];
    let description = labels["description"].as_str().unwrap_or_default();
    let is_whole = series["value"][1] == "1"
        && labels["registration"] == "stun-p3,ipsendmsg"
        && description.contains("STUN")
        && description.contains("; ")
        && labels["status"] == "dormant"
        && labels["registrations"] == "2"
        && labels["process"].is_string();
    drop(listener);
    if !is_whole {
        return Err(format!("the join does not say what it should: {series}").into());
    }
    wait("the series goes with the listener", || {
        let left = prometheus.vector("portreeve_listeners{port=\"1992\"}")?;
        Ok(left.is_empty())
    })
}

fn stats() -> Test {
    let mut agent = Agent::start(&backend()?, &["--probe.stats"])?;
    let ran = |agent: &Agent| -> Outcome<f64> {
        let page = page(agent)?;
        let hooks = series(&page).filter(|(name, _, _)| *name == "portreeve_hook_seconds_total");
        Ok(hooks.filter_map(|(_, _, value)| value.parse::<f64>().ok()).sum())
    };
    let end = Instant::now() + DEADLINE;
    while ran(&agent)? <= 0.0 {
        if Instant::now() > end {
            return Err("the kernel measured nothing".into());
        }
        drop(TcpListener::bind(("127.0.0.1", 0))?);
        thread::park_timeout(Duration::from_millis(100));
    }
    agent.stop(Signal::TERM)?;
    let without = Agent::start(&backend()?, &[])?;
    if page(&without)?.contains("portreeve_hook_seconds_total") {
        return Err("it was not asked for".into());
    }
    Ok(())
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
