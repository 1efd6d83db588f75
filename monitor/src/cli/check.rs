//! `portreeve check`: whether configuration files are right.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

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
    let (outcome, remarks) = examine(&args.files, &args.rootfs);
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

/// What the files say, or what is wrong with them; and what is right and may surprise.
fn examine(files: &[PathBuf], rootfs: &Path) -> (Result<File, ConfigError>, Vec<String>) {
    let files = config::gather(files);
    let chosen = files.names().open(rootfs);
    let mut remarks = chosen.remarks;
    let (file, problems) = files.draft(&chosen.registry);
    remarks.extend(file.receivers.wanted().unreadable());
    if !problems.is_empty() {
        return (Err(ConfigError(problems)), remarks);
    }
    // From rules and expectations of which some are missing nothing would follow.
    remarks.extend(config::waiting(&config::policy_of(&file)));
    (Ok(file), remarks)
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
