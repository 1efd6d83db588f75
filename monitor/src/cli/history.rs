//! `portreeve history [PORT|NAME]`: what listened, from when to when, and how often.

pub(in crate::cli) mod json;
pub(in crate::cli) mod moment;
pub(in crate::cli) mod text;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::{
    print::{print, say},
    terminal::{self, Color},
};
pub(in crate::cli) use crate::history::{Entry, grouped};
use crate::{
    config,
    event::Protocol,
    exit::UsageError,
    history::read::{Query, Reader, Row, Unreadable},
    registry::{PortSpec, Registry, Transport},
};

/// The flags of `history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ports: numbers, ranges, service names (1992, 6000-6010, stun-p3); all where none is given
    #[arg(value_name = "PORT|NAME", allow_negative_numbers = true)]
    ports: Vec<String>,

    /// What listened in this span or after this time: 7d, 12h, 2026-11-23, 2026-11-23T03:20:00Z
    #[arg(long, value_name = "SPAN|TIME", value_parser = moment::parse)]
    since: Option<moment::Moment>,

    /// What listened before this span or time
    #[arg(long, value_name = "SPAN|TIME", value_parser = moment::parse)]
    until: Option<moment::Moment>,

    /// Show each listener by itself
    #[arg(long)]
    each: bool,

    /// Show those on ports that the kernel chose, too
    #[arg(long)]
    all: bool,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    /// When to use colours
    #[arg(long, value_enum, default_value = "auto")]
    color: Color,

    /// The file of the history, whatever the configuration says
    #[arg(long = "history.file", value_name = "FILE")]
    history_file: Option<PathBuf>,

    /// Configuration file of the agent, for [history] and names of ports; may be given several times
    #[arg(long = "config.file", value_name = "FILE")]
    config_file: Vec<PathBuf>,

    /// Mount point of the host's root
    #[arg(long = "path.rootfs", value_name = "PATH", default_value = "/")]
    rootfs: PathBuf,
}

/// What is shown.
struct Listing {
    file: PathBuf,
    time: Timestamp,
    since: Option<i64>,
    until: Option<i64>,
    entries: Vec<Entry>,
    /// Those on automatic ports that are not shown.
    left_out: usize,
}

/// Prints what listened.
///
/// # Errors
/// Where arguments or configuration are wrong, there is no history, it cannot be read, or stdout cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let files = config::read(&args.config_file)?;
    let chosen = files.names().open(&args.rootfs);
    chosen.remarks.iter().for_each(|remark| say(remark));
    let history = files.resolve(&chosen.registry)?.history();
    let ports = ports(&args.ports, &chosen.registry)?;
    let time = Timestamp::now();
    let at = |moment: Option<moment::Moment>| moment.map(|moment| moment.before(time));
    let (since, until) = (at(args.since), at(args.until));
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(UsageError("--since lies after --until: nothing can be between them".to_owned()).into());
    }
    let file = args.history_file.clone().unwrap_or(history.path);
    let query = Query {
        ports,
        since,
        until,
        limit: None,
    };
    let mut rows = read(&file, &query)?;
    let all = rows.len();
    if query.ports.is_empty() && !args.all {
        rows.retain(|row| row.automatic != Some(true));
    }
    let listing = Listing {
        file,
        time,
        since,
        until,
        left_out: all - rows.len(),
        entries: grouped(rows, args.each),
    };
    let text = if args.json {
        json::render(&listing)?
    } else {
        text::render(&listing, terminal::width(), args.color.applies())
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a history.
///
/// # Errors
/// Why it cannot be read, in a sentence.
pub(in crate::cli) fn read(file: &Path, query: &Query) -> Result<Vec<Row>, Unreadable> {
    let reader = Reader::open(file)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    reader.rows(query, boot.trim())
}

/// The ports that were asked for, as the history knows them.
fn ports(asked: &[String], registry: &Registry) -> Result<Vec<(Option<Protocol>, u16, u16)>> {
    let mut ports = Vec::new();
    for text in asked {
        let specs = PortSpec::parse_list(text, registry).map_err(|error| UsageError(error.to_string()))?;
        let before = ports.len();
        for spec in specs {
            let protocol = match spec.transport {
                None => None,
                Some(Transport::Tcp) => Some(Protocol::Tcp),
                Some(Transport::Udp) => Some(Protocol::Udp),
                Some(_) => continue,
            };
            ports.push((protocol, spec.first, spec.last));
        }
        if ports.len() == before {
            let text = format!("`{text}` is neither TCP nor UDP, and nothing else is kept");
            return Err(UsageError(text)).context("history");
        }
    }
    Ok(ports)
}

#[cfg(test)]
mod tests;
