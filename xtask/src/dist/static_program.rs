//! Whether a program runs without any shared library.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::Endianness;
use object::elf::{DT_NEEDED, FileHeader64, PT_INTERP};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};

/// Checks a program.
///
/// # Errors
/// Says what it asks for.
pub(crate) fn check(program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    match asks_for(&bytes).with_context(|| format!("{} is no program for Linux", program.display()))? {
        Some(what) => bail!(
            "{} asks for {what}: it is not static; build it as `cargo xtask dist` does",
            program.display()
        ),
        None => Ok(()),
    }
}

/// What a dynamic program asks for.
fn asks_for(bytes: &[u8]) -> Result<Option<&'static str>> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, bytes)? {
        if segment.p_type(endian) == PT_INTERP {
            return Ok(Some("a dynamic loader"));
        }
        let entries = segment.dynamic(endian, bytes)?.unwrap_or_default();
        if entries.iter().any(|entry| entry.d_tag(endian) == DT_NEEDED) {
            return Ok(Some("a shared library"));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::asks_for;

    #[test]
    fn a_dynamic_program_is_told_and_what_is_no_program_is_an_error() {
        // cargo is linked with the C library, and started this test.
        let cargo = std::env::var_os("CARGO").unwrap();
        assert!(asks_for(&fs::read(cargo).unwrap()).unwrap().is_some());
        assert!(asks_for(b"#!/bin/sh\n").is_err());
    }
}
