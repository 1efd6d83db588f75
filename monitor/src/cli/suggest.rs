//! `portreeve suggest`: ports that are good to pick on this host.

use std::{process::ExitCode, sync::Arc};

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use super::{
    list::{
        gather::{Looker, SourceArgs},
        row::{Unseen, What},
        text::unseen,
    },
    page::{Page, numbers},
    print::{self, Stretch, print, say},
};
use crate::{
    exit::{self, UsageError},
    registry::{
        Ports, RangeClass, Registry, Transport,
        free::{APART, Host, Suggestion, Suggestions, suggest},
    },
};

/// The flags of `suggest`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many ports to name
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,

    /// The lowest port to name
    #[arg(long, value_name = "PORT", default_value = "10000", value_parser = clap::value_parser!(u16).range(1..))]
    from: u16,

    /// The highest port to name [default: 49151, where IANA's part ends; beyond it 65535]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    to: Option<u16>,

    /// The one protocol that matters; both by default
    #[arg(long, value_enum)]
    protocol: Option<Protocol>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    sources: SourceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
}

/// Prints the ports, each with its reason.
///
/// # Errors
/// Where arguments or configuration are wrong, or stdout cannot be written. Where no port is good, the exit code says
/// that it failed, and stderr why.
pub fn run(args: &Args) -> Result<ExitCode> {
    let range = range(args)?;
    let configured = args.sources.read()?;
    let registry = Arc::clone(&configured.registry);
    let mut looker = Looker::new(&args.sources, configured, false);
    // Who holds the ports does not matter, which makes it quick.
    let look = looker.look(false);
    let host = looker.ports(&look, true);
    // Of a UDP or TCP socket whose process is not seen the port is seen all the same.
    let blind: Vec<Unseen> = look
        .unseen
        .into_iter()
        .filter(|unseen| unseen.what == What::Namespace)
        .collect();
    let answer = Answer {
        range,
        transports: match args.protocol {
            None => vec![Transport::Tcp, Transport::Udp],
            Some(Protocol::Tcp) => vec![Transport::Tcp],
            Some(Protocol::Udp) => vec![Transport::Udp],
        },
        wanted: usize::try_from(args.count).unwrap_or(usize::MAX),
        host,
        unseen: blind,
    };
    let found = answer.find(&registry);
    if args.json {
        print(&answer.json(&found)?)?;
    } else if !found.ports.is_empty() {
        print(&answer.text(&found, Page::new()))?;
    }
    if found.ports.is_empty() {
        say(&answer.nothing(&found));
        return Ok(ExitCode::from(exit::FAILED));
    }
    Ok(ExitCode::SUCCESS)
}

fn range(args: &Args) -> Result<Ports> {
    let dynamic = RangeClass::Dynamic.ports();
    let last = args.to.unwrap_or(if dynamic.contains(args.from) {
        dynamic.last
    } else {
        RangeClass::Registered.ports().last
    });
    if last < args.from {
        let text = format!(
            "--to {last} is below --from {}; write the lower port with --from",
            args.from
        );
        return Err(UsageError(text).into());
    }
    Ok(Ports { first: args.from, last })
}

/// What was asked for, and what the host does.
struct Answer {
    range: Ports,
    transports: Vec<Transport>,
    wanted: usize,
    host: Host,
    /// Network namespaces that could not be looked into.
    unseen: Vec<Unseen>,
}

impl Answer {
    fn find(&self, registry: &Registry) -> Suggestions {
        suggest(registry, &self.host, self.range, &self.transports, self.wanted)
    }

    fn text(&self, found: &Suggestions, mut page: Page) -> String {
        for suggestion in &found.ports {
            page.hanging(&suggestion.port.to_string(), 7, &self.reason(suggestion));
        }
        let mut notes = Vec::new();
        if found.ports.len() < self.wanted {
            notes.push(format!("These are all: {}.", self.tally(found)));
        }
        if self.host.automatic.is_none() {
            notes.push(UNREAD.to_owned());
        }
        for part in unseen(&self.unseen) {
            notes.push(format!("Not seen: {part}; a port may be in use there."));
        }
        for note in notes {
            page.blank();
            page.paragraph(0, &note);
        }
        page.into_text()
    }

    /// One sentence on why a port is good.
    fn reason(&self, suggestion: &Suggestion) -> String {
        let protocols = match self.transports.as_slice() {
            [one] => format!("for {one}"),
            _ => "for tcp and udp".to_owned(),
        };
        let registered = match RangeClass::of(suggestion.port) {
            RangeClass::Dynamic => "never assigned by IANA, and not handed out by this kernel".to_owned(),
            RangeClass::System => format!("unassigned {protocols}, though binding it takes a privilege"),
            RangeClass::Registered => format!("unassigned {protocols}"),
        };
        let used = if self.unseen.is_empty() {
            "in use in no network namespace"
        } else {
            "in use in no network namespace that can be seen"
        };
        let near = match &suggestion.nearest {
            None => "no known service is near".to_owned(),
            Some(near) => {
                let only = if near.distance <= APART { "only " } else { "" };
                let plural = if near.distance == 1 { "" } else { "s" };
                format!(
                    "the nearest known service is {only}{} port{plural} away ({}, {})",
                    near.distance, near.name, near.port
                )
            }
        };
        format!("{registered}, {used}, and {near}.")
    }

    /// What the ports are that are not named.
    fn tally(&self, found: &Suggestions) -> String {
        let ports = u32::from(self.range.last) - u32::from(self.range.first) + 1;
        if found.obstacles.is_empty() {
            return self.too_few(ports);
        }
        let obstacles: Vec<_> = found
            .obstacles
            .iter()
            .map(|(obstacle, count)| format!("{count} {}", obstacle.about()))
            .collect();
        let plural = if ports == 1 { "" } else { "s" };
        format!("of {ports} port{plural}, {}", obstacles.join(", "))
    }

    /// Says that the range holds no more, and of which class it is: a high `--from` leaves little more than itself.
    fn too_few(&self, ports: u32) -> String {
        let (asked, are) = if ports == 1 {
            (format!("{} alone was asked about", numbers(self.range)), "is")
        } else {
            (
                format!("{ports} ports were asked about, {}", numbers(self.range)),
                "are",
            )
        };
        let class = RangeClass::of(self.range.first);
        if class.ports().contains(self.range.last) {
            let (name, bounds) = (class.name(), numbers(class.ports()));
            format!("{asked}, which {are} in the {name} range ({bounds})")
        } else {
            asked
        }
    }

    /// Why there is none, and what to do.
    fn nothing(&self, found: &Suggestions) -> String {
        format!(
            "no port of {} is good to pick: {}; try another --from or --to",
            numbers(self.range),
            self.tally(found)
        )
    }

    fn json(&self, found: &Suggestions) -> Result<String> {
        let document = Document {
            from: self.range.first,
            to: self.range.last,
            protocols: self.transports.iter().map(|transport| transport.name()).collect(),
            count: self.wanted,
            suggestions: found
                .ports
                .iter()
                .map(|suggestion| Named {
                    port: suggestion.port,
                    reason: self.reason(suggestion),
                    nearest: suggestion.nearest.as_ref().map(|near| Nearest {
                        port: near.port,
                        distance: near.distance,
                        name: &near.name,
                    }),
                })
                .collect(),
            free: found.free,
            obstacles: found
                .obstacles
                .iter()
                .map(|(obstacle, ports)| Count {
                    obstacle: obstacle.name(),
                    ports: *ports,
                })
                .collect(),
            automatic: self.host.automatic.map(Stretch::from),
            reserved: self.host.reserved.iter().copied().map(Stretch::from).collect(),
            unseen: &self.unseen,
        };
        print::document(&document)
    }
}

const UNREAD: &str =
    "The range of automatic ports (net.ipv4.ip_local_port_range) could not be read; these ports may lie in it.";

#[derive(Serialize)]
struct Document<'a> {
    from: u16,
    to: u16,
    protocols: Vec<&'static str>,
    count: usize,
    suggestions: Vec<Named<'a>>,
    /// How many ports have no obstacle.
    free: usize,
    obstacles: Vec<Count>,
    /// The range of automatic ports; null where it could not be read.
    automatic: Option<Stretch>,
    /// What the administrator set aside.
    reserved: Vec<Stretch>,
    unseen: &'a [Unseen],
}

#[derive(Serialize)]
struct Named<'a> {
    port: u16,
    reason: String,
    nearest: Option<Nearest<'a>>,
}

#[derive(Serialize)]
struct Nearest<'a> {
    port: u16,
    distance: u16,
    name: &'a str,
}

#[derive(Serialize)]
struct Count {
    obstacle: &'static str,
    ports: usize,
}

#[cfg(test)]
mod tests;
