//! Listeners as the API lists them.

use serde::Serialize;

use super::{Line, Other, SCHEMA, json, line, rfc3339};
use crate::{
    identity::Clock,
    output::listing::{Item, Page},
};

/// What listens, as a document.
#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    host: &'a str,
    time: String,
    /// All there are, those that were asked for, and how many of these come before.
    total: usize,
    matched: usize,
    offset: usize,
    listeners: Vec<Listed<'a>>,
}

/// A listener in a list: the line that told of it, with who holds it now.
#[derive(Serialize)]
#[serde(transparent)]
pub(in crate::output) struct Listed<'a>(Line<'a>);

impl<'a> Listed<'a> {
    pub(in crate::output) fn new(host: &'a str, (event, report, holders): Item<'a>, clock: Clock) -> Self {
        let holders = holders.iter().map(|holder| Other {
            pid: holder.pid,
            comm: &holder.comm,
        });
        Self(Line {
            holders: Some(holders.collect()),
            ..line(host, event, report, clock)
        })
    }
}

/// What listens, or a part of it, as one JSON document.
pub fn listeners(host: &str, now: u64, clock: Clock, page: Page<'_>) -> String {
    json(&Document {
        schema: SCHEMA,
        host,
        time: rfc3339(clock, now),
        total: page.total,
        matched: page.matched,
        offset: page.offset,
        listeners: page
            .items
            .into_iter()
            .map(|item| Listed::new(host, item, clock))
            .collect(),
    })
}
