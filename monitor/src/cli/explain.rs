//! `portreeve explain PORT|NAME`: what a port was registered for, and what lies beside it.

mod before;
mod json;
mod now;
mod pick;
mod text;

use self::now::Now;
use super::{list::gather::SourceArgs, page::Page, print::print};
use crate::exit::UsageError;
use crate::registry::{Grouped, Ports, RangeClass, Registration, Registry, Source, Status, Subject, grouped};
use std::{process::ExitCode, sync::Arc};

/// How far above and below a port a service of the same family is looked for.
const FAMILY_REACH: u16 = 16;
/// How many stretches of ports with other services are shown on each side.
const OTHERS_SHOWN: usize = 2;

/// Say what a port or a service name is registered for, what lies beside it, who listens there now, and whether it is good to pick
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub query: Query,

    #[command(flatten)]
    sources: SourceArgs,
}

/// What is to be explained, and how.
#[derive(Debug, clap::Args)]
pub struct Query {
    /// A port (1992, tcp/1992, 1992/udp), a range (6000-6010) or a service name (stun-p3)
    #[arg(value_name = "PORT|NAME", allow_negative_numbers = true)]
    pub port_or_name: String,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Prints what the registry in use knows about a port, a range or a name, and who listens there now.
///
/// # Errors
/// [`UsageError`] where the argument is neither; otherwise stdout could not be written. A reader that has gone away
/// (`| head`) is no error.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let query = &args.query;
    let configured = args.sources.read()?;
    let registry = Arc::clone(&configured.registry);
    let explanation = explanation(&registry, query)?;
    let transport = match explanation.subject {
        Subject::Ports(spec) => spec.transport,
        Subject::Name { transport, .. } => transport,
    };
    let now = explanation
        .ports
        .map(|ports| Now::look(&args.sources, configured, ports, transport));
    print(&written(&explanation, query, now.as_ref(), Page::new)?)?;
    Ok(ExitCode::SUCCESS)
}

fn explanation<'a>(registry: &'a Registry, query: &'a Query) -> anyhow::Result<Explanation<'a>> {
    let text = query.port_or_name.trim();
    let subject = Subject::parse(text, registry).map_err(|error| UsageError(error.to_string()))?;
    Ok(Explanation::gather(registry, text, subject))
}

fn written(
    explanation: &Explanation<'_>,
    query: &Query,
    now: Option<&Now>,
    page: fn() -> Page,
) -> anyhow::Result<String> {
    if query.json {
        return json::render(explanation, now);
    }
    let mut text = text::render(explanation, page());
    if let Some(now) = now {
        text.push_str(&now.text(page()));
    }
    Ok(text)
}

/// What there is to say about one subject.
struct Explanation<'a> {
    query: &'a str,
    subject: Subject<'a>,
    /// The ports that it is about: those asked for, or those of a name that has one stretch only.
    ports: Option<Ports>,
    /// The classes that these ports belong to, or all ports of the name, lowest first.
    classes: Vec<RangeClass>,
    registrations: Vec<Grouped<'a>>,
    neighbours: Vec<Neighbour<'a>>,
    source: Source<'a>,
    records: usize,
}

/// A service registered close by.
struct Neighbour<'a> {
    ports: Ports,
    entry: Grouped<'a>,
    /// Whether its name begins like one of those explained (`stun-p1` beside `stun-p3`).
    family: bool,
}

impl<'a> Explanation<'a> {
    fn gather(registry: &'a Registry, query: &'a str, subject: Subject<'a>) -> Self {
        let (wanted, ports, rows): (_, _, Vec<_>) = match subject {
            Subject::Ports(spec) => {
                let ports = Ports {
                    first: spec.first,
                    last: spec.last,
                };
                (
                    spec.transport,
                    Some(ports),
                    registry.by_range(ports.first, ports.last).collect(),
                )
            }
            Subject::Name { transport, name } => {
                let named: Vec<_> = registry.by_name(name).collect();
                // A name with one stretch of ports is explained with all else that is registered there.
                let mut stretches = named.iter().filter_map(Registration::ports);
                let first = stretches.next();
                let only = first.filter(|first| stretches.all(|next| next == *first));
                match only {
                    Some(ports) => (transport, only, registry.by_range(ports.first, ports.last).collect()),
                    None => (transport, None, named),
                }
            }
        };
        let registrations = grouped(rows.into_iter().filter(|row| match row.transport() {
            Some(transport) => wanted.is_none_or(|wanted| wanted == transport),
            None => true,
        }));
        let stretches: Vec<Ports> = match ports {
            Some(ports) => vec![ports],
            None => registrations
                .iter()
                .filter_map(|entry| entry.registration.ports())
                .collect(),
        };
        let classes = RangeClass::ALL.into_iter().filter(|class| {
            let class = class.ports();
            stretches
                .iter()
                .any(|ports| ports.first <= class.last && class.first <= ports.last)
        });
        Self {
            query,
            subject,
            ports,
            classes: classes.collect(),
            neighbours: ports
                .map(|ports| neighbours(registry, ports, &registrations))
                .unwrap_or_default(),
            registrations,
            source: registry.source(),
            records: registry.records(),
        }
    }

    /// Whether a registration is one that was assigned for a use.
    fn is_assigned(entry: &Grouped<'_>) -> bool {
        entry.registration.status() == Status::Assigned
    }
}

/// The services around `ports`: all of a family within [`FAMILY_REACH`], and the nearest few others.
fn neighbours<'a>(registry: &'a Registry, ports: Ports, explained: &[Grouped<'_>]) -> Vec<Neighbour<'a>> {
    let stems: Vec<&str> = explained
        .iter()
        .filter_map(|entry| stem(entry.registration.service()?))
        .collect();
    let (lowest, highest) = (
        ports.first.saturating_sub(FAMILY_REACH),
        ports.last.saturating_add(FAMILY_REACH),
    );
    let rows = registry.by_range(lowest, highest).filter(|row| row.service().is_some());
    let around = grouped(rows).into_iter().filter_map(|entry| {
        let there = entry.registration.ports()?;
        let apart = there.last < ports.first || ports.last < there.first;
        let family = entry
            .registration
            .service()
            .and_then(stem)
            .is_some_and(|one| stems.iter().any(|other| one.eq_ignore_ascii_case(other)));
        apart.then_some(Neighbour {
            ports: there,
            entry,
            family,
        })
    });
    let mut all: Vec<_> = around.collect();
    all.sort_by_key(|neighbour| neighbour.ports);
    let mut below: Vec<Ports> = Vec::new();
    let mut above: Vec<Ports> = Vec::new();
    for neighbour in all.iter().filter(|neighbour| !neighbour.family) {
        let side = if neighbour.ports.first < ports.first {
            &mut below
        } else {
            &mut above
        };
        if side.last() != Some(&neighbour.ports) {
            side.push(neighbour.ports);
        }
    }
    let nearest: Vec<Ports> = below
        .into_iter()
        .rev()
        .take(OTHERS_SHOWN)
        .chain(above.into_iter().take(OTHERS_SHOWN))
        .collect();
    all.retain(|neighbour| neighbour.family || nearest.contains(&neighbour.ports));
    all
}

/// What the names of a family have in common: the letters that a name begins with, three at least.
fn stem(service: &str) -> Option<&str> {
    let end = service
        .find(|letter: char| !letter.is_ascii_alphabetic())
        .unwrap_or(service.len());
    service.get(..end).filter(|stem| stem.len() >= 3)
}

#[cfg(test)]
mod tests;
