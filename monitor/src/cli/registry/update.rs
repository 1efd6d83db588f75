//! `portreeve registry update`: IANA's file becomes the table in use.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Made, Places, replace::replace};
use crate::{
    cli::print::{self, print},
    config::names::read_capped,
    exit::printable,
    registry::{
        Registry,
        import::{Origin, encode, newest_date, plausible, read},
        is_table,
    },
};

/// A file larger than this is none of IANA's: the XML has 4 MB.
const FILE_MAX: u64 = 16 << 20;

/// Letters of a file's name that are kept.
const NAME_MAX: usize = 80;

/// One row in so many may be gone since the registry in use: more means that the file was cut between two rows.
const LOST_MAX: usize = 50;

/// The flags of `registry update`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// IANA's service-names-port-numbers.csv or .xml
    #[arg(long, value_name = "FILE")]
    file: PathBuf,

    /// Where to write the table [default: [registry] path of the configuration, else /var/lib/portreeve/registry.bin]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Take a file that is older than the registry in use, or much shorter
    #[arg(long)]
    allow_older: bool,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    places: Places,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Document<'a> {
    path: String,
    registry: &'a Made,
    /// The registry that was in use before.
    before: &'a Made,
    /// Whether commands and agents with this configuration use what was written.
    used: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let names = args.places.names()?;
    let before = Made::of(&names.open(&args.places.rootfs).registry);
    let output = args.output.as_deref().unwrap_or(names.registry_path());
    if args.output.is_some() {
        refuse_to_overwrite(output)?;
    }
    let table = table(&args.file)?;
    let made = made(&table)?;
    refuse_future(&args.file, &made, Timestamp::now())?;
    if !args.allow_older {
        refuse_older(&args.file, &made, &before)?;
    }
    replace(output, &table)?;
    let is_newest = made.date.as_str() >= Registry::embedded().source().date;
    let is_read = output == names.registry_path();
    let document = Document {
        path: output.display().to_string(),
        registry: &made,
        before: &before,
        used: is_read && (is_newest || names.is_asked()),
    };
    let text = if args.json {
        print::document(&document)?
    } else {
        text(&document, is_read)
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn text(document: &Document<'_>, is_read: bool) -> String {
    let Made {
        source, date, records, ..
    } = document.registry;
    let path = printable(&document.path);
    let then = match (document.used, is_read) {
        (true, _) => "A running agent takes it on SIGHUP.",
        (false, true) => {
            "It is older than the built-in one, and used only where\n[registry] path of the configuration names the file."
        }
        (false, false) => "It is used where [registry] path of the configuration names that file.",
    };
    format!(
        "IANA's registry of {date}, {records} records (before: {}, {})\nMade from  {}\nWritten to {path}\n{then}\n",
        document.before.date,
        document.before.records,
        printable(source),
    )
}

/// The table of IANA's file.
fn table(file: &Path) -> Result<Vec<u8>> {
    let refused = || format!("cannot take {}", file.display());
    let bytes = read_capped(file, FILE_MAX).with_context(refused)?;
    let rows = read(&bytes)
        .and_then(|rows| plausible(&rows).map(|()| rows))
        .with_context(refused)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let name: String = printable(&name).chars().take(NAME_MAX).collect();
    let sha256: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let origin = Origin {
        name: &name,
        version: "",
        date: newest_date(&rows),
        sha256: &sha256,
    };
    encode(&rows, &origin).with_context(refused)
}

/// Reads a table as those will that use it.
fn made(table: &[u8]) -> Result<Made> {
    let registry = Registry::from_bytes(table.to_vec()).context("the table that was made is not sound")?;
    Ok(Made::of(&registry))
}

/// A date that is still to come is a slip or a forgery, and would keep every later registry out as older. One day is
/// allowed, since IANA's day may have begun where this host's has not.
fn refuse_future(file: &Path, new: &Made, now: Timestamp) -> Result<()> {
    let day = |moment: Timestamp| moment.strftime("%Y-%m-%d").to_string();
    let tomorrow = day(now
        .saturating_add(SignedDuration::from_hours(24))
        .unwrap_or(Timestamp::MAX));
    if new.date > tomorrow {
        bail!(
            "cannot take {}: its newest date is {}, and today is {}; check the file, and the clock of this host",
            file.display(),
            new.date,
            day(now)
        );
    }
    Ok(())
}

fn refuse_older(file: &Path, new: &Made, before: &Made) -> Result<()> {
    let file = file.display();
    if new.date < before.date {
        bail!(
            "cannot take {file}: its newest date is {}, and the registry in use is of {}; --allow-older takes it all the same",
            new.date,
            before.date
        );
    }
    if new.records < before.records - before.records / LOST_MAX {
        bail!(
            "cannot take {file}: it has {} rows, and the registry in use has {}: it was cut; --allow-older takes it all the same",
            new.records,
            before.records
        );
    }
    Ok(())
}

/// Whatever else lies where the table is to go was not meant.
fn refuse_to_overwrite(output: &Path) -> Result<()> {
    let begin = || -> std::io::Result<Vec<u8>> {
        let mut begin = Vec::new();
        fs::File::open(output)?.take(16).read_to_end(&mut begin)?;
        Ok(begin)
    };
    let is_file = fs::metadata(output).is_ok_and(|metadata| metadata.is_file());
    if is_file && !begin().is_ok_and(|begin| is_table(&begin)) {
        bail!(
            "cannot write to {}: a file is there that is no registry of portreeve's; it is left alone",
            output.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
