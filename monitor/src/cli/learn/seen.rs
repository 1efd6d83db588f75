//! What was seen to listen: now, on other hosts, or in the history.

use std::{fs::File, io::Read as _, path::Path};

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde::Deserialize;

use super::judge::Judge;
use crate::{
    event::{Protocol, Scope},
    history::read::Row,
    output::report::process_name,
    policy::Facts,
};

/// A document larger than this is none of `portreeve list --json`: some 2 KiB a listener.
const DOCUMENT_MAX: u64 = 256 << 20;

/// A listener that was seen, or several that differ in nothing that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The host.
    pub host: String,
    pub protocol: String,
    pub port: u16,
    /// Whether the kernel chose the port, where that is known.
    pub automatic: Option<bool>,
    /// In the host's network namespace.
    pub host_netns: bool,
    /// Whose it is; an error says in a few words why that is not known.
    pub owner: Result<Owner, &'static str>,
    /// The process in a word, for comments.
    pub process: String,
    /// The rule that it is against, where it is unexpected; empty where that is for another reason.
    pub unexpected: Option<String>,
    /// Since when it was there, and until when; `None` for not known, and for now.
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
    /// How often it was opened, where something counted.
    pub times: Option<u64>,
}

/// Whose a listener is, by what stays the same from start to start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    pub exe: String,
    pub user: Option<String>,
    /// A service or a socket; a scope has another name each time.
    pub unit: Option<String>,
}

/// A document of `portreeve list --json` or of the agent's API, as far as it matters here.
#[derive(Deserialize)]
struct Document {
    host: String,
    listeners: Vec<Listener>,
}

#[derive(Deserialize)]
struct Listener {
    protocol: Protocol,
    port: u16,
    #[serde(default)]
    automatic: Option<bool>,
    scope: Scope,
    host_netns: bool,
    since: Option<String>,
    process: Option<Process>,
    #[serde(default)]
    missing: Vec<String>,
    container: Option<Container>,
    unit: Option<String>,
    service: Option<String>,
}

#[derive(Deserialize)]
struct Container {
    id: String,
}

#[derive(Deserialize)]
struct Process {
    comm: String,
    exe: Option<String>,
    exe_state: Option<String>,
    user: Option<String>,
    uid: Option<u32>,
}

/// Reads a file of another host, and judges what listened there.
///
/// # Errors
/// One sentence where it cannot be read, or is something else.
pub fn read(path: &Path, judge: &Judge) -> Result<(String, Vec<Seen>)> {
    let open = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(DOCUMENT_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let what = || format!("--merge: {} is no document of `portreeve list --json`", path.display());
    match open() {
        Ok(bytes) => match parse(&bytes, judge) {
            Ok(seen) => Ok(seen),
            Err(error) => bail!("{}: {error}", what()),
        },
        Err(error) => bail!("--merge: cannot read {}: {error}", path.display()),
    }
}

/// Reads a document: the host, and what listens there. Its verdicts are by the rules of whoever wrote it: they are judged anew.
///
/// # Errors
/// Where it is something else.
pub fn parse(document: &[u8], judge: &Judge) -> serde_json::Result<(String, Vec<Seen>)> {
    let Document { host, listeners } = serde_json::from_slice(document)?;
    let seen = listeners.into_iter().map(|listener| listener.seen(&host, judge));
    let seen = seen.collect();
    Ok((host, seen))
}

/// What the history of this host has. A UDP socket on an automatic port belongs mostly to a program that only asks others.
///
/// The verdict in it is by the rules of its day: it is judged anew. `service_of` says what a socket unit starts, which is not kept.
pub fn of_history(
    host: &str,
    rows: Vec<Row>,
    judge: &Judge,
    mut service_of: impl FnMut(&Row) -> Option<String>,
) -> Vec<Seen> {
    let rows = rows
        .into_iter()
        .filter(|row| row.protocol == Protocol::Tcp || row.automatic != Some(true));
    rows.map(|row| {
        let service = service_of(&row);
        let unexpected = judge.unexpected(&facts_of(&row, service.as_deref()));
        of_row(host, row, unexpected)
    })
    .collect()
}

/// What the rules ask, as far as the history has it.
fn facts_of<'a>(row: &'a Row, service: Option<&'a str>) -> Facts<'a> {
    let container = row.container.as_deref();
    Facts {
        automatic: row.automatic,
        exe: row.exe.as_deref(),
        uid: row.uid,
        user: row.user.as_deref(),
        unit: row.unit.as_deref(),
        service,
        container: container.map(|name| name.split_once(':').map_or(name, |(_, id)| id)),
        ..Facts::of_listener(row.protocol, row.port, row.scope, row.host_netns)
    }
}

fn of_row(host: &str, row: Row, unexpected: Option<String>) -> Seen {
    let time = |nanoseconds: i64| Timestamp::from_nanosecond(nanoseconds.into()).ok();
    Seen {
        host: host.to_owned(),
        protocol: row.protocol.as_str().to_owned(),
        port: row.port,
        automatic: row.automatic,
        host_netns: row.host_netns,
        owner: owner(row.exe, row.user, row.uid, row.unit, row.container.is_some()),
        process: row.process,
        unexpected,
        first: time(row.opened),
        last: row.closed.and_then(|(at, _)| time(at)),
        times: Some(1),
    }
}

impl Listener {
    fn seen(self, host: &str, judge: &Judge) -> Seen {
        let hidden = self.missing.iter().any(|missing| missing == "process");
        let unexpected = judge.unexpected(&self.facts(hidden));
        let process = self.process.as_ref().map_or_else(
            || "?".to_owned(),
            |process| process_name(process.exe.as_deref(), &process.comm),
        );
        let in_container = self.container.is_some();
        let owner = match self.process {
            None if hidden => Err("its process may not be seen"),
            None => Err("no process holds it: it is the kernel's own, or on its way from one process to another"),
            Some(process) => process.owner(self.unit, in_container),
        };
        Seen {
            host: host.to_owned(),
            protocol: self.protocol.as_str().to_owned(),
            port: self.port,
            automatic: self.automatic,
            host_netns: self.host_netns,
            owner,
            process,
            unexpected,
            first: self.since.and_then(|since| since.parse().ok()),
            last: None,
            times: None,
        }
    }

    fn facts(&self, hidden: bool) -> Facts<'_> {
        let process = self.process.as_ref();
        Facts {
            automatic: self.automatic,
            exe: process.and_then(|process| process.exe.as_deref()),
            uid: process.and_then(|process| process.uid),
            user: process.and_then(|process| process.user.as_deref()),
            unit: self.unit.as_deref(),
            service: self.service.as_deref(),
            container: self.container.as_ref().map(|container| container.id.as_str()),
            hidden,
            ..Facts::of_listener(self.protocol, self.port, self.scope, self.host_netns)
        }
    }
}

impl Process {
    fn owner(self, unit: Option<String>, in_container: bool) -> Result<Owner, &'static str> {
        if self.exe_state.as_deref() == Some("memfd") {
            return Err("its program runs from memory alone, and has no path to know it by");
        }
        owner(self.exe, self.user, self.uid, unit, in_container)
    }
}

/// Whose it is, by what is known of the process.
///
/// # Errors
/// Why that is not enough.
pub fn owner(
    exe: Option<String>,
    user: Option<String>,
    uid: Option<u32>,
    unit: Option<String>,
    in_container: bool,
) -> Result<Owner, &'static str> {
    let Some(exe) = exe else {
        return Err("the path of its program is not known");
    };
    // What stands for bytes that are no text stands for other such bytes as well.
    let is_text = |text: &str| !text.contains(char::REPLACEMENT_CHARACTER);
    if !is_text(&exe) {
        return Err("the path of its program is no UTF-8, so that no pattern can tell it from others");
    }
    let lasts = |unit: &String| !in_container && (unit.ends_with(".service") || unit.ends_with(".socket"));
    Ok(Owner {
        exe,
        user: user
            .filter(|user| is_text(user))
            .or_else(|| uid.map(|uid| uid.to_string())),
        unit: unit.filter(lasts),
    })
}
