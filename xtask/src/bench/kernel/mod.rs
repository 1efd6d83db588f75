//! What the hooks cost the calls that they see, beside their peers: in a guest, where everything loads, and natively with
//! the one backend that needs neither kprobes nor trampolines.
//!
//! Reading order: `tools` says what runs, `guest` runs it, `figures` makes ratios of times, `rows` puts them into the
//! table; `native` stands by itself.

mod figures;
mod guest;
mod native;
mod rows;
mod tools;

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::table::Table;
use super::{NO_GUEST, build_static};
use crate::say;
use crate::vm::Accelerator;
use crate::workspace::Workspace;

/// The kernel on which most peers load.
pub(super) const KERNEL: &str = "6.1";

/// What the command line asks for.
pub(super) struct Asked<'a> {
    /// Label of the guest's kernel.
    pub(super) kernel: &'a str,
    /// How the guest runs.
    pub(super) accelerator: Accelerator,
    /// A static agent, if one is given.
    pub(super) agent: Option<&'a Path>,
    /// Another one, to compare it with.
    pub(super) beside: Option<&'a Path>,
    /// How often each tool is started and measured.
    pub(super) repetitions: u32,
    /// What a tool's name must contain one of; nothing for all tools.
    pub(super) only: &'a [String],
}

/// Measures both, and gives all that was measured as JSON. What cannot be measured stands in the table.
///
/// # Errors
/// Where the programs for the guest cannot be built.
pub(super) fn measure(workspace: &Workspace, asked: &Asked<'_>, table: &mut Table) -> Result<Value> {
    let (built, workload) = build_static(workspace, asked.agent.is_none())?;
    let agent = asked.agent.unwrap_or(&built);
    let native = match native::measure(agent, table) {
        Ok(phases) => phases,
        Err(error) => {
            table.not_measured("natively", format!("{error:#}"));
            Value::Null
        }
    };
    if asked.kernel == NO_GUEST {
        return Ok(json!({ "native": native }));
    }
    say!(
        "    in {} with kernel {}: one takes two minutes",
        guests(asked.repetitions),
        asked.kernel
    );
    let turns = match guest::run(workspace, asked, agent, &workload) {
        Ok(measured) => {
            rows::add(&measured, table);
            json!({ "kernel": measured.version, "plan": measured.plan, "turns": measured.turns })
        }
        Err(error) => {
            table.not_measured(format!("guest {}", asked.kernel), format!("{error:#}"));
            Value::Null
        }
    };
    Ok(json!({ "native": native, "guest": turns }))
}

/// How many guests, in words for people.
fn guests(count: u32) -> String {
    format!("{count} guest{}", if count == 1 { "" } else { "s" })
}
