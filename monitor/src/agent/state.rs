//! What outlives the agent: the alerts that fire, so that a restart repeats none and forgets none.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    event::Protocol,
    policy::{
        Severity,
        alerts::{Alert, AlertKey},
    },
};

/// Name of the file in the folder.
const FILE: &str = "firing.json";

/// Version of the file's shape.
const SCHEMA: u32 = 1;

/// Bytes of the file that are read: the alerts that may fire take less.
const SIZE_MAX: u64 = 4 << 20;

#[derive(Serialize, Deserialize)]
struct Document {
    schema: u32,
    /// Times are of this boot, and namespaces too.
    boot: String,
    alerts: Vec<Stored>,
}

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    rule: String,
    severity: Severity,
    protocol: String,
    port: u16,
    process: String,
    netns: u32,
    fired: u64,
    delivered: u64,
}

impl Stored {
    fn of(alert: &Alert) -> Option<Self> {
        let AlertKey {
            rule,
            protocol,
            port,
            process,
            netns,
        } = &alert.key;
        Some(Self {
            rule: rule.clone(),
            severity: alert.severity,
            protocol: protocol.as_str().to_owned(),
            port: *port,
            process: process.clone(),
            netns: *netns,
            fired: alert.fired,
            // One that nobody took is to be told.
            delivered: alert.delivered()?,
        })
    }

    fn alert(self) -> Option<Alert> {
        let protocol = match self.protocol.as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        let key = AlertKey {
            rule: self.rule,
            protocol,
            port: self.port,
            process: self.process,
            netns: self.netns,
        };
        Some(Alert::of_before(key, self.severity, self.fired, self.delivered))
    }
}

/// Keeps the alerts that fire in a file.
#[derive(Debug)]
pub(super) struct State {
    /// `None` where there is no folder for it.
    folder: Option<PathBuf>,
    boot: String,
    written: Vec<Stored>,
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
            written: Vec::new(),
            failed: false,
        }
    }

    /// The alerts that fired when the last agent of this boot ended.
    pub(super) fn read(&mut self) -> Vec<Alert> {
        let Some(path) = self.folder.as_ref().map(|folder| folder.join(FILE)) else {
            return Vec::new();
        };
        let document = match read(&path) {
            Ok(document) => document,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                ::log::warn!(
                    "cannot read which alerts fired before, in {}: {error}; they are told again",
                    path.display()
                );
                return Vec::new();
            }
        };
        if document.schema != SCHEMA || document.boot != self.boot {
            return Vec::new();
        }
        self.written.clone_from(&document.alerts);
        document.alerts.into_iter().filter_map(Stored::alert).collect()
    }

    /// Writes the alerts that fire, where that changed.
    pub(super) fn write<'a>(&mut self, firing: impl Iterator<Item = &'a Alert>) {
        let Some(folder) = &self.folder else { return };
        let mut alerts: Vec<Stored> = firing.filter_map(Stored::of).collect();
        alerts.sort_by(|one, other| (one.fired, &one.rule, one.port).cmp(&(other.fired, &other.rule, other.port)));
        if alerts == self.written {
            return;
        }
        let document = Document {
            schema: SCHEMA,
            boot: self.boot.clone(),
            alerts,
        };
        match write(folder, &document) {
            Ok(()) => {
                self.failed = false;
                self.written = document.alerts;
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
    Ok(serde_json::from_slice(&text)?)
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
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{event::SocketKey, policy::alerts::Alerts};

    fn key(port: u16) -> AlertKey {
        AlertKey {
            rule: "dormant-port".to_owned(),
            protocol: Protocol::Tcp,
            port,
            process: "nc\n\"".to_owned(),
            netns: 7,
        }
    }

    fn firing() -> Alerts {
        let mut alerts = Alerts::default();
        let keep = Duration::from_secs(900);
        for port in [1992, 1990] {
            alerts.opened(key(port), Severity::Critical, keep, SocketKey::new(u64::from(port)), 5);
        }
        alerts.delivered(&key(1992), 6);
        alerts
    }

    fn state(folder: &Path, boot: &str) -> State {
        State::new(folder, true, boot.to_owned())
    }

    #[test]
    fn what_was_delivered_is_read_again_in_the_same_boot_alone() {
        let folder = tempfile::tempdir().unwrap();
        state(folder.path(), "one").write(firing().firing());
        let read = state(folder.path(), "one").read();
        assert_eq!(read.len(), 1, "what nobody took is to be told");
        assert_eq!(
            (&read[0].key, read[0].fired, read[0].delivered()),
            (&key(1992), 5, Some(6))
        );
        assert!(state(folder.path(), "two").read().is_empty());
    }

    #[test]
    fn a_file_that_is_cut_short_or_something_else_gives_nothing_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for text in [
            &b""[..],
            b"{\"schema\":1,\"boot\":\"one\",\"alerts\":[{",
            b"[]",
            b"\xff",
        ] {
            fs::write(folder.path().join(FILE), text).unwrap();
            let mut state = state(folder.path(), "one");
            assert!(state.read().is_empty());
            state.write(firing().firing());
            assert_eq!(state.read().len(), 1);
        }
    }

    #[test]
    fn without_a_folder_nothing_is_kept_and_nothing_fails() {
        let mut state = State::new(Path::new("/nowhere/at/all"), false, "one".to_owned());
        state.write(firing().firing());
        assert!(state.read().is_empty());
    }

    #[test]
    fn others_may_not_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        state(folder.path(), "one").write(firing().firing());
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
