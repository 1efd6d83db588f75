//! `portreeve history [PORT|NAME]`: what listened, from when to when, and how often.

mod asked;
pub(in crate::cli) mod json;
pub(in crate::cli) mod moment;
pub(in crate::cli) mod text;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use jiff::Timestamp;

use self::asked::Asked;
use super::{
    print::{print, say},
    terminal::{self, Color},
};
pub(in crate::cli) use crate::history::{Entry, grouped};
use crate::{
    config,
    exit::UsageError,
    history::read::{Query, Reader, Row, Unreadable},
};

/// The flags of `history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ports (1992, 6000-6010), services (stun-p3) or programs (nginx, 'python*'); all where none is given
    ///
    /// A name that a service and a program have stands for both.
    #[arg(value_name = "PORT|NAME", allow_negative_numbers = true)]
    asked: Vec<String>,

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
    let files = config::gather(&args.config_file);
    let chosen = files.names().open(&args.rootfs);
    chosen.remarks.iter().for_each(|remark| say(remark));
    let history = files.resolve(&chosen.registry)?.history();
    let asked = Asked::new(&args.asked, &chosen.registry)?;
    let time = Timestamp::now();
    let since = args.since.map(|since| since.passed("--since", time)).transpose()?;
    let until = args.until.map(|until| until.before(time));
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(UsageError("--since lies after --until: nothing can be between them".to_owned()).into());
    }
    let file = args.history_file.clone().unwrap_or(history.path);
    let is_for_all = asked.is_for_all();
    let mut rows = read(&file, &asked.query(since, until))?;
    asked.check(|query| Ok(read(&file, query)?))?;
    let all = rows.len();
    if is_for_all && !args.all {
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

#[cfg(test)]
mod tests;
