//! Who listens there now on this host, and how to check that by hand, here and on other systems.

use std::{collections::HashSet, sync::Arc};

use serde::Serialize;

use super::{
    before::Before,
    pick::{self, Pick},
};
use crate::{
    cli::{
        list::{
            gather::{Configured, Looker, SourceArgs},
            json::Listener,
            row::Row,
            text::unseen,
        },
        page::Page,
    },
    event::Protocol,
    exit::printable,
    output::{documents::Listened, sentence::enter},
    registry::{Ports, Transport, free::Host},
};

/// Listeners that are shown; of a long range there may be hundreds.
const SHOWN: usize = 20;

/// Other network namespaces that commands are shown for.
const NAMESPACES: usize = 3;

/// What was found on some ports.
pub(super) struct Now {
    ports: Ports,
    rows: Vec<Row>,
    not_seen: Vec<String>,
    host: Host,
    before: Before,
    /// `None` where listeners of the transport that was asked for are not looked at.
    pick: Option<Pick>,
}

/// The commands that show the same.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// The last ones are for other network namespaces, where something listens on these ports.
    linux: Vec<String>,
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
        let registry = Arc::clone(&configured.registry);
        let before = Before::look(configured.history(), ports, transport);
        let mut looker = Looker::new(sources, configured, false);
        let look = looker.look(true);
        let host = looker.ports(&look, false);
        let asked = |protocol: Protocol| transport.is_none_or(|transport| transport == protocol.into());
        let found = look
            .found
            .into_iter()
            .filter(|found| (ports.first..=ports.last).contains(&found.socket.port) && asked(found.socket.protocol));
        let mut rows: Vec<_> = found.map(|found| looker.describe(found)).collect();
        rows.sort_by_cached_key(Row::order);
        let hidden = looker.hidden(&rows);
        let is_seen = |transport| matches!(transport, Transport::Tcp | Transport::Udp);
        let parts: Vec<_> = look.unseen.into_iter().chain(hidden).collect();
        Self {
            ports,
            rows,
            not_seen: unseen(&parts),
            pick: transport
                .is_none_or(is_seen)
                .then(|| Pick::new(&registry, &host, ports, transport)),
            host,
            before,
        }
    }

    /// The listeners, as `list` writes them.
    pub(super) fn listeners(&self) -> Vec<Listener<'_>> {
        self.rows.iter().map(Listener::from).collect()
    }

    /// What listened before; `None` where there is no history.
    pub(super) fn listened(&self) -> Option<Vec<Listened<'_>>> {
        self.before.listened()
    }

    /// What the host does with its ports.
    pub(super) const fn host(&self) -> &Host {
        &self.host
    }

    /// What the administrator set aside that has some of them in it.
    pub(super) fn reserved(&self) -> impl Iterator<Item = Ports> {
        let touched = |range: &&Ports| range.first <= self.ports.last && self.ports.first <= range.last;
        self.host.reserved.iter().filter(touched).copied()
    }

    /// Whether to pick one of them.
    pub(super) const fn pick(&self) -> Option<&Pick> {
        self.pick.as_ref()
    }

    /// How to check by hand.
    pub(super) fn check(&self) -> Check {
        let mut seen = HashSet::new();
        let others = self.rows.iter().filter(|row| !row.host_netns);
        let pids = others.filter_map(|row| Some((row.netns, row.process()?.pid)));
        let pids = pids.filter(|(netns, _)| seen.insert(*netns)).map(|(_, pid)| pid);
        check(self.ports, &pids.take(NAMESPACES).collect::<Vec<_>>())
    }

    /// What is to be added to the text of an explanation, in 80 columns.
    pub(super) fn text(&self, mut page: Page) -> String {
        page.blank();
        page.paragraph(0, "This host");
        for sentence in pick::automatic(&self.host, self.ports)
            .iter()
            .chain(self.pick.as_ref().map(|pick| &pick.sentence))
        {
            page.hanging("", 2, sentence);
        }
        page.blank();
        if self.pick.is_none() {
            page.paragraph(
                0,
                "Of SCTP and DCCP listeners are not looked at; ss -HlS and ss -Hld show them.",
            );
            return page.into_text();
        }
        if self.rows.is_empty() {
            page.paragraph(0, "Listening on this host now: nothing that can be seen");
        } else {
            page.paragraph(0, "Listening on this host now:");
        }
        for row in self.rows.iter().take(SHOWN) {
            for sentence in sentences(row) {
                page.hanging("", 2, &sentence);
            }
        }
        if let Some(more) = self.rows.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            page.paragraph(2, &format!("and {more} more: portreeve list {}", spelled(self.ports)));
        }
        for part in &self.not_seen {
            page.paragraph(2, &format!("({part})"));
        }
        self.before.write(&mut page);
        let mut text = page.into_text();
        let Check { linux, macos, windows } = self.check();
        text.push_str(&format!(
            "\nCheck by hand:\n  Linux    {}\n  macOS    {macos}\n  Windows  {windows}\n",
            linux.join("\n           ")
        ));
        text
    }
}

/// Who listens, and, where that is known, that it is none that serves what the port is registered for.
fn sentences(row: &Row) -> impl Iterator<Item = String> {
    let unit = row.unit.iter().map(|unit| format!(", {unit}"));
    let netns = (!row.host_netns).then(|| format!(", in the network namespace {}", row.netns));
    let rule = row.rule.iter().map(|rule| format!(" (rule {rule})"));
    let who = format!(
        "{} by {}, user {}{}{}: {}{}",
        row.place(),
        printable(&row.process_word()),
        printable(&row.user().word()),
        printable(&unit.collect::<String>()),
        netns.unwrap_or_default(),
        row.verdict.as_str(),
        rule.collect::<String>()
    );
    let disagrees = row
        .process()
        .filter(|_| row.name_matches == Some(false))
        .map(|process| {
            let names = row.services().join(", ");
            format!(
                "({} listens on a port registered as {})",
                printable(&process.name()),
                printable(&names)
            )
        });
    std::iter::once(who).chain(disagrees)
}

fn spelled(ports: Ports) -> String {
    if ports.first == ports.last {
        ports.first.to_string()
    } else {
        format!("{}-{}", ports.first, ports.last)
    }
}

/// The commands; `elsewhere` are processes in other network namespaces, of which the host's own tools show nothing.
fn check(ports: Ports, elsewhere: &[u32]) -> Check {
    let (first, last, spelled) = (ports.first, ports.last, spelled(ports));
    let (filter, windows) = if first == last {
        (format!("sport = :{first}"), format!("-LocalPort {first}"))
    } else {
        (
            format!("sport >= :{first} and sport <= :{last}"),
            format!("-LocalPort ({first}..{last})"),
        )
    };
    let ss = format!("ss -Hltunp '{filter}'");
    let others = elsewhere.iter().map(|pid| format!("{}{ss}", enter(*pid)));
    let here = [ss.clone(), format!("lsof -nP -i :{spelled}")];
    Check {
        linux: here.into_iter().chain(others).collect(),
        macos: format!("lsof -nP -iTCP:{spelled} -sTCP:LISTEN"),
        windows: format!("Get-NetTCPConnection -State Listen {windows}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn the_commands_are_for_one_port_or_for_a_range() {
        let one = check(
            Ports {
                first: 1992,
                last: 1992,
            },
            &[],
        );
        assert_eq!(one.linux, ["ss -Hltunp 'sport = :1992'", "lsof -nP -i :1992"]);
        assert_eq!(one.windows, "Get-NetTCPConnection -State Listen -LocalPort 1992");
        let range = check(
            Ports {
                first: 6000,
                last: 6010,
            },
            &[812],
        );
        assert_eq!(
            range.linux[2],
            "nsenter -t 812 -n ss -Hltunp 'sport >= :6000 and sport <= :6010'"
        );
        assert_eq!(range.macos, "lsof -nP -iTCP:6000-6010 -sTCP:LISTEN");
        assert_eq!(range.linux[0], "ss -Hltunp 'sport >= :6000 and sport <= :6010'");
    }

    #[test]
    fn the_text_says_who_listens_and_how_to_check_in_80_columns() {
        use crate::cli::list::tests::{nc, row};
        let ports = Ports {
            first: 1992,
            last: 1992,
        };
        let now = Now {
            ports,
            rows: vec![row(nc())],
            not_seen: Vec::new(),
            pick: Some(Pick::new(Registry::embedded(), &Host::default(), ports, None)),
            host: Host::default(),
            before: Before::Unkept,
        };
        let text = now.text(Page::of_width(80));
        assert!(
            text.contains("  tcp 0.0.0.0:1992 by nc[812], user alice, user@1000.service: unexpected (rule"),
            "{text}"
        );
        assert!(
            text.contains("  (nc listens on a port registered as stun-p3, ipsendmsg)\n"),
            "{text}"
        );
        assert!(text.contains("  Linux    ss -Hltunp 'sport = :1992'\n"), "{text}");
        let nothing = Now {
            rows: Vec::new(),
            ..now
        }
        .text(Page::of_width(80));
        assert!(nothing.contains("now: nothing that can be seen\n"), "{nothing}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(nothing.lines().all(|line| line.len() <= 80), "{nothing}");
    }
}
