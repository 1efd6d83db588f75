//! Each situation that the agent must get right, played by the scenario program, which says itself what it did: none of
//! it may be missing from what the agent prints, none be there twice, none invented, and each field must be right.
//!
//! One agent a backend serves all scenarios, as on a real host.

use std::{
    collections::{BTreeMap, HashSet},
    error::Error,
    net::TcpListener,
    process::Command,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use super::{
    agent::{Agent, PLAYS, brief, output_of},
    listeners::inode,
};

/// The ports that the agent is told to watch: those that the scenario program calls named.
const NAMED: &str = "1992,24000-24499";

/// Ports that nobody but a scenario uses.
const OWN: std::ops::Range<u64> = 24_000..25_000;

/// The port that is listened on in a network namespace which the process leaves at once.
const DESERTED: u16 = 24_052;

/// Nanoseconds of a tick of the clock, as user space sees it (USER_HZ).
const TICK: i128 = 10_000_000;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The agents, by backend.
static AGENTS: Mutex<BTreeMap<String, Agent>> = Mutex::new(BTreeMap::new());

/// How a scenario went that did not fail.
pub enum Cell {
    /// All of it was seen.
    Passed,
    /// What this backend can see was seen, and what it can know of it was right; the rest is named.
    Partly(Vec<Blind>),
    /// This kernel cannot play it.
    Unavailable(String),
}

/// What a backend cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blind {
    /// Events that it does not see.
    NotSeen(&'static str),
    /// What it does not know of one that it sees.
    NotKnown(&'static str),
}

impl Blind {
    /// Under which title it stands, and what it is.
    const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::NotSeen(what) => ("not seen", what),
            Self::NotKnown(what) => ("not known", what),
        }
    }
}

impl Cell {
    /// In the words of the table of kernels.
    pub fn words(&self) -> String {
        match self {
            Self::Passed => "pass".to_owned(),
            Self::Unavailable(reason) => format!("not there: {reason}"),
            Self::Partly(blind) => {
                let titles = ["not seen", "not known"].into_iter().filter_map(|title| {
                    let parts = blind.iter().map(|blind| blind.parts());
                    let words: Vec<_> = parts.filter(|(its, _)| *its == title).map(|(_, what)| what).collect();
                    (!words.is_empty()).then(|| format!("{title}: {}", words.join(", ")))
                });
                titles.collect::<Vec<_>>().join("; ")
            }
        }
    }
}

/// The scenarios: names with the numbers of their traps. Empty where there is no scenario program.
pub fn names() -> Outcome<Vec<(String, String)>> {
    let Some(program) = program() else {
        return Ok(Vec::new());
    };
    let output = output_of(Command::new(program).arg("list"))?;
    let mut names = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let line: Value = serde_json::from_str(line)?;
        let name = line["name"].as_str().ok_or("a scenario without a name")?.to_owned();
        let traps: Vec<_> = line["traps"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|trap| format!("_{trap}"))
            .collect();
        let suffix = if traps.is_empty() {
            String::new()
        } else {
            format!("_trap{}", traps.concat())
        };
        names.push((name, suffix));
    }
    Ok(names)
}

fn program() -> Option<std::ffi::OsString> {
    std::env::var_os("PORTREEVE_SCENARIOS")
}

/// Ends the agents that played along.
pub fn end() {
    AGENTS.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// Plays a scenario and compares.
pub fn play(backend: &str, name: &str) -> Outcome<Cell> {
    let mut agents = AGENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if !agents.contains_key(backend) {
        // One at a time: two agents would see each other.
        agents.clear();
        let rules = ["--watch", NAMED];
        agents.insert(backend.to_owned(), Agent::start(backend, &rules)?);
    }
    let agent = agents.get_mut(backend).ok_or("no agent")?;
    for _ in 1..PLAYS {
        let before = left_out(agent)?;
        match compare(agent, backend, name) {
            Err(error) if left_out(agent)? > before => {
                eprintln!("{backend}: {name} is played again, since the kernel left out a run of a hook: {error}");
            }
            outcome => {
                return outcome.inspect_err(|_| {
                    // Whatever is wrong with it must not spoil the next one.
                    agents.remove(backend);
                });
            }
        }
    }
    let before = left_out(agent)?;
    let outcome = compare(agent, backend, name);
    let left_out = left_out(agent)? - before;
    outcome.map_err(|error| {
        format!("played {PLAYS} times, the kernel left out {left_out} runs at the last: {error}").into()
    })
}

/// Runs of hooks that the kernel left out, as the agent counts them: see [`super::agent::LEFT_OUT`].
fn left_out(agent: &Agent) -> Outcome<f64> {
    let (_, page) = agent.get("/metrics")?;
    let lines = page
        .lines()
        .filter(|line| line.starts_with("portreeve_hook_misses_total{"));
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(counts.sum())
}

fn compare(agent: &mut Agent, backend: &str, name: &str) -> Outcome<Cell> {
    let start = agent.seen().len();
    let output = output_of(Command::new(program().ok_or("no scenario program")?).args(["play", name]))?;
    if !output.status.success() {
        return Err(format!(
            "the scenario itself failed: {}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    let did: Vec<Value> = String::from_utf8(output.stdout)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    if let Some(line) = did.iter().find(|line| line["did"] == "unavailable") {
        return Ok(Cell::Unavailable(
            line["reason"].as_str().unwrap_or_default().to_owned(),
        ));
    }
    if did.last().is_none_or(|line| line["did"] != "end") {
        return Err("the scenario did not come to its end".into());
    }
    let mut all_blind = Vec::new();
    let mut expected = Vec::new();
    for mut line in did.into_iter().filter(|line| line["did"] != "end") {
        let blind = blind(backend, &mut line);
        if let Some(blind) = blind.filter(|blind| !all_blind.contains(blind)) {
            all_blind.push(blind);
        }
        if !matches!(blind, Some(Blind::NotSeen(_))) {
            expected.push(line);
        }
    }
    let pids: HashSet<_> = expected
        .iter()
        .filter_map(|line| line["process"]["pid"].as_u64())
        .collect();
    let mut taken = HashSet::new();
    for line in &expected {
        taken.insert(find(agent, start, &taken, line)?);
    }
    // Whatever is still to come of the scenario comes before this one.
    let last = TcpListener::bind(("127.0.0.1", 0))?;
    agent.event("listen", inode(&last)?)?;
    let invented = agent.seen().iter().enumerate().skip(start).find(|(index, line)| {
        let its = line["process"]["pid"].as_u64().is_some_and(|pid| pids.contains(&pid))
            || line["port"].as_u64().is_some_and(|port| OWN.contains(&port));
        let event = line["event"].as_str().unwrap_or_default();
        // A look may come by while it is there.
        let is_found = backend == "tracepoint" && line["protocol"] == "udp" && line["origin"] == "reconciled";
        its && !is_found && !event.starts_with("alert") && !taken.contains(index)
    });
    if let Some((_, line)) = invented {
        return Err(format!("nobody did this, or it was told twice: {line}").into());
    }
    if let Some(lost) = agent.seen().iter().skip(start).find(|line| line["event"] == "lost") {
        return Err(format!("something was lost: {lost}").into());
    }
    Ok(if all_blind.is_empty() {
        Cell::Passed
    } else {
        Cell::Partly(all_blind)
    })
}

/// What of this a backend does not see, or does not know; that is taken out of the line.
fn blind(backend: &str, line: &mut Value) -> Option<Blind> {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut known = None;
    if line["by_worker"] == true && (kernel.starts_with("5.10.") || kernel.starts_with("5.11.")) {
        // Its workers are threads of the kernel, with process ids of their own.
        remove(line, "process");
        remove(line, "kernel_thread");
        known = Some(Blind::NotKnown("who asked a worker of io_uring"));
    }
    remove(line, "by_worker");
    if backend != "tracepoint" {
        return known;
    }
    let did = line["did"].as_str().unwrap_or_default().to_owned();
    match (did.as_str(), line["protocol"].as_str(), line["errno"].as_str()) {
        (_, Some("udp"), _) => Some(Blind::NotSeen("UDP")),
        ("bind", ..) => Some(Blind::NotSeen("binds")),
        ("accept", ..) => Some(Blind::NotSeen("accepts")),
        ("connect", _, Some("ENETUNREACH" | "EHOSTUNREACH" | "EAFNOSUPPORT")) => {
            Some(Blind::NotSeen("connects that fail before a packet leaves"))
        }
        ("listen", _, Some(_)) | ("connect", _, Some("EADDRNOTAVAIL")) => {
            line["errno"] = Value::Null;
            Some(Blind::NotKnown("errno of a call that fails at once"))
        }
        // Nobody is left in the namespace to ask through, unless that is done at once.
        ("listen", ..) if line["port"] == DESERTED => {
            remove(line, "result");
            Some(Blind::NotKnown("the result where nobody is left in the namespace"))
        }
        _ => known,
    }
}

fn remove(line: &mut Value, key: &str) {
    if let Some(line) = line.as_object_mut() {
        line.remove(key);
    }
}

/// Waits for a line that says all that this one says, and gives its place.
fn find(agent: &mut Agent, start: usize, taken: &HashSet<usize>, expected: &Value) -> Outcome<usize> {
    // What is left of a process whose executable is missing.
    let mut nameless = expected["process"].clone();
    remove(&mut nameless, "exe");
    remove(&mut nameless, "exe_state");
    let says = |line: &Value| {
        line["event"] == expected["did"]
            && includes(line, expected)
            && (nameless.is_null() || includes(&line["process"], &nameless))
    };
    let at = |agent: &Agent| {
        let lines = agent.seen().iter().enumerate().skip(start);
        let mut found = lines.filter(|(index, line)| !taken.contains(index) && says(line));
        found.next().map(|(index, _)| index)
    };
    if let Some(index) = at(agent) {
        return Ok(index);
    }
    let before = agent.seen().len();
    agent
        .wait_for_new(before, "what the scenario did", says)
        .map_err(|error| explain(agent, start, expected, error.as_ref()))?;
    at(agent).ok_or_else(|| "a line came and went".into())
}

/// Whether a line has all keys of another, with the same values.
fn includes(line: &Value, expected: &Value) -> bool {
    match (line, expected) {
        (Value::Object(keys), Value::Object(expected)) => expected
            .iter()
            .filter(|(key, _)| *key != "did")
            .all(|(key, value)| keys.get(key).is_some_and(|found| includes(found, value)) || may_be_missing(line, key)),
        // A time that only one of the two says as people do.
        (Value::String(time), Value::Number(ticks)) => ticks.as_u64().is_some_and(|ticks| is_at(time, ticks)),
        (line, expected) => line == expected,
    }
}

/// Whether a time is this one, which counts ticks of the clock since boot, each begun.
fn is_at(time: &str, ticks: u64) -> bool {
    let Ok(time) = time.parse::<Timestamp>() else {
        return false;
    };
    let now = Timestamp::now().as_nanosecond();
    let since_boot = clock_gettime(ClockId::Boottime);
    let since_boot = i128::from(since_boot.tv_sec) * 1_000_000_000 + i128::from(since_boot.tv_nsec);
    let after_boot = time.as_nanosecond() - (now - since_boot);
    // The two clocks were read one after the other, here and by the agent.
    (-TICK..2 * TICK).contains(&(after_boot - i128::from(ticks) * TICK))
}

/// Of a connect or an accept the kernel side does not take the executable's path: where the process is gone before it is
/// looked up, the line says that it is missing.
fn may_be_missing(line: &Value, key: &str) -> bool {
    let has_path = !matches!(line["event"].as_str(), Some("connect" | "accept"));
    let is_missing = line["missing"]
        .as_array()
        .is_some_and(|missing| missing.iter().any(|field| field == "exe"));
    key == "process" && !has_path && is_missing
}

/// What comes nearest to a line that was not found, and where it differs.
fn explain(agent: &Agent, start: usize, expected: &Value, error: &dyn Error) -> String {
    let near = agent.seen().iter().skip(start).filter(|line| {
        line["event"] == expected["did"] && (line["socket"] == expected["socket"] || line["port"] == expected["port"])
    });
    let differences: Vec<String> = near
        .take(3)
        .map(|line| {
            let keys = expected.as_object().into_iter().flatten();
            let wrong = keys.filter(|(key, value)| *key != "did" && !includes(&line[key.as_str()], value));
            let wrong: Vec<_> = wrong
                .map(|(key, value)| format!("{key}: {} and not {value}", line[key.as_str()]))
                .collect();
            format!("{} has {}", brief(line), wrong.join(", "))
        })
        .collect();
    let cause: String = error.to_string().lines().take(1).collect();
    if differences.is_empty() {
        let all: Vec<_> = agent.seen().iter().skip(start).map(brief).collect();
        format!("{cause}: {expected}; seen: {}", all.join(" | "))
    } else {
        format!("{cause}: {expected}; {}", differences.join("; "))
    }
}
