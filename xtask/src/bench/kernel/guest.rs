//! The guest in which all tools run in turn.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use workload::lines::read;
use workload::plan::{Plan, Tool, Turn};

use super::Asked;
use super::rows::Unit;
use super::tools::{NAMED, OTHER, agents, peers};
use crate::bench::guest::Guest;
use crate::vm::Accelerator;
use crate::vm::programs::Programs;
use crate::workspace::Workspace;

/// Rounds of each call, each time, and the calls of a round: so many that the first ones, which an emulator has yet to
/// translate, do not count in a median; and so few that what the peers tell of a round fits into their buffers, since what
/// is lost costs less.
const ROUNDS: u32 = 10;
const CALLS: u32 = 100;

/// After this the guest is ended: several times what it takes.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// Starts what follows under the scheduler's policy for what has time.
const IDLE: [&str; 3] = ["/usr/bin/chrt", "--idle", "0"];

/// What the guest does. bpftrace looks for what can be traced in debugfs.
const SCRIPT: &str = "#!/bin/sh\nmount -t debugfs debugfs /sys/kernel/debug\nmkdir -p /tmp/bench\n\
     exec /payload/workload plan /payload/plan.json /tmp/bench\n";

/// What a guest gave.
#[derive(Debug)]
pub(super) struct Measured {
    /// Version of its kernel.
    pub(super) version: String,
    /// What its clock counts.
    pub(super) unit: Unit,
    /// All turns, in the order of time.
    pub(super) turns: Vec<Turn>,
    /// Boot included.
    pub(super) took: Duration,
    /// What was done.
    pub(super) plan: Plan,
    /// Why it ended before it was done, if it did.
    pub(super) broken_off: Option<String>,
}

/// A tool that runs when nobody else wants the one processor that it shares with the calls: to wake it costs the call that does
/// so, but what it then does is not taken for time of that call.
fn when_idle(tool: Tool) -> Tool {
    let command = IDLE.map(str::to_owned).into_iter().chain(tool.command).collect();
    Tool { command, ..tool }
}

/// Runs all tools once in each of so many guests, one after the other. Where time is measured, under emulation it depends on what
/// lies where in the memory of a boot whether a call takes a tenth longer, for one tool and not for another; and beside the
/// first tool calls take longer, so each guest begins with another one.
///
/// # Errors
/// Where a guest cannot be made, or the first gives no turn. Where a later one breaks off, what there is stays.
pub(super) fn run(workspace: &Workspace, asked: &Asked<'_>, agent: &Path, workload: &Path) -> Result<Measured> {
    let mut programs = Programs::default();
    programs.program("payload/portreeve", agent);
    programs.program("payload/workload", workload);
    let (others, paths) = peers(workspace)?;
    for path in &paths {
        programs.with_libraries(path)?;
    }
    let is_counted = asked.accelerator == Accelerator::TcgCounted;
    if is_counted {
        programs.with_libraries(Path::new(IDLE[0]))?;
    }
    let mut tools = agents("/payload/portreeve", "");
    if let Some(beside) = asked.beside {
        programs.program("payload/portreeve-beside", beside);
        tools.extend(agents("/payload/portreeve-beside", " (beside)"));
    }
    let plan = Plan {
        repetitions: 1,
        rounds: ROUNDS,
        calls: CALLS,
        named: NAMED,
        other: OTHER,
        tools: tools
            .into_iter()
            .chain(others)
            .filter(|tool| asked.only.is_empty() || asked.only.iter().any(|part| tool.name.contains(part)))
            .map(|tool| if is_counted { when_idle(tool) } else { tool })
            .collect(),
    };
    let guest = Guest {
        kernel: asked.kernel,
        name: "kernel",
        script: SCRIPT,
        // bpftrace brings LLVM, which lies in memory twice while it is unpacked.
        memory: 3072,
        accelerator: asked.accelerator,
        limit: LIMIT,
    };
    let mut measured = Measured {
        version: String::new(),
        unit: if is_counted {
            Unit::Instructions
        } else {
            Unit::Nanoseconds
        },
        turns: Vec::new(),
        took: Duration::ZERO,
        plan: Plan {
            repetitions: asked.repetitions,
            ..plan.clone()
        },
        broken_off: None,
    };
    let mut plan = plan;
    let step = plan.tools.len().div_ceil(asked.repetitions as usize);
    for repetition in 0..asked.repetitions {
        let mut programs = programs.clone();
        programs.text("payload/plan.json", serde_json::to_string(&plan)?);
        let ended = guest.boot(workspace, programs)?;
        plan.tools.rotate_left(step);
        let turns: Vec<Turn> = read(&ended.written)?;
        if turns.is_empty() && measured.turns.is_empty() {
            return Err(ended.gave_nothing());
        }
        let numbered = turns.into_iter().map(|turn| Turn { repetition, ..turn });
        measured.turns.extend(numbered);
        measured.took += ended.took;
        measured.version = ended.version;
        if ended.broken_off.is_some() {
            measured.broken_off = ended.broken_off;
            break;
        }
    }
    Ok(measured)
}
