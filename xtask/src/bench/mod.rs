//! `cargo xtask bench`: the built agent, measured natively on this machine's kernel, beside the figures to reach.
//!
//! Reading order: `latency`, `memory`, `start` and `churn` are what is measured; `agent` and `lines` run the agent and read
//! what it says; `sample` and `table` turn times into rows.

mod agent;
mod churn;
mod latency;
mod lines;
mod listeners;
mod memory;
mod sample;
mod start;
mod table;

use std::fs;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use self::table::Table;
use crate::command::{cargo, run};
use crate::say;
use crate::setup::apt::is_root;
use crate::workspace::Workspace;

/// Measures the agent on this machine's kernel: latency, memory, start, churn, beside the figures to reach.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// What to measure; everything where nothing is named.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Measures this binary instead of building one.
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// From the return of `listen()` to the JSON line.
    Latency,
    /// Resident memory, idle and with many listeners; a scrape then.
    Memory,
    /// From spawn to armed; `explain`; the size of the binary.
    Start,
    /// Listen and close as fast as it goes: is anything lost?
    Churn,
}

impl Part {
    fn measure(self, workspace: &Workspace, agent: &std::path::Path, table: &mut Table) -> Result<()> {
        match self {
            Self::Latency => latency::measure(agent, table),
            Self::Memory => memory::measure(agent, table),
            Self::Start => start::measure(workspace, agent, table),
            Self::Churn => churn::measure(agent, table),
        }
    }
}

/// Runs `cargo xtask bench`. Gives whether everything could be measured: a figure that misses its target stands in the
/// table and is no failure, since a machine that does other work too misses some.
///
/// # Errors
/// Where the agent cannot be built, or this process is not root.
pub(crate) fn main(workspace: &Workspace, args: &BenchArgs) -> Result<bool> {
    if !is_root() {
        bail!("the agent loads programs into the kernel, so measuring it needs root; run cargo xtask bench as root");
    }
    let agent = match &args.agent {
        Some(agent) => agent.clone(),
        None => build(workspace)?,
    };
    let parts = if args.parts.is_empty() {
        Part::value_variants()
    } else {
        &args.parts
    };
    say!("{}", conditions()?);
    let mut table = Table::default();
    for part in parts {
        let load = one_line("/proc/loadavg")?;
        say!("measuring {part:?} (load {load})");
        if let Err(error) = part.measure(workspace, &agent, &mut table) {
            table.not_measured(format!("{part:?}"), format!("{error:#}"));
        }
    }
    table.print();
    say!("load at the end: {}", one_line("/proc/loadavg")?);
    Ok(table.is_complete())
}

/// The agent as it is released.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    run(cargo()
        .args(["build", "--release", "--locked", "--package", "monitor"])
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target))?;
    Ok(workspace.target.join("release/portreeve"))
}

/// What the figures depend on.
fn conditions() -> Result<String> {
    let kernel = one_line("/proc/sys/kernel/osrelease")?;
    let cores = thread::available_parallelism().context("cannot count this machine's cores")?;
    Ok(format!(
        "kernel {kernel}, {cores} cores; what else runs here shows in each load (1, 5, 15 minutes, running/all tasks)"
    ))
}

fn one_line(path: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.trim_end().to_owned())
}
