//! Printing what was asked for.

use std::io::{ErrorKind, Write, stdout};

use anyhow::{Context, Result};

/// Writes a text to stdout. A reader that has seen enough (`| head`) is no error.
///
/// # Errors
/// Where stdout cannot be written: the disk is full, say.
pub(super) fn print(text: &str) -> Result<()> {
    let mut stdout = stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}
