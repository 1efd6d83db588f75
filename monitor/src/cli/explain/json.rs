//! The explanation as one JSON document; what is not known is null.

use super::{
    Explanation,
    now::{Check, Now},
    pick::Pick,
};
use crate::cli::{
    list::json::Listener,
    print::{self, Source, Stretch},
};
use crate::output::documents::{Listened, Registered};
use crate::registry::{RangeClass, Subject, Transport};
use serde::Serialize;

pub(super) fn render(explanation: &Explanation<'_>, now: Option<&Now>) -> anyhow::Result<String> {
    let (name, transport) = match explanation.subject {
        Subject::Ports(spec) => (None, spec.transport),
        Subject::Name { name, transport } => (Some(name), transport),
    };
    let registrations = explanation.registrations.iter().flat_map(|entry| {
        let transports: Vec<Option<Transport>> = match entry.transports.as_slice() {
            [] => vec![None],
            some => some.iter().copied().map(Some).collect(),
        };
        transports
            .into_iter()
            .map(|transport| Registered::new(&entry.registration, transport))
    });
    let neighbours = explanation.neighbours.iter().map(|neighbour| Neighbour {
        source: neighbour.entry.registration.authority().as_str(),
        ports: neighbour.ports.into(),
        service: neighbour.entry.registration.service(),
        transports: neighbour
            .entry
            .transports
            .iter()
            .map(|transport| transport.name())
            .collect(),
        description: neighbour.entry.registration.description(),
        same_family: neighbour.family,
    });
    let document = Document {
        query: explanation.query,
        name,
        ports: explanation.ports.map(Stretch::from),
        transport: transport.map(Transport::name),
        classes: explanation.classes.iter().copied().map(Class::new).collect(),
        registrations: registrations.collect(),
        neighbours: neighbours.collect(),
        listening: now.map(Now::listeners),
        listened: now.and_then(Now::listened),
        automatic: now.and_then(|now| now.host().automatic).map(Stretch::from),
        reserved: now.map(|now| now.reserved().map(Stretch::from).collect()),
        pick: now.and_then(Now::pick),
        check: now.map(Now::check),
        source: Source::new(&explanation.source, explanation.records),
    };
    print::document(&document)
}

#[derive(Serialize)]
struct Document<'a> {
    query: &'a str,
    /// The service name that was asked for.
    name: Option<&'a str>,
    /// The ports that the document is about; null for a name on several ports or on none.
    ports: Option<Stretch>,
    /// The transport that was asked for.
    transport: Option<&'static str>,
    classes: Vec<Class>,
    /// One for each row, in the registry's order but for rows that differ in the transport alone, which follow each
    /// other.
    registrations: Vec<Registered<'a>>,
    neighbours: Vec<Neighbour<'a>>,
    /// What listens on these ports of this host now, as `list --json` writes it; null where the document is about no ports.
    listening: Option<Vec<Listener<'a>>>,
    /// What listened there before, as `history --json` writes it; null where there is no history.
    listened: Option<Vec<Listened<'a>>>,
    /// The range of automatic ports of this host; null where it could not be read.
    automatic: Option<Stretch>,
    /// What the administrator set aside that has some of these ports in it.
    reserved: Option<Vec<Stretch>>,
    pick: Option<&'a Pick>,
    /// Commands that show the same.
    check: Option<Check>,
    source: Source<'a>,
}

#[derive(Serialize)]
struct Class {
    name: &'static str,
    ports: Stretch,
    meaning: &'static str,
}

impl Class {
    fn new(class: RangeClass) -> Self {
        Self {
            name: class.name(),
            ports: class.ports().into(),
            meaning: class.meaning(),
        }
    }
}

#[derive(Serialize)]
struct Neighbour<'a> {
    source: &'static str,
    ports: Stretch,
    service: Option<&'a str>,
    /// Empty where the row speaks of all transports.
    transports: Vec<&'static str>,
    description: Option<&'a str>,
    same_family: bool,
}
