//! `portreeve registry search WORDS…`.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use super::Places;
use crate::{
    cli::{
        page::{Page, Widths},
        print::{self, Source, Stretch, print},
    },
    exit::{UsageError, printable},
    registry::{Grouped, Meaning, Registry, search::Found},
};

/// Letters of a word that are shown; nobody needs to read more of a word that was not found.
const SHOWN: usize = 40;

/// The flags of `registry search`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to look for: parts of names, words of descriptions, ports; all must be found
    #[arg(required = true, value_name = "WORDS", allow_negative_numbers = true)]
    words: Vec<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// How many to show at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,

    #[command(flatten)]
    places: Places,
}

/// Searches the registry in use.
///
/// # Errors
/// [`UsageError`] where the words are blank; otherwise the configuration is wrong, or stdout could not be written. That
/// nothing is found is no error.
pub fn run(args: &Args) -> Result<ExitCode> {
    let chosen = args.places.names()?.open(&args.places.rootfs);
    print(&answer(&chosen.registry, args, Page::new())?)?;
    Ok(ExitCode::SUCCESS)
}

fn answer(registry: &Registry, args: &Args, page: Page) -> Result<String> {
    // In quotes or not, words are words.
    let words: Vec<String> = args
        .words
        .iter()
        .flat_map(|word| word.split_whitespace())
        .map(str::to_owned)
        .collect();
    if words.is_empty() {
        return Err(
            UsageError("registry search: name a word to look for, like `registry search stun`".to_owned()).into(),
        );
    }
    let found = registry.search(&words);
    if args.json {
        json(registry, &words, &found, args.limit)
    } else {
        Ok(text(registry, &words, &found, args.limit, page))
    }
}

fn text(registry: &Registry, words: &[String], found: &Found<'_>, limit: usize, mut page: Page) -> String {
    if found.hits.is_empty() {
        page.paragraph(0, &nothing(registry, words, found));
        return page.into_text();
    }
    let shown = found.hits.get(..limit.min(found.hits.len())).unwrap_or_default();
    let widths = Widths::of(shown.iter());
    for hit in shown {
        page.headline(hit, &widths);
    }
    let all = found.hits.len();
    if all > shown.len() {
        if !shown.is_empty() {
            page.blank();
        }
        let text = format!("{} of {all} registrations; --limit {all} shows all.", shown.len());
        page.paragraph(0, &text);
    }
    page.into_text()
}

/// Why nothing was found, in one sentence with the nearest name.
fn nothing(registry: &Registry, words: &[String], found: &Found<'_>) -> String {
    let spelled = |word: &String| {
        let mut shown: String = word.chars().take(SHOWN).collect();
        if word.chars().nth(SHOWN).is_some() {
            shown.push('…');
        }
        format!("`{}`", printable(&shown))
    };
    let nowhere: Vec<&String> = words
        .iter()
        .zip(&found.words)
        .filter(|(_, count)| **count == 0)
        .map(|(word, _)| word)
        .collect();
    let why = if nowhere.is_empty() {
        let counts = words
            .iter()
            .zip(&found.words)
            .map(|(word, count)| format!("{} alone is in {count}", spelled(word)));
        format!(
            "no registration has all of these words: {}",
            counts.collect::<Vec<_>>().join(", ")
        )
    } else {
        let nowhere: Vec<_> = nowhere.into_iter().map(spelled).collect();
        format!(
            "no registration has {} in its name or description",
            nowhere.join(" or ")
        )
    };
    match nearest(registry, words, found) {
        Some(nearest) => format!("Nothing found: {why}; the nearest name is `{nearest}`."),
        None => format!("Nothing found: {why}, and no name is near."),
    }
}

/// The nearest name to a word that is nowhere, or to all words together.
fn nearest<'a>(registry: &'a Registry, words: &[String], found: &Found<'_>) -> Option<&'a str> {
    let nowhere = words.iter().zip(&found.words).filter(|(_, count)| **count == 0);
    nowhere
        .map(|(word, _)| word.clone())
        .chain([words.join("-")])
        .find_map(|word| registry.nearest_name(&word))
}

#[derive(Serialize)]
struct Document<'a> {
    words: &'a [String],
    /// How many were found; `registrations` has the first of them.
    found: usize,
    registrations: Vec<Hit<'a>>,
    /// Where nothing was found: the name nearest to what was asked for, if one is near.
    nearest: Option<&'a str>,
    source: Source<'a>,
}

#[derive(Serialize)]
struct Hit<'a> {
    service: Option<&'a str>,
    ports: Option<Stretch>,
    /// Empty where the row speaks of all transports.
    transports: Vec<&'static str>,
    status: &'static str,
    description: Option<&'a str>,
}

impl<'a> From<&Grouped<'a>> for Hit<'a> {
    fn from(hit: &Grouped<'a>) -> Self {
        let row = &hit.registration;
        Self {
            service: row.service(),
            ports: row.ports().map(Stretch::from),
            transports: hit.transports.iter().map(|transport| transport.name()).collect(),
            status: Meaning::of(row).name(),
            description: row.description(),
        }
    }
}

fn json(registry: &Registry, words: &[String], found: &Found<'_>, limit: usize) -> Result<String> {
    let document = Document {
        words,
        found: found.hits.len(),
        registrations: found.hits.iter().take(limit).map(Hit::from).collect(),
        nearest: found.hits.is_empty().then(|| nearest(registry, words, found)).flatten(),
        source: Source::new(&registry.source(), registry.records()),
    };
    print::document(&document)
}

#[cfg(test)]
mod tests;
