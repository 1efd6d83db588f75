//! The same on this machine's own kernel, with fewer processes; and the agent's memory with many listeners.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use workload::lines::read;
use workload::snapshot::{Crowd, Plan};

use super::ways::Peers;
use super::{Asked, Measured};
use crate::workspace::Workspace;

/// What a machine bears on which others work too.
const CROWD: Crowd = Crowd {
    processes: 200,
    files: 50,
    listeners: 200,
};

/// Many listeners, and few processes: it is the agent's memory that is measured.
pub(super) const MANY_LISTENERS: Crowd = Crowd {
    processes: 10,
    files: 1_050,
    listeners: 10_000,
};

/// Looks before the memory is read: it is what the agent keeps from look to look.
const LOOKS: u32 = 3;

/// Takes all ways beside one crowd, then lets the agent look at many listeners.
///
/// # Errors
/// Where the workload cannot be run.
pub(super) fn run(
    workspace: &Workspace,
    asked: &Asked<'_>,
    agent: &Path,
    workload: &Path,
    peers: &Peers,
) -> Result<Vec<Measured>> {
    let path = agent.display().to_string();
    let plan = |crowd: Crowd, rounds, commands| Plan {
        crowds: asked.of(&[crowd]),
        rounds,
        agent: [&path, "run", "--backend", "tracepoint"].map(str::to_owned).to_vec(),
        commands,
    };
    let plans = [
        plan(CROWD, asked.rounds, peers.commands(&path)),
        plan(MANY_LISTENERS, LOOKS, Vec::new()),
    ];
    let asked = plans.into_iter().filter(|plan| !plan.crowds.is_empty());
    asked.map(|plan| beside(workspace, workload, plan)).collect()
}

fn beside(workspace: &Workspace, workload: &Path, plan: Plan) -> Result<Measured> {
    let folder = workspace.target.join("bench/snapshot-native");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let file = folder.join("plan.json");
    fs::write(&file, serde_json::to_string(&plan)?).with_context(|| format!("cannot write {}", file.display()))?;
    let start = Instant::now();
    let output = Command::new(workload)
        .arg("snapshot")
        .args([&file, &folder])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", workload.display()))?;
    let broken_off = (!output.status.success())
        .then(|| format!("the workload ended with {}; its error stands above", output.status));
    Ok(Measured {
        place: "natively".to_owned(),
        plan,
        said: read(&String::from_utf8_lossy(&output.stdout))?,
        took: start.elapsed(),
        by_kernel: false,
        broken_off,
    })
}
