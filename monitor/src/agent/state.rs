//! What outlives the agent: the alerts that fire, and which receiver knows of which, so that a restart repeats none and forgets
//! none.

mod reserved;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use self::reserved::{Reserved, Room};
use crate::{
    event::Protocol,
    identity::Clock,
    output::notify::{
        Known,
        outbox::{Ended, Kept, Outgoing},
        outgoing,
    },
    policy::{
        Severity,
        alerts::{Alert, AlertKey},
        notice::{Notice, Over},
    },
};

/// Name of the file in the folder.
const FILE: &str = "firing.json";

/// Version of the file's shape.
const SCHEMA: u32 = 2;

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
    /// When the last thing happened that opened no listener.
    #[serde(default)]
    last: Option<u64>,
    /// When it fired, by the wall clock of then: receivers know it by that.
    starts_at: String,
    ended: Option<u64>,
    #[serde(default)]
    why: Over,
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
            pending: alert.pending,
            delivered: alert.delivered(),
            last: alert.last(),
            ..Stored::of(&outgoing(alert, clock), alert.keep(), None)
        };
        all.insert((AlertKey::clone(&alert.key), alert.severity, false), stored);
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
    fn of(alert: &Outgoing, keep: Duration, ended: Option<Ended>) -> Self {
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
            fired: alert.fired,
            pending: false,
            delivered: None,
            last: None,
            starts_at: alert.starts_at.to_string(),
            ended: ended.map(|ended| ended.at),
            why: ended.map_or(Over::default(), |ended| ended.why),
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
            (self.delivered, self.last),
        ))
    }

    /// As receivers know it.
    pub(super) fn outgoing(&self) -> Option<Outgoing> {
        Some(Outgoing {
            key: self.key()?,
            severity: self.severity,
            notice: self.notice.clone().into(),
            fired: self.fired,
            starts_at: self.starts_at.parse().ok()?,
        })
    }

    /// How it ended, if it did.
    pub(super) fn ended(&self) -> Option<Ended> {
        self.ended.map(|at| Ended { at, why: self.why })
    }

    /// Whether somebody accepted it.
    fn is_known(&self) -> bool {
        self.receivers.values().any(|known| known.accepted.is_some())
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
        stored.last = stored.last.and(Some(0));
        stored
    }
}

/// Keeps the alerts that fire in a file.
#[derive(Debug)]
pub(super) struct State {
    /// `None` where there is no folder for it.
    folder: Option<PathBuf>,
    boot: String,
    /// `None` while another agent has the folder.
    file: Option<Reserved>,
    /// The number of the changes that were written; `None` where not all of it was.
    written: Option<u64>,
    /// Whether there is room for more than was written.
    has_room: bool,
    /// What is wrong and was said.
    said: Option<Trouble>,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Another agent has the folder.
    InUse,
    /// The disk is full, and what fires still fits.
    NoReserve,
    /// Not all that fires fits.
    Full,
    /// It cannot be written, or locked.
    Io,
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
            file: None,
            written: None,
            has_room: false,
            said: None,
        }
    }

    /// Takes the folder for this agent alone. Says whether it just did, so that what the last agent left is to be read.
    pub(super) fn claim(&mut self) -> bool {
        let (Some(folder), None) = (&self.folder, &self.file) else {
            return false;
        };
        let shown = folder.display().to_string();
        match Reserved::claim(folder, FILE) {
            Ok(Some(file)) => {
                self.file = Some(file);
                if self.said.take().is_some() {
                    ::log::info!("which alerts fire is kept in {shown} from now on");
                }
                return true;
            }
            Ok(None) => self.complain(Trouble::InUse, || {
                format!(
                    "another agent keeps in {shown} which alerts fire, so this one does not, and a restart would tell them again: \
                     stop the other one, or name a folder of its own in [agent] state"
                )
            }),
            Err(error) => self.complain(Trouble::Io, || unkept(&shown, &error)),
        }
        false
    }

    /// What the last agent left, and whether it was in this boot.
    pub(super) fn read(&self) -> (Vec<Stored>, bool) {
        let nothing = (Vec::new(), true);
        let (Some(file), Some(folder)) = (&self.file, &self.folder) else {
            return nothing;
        };
        let mut wrong = None;
        match file.read() {
            Ok(texts) => {
                for text in texts.iter().filter(|text| !text.is_empty()) {
                    match parse(text) {
                        Ok(document) => return (document.alerts, document.boot == self.boot),
                        Err(error) => wrong = wrong.or(Some(error)),
                    }
                }
            }
            Err(error) => wrong = Some(error),
        }
        if let Some(error) = wrong {
            ::log::warn!(
                "cannot read which alerts fired before, in {}: {error}; they are told again",
                folder.join(FILE).display()
            );
        }
        nothing
    }

    /// Writes what is to be kept, where its number of changes is another one than the last time, or not all of it was written. To
    /// be called at each change and once a second: a disk may have room by then.
    pub(super) fn write(&mut self, changes: u64, make: impl FnOnce() -> Vec<Stored>) {
        let (Some(folder), Some(file)) = (&self.folder, &self.file) else {
            return;
        };
        if self.written == Some(changes) && self.has_room {
            return;
        }
        let shown = folder.display().to_string();
        let document = Document {
            schema: SCHEMA,
            boot: self.boot.clone(),
            alerts: make(),
        };
        match write(file, document) {
            Ok(Written { left_out: 0, full }) => {
                (self.written, self.has_room) = (Some(changes), full.is_none());
                match full {
                    Some(error) => self.complain(Trouble::NoReserve, || {
                        format!(
                            "there is no room in {shown} to keep further alerts that fire: {error}; make some, or a restart may \
                             forget to tell that they are over"
                        )
                    }),
                    None => self.well(&shown),
                }
            }
            Ok(Written { left_out, full }) => {
                self.written = None;
                let reason = full.map_or_else(String::new, |error| format!(": {error}"));
                self.complain(Trouble::Full, || {
                    format!(
                        "there is no room in {shown} to keep {left_out} of the alerts that fire{reason}; make some, or a restart \
                         tells them again, and forgets to tell that they are over"
                    )
                });
            }
            Err(error) => {
                self.written = None;
                self.complain(Trouble::Io, || unkept(&shown, &error));
            }
        }
    }

    /// Says what is wrong, where it is not what was said before.
    fn complain(&mut self, trouble: Trouble, sentence: impl FnOnce() -> String) {
        if self.said != Some(trouble) {
            ::log::error!("{}", sentence());
            self.said = Some(trouble);
        }
    }

    fn well(&mut self, shown: &str) {
        if self.said.take().is_some() {
            ::log::info!("which alerts fire is kept in {shown} again");
        }
    }
}

fn unkept(shown: &str, error: &io::Error) -> String {
    format!(
        "cannot keep which alerts fire, in {shown}: {error}; it is tried again each second, and a restart until then tells them \
         again, and forgets to tell that they are over"
    )
}

fn parse(text: &[u8]) -> io::Result<Document> {
    // An older agent kept less, and what it kept cannot be sent.
    let document: Document = serde_json::from_slice(text)?;
    if document.schema != SCHEMA {
        return Err(io::Error::other(format!(
            "it has the schema {}, and this agent writes {SCHEMA}",
            document.schema
        )));
    }
    Ok(document)
}

/// What came of writing.
struct Written {
    /// Alerts that found no room.
    left_out: usize,
    /// Why there is no room for more.
    full: Option<io::Error>,
}

fn write(file: &Reserved, mut document: Document) -> io::Result<Written> {
    let mut text = serde_json::to_vec(&document)?;
    let Room { bytes, mut full } = file.take_room(text.len() as u64)?;
    let (room, all) = (usize::try_from(bytes).unwrap_or(usize::MAX), document.alerts.len());
    if text.len() > room {
        // Whoever was told of an alert is to be told that it is over; of the others the next agent knows as they still listen.
        document.alerts.sort_by_key(|stored| !stored.is_known());
    }
    while text.len() > room {
        let fit = document.alerts.len() * room / text.len();
        if document.alerts.is_empty() {
            return Err(full.unwrap_or_else(|| io::ErrorKind::StorageFull.into()));
        }
        document.alerts.truncate(fit.min(document.alerts.len() - 1));
        text = serde_json::to_vec(&document)?;
    }
    file.write(&text)?;
    // Whoever writes next finds room that was taken now.
    full = full.or(file.take_room(text.len() as u64)?.full);
    Ok(Written {
        left_out: all - document.alerts.len(),
        full,
    })
}

#[cfg(test)]
mod tests;
