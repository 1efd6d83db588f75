//! The guest in which all tools run in turn.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use workload::plan::{Plan, Turn};

use super::Asked;
use super::tools::{NAMED, OTHER, agents, peers};
use crate::setup::guest_tools;
use crate::setup::kernels;
use crate::vm::Accelerator;
use crate::vm::boot::{Guest, Work};
use crate::vm::programs::Programs;
use crate::workspace::Workspace;

/// Rounds of each call, each time, and the calls of a round: so many that the first ones, which an emulator has yet to
/// translate, do not count in a median.
const ROUNDS: u32 = 5;
const CALLS: u32 = 200;

/// After this the guest is ended: several times what it takes.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// What the guest does. bpftrace looks for what can be traced in debugfs.
const SCRIPT: &str = "#!/bin/sh\nmount -t debugfs debugfs /sys/kernel/debug\nmkdir -p /tmp/bench\n\
     exec /payload/workload plan /payload/plan.json /tmp/bench\n";

/// What a guest gave.
#[derive(Debug)]
pub(super) struct Measured {
    /// Version of its kernel.
    pub(super) version: String,
    /// All turns, in the order of time.
    pub(super) turns: Vec<Turn>,
    /// Boot included.
    pub(super) took: Duration,
    /// What was done.
    pub(super) plan: Plan,
    /// Why it ended before it was done, if it did.
    pub(super) broken_off: Option<String>,
}

/// Runs all tools in one guest.
///
/// # Errors
/// Where the guest cannot be made, or gives no turn.
pub(super) fn run(workspace: &Workspace, asked: &Asked<'_>, agent: &Path, workload: &Path) -> Result<Measured> {
    let kernel = kernels::named(asked.kernel)?;
    guest_tools::ensure_qemu(workspace)?;
    let busybox = guest_tools::ensure_busybox(workspace)?;
    let fetched = kernels::ensure(workspace, &[kernel])
        .pop()
        .with_context(|| format!("there is no kernel {}", kernel.label))??;
    let mut programs = Programs::default();
    programs.program("payload/portreeve", agent);
    programs.program("payload/workload", workload);
    let (others, paths) = peers(workspace)?;
    for path in &paths {
        programs.with_libraries(path)?;
    }
    let mut tools = agents("/payload/portreeve", "");
    if let Some(beside) = asked.beside {
        programs.program("payload/portreeve-beside", beside);
        tools.extend(agents("/payload/portreeve-beside", " (beside)"));
    }
    let plan = Plan {
        repetitions: asked.repetitions,
        rounds: ROUNDS,
        calls: CALLS,
        named: NAMED,
        other: OTHER,
        tools: tools
            .into_iter()
            .chain(others)
            .filter(|tool| asked.only.is_empty() || asked.only.iter().any(|part| tool.name.contains(part)))
            .collect(),
    };
    programs.text("payload/plan.json", serde_json::to_string(&plan)?);

    let folder = workspace.target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let version = fetched.version.clone();
    let guest = Guest {
        label: format!("bench-{}", kernel.label),
        kernel_label: kernel.label,
        kernel: fetched,
        without: None,
        work: Work::Script {
            script: SCRIPT.to_owned(),
            programs,
        },
        busybox,
        // bpftrace brings LLVM, which lies in memory twice while it is unpacked.
        memory: 3072,
        accelerator: Accelerator::Tcg,
        limit: LIMIT,
        folder: folder.join(format!("kernel-{}", kernel.label)),
    };
    let ended = guest.boot()?;
    let turns = turns(&ended.tests)?;
    let broken_off = match ended.status {
        Some(0) => None,
        Some(status) => Some(format!("the workload ended with status {status}")),
        None => Some(ended.without_status().to_owned()),
    };
    let logs = format!("its console is in {}", guest.console_log().display());
    if turns.is_empty() {
        let why = broken_off.as_deref().unwrap_or("it ended");
        bail!("the guest gave no figure: {why}; {logs}\n{}", ended.excerpt());
    }
    Ok(Measured {
        version,
        turns,
        took: ended.time,
        plan,
        broken_off: broken_off.map(|why| format!("{why}; {logs}")),
    })
}

/// The turns in what the guest wrote: a JSON line each. The last may be cut where it was ended.
fn turns(written: &str) -> Result<Vec<Turn>> {
    let lines: Vec<&str> = written.lines().filter(|line| line.starts_with('{')).collect();
    let mut turns = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        match serde_json::from_str(line) {
            Ok(turn) => turns.push(turn),
            Err(_) if index + 1 == lines.len() => {}
            Err(error) => return Err(error).with_context(|| format!("the guest wrote what is no turn: {line}")),
        }
    }
    Ok(turns)
}

#[cfg(test)]
mod tests {
    use super::turns;

    #[test]
    fn a_last_line_that_is_cut_is_left_out_and_another_is_an_error() {
        let whole = r#"{"tool":null,"repetition":0,"refusal":null,"cells":[],"cost":null,"told":[]}"#;
        let read = turns(&format!("{whole}\r\nnoise\n{whole}\n{{\"tool\":\"sol")).unwrap();
        assert_eq!(read.len(), 2);
        assert!(turns(&format!("{{\"tool\"\n{whole}\n")).is_err());
    }
}
