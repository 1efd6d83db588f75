//! Alerts in systemd's journal, with fields of their own (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use std::{io, os::unix::net::UnixDatagram, path::PathBuf, time::Duration};

use super::{
    notify::{
        client::Failure,
        outbox::{Parcel, Status, Style},
        worker::Deliver,
    },
    sentence,
};
use crate::policy::{Severity, notice::Over};

/// Where the journal takes messages.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// `MESSAGE_ID` of an alert that fires: for `journalctl MESSAGE_ID=…`, and for catalogues.
const FIRING: &str = "6b0c3d0e5a8f4d7b9f7c1e1992c0a11e";

/// `MESSAGE_ID` of the end of an alert.
const RESOLVED: &str = "d1f4a6b27c3e4f0d8a9b5e1992c0a120";

/// How it wants to be told: each change once, when it happens.
pub const STYLE: Style = Style {
    resend: None,
    batch: 1,
    keeps: false,
};

/// Writes to the journal.
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    /// That takes messages at this socket.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn sentence(&self, error: &io::Error) -> String {
        format!(
            "cannot write to {}: {error}; see that systemd's journal runs here, or switch [journal] off",
            self.path.display()
        )
    }

    fn send(&self, message: &[u8]) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        // A journal that is stuck must not hold the thread for ever.
        socket.set_write_timeout(Some(Duration::from_secs(3)))?;
        socket.send_to(message, &self.path)?;
        Ok(())
    }
}

impl Deliver for Journal {
    fn deliver(&mut self, parcels: &[Parcel]) -> Result<(), Failure> {
        for parcel in parcels {
            self.send(&message(parcel))
                .map_err(|error| Failure::Later(Duration::ZERO, self.sentence(&error)))?;
        }
        Ok(())
    }
}

/// The message of an alert: the usual fields, and one for each label and annotation.
fn message(parcel: &Parcel) -> Vec<u8> {
    let (alert, notice) = (&parcel.alert, &parcel.alert.notice);
    let is_over = parcel.status == Status::Resolved;
    let text = if is_over {
        let why = parcel.ended.map_or(Over::default(), |ended| ended.why);
        sentence::resolved(&alert.key, why, &alert.starts_at.to_string())
    } else {
        format!("alert: {}", notice.summary())
    };
    // As syslog numbers them: critical, warning, notice, informational.
    let priority = match (is_over, alert.severity) {
        (false, Severity::Critical) => "2",
        (false, Severity::Warning) => "4",
        (false, Severity::Info) => "5",
        (true, _) => "6",
    };
    let mut message = Vec::new();
    for (name, value) in [
        ("MESSAGE", text.as_str()),
        ("PRIORITY", priority),
        ("MESSAGE_ID", if is_over { RESOLVED } else { FIRING }),
        ("SYSLOG_IDENTIFIER", "portreeve"),
        ("PORTREEVE_STATUS", parcel.status.as_str()),
        ("PORTREEVE_ALERT_ID", &alert.id()),
    ] {
        field(&mut message, name, value);
    }
    for (name, value) in notice.labels.iter().chain(&notice.annotations) {
        field(&mut message, &format!("PORTREEVE_{}", name.to_ascii_uppercase()), value);
    }
    message
}

/// A field. A value with a line break in it has its length before it, so that nobody's text can be taken for a further field.
fn field(message: &mut Vec<u8>, name: &str, value: &str) {
    message.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        message.push(b'\n');
        message.extend_from_slice(&u64::try_from(value.len()).unwrap_or(0).to_le_bytes());
    } else {
        message.push(b'=');
    }
    message.extend_from_slice(value.as_bytes());
    message.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{identity::Clock, output::samples::parcel};

    #[test]
    fn an_alert_arrives_with_its_fields() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let firing = parcel(Clock::read());
        let resolved = Parcel {
            status: Status::Resolved,
            ..firing.clone()
        };
        Journal::new(path).deliver(&[firing, resolved]).unwrap();
        let receive = || {
            let mut message = vec![0; 65_536];
            let length = journal.recv(&mut message).unwrap();
            String::from_utf8_lossy(&message[..length]).into_owned()
        };
        let message = receive();
        for line in [
            "PRIORITY=2",
            "MESSAGE_ID=6b0c3d0e5a8f4d7b9f7c1e1992c0a11e",
            "PORTREEVE_RULE=dormant-port",
            "PORTREEVE_PORT=1992",
            "PORTREEVE_PROTOCOL=tcp",
            "PORTREEVE_PID=812",
            "PORTREEVE_STATUS=firing",
        ] {
            assert!(message.lines().any(|found| found == line), "{line}\n{message}");
        }
        assert!(message.starts_with("MESSAGE=alert: python3"), "{message}");
        // The block for "this is fine" has several lines.
        assert!(message.contains("\nPORTREEVE_EXPECT\n"), "{message}");
        let message = receive();
        assert!(message.contains("PRIORITY=6\n") && message.contains("PORTREEVE_STATUS=resolved\n"));
        let begin = "MESSAGE=alert resolved: python3.11 no longer listens on 1992/tcp in the network namespace ";
        assert!(
            message.starts_with(begin) && message.contains("; it fired 2100-11-23T03:20:00Z\n"),
            "{message}"
        );
    }

    #[test]
    fn a_value_with_line_breaks_forges_no_field() {
        let mut message = Vec::new();
        field(&mut message, "EXE", "/tmp/a\nPRIORITY=7");
        assert_eq!(message, b"EXE\n\x11\0\0\0\0\0\0\0/tmp/a\nPRIORITY=7\n");
    }

    #[test]
    fn a_journal_that_is_not_there_is_a_failure_to_try_again() {
        let mut journal = Journal::new("/nowhere/at/all".into());
        let failure = journal.deliver(&[parcel(Clock::read())]).unwrap_err();
        let Failure::Later(_, sentence) = failure else {
            panic!("{failure:?}")
        };
        assert!(sentence.starts_with("cannot write to /nowhere/at/all: "), "{sentence}");
    }
}
