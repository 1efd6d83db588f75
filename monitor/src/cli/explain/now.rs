//! Who listens there now on this host, and how to check that by hand, here and on other systems.

use serde::Serialize;

use crate::{
    cli::list::{
        gather::{Configured, Looker, SourceArgs},
        json::Listener,
        row::Row,
        text::unseen,
    },
    event::Protocol,
    exit::printable,
    registry::{Ports, Transport},
};

/// Listeners that are shown; of a long range there may be hundreds.
const SHOWN: usize = 20;

/// What was found on some ports.
pub(super) struct Now {
    ports: Ports,
    rows: Vec<Row>,
    not_seen: Vec<String>,
}

/// The commands that show the same.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    linux: [String; 2],
    macos: String,
    windows: String,
}

impl Now {
    /// Looks at this host.
    pub(super) fn look(
        sources: &SourceArgs,
        configured: Configured,
        ports: Ports,
        transport: Option<Transport>,
    ) -> Self {
        let mut looker = Looker::new(sources, configured, false);
        let look = looker.look(true);
        let asked = |protocol: Protocol| transport.is_none_or(|transport| transport == protocol.into());
        let found = look
            .found
            .into_iter()
            .filter(|found| (ports.first..=ports.last).contains(&found.socket.port) && asked(found.socket.protocol));
        let mut rows: Vec<_> = found.map(|found| looker.describe(found)).collect();
        rows.sort_by_cached_key(Row::order);
        let hidden = looker.hidden(&rows);
        let parts: Vec<_> = look.unseen.into_iter().chain(hidden).collect();
        Self {
            ports,
            rows,
            not_seen: unseen(&parts),
        }
    }

    /// The listeners, as `list` writes them.
    pub(super) fn listeners(&self) -> Vec<Listener<'_>> {
        self.rows.iter().map(Listener::from).collect()
    }

    /// How to check by hand.
    pub(super) fn check(&self) -> Check {
        check(self.ports)
    }

    /// What is to be added to the text of an explanation, in 80 columns but for long names.
    pub(super) fn text(&self) -> String {
        let mut text = "\nListening on this host now:".to_owned();
        if self.rows.is_empty() {
            text.push_str(" nothing that can be seen");
        }
        text.push('\n');
        for row in self.rows.iter().take(SHOWN) {
            let place = [&row.unit].into_iter().flatten().map(|unit| format!(", {unit}"));
            let rule = row.rule.iter().map(|rule| format!(" (rule {rule})"));
            text.push_str(&format!(
                "  {} by {}, user {}{}: {}{}\n",
                row.place(),
                printable(&row.process_word()),
                printable(&row.user().word()),
                printable(&place.collect::<String>()),
                row.verdict.as_str(),
                rule.collect::<String>()
            ));
        }
        if let Some(more) = self.rows.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            text.push_str(&format!("  and {more} more: portreeve list {}\n", spelled(self.ports)));
        }
        for part in &self.not_seen {
            text.push_str(&format!("  ({part})\n"));
        }
        let Check {
            linux: [ss, lsof],
            macos,
            windows,
        } = self.check();
        text.push_str(&format!(
            "\nCheck by hand:\n  Linux    {ss}\n           {lsof}\n  macOS    {macos}\n  Windows  {windows}\n"
        ));
        text
    }
}

fn spelled(ports: Ports) -> String {
    if ports.first == ports.last {
        ports.first.to_string()
    } else {
        format!("{}-{}", ports.first, ports.last)
    }
}

fn check(ports: Ports) -> Check {
    let (first, last, spelled) = (ports.first, ports.last, spelled(ports));
    let (filter, windows) = if first == last {
        (format!("sport = :{first}"), format!("-LocalPort {first}"))
    } else {
        (
            format!("sport >= :{first} and sport <= :{last}"),
            format!("-LocalPort ({first}..{last})"),
        )
    };
    Check {
        linux: [format!("ss -Hltunp '{filter}'"), format!("lsof -nP -i :{spelled}")],
        macos: format!("lsof -nP -iTCP:{spelled} -sTCP:LISTEN"),
        windows: format!("Get-NetTCPConnection -State Listen {windows}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_for_one_port_or_for_a_range() {
        let one = check(Ports {
            first: 1992,
            last: 1992,
        });
        assert_eq!(one.linux, ["ss -Hltunp 'sport = :1992'", "lsof -nP -i :1992"]);
        assert_eq!(one.windows, "Get-NetTCPConnection -State Listen -LocalPort 1992");
        let range = check(Ports {
            first: 6000,
            last: 6010,
        });
        assert_eq!(range.macos, "lsof -nP -iTCP:6000-6010 -sTCP:LISTEN");
        assert_eq!(range.linux[0], "ss -Hltunp 'sport >= :6000 and sport <= :6010'");
    }

    #[test]
    fn the_text_says_who_listens_and_how_to_check_in_80_columns() {
        use crate::cli::list::tests::{nc, row};
        let now = Now {
            ports: Ports {
                first: 1992,
                last: 1992,
            },
            rows: vec![row(nc())],
            not_seen: Vec::new(),
        };
        let text = now.text();
        assert!(
            text.contains("  tcp 0.0.0.0:1992 by nc[812], user alice, user@1000.service: unexpected (rule"),
            "{text}"
        );
        assert!(text.contains("  Linux    ss -Hltunp 'sport = :1992'\n"), "{text}");
        let nothing = Now {
            rows: Vec::new(),
            ..now
        }
        .text();
        assert!(nothing.contains("now: nothing that can be seen\n"), "{nothing}");
        assert!(nothing.lines().all(|line| line.len() <= 80), "{nothing}");
    }
}
