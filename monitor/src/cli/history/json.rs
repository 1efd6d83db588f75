//! The history as one JSON document; what is not known is null. docs/history.md explains each key.

use std::path::Path;

use serde::Serialize;

use super::Listing;
use crate::{
    cli::{list::json::time, print},
    output::documents::{Listened, moment},
};

pub(super) fn render(listing: &Listing) -> anyhow::Result<String> {
    print::document(&Document {
        file: &listing.file,
        time: time(listing.time),
        since: listing.since.map(moment),
        until: listing.until.map(moment),
        listeners: listing.entries.iter().map(Listened::from).collect(),
        left_out: listing.left_out,
    })
}

#[derive(Serialize)]
struct Document<'a> {
    file: &'a Path,
    time: String,
    since: Option<String>,
    until: Option<String>,
    listeners: Vec<Listened<'a>>,
    left_out: usize,
}
