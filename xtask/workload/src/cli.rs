//! The command line: timed calls, `workload calls KIND PORT COUNT [ROUNDS]`, or all that a plan says, `workload plan FILE
//! FOLDER`; `workload snapshot FILE FOLDER` for crowds of processes, each of which is `workload stand FILES PORT LISTENERS`.

use std::fs;
use std::io::stdout;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::calls::{Kind, MEASURED, Made, round};
use crate::interleave;
use crate::lines;
use crate::plan::Plan;
use crate::snapshot::{self, crowd, rounds};

/// Does what the arguments say.
///
/// # Errors
/// Where they say nothing that there is, or it cannot be done.
pub fn perform(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["calls", kind, port, count] => calls(kind, port, count, "1"),
        ["calls", kind, port, count, rounds] => calls(kind, port, count, rounds),
        ["plan", file, folder] => {
            let plan: Plan = read(file)?;
            interleave::run(&plan, Path::new(folder), &mut stdout())
        }
        ["snapshot", file, folder] => {
            let plan: snapshot::Plan = read(file)?;
            rounds::run(&plan, Path::new(folder), &mut stdout())
        }
        ["stand", files, first, listeners] => {
            let number = |word: &str| word.parse().with_context(|| format!("{word} is no number of a port"));
            let files = files
                .parse()
                .with_context(|| format!("{files} is no number of files"))?;
            crowd::stand(files, number(first)?, number(listeners)?)
        }
        _ => bail!(
            "write `workload calls KIND PORT COUNT [ROUNDS]`, `workload plan FILE FOLDER`, `workload snapshot FILE FOLDER` or \
             `workload stand FILES PORT LISTENERS`"
        ),
    }
}

fn read<T: DeserializeOwned>(file: &str) -> Result<T> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    serde_json::from_str(&text).with_context(|| format!("{file} is not a plan"))
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
        lines::write(&times, &mut stdout())?;
    }
    Ok(())
}
