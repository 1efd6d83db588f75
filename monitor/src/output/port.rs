//! A port as the API shows it: what it is registered for, who listens there, and who did before.

use std::path::Path;

use serde::Serialize;

use super::{
    documents::{Listened, Registered},
    events::{Listed, SCHEMA, json, rfc3339},
    listing::Item,
};
use crate::{
    history::{
        grouped,
        read::{Query, Reader, Row},
    },
    identity::Clock,
    registry::{RangeClass, Registry, Transport},
};

/// Listeners of the past that are read.
const READ_MAX: usize = 2_000;

/// Listeners of the past that are shown, those of one program as one.
const SHOWN_MAX: usize = 100;

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    host: &'a str,
    time: String,
    port: u16,
    /// `system`, `registered` or `dynamic`.
    class: &'static str,
    /// A row for each transport.
    registrations: Vec<Registered<'a>>,
    listeners: Vec<Listed<'a>>,
    /// The newest first; null where there is no history to read.
    listened: Option<Vec<Listened<'a>>>,
    /// Why `listened` is null.
    history_error: Option<String>,
}

/// What is known of a port.
pub fn port<'a>(
    host: &'a str,
    now: u64,
    clock: Clock,
    port: u16,
    registry: &'a Registry,
    listeners: impl Iterator<Item = Item<'a>>,
    listened: Result<Vec<Row>, String>,
) -> String {
    let (listened, history_error) = match listened {
        Ok(rows) => (Some(grouped(rows, false)), None),
        Err(sentence) => (None, Some(sentence)),
    };
    let rows = |transport: Transport| {
        let of_all = transport == Transport::Tcp;
        registry.by_port(port).filter_map(move |row| match row.transport() {
            Some(own) => (own == transport).then(|| Registered::new(&row, Some(transport))),
            None => of_all.then(|| Registered::new(&row, None)),
        })
    };
    json(&Document {
        schema: SCHEMA,
        host,
        time: rfc3339(clock, now),
        port,
        class: RangeClass::of(port).name(),
        registrations: Transport::ALL.into_iter().flat_map(rows).collect(),
        listeners: listeners.map(|item| Listed::new(host, item, clock)).collect(),
        listened: listened
            .as_ref()
            .map(|entries| entries.iter().take(SHOWN_MAX).map(Listened::from).collect()),
        history_error,
    })
}

/// What the agent's own history has of a port, in this boot and before.
///
/// # Errors
/// One sentence where it cannot be read.
pub fn listened(path: Option<&Path>, boot: &str, port: u16) -> Result<Vec<Row>, String> {
    let Some(path) = path else {
        return Err("this agent keeps no history".to_owned());
    };
    let query = Query {
        ports: vec![(None, port, port)],
        limit: Some(READ_MAX),
        ..Query::default()
    };
    Reader::of_own(path)
        .and_then(|reader| reader.rows(&query, boot))
        .map_err(|error| error.to_string())
}
