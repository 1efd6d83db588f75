//! Printing what was asked for.

use std::io::{ErrorKind, Write, stderr, stdout};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{exit::printable, registry};

pub(super) use crate::output::documents::Stretch;

/// Writes a text to stdout. A reader that has seen enough (`| head`) is no error.
///
/// # Errors
/// Where stdout cannot be written: the disk is full, say.
pub(super) fn print(text: &str) -> Result<()> {
    is_read(text).map(drop)
}

/// The same, and whether somebody still reads: who prints for ever has to stop by that.
///
/// # Errors
/// Where stdout cannot be written.
pub(super) fn is_read(text: &str) -> Result<bool> {
    let mut stdout = stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("cannot write to stdout"),
    }
}

/// Version of the shape of each document that commands write.
pub(super) const SCHEMA: u32 = 1;

/// The registry that a document speaks by.
#[derive(Serialize)]
pub(super) struct Source<'a> {
    name: &'a str,
    version: &'a str,
    date: &'a str,
    sha256: &'a str,
    records: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(source: &registry::Source<'a>, records: usize) -> Self {
        Self {
            name: source.name,
            version: source.version,
            date: source.date,
            sha256: source.sha256,
            records,
        }
    }
}

/// A document with the version of its shape before its own keys.
#[derive(Serialize)]
struct Versioned<'a, T> {
    schema: u32,
    #[serde(flatten)]
    document: &'a T,
}

/// One JSON document, as `--json` prints it.
///
/// # Errors
/// Where a value has no form in JSON; none of the documents has one.
pub(super) fn document(document: &impl Serialize) -> Result<String> {
    let versioned = Versioned {
        schema: SCHEMA,
        document,
    };
    let mut text = serde_json::to_string_pretty(&versioned).context("cannot write the answer as JSON")?;
    text.push('\n');
    Ok(text)
}

/// Says a sentence on stderr. Where that cannot be written, there is nobody to tell.
pub(super) fn say(sentence: &str) {
    let _ = writeln!(stderr(), "portreeve: {}", printable(sentence));
}
