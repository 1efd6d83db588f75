//! How long it takes to learn all that listens: a look of the running agent and `portreeve list` from its start to its end,
//! in turns with `ss` and `lsof`, in a guest and natively. And the agent's memory with many listeners.
//!
//! Reading order: `ways` says what is compared, `guest` and `native` run it, `figures` makes ratios of times, `rows` puts
//! them into the table.

mod figures;
mod guest;
mod native;
mod rows;
mod ways;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use workload::snapshot::{Crowd, Plan, Said};

use super::table::Table;
use super::{NO_GUEST, build_static};
use crate::vm::Accelerator;
use crate::workspace::Workspace;

/// A kernel on which everything loads that a look can use.
pub(super) const KERNEL: &str = "6.12";

/// What the command line asks for.
pub(super) struct Asked<'a> {
    /// Label of the guest's kernel.
    pub(super) kernel: &'a str,
    /// How the guest runs.
    pub(super) accelerator: Accelerator,
    /// A static agent, if one is given.
    pub(super) agent: Option<&'a Path>,
    /// How often each way is taken.
    pub(super) rounds: u32,
    /// What a crowd's name must contain one of; nothing for all crowds.
    pub(super) only: &'a [String],
}

impl Asked<'_> {
    fn of(&self, crowds: &[Crowd]) -> Vec<Crowd> {
        let is_asked =
            |crowd: &&Crowd| self.only.is_empty() || self.only.iter().any(|part| crowd.name().contains(part));
        crowds.iter().filter(is_asked).copied().collect()
    }
}

/// What one run gave.
#[derive(Debug)]
struct Measured {
    /// On which kernel, in which way.
    place: String,
    plan: Plan,
    said: Vec<Said>,
    /// Boot included, where there was one.
    took: Duration,
    /// Whether the kernel side finds listeners in a look.
    by_kernel: bool,
    /// Why it ended before it was done, if it did.
    broken_off: Option<String>,
}

impl Measured {
    fn json(&self) -> Value {
        json!({ "place": self.place, "plan": self.plan, "said": self.said })
    }
}

/// Measures all that is asked for, and gives it as JSON. What cannot be measured stands in the table.
///
/// # Errors
/// Where the programs cannot be built, `ss` or `lsof` is missing and cannot be installed, or no crowd is asked for.
pub(super) fn measure(workspace: &Workspace, asked: &Asked<'_>, table: &mut Table) -> Result<Value> {
    let (built, workload) = build_static(workspace, asked.agent.is_none())?;
    let agent = asked.agent.unwrap_or(&built);
    let peers = ways::peers(workspace)?;
    let native = native::run(workspace, asked, agent, &workload, &peers);
    let mut all = vec![added("natively", native, table)];
    if asked.kernel != NO_GUEST {
        let guest = guest::run(workspace, asked, agent, &workload, &peers);
        all.push(added(&format!("guest {}", asked.kernel), guest, table));
    }
    let all: Vec<Measured> = all.into_iter().flatten().collect();
    if all.is_empty() && table.is_complete() {
        bail!("no crowd's name contains {}", asked.only.join(" or "));
    }
    Ok(all.iter().map(Measured::json).collect())
}

fn added(what: &str, runs: Result<Vec<Measured>>, table: &mut Table) -> Vec<Measured> {
    match runs {
        Ok(runs) => {
            runs.iter().for_each(|run| rows::add(run, table));
            runs
        }
        Err(error) => {
            table.not_measured(what, format!("{error:#}"));
            Vec::new()
        }
    }
}
