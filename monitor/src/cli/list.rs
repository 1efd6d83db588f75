//! `portreeve list`: what listens now, whose it is, and what is thought of it.

pub(super) mod agent;
pub(in crate::cli) mod columns;
pub(super) mod filters;
pub(in crate::cli) mod gather;
pub(in crate::cli) mod json;
pub(in crate::cli) mod row;
pub(in crate::cli) mod text;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;
use jiff::Timestamp;

use self::{
    filters::{FilterArgs, Filters},
    gather::{Looker, SourceArgs},
    row::{Listing, Row, What},
    text::Options,
};
use super::{
    print::{print, say},
    terminal::{self, Color},
};
use crate::{
    exit::{self, UsageError},
    policy::{Policy, Verdict},
};

/// The flags of `list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filters: FilterArgs,

    /// Show each socket on a line of its own, uncut, with namespace, package and executable
    #[arg(long)]
    wide: bool,

    /// Print one JSON document
    #[arg(long, conflicts_with = "wide")]
    json: bool,

    /// Name the Debian package of each executable, which takes a moment
    #[arg(long)]
    packages: bool,

    /// When to use colours
    #[arg(long, value_enum, default_value = "auto")]
    color: Color,

    /// Exit with 3 where a listener of this verdict is shown: `unruled` finds unexpected ones too
    #[arg(long = "fail-on", value_enum, value_name = "VERDICT")]
    fail_on: Option<FailOn>,

    #[command(flatten)]
    sources: SourceArgs,
}

/// What a script takes for a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Unexpected,
    Unruled,
}

/// Prints the listeners.
///
/// # Errors
/// Where arguments or configuration are wrong, or stdout cannot be written. What may not be seen is no error: it is said
/// below the table.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut looker = Looker::new(&args.sources, args.sources.read()?, args.packages);
    let filters = Filters::new(&args.filters, &looker.registry, looker.automatic)?;
    if let Some(user) = args.filters.user.iter().find(|user| !looker.knows_user(user)) {
        return Err(UsageError(format!(
            "--user: the host's passwd file has no user `{user}`; write the number of one that only a directory knows"
        ))
        .into());
    }
    let listing = look(&mut looker, &filters);
    let text = if args.json {
        json::render(&listing)?
    } else {
        let options = Options {
            width: terminal::width(),
            color: args.color.applies(),
            wide: args.wide,
        };
        text::render(&listing, &options)
    };
    print(&text)?;
    let Some(fail_on) = args.fail_on else {
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(sentence) = finding(&listing.rows, fail_on) {
        say(&sentence);
        return Ok(ExitCode::from(exit::FINDING));
    }
    let unread = listing
        .unseen
        .iter()
        .filter(|unseen| unseen.what == What::Namespace)
        .count();
    if unread > 0 {
        // A guard that could not look does not let pass.
        bail!(
            "--fail-on: nothing of that kind is seen, and {unread} network namespace{} could not be looked into; run this as root",
            if unread == 1 { "" } else { "s" }
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// All that listens now, as `list` shows it where nothing is asked for.
///
/// # Errors
/// None of its own: nothing was asked for that could be wrong.
pub(super) fn now(looker: &mut Looker) -> Result<Listing> {
    let filters = Filters::new(&FilterArgs::default(), &looker.registry, looker.automatic)?;
    Ok(look(looker, &filters))
}

fn look(looker: &mut Looker, filters: &Filters) -> Listing {
    let look = looker.look(true);
    if let Some(silent) = &looker.silent {
        say(&format!("--agent: {silent}; since when sockets listen is not known"));
    }
    let rows: Vec<_> = look.found.into_iter().map(|found| looker.describe(found)).collect();
    // A filter that asks for processes may have missed one that is not seen.
    let of_all = filters.ask_for_processes().then(|| looker.hidden(&rows)).flatten();
    let (rows, left_out) = select(rows, filters, &looker.policy);
    let hidden = of_all.or_else(|| looker.hidden(&rows));
    Listing {
        host: looker.host.clone(),
        time: Timestamp::now(),
        rows,
        left_out,
        unseen: look.unseen.into_iter().chain(hidden).collect(),
    }
}

/// The rows that are shown, in their order, and how many UDP sockets on automatic ports are not.
fn select(mut rows: Vec<Row>, filters: &Filters, policy: &Policy) -> (Vec<Row>, usize) {
    rows.retain(|row| filters.shows(row));
    let all = rows.len();
    rows.retain(|row| !filters.leaves_out(row, policy));
    rows.sort_by_cached_key(Row::order);
    let left_out = all - rows.len();
    (rows, left_out)
}

/// The sentence on what a script asked for; `None` where there is no such listener.
fn finding(rows: &[Row], fail_on: FailOn) -> Option<String> {
    let mut found = rows.iter().filter(|row| match fail_on {
        FailOn::Unexpected => row.verdict == Verdict::Unexpected,
        FailOn::Unruled => row.verdict != Verdict::Expected,
    });
    let first = found.next()?;
    let rule = match &first.rule {
        Some(rule) => format!(" (rule {rule})"),
        None => String::new(),
    };
    let more = match found.count() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Some(format!(
        "{}: {} of {}{rule}{more}",
        first.verdict.as_str(),
        first.place(),
        first.process_word()
    ))
}

#[cfg(test)]
pub(super) mod tests;
