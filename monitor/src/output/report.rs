//! An event with all that the stages before found out about it: what every output is made from.

use std::sync::Arc;

use crate::{
    event::{Event, Outcome},
    exit::is_hidden,
    identity::{Missing, ProcessIdentity, SocketUnit},
    policy::{Finding, Verdict},
    registry::Registrations,
};

/// How the agent came to know of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The kernel side reported it.
    Event,
    /// It was there when the agent started.
    Existing,
    /// A look at what listens found it: its event was lost.
    Reconciled,
}

impl Origin {
    /// The name in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Existing => "existing",
            Self::Reconciled => "reconciled",
        }
    }
}

/// What is known about a listener beyond its event.
#[derive(Clone, Debug)]
pub struct Report {
    /// The process that opened it.
    pub process: Arc<ProcessIdentity>,
    /// The socket unit, of a listener that systemd opened for a service.
    pub socket_unit: Option<SocketUnit>,
    /// All registrations of its port.
    pub registrations: Registrations,
    /// Whether the process is one that serves what its port is registered for; `None` where that is not known, and of what is
    /// no listener.
    pub name_matches: Option<bool>,
    /// The verdict.
    pub verdict: Verdict,
    /// The rules that match, the most severe first.
    pub findings: Vec<Finding>,
    /// The process, as metrics and alerts name it.
    pub label: String,
    /// Whether its namespace is the host's.
    pub host_netns: bool,
    /// How the agent came to know of what is told.
    pub origin: Origin,
}

/// What `missing` calls a result that could not be learned.
pub const RESULT: &str = "result";

/// What `missing` calls a process that is not known at all.
pub const PROCESS: &str = "process";

/// What `missing` calls the reason of a failure that could not be learned.
pub const ERRNO: &str = "errno";

/// Bytes that a process's name may have in a label.
const LABEL_MAX: usize = 32;

impl Report {
    /// The names registered for the port, each once, in the registry's order.
    pub fn names(&self) -> Vec<&str> {
        self.registrations.names()
    }

    /// The unit that the socket belongs to: the socket unit, else that of the process.
    pub fn unit(&self) -> Option<&str> {
        let socket = self.socket_unit.as_ref().map(|socket| socket.unit.as_str());
        socket.or(self.process.unit.as_deref())
    }

    /// What could not be learned, by the names of the event's fields.
    pub fn missing(&self, event: &Event) -> Vec<&'static str> {
        let result = match event.outcome {
            Outcome::Unconfirmed => Some(RESULT),
            Outcome::Failed(None) => Some(ERRNO),
            _ => None,
        };
        let process = (!event.opener.is_known()).then_some(PROCESS);
        result
            .into_iter()
            .chain(process)
            .chain(self.process.missing.iter().copied().map(Missing::as_str))
            .collect()
    }
}

/// The process of an event as metrics and alerts name it: see [`process_name`].
pub fn process_label(event: &Event, process: &ProcessIdentity) -> String {
    process_name(process.exe.as_deref(), &event.opener.comm)
}

/// The name of a process: the executable's base name, else the leader's comm, without control characters, cut to 32 bytes.
pub fn process_name(exe: Option<&str>, comm: &str) -> String {
    let base = exe
        .and_then(|exe| exe.rsplit('/').next())
        .filter(|base| !base.is_empty());
    let name = base.unwrap_or(comm);
    let mut label = String::new();
    for letter in name.chars().flat_map(escaped) {
        if label.len() + letter.len_utf8() > LABEL_MAX {
            break;
        }
        label.push(letter);
    }
    if label.is_empty() { "unknown".to_owned() } else { label }
}

/// Control characters, and marks that nobody sees, as `\u{..}`; everything else as it is.
fn escaped(letter: char) -> impl Iterator<Item = char> {
    let (escape, plain) = if is_hidden(letter) {
        (Some(letter.escape_default()), None)
    } else {
        (None, Some(letter))
    };
    escape.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::RecordBytes;

    fn label(exe: Option<&str>, comm: &str) -> String {
        let mut event = RecordBytes::listen().decode();
        event.opener.comm = comm.to_owned();
        let process = ProcessIdentity {
            exe: exe.map(Into::into),
            ..ProcessIdentity::default()
        };
        process_label(&event, &process)
    }

    #[test]
    fn the_executables_base_name_comes_before_the_comm() {
        assert_eq!(label(Some("/usr/bin/python3.11"), "renamed"), "python3.11");
        assert_eq!(label(None, "nc"), "nc");
        assert_eq!(label(None, ""), "unknown");
    }

    #[test]
    fn a_name_that_tries_to_break_the_page_is_escaped_and_cut() {
        assert_eq!(label(None, "a\nb"), "a\\nb");
        assert_eq!(label(Some(&"x".repeat(99)), "nc").len(), 32);
        assert!(label(Some(&"é".repeat(99)), "nc").len() <= 32);
    }
}
