//! `portreeve learn`: expectations, from what was seen to listen.

mod group;
mod judge;
mod seen;
mod toml;

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

use anyhow::Result;
use jiff::Timestamp;

use self::{
    group::group,
    judge::Judge,
    seen::{of_history, parse, read},
};
use super::{
    history::{self, moment},
    list::{
        gather::{Looker, SourceArgs},
        json, now,
        text::unseen,
    },
    print::{document, print, say},
};
use crate::history::read::Query;

/// The flags of `learn`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Learn from these documents of `portreeve list --json`, one a host, instead of from this host
    ///
    /// They are judged by the rules of this command's configuration, whatever theirs was.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    merge: Vec<PathBuf>,

    /// Learn from what listened in this span or after this time: 30d, 12h, 2026-11-23
    ///
    /// It is judged by the rules as they are now, whatever they were then.
    #[arg(long, value_name = "SPAN|TIME", value_parser = moment::parse, conflicts_with = "merge")]
    since: Option<moment::Moment>,

    /// Print one JSON document instead of TOML
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    sources: SourceArgs,
}

/// Prints the expectations.
///
/// # Errors
/// Where arguments, configuration or a document are wrong, or stdout cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let time = Timestamp::now();
    let since = args.since.map(|since| since.passed("--since", time)).transpose()?;
    let configured = args.sources.read()?;
    let path = configured.history().path.clone();
    let mut looker = Looker::new(&args.sources, configured, false);
    let judge = Judge::new(looker.policy.clone());
    let (mut hosts, mut seen) = (BTreeSet::new(), Vec::new());
    let from = if let Some(since) = since {
        let query = Query {
            since: Some(since),
            ..Query::default()
        };
        let (host, rows) = (looker.host.clone(), history::read(&path, &query)?);
        seen.extend(of_history(&host, rows, &judge, |row| looker.service_of(row)));
        let day = Timestamp::from_nanosecond(since.into()).map(|since| since.strftime("%Y-%m-%d").to_string());
        let from = format!("what listened on {host} since {}", day.unwrap_or_default());
        hosts.insert(host);
        from
    } else if args.merge.is_empty() {
        let listing = now(&mut looker)?;
        unseen(&listing.unseen).iter().for_each(|part| say(part));
        let (host, found) = parse(json::render(&listing)?.as_bytes(), &judge)?;
        seen.extend(found);
        let from = format!("what listens on {host}");
        hosts.insert(host);
        from
    } else {
        for path in &args.merge {
            let (host, found) = read(path, &judge)?;
            if !hosts.insert(host.clone()) {
                say(&format!(
                    "--merge: {} is of the host {}, as one before it is",
                    path.display(),
                    host.escape_debug()
                ));
            }
            seen.extend(found);
        }
        match hosts.first() {
            Some(host) if hosts.len() == 1 => format!("what listened on {host}"),
            _ => format!("what listened on {} hosts", hosts.len()),
        }
    };
    let automatic = looker.automatic;
    let is_automatic = |port| automatic.is_some_and(|(first, last)| (first..=last).contains(&port));
    let learned = group(hosts, seen, is_automatic);
    let text = if args.json {
        document(&learned)?
    } else {
        toml::render(&learned, &from, args.merge.is_empty())
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
