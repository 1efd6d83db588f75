//! `portreeve registry info`.

use std::{io, path::Path, process::ExitCode};

use anyhow::Result;
use serde::Serialize;

use super::{Made, Places};
use crate::{
    cli::print::{self, print, say},
    config::{Chosen, Names, names::read_table},
    exit::printable,
    registry::{Authority, Registry},
};

/// The flags of `registry info`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    places: Places,
}

/// What there is to say.
#[derive(Debug, Serialize)]
struct Document {
    in_use: InUse,
    /// The registry that this program was built with.
    embedded: Made,
    /// The file that an update goes to.
    file: File,
    names: Named,
    /// What is wrong with a file that was to be used.
    remarks: Vec<String>,
}

#[derive(Debug, Serialize)]
struct InUse {
    /// `file` or `embedded`.
    from: &'static str,
    #[serde(flatten)]
    made: Made,
}

#[derive(Debug, Serialize)]
struct File {
    path: String,
    /// Whether `[registry] path` names it.
    configured: bool,
    state: State,
    /// Why it cannot be used.
    problem: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Used,
    Missing,
    /// Older than the one that this program was built with.
    Older,
    Damaged,
}

/// How many names lie over IANA's.
#[derive(Debug, Serialize)]
struct Named {
    site: usize,
    services: usize,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let document = document(&args.places.names()?, &args.places.rootfs);
    let text = if args.json {
        print::document(&document)?
    } else {
        document.remarks.iter().for_each(|remark| say(remark));
        text(&document)
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn document(names: &Names, rootfs: &Path) -> Document {
    let Chosen {
        registry,
        file,
        remarks,
    } = names.open(rootfs);
    let (state, problem) = match (&file, read_table(names.registry_path())) {
        (Some(_), _) => (State::Used, None),
        (None, Ok(_)) => (State::Older, None),
        (None, Err(error)) if error.kind() == io::ErrorKind::NotFound => (State::Missing, None),
        (None, Err(error)) => (State::Damaged, Some(error.to_string())),
    };
    let named = |authority| registry.named().filter(|row| row.authority() == authority).count();
    Document {
        in_use: InUse {
            from: if file.is_some() { "file" } else { "embedded" },
            made: Made::of(&registry),
        },
        embedded: Made::of(Registry::embedded()),
        file: File {
            path: names.registry_path().display().to_string(),
            configured: names.is_asked(),
            state,
            problem,
        },
        names: Named {
            site: named(Authority::Site),
            services: named(Authority::Services),
        },
        remarks,
    }
}

fn text(document: &Document) -> String {
    let Document {
        in_use,
        embedded,
        file,
        names,
        ..
    } = document;
    let place = match file.state {
        State::Used => "in use".to_owned(),
        State::Missing => "not there".to_owned(),
        State::Older => "not used: it is older than the built-in one".to_owned(),
        State::Damaged => format!("not used: {}", file.problem.as_deref().unwrap_or("it cannot be read")),
    };
    let which = if in_use.from == "file" { "a file" } else { "built in" };
    let made = |made: &Made| format!("{}, {} records, from {}", made.date, made.records, made.source);
    let mut text = String::new();
    for (label, line) in [
        ("In use", format!("IANA's registry of {} ({which})", in_use.made.date)),
        ("Records", in_use.made.records.to_string()),
        ("Made from", in_use.made.source.clone()),
        ("SHA-256", in_use.made.sha256.clone()),
        ("Built in", made(embedded)),
        ("File", file.path.clone()),
        ("", place),
        (
            "Own names",
            format!("{} of the site, {} of /etc/services", names.site, names.services),
        ),
    ] {
        text.push_str(format!("{label:<10} {}", printable(&line)).trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
