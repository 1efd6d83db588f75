//! What outlives the agent: the alerts that fire, and which receiver knows of which, so that a restart repeats none and forgets
//! none.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    event::Protocol,
    identity::Clock,
    output::notify::{
        Known,
        outbox::{Kept, Outgoing},
        outgoing,
    },
    policy::{
        Severity,
        alerts::{Alert, AlertKey},
        notice::Notice,
    },
};

/// Name of the file in the folder.
const FILE: &str = "firing.json";

/// Version of the file's shape.
const SCHEMA: u32 = 2;

/// Bytes of the file that are read: the alerts that may fire take less.
const SIZE_MAX: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Document {
    schema: u32,
    /// Times are of this boot, and namespaces too.
    boot: String,
    alerts: Vec<Stored>,
}

/// An alert that fires, is pending, or whose end some receiver is still to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) rule: String,
    severity: Severity,
    protocol: String,
    port: u16,
    process: String,
    netns: u32,
    fired: u64,
    pub(super) pending: bool,
    delivered: Option<u64>,
    /// When it fired, by the wall clock of then: receivers know it by that.
    starts_at: String,
    pub(super) ended: Option<u64>,
    /// `keep_firing_for`, in nanoseconds.
    keep: u64,
    notice: Notice,
    /// What receivers know of it, by name.
    pub(super) receivers: BTreeMap<String, Known>,
}

/// What is to be kept: the alerts that fire or are pending, and what receivers know.
pub(super) fn stored<'a>(
    alerts: impl Iterator<Item = &'a Alert>,
    receivers: &BTreeMap<String, Vec<Kept>>,
    clock: Clock,
) -> Vec<Stored> {
    let mut all = BTreeMap::new();
    for alert in alerts {
        let stored = Stored {
            fired: alert.fired,
            pending: alert.pending,
            delivered: alert.delivered(),
            ..Stored::of(&outgoing(alert, clock), alert.keep(), None)
        };
        all.insert((alert.key.clone(), alert.severity, false), stored);
    }
    for (name, kept) in receivers {
        for kept in kept {
            let slot = (kept.alert.key.clone(), kept.alert.severity, kept.ended.is_some());
            let stored = all
                .entry(slot)
                .or_insert_with(|| Stored::of(&kept.alert, kept.keep, kept.ended));
            if kept.accepted.is_some() {
                stored.starts_at = kept.alert.starts_at.to_string();
            }
            let known = Known {
                accepted: kept.accepted,
            };
            stored.receivers.insert(name.clone(), known);
        }
    }
    all.into_values().collect()
}

impl Stored {
    fn of(alert: &Outgoing, keep: Duration, ended: Option<u64>) -> Self {
        let AlertKey {
            rule,
            protocol,
            port,
            process,
            netns,
        } = &alert.key;
        Self {
            rule: rule.clone(),
            severity: alert.severity,
            protocol: protocol.as_str().to_owned(),
            port: *port,
            process: process.clone(),
            netns: *netns,
            fired: 0,
            pending: false,
            delivered: None,
            starts_at: alert.starts_at.to_string(),
            ended,
            keep: u64::try_from(keep.as_nanos()).unwrap_or(u64::MAX),
            notice: Notice::clone(&alert.notice),
            receivers: BTreeMap::new(),
        }
    }

    fn key(&self) -> Option<AlertKey> {
        let protocol = match self.protocol.as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        Some(AlertKey {
            rule: self.rule.clone(),
            protocol,
            port: self.port,
            process: self.process.clone(),
            netns: self.netns,
        })
    }

    /// As the rules know it.
    pub(super) fn alert(&self) -> Option<Alert> {
        let (notice, times) = (self.notice.clone(), (self.fired, self.pending));
        Some(Alert::of_before(
            self.key()?,
            self.severity,
            notice,
            times,
            self.delivered,
        ))
    }

    /// As receivers know it.
    pub(super) fn outgoing(&self) -> Option<Outgoing> {
        Some(Outgoing {
            key: self.key()?,
            severity: self.severity,
            notice: self.notice.clone().into(),
            starts_at: self.starts_at.parse().ok()?,
        })
    }

    /// How long it was to fire at least.
    pub(super) fn keep(&self) -> Duration {
        Duration::from_nanos(self.keep)
    }

    /// As it is in another boot, whose clock began again: what was accepted was accepted long ago.
    pub(super) fn of_another_boot(&self) -> Self {
        let mut stored = self.clone();
        stored.fired = 0;
        stored.delivered = stored.delivered.and(Some(0));
        for known in stored.receivers.values_mut() {
            known.accepted = known.accepted.and(Some(0));
        }
        stored.ended = stored.ended.and(Some(0));
        stored
    }
}

/// Keeps the alerts that fire in a file.
#[derive(Debug)]
pub(super) struct State {
    /// `None` where there is no folder for it.
    folder: Option<PathBuf>,
    boot: String,
    /// The number of the changes that were written; `None` before the first time.
    written: Option<u64>,
    /// Whether the last write failed, which is said once.
    failed: bool,
}

impl State {
    /// In `folder`, or nowhere where it is not there and nobody asked for it by name.
    pub(super) fn new(folder: &Path, asked: bool, boot: String) -> Self {
        let is_there = folder.is_dir();
        if asked && !is_there {
            ::log::warn!(
                "[agent] state: {} is no folder: after a restart the agent tells again which alerts fire",
                folder.display()
            );
        }
        Self {
            folder: is_there.then(|| folder.to_owned()),
            boot,
            written: None,
            failed: false,
        }
    }

    /// What the last agent left, and whether it was in this boot.
    pub(super) fn read(&self) -> (Vec<Stored>, bool) {
        let nothing = (Vec::new(), true);
        let Some(path) = self.folder.as_ref().map(|folder| folder.join(FILE)) else {
            return nothing;
        };
        let document = match read(&path) {
            Ok(document) => document,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return nothing,
            Err(error) => {
                ::log::warn!(
                    "cannot read which alerts fired before, in {}: {error}; they are told again",
                    path.display()
                );
                return nothing;
            }
        };
        (document.alerts, document.boot == self.boot)
    }

    /// Writes what is to be kept, where its number of changes is another one than the last time.
    pub(super) fn write(&mut self, changes: u64, make: impl FnOnce() -> Vec<Stored>) {
        let Some(folder) = &self.folder else { return };
        if self.written == Some(changes) {
            return;
        }
        let document = Document {
            schema: SCHEMA,
            boot: self.boot.clone(),
            alerts: make(),
        };
        match write(folder, &document) {
            Ok(()) => {
                self.failed = false;
                self.written = Some(changes);
            }
            // It is tried again at the next tick: a disk may have room by then.
            Err(error) if !self.failed => {
                ::log::warn!(
                    "cannot keep which alerts fire, in {}: {error}; a restart would tell them again",
                    folder.display()
                );
                self.failed = true;
            }
            Err(_) => {}
        }
    }
}

fn read(path: &Path) -> io::Result<Document> {
    let mut text = Vec::new();
    File::open(path)?.take(SIZE_MAX).read_to_end(&mut text)?;
    // An older agent kept less, and what it kept cannot be sent.
    let document: Document = serde_json::from_slice(&text)?;
    if document.schema != SCHEMA {
        return Err(io::Error::other(format!(
            "it has the schema {}, and this agent writes {SCHEMA}",
            document.schema
        )));
    }
    Ok(document)
}

/// Beside it first, so that there is a whole file whatever happens.
fn write(folder: &Path, document: &Document) -> io::Result<()> {
    let new = folder.join(format!("{FILE}.new"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&serde_json::to_vec(document)?)?;
    drop(file);
    fs::rename(new, folder.join(FILE))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
