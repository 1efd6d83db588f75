//! `portreeve check`: whether configuration files are right.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use serde::Serialize;

use super::print::{self, print, say};
use crate::{
    config::{self, DEFAULT, File},
    exit::{CONFIG, ConfigError, Problem, UsageError, printable},
};

/// The flags of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration files (TOML), taken together
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Print the built-in configuration, as a file to begin with
    #[arg(long, conflicts_with_all = ["files", "json"])]
    print_default: bool,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    /// Mount point of the host's root, for the names of /etc/services
    #[arg(long = "path.rootfs", value_name = "PATH", default_value = "/")]
    rootfs: PathBuf,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Document {
    /// Whether nothing is wrong.
    ok: bool,
    files: Vec<Checked>,
    problems: Vec<Told>,
    /// What is right and may surprise all the same.
    remarks: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    rules: usize,
    expectations: usize,
}

#[derive(Debug, Serialize)]
struct Told {
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    problem: String,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if args.print_default {
        return print(DEFAULT).map(|()| ExitCode::SUCCESS);
    }
    if args.files.is_empty() {
        let text = "check: name the files, or ask for the built-in configuration with --print-default";
        return Err(UsageError(text.to_owned()).into());
    }
    let files = config::gather(&args.files);
    let chosen = files.names().open(&args.rootfs);
    let mut remarks = chosen.remarks.clone();
    let outcome = files.resolve(&chosen.registry);
    if let Ok(file) = &outcome {
        remarks.extend(config::waiting(&config::policy_of(file)));
        remarks.extend(file.receivers.clone().wanted().unreadable());
    }
    let code = ExitCode::from(if outcome.is_ok() { 0 } else { CONFIG });
    if args.json {
        let text = print::document(&document(outcome, remarks))?;
        return print(&text).map(|()| code);
    }
    match outcome {
        Ok(file) => {
            print(&text_of(&file))?;
        }
        Err(ConfigError(problems)) => problems.iter().for_each(|problem| say(&problem.to_string())),
    }
    remarks.iter().for_each(|remark| say(remark));
    Ok(code)
}

/// A line for each file.
fn text_of(file: &File) -> String {
    let line = |read: &config::ReadFile| {
        format!(
            "{}: ok, {}, {}\n",
            printable(&read.path.display().to_string()),
            count(read.rules, "rule"),
            count(read.expectations, "expectation")
        )
    };
    file.read.iter().map(line).collect()
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn document(outcome: Result<File, ConfigError>, remarks: Vec<String>) -> Document {
    let checked = |read: config::ReadFile| Checked {
        file: read.path.display().to_string(),
        rules: read.rules,
        expectations: read.expectations,
    };
    let told = |Problem { place, sentence }| Told {
        file: place.as_ref().map(|place| place.file.display().to_string()),
        line: place.as_ref().map(|place| place.line),
        column: place.as_ref().map(|place| place.column),
        problem: sentence,
    };
    match outcome {
        Ok(file) => Document {
            ok: true,
            files: file.read.into_iter().map(checked).collect(),
            problems: Vec::new(),
            remarks,
        },
        Err(ConfigError(problems)) => Document {
            ok: false,
            files: Vec::new(),
            problems: problems.into_iter().map(told).collect(),
            remarks,
        },
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
