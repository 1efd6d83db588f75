//! Timed calls: `workload calls KIND PORT COUNT [ROUNDS]`, or all that a plan says: `workload plan FILE FOLDER`.

#![forbid(unsafe_code)]

use std::fs;
use std::io::{Write as _, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use workload::calls::{Kind, MEASURED, Made, round};
use workload::interleave;
use workload::plan::Plan;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match perform(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["calls", kind, port, count] => calls(kind, port, count, "1"),
        ["calls", kind, port, count, rounds] => calls(kind, port, count, rounds),
        ["plan", file, folder] => {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
            let plan: Plan = serde_json::from_str(&text).with_context(|| format!("{file} is not a plan"))?;
            interleave::run(&plan, Path::new(folder), &mut stdout())
        }
        _ => bail!("write `workload calls KIND PORT COUNT [ROUNDS]` or `workload plan FILE FOLDER`"),
    }
}

/// Prints each round as a JSON line.
fn calls(kind: &str, port: &str, count: &str, rounds: &str) -> Result<()> {
    let kind = Kind::named(kind)?;
    let port: u16 = port.parse().with_context(|| format!("{port} is no port"))?;
    let count: u32 = count
        .parse()
        .with_context(|| format!("{count} is no number of calls"))?;
    let rounds: u32 = rounds
        .parse()
        .with_context(|| format!("{rounds} is no number of rounds"))?;
    for _ in 0..rounds {
        let times = round(kind, MEASURED, port, count, &mut Made::default())?;
        writeln!(stdout(), "{}", serde_json::to_string(&times)?).context("cannot write a round")?;
    }
    Ok(())
}
