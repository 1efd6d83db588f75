//! A port as its own page shows it.

use super::documents::{Listened, Moment, Other, Registration, Socket};

/// A registration, of all transports that it is the same for.
pub(super) struct Registered {
    /// Separated by commas; empty where it speaks of all.
    pub(super) transports: String,
    pub(super) row: Registration,
    /// The stretch of ports, where it is not of this one alone.
    pub(super) stretch: Option<String>,
}

/// Puts together what differs by nothing but the transport.
pub(super) fn registered(rows: Vec<Registration>) -> Vec<Registered> {
    let mut merged: Vec<Registered> = Vec::new();
    for mut row in rows {
        let transport = row.transport.take().unwrap_or_default();
        match merged.iter_mut().find(|known| known.row == row) {
            Some(known) => {
                known.transports.push_str(", ");
                known.transports.push_str(&transport);
            }
            None => merged.push(Registered {
                transports: transport,
                stretch: row
                    .ports
                    .filter(|ports| ports.first != ports.last)
                    .map(|ports| format!("{}–{}", ports.first, ports.last)),
                row,
            }),
        }
    }
    merged
}

/// A listener with its owner.
pub(super) struct Owner {
    pub(super) socket: Socket,
    pub(super) name: String,
    /// The process and those that started it, the first of all first.
    pub(super) ancestry: Vec<Other>,
    /// Processes that hold it, beside the one that opened it.
    pub(super) holders: Vec<Other>,
    pub(super) cmdline: Option<String>,
    pub(super) age: String,
    /// What could not be learned.
    pub(super) missing: String,
}

impl Owner {
    pub(super) fn of(mut socket: Socket, now: Moment) -> Self {
        let pid = socket.process.as_ref().map(|process| process.pid);
        let mut ancestry = Vec::new();
        let mut cmdline = None;
        if let Some(process) = &mut socket.process {
            ancestry = process.ancestors.take().unwrap_or_default();
            ancestry.reverse();
            ancestry.push(Other {
                pid: process.pid,
                comm: process.comm.clone(),
            });
            cmdline = process.cmdline.take().map(|words| command(&words));
        }
        let holders = std::mem::take(&mut socket.holders);
        Self {
            name: socket.process_name(),
            ancestry,
            holders: holders.into_iter().filter(|holder| Some(holder.pid) != pid).collect(),
            cmdline,
            age: socket.time.age(now),
            missing: socket.missing.join(", "),
            socket,
        }
    }
}

/// A command line as a shell would take it.
fn command(words: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=+.,:/@%".contains(c);
    let quoted = words.iter().map(|word| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// A program that listened here, once or again and again.
pub(super) struct Past {
    pub(super) entry: Listened,
    pub(super) user: String,
    pub(super) place: String,
    pub(super) addresses: String,
    /// Whether it listened before that already.
    pub(super) is_older: bool,
    /// How its end is known, where that is not by its event.
    pub(super) remark: &'static str,
}

impl Past {
    pub(super) fn of(entry: Listened) -> Self {
        let container = || {
            let id = entry.container.as_ref().map(|id| id.chars().take(12).collect());
            entry.pod.clone().or(id)
        };
        let uid = || entry.uid.map(|uid| uid.to_string());
        let addresses: Vec<_> = entry.addresses.iter().map(ToString::to_string).collect();
        Self {
            user: entry.user.clone().or_else(uid).unwrap_or_default(),
            place: entry.unit.clone().or_else(container).unwrap_or_default(),
            addresses: addresses.join(", "),
            is_older: entry.first_origin == "existing",
            remark: match entry.end.as_deref() {
                Some("found") => "at the latest: a look found it gone",
                Some("unwatched") => "or later: no agent watched",
                _ => "",
            },
            entry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_given_to_a_shell() {
        let words = ["nc", "-l", "it's here", "", "a=b"].map(str::to_owned);
        assert_eq!(command(&words), r"nc -l 'it'\''s here' '' a=b");
    }
}
