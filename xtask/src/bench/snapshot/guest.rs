//! The guest in which all ways are taken in turns: with few processes, with a thousand, and with five thousand.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use workload::lines::read;
use workload::snapshot::{Crowd, Plan};

use super::ways::Peers;
use super::{Asked, Measured};
use crate::bench::guest::Guest;
use crate::say;
use crate::vm::programs::Programs;
use crate::workspace::Workspace;

/// The small host on which `portreeve list` is not to lose either, the one of the target, and a large one.
const CROWDS: [Crowd; 3] = [
    Crowd {
        processes: 10,
        files: 10,
        listeners: 5,
    },
    Crowd {
        processes: 1_000,
        files: 50,
        listeners: 200,
    },
    Crowd {
        processes: 5_000,
        files: 50,
        listeners: 200,
    },
];

/// Memory in MiB for up to so many processes, and for more.
const MANY: u32 = 1_000;
const MEMORY: u32 = 4_096;
const MORE_MEMORY: u32 = 8_192;

/// After this the guest is ended: several times what it takes.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// What the guest does. Its own limits are those of a host that is as large as it plays.
const SCRIPT: &str = "#!/bin/sh\nmkdir -p /tmp/bench\necho 4194304 >/proc/sys/kernel/pid_max\n\
     echo 4194304 >/proc/sys/fs/file-max\nulimit -n 1048576\n\
     exec /payload/workload snapshot /payload/plan.json /tmp/bench\n";

const AGENT: &str = "/payload/portreeve";

/// Takes all ways in one guest.
///
/// # Errors
/// Where the guest cannot be made, or gives no figure.
pub(super) fn run(
    workspace: &Workspace,
    asked: &Asked<'_>,
    agent: &Path,
    workload: &Path,
    peers: &Peers,
) -> Result<Vec<Measured>> {
    let plan = Plan {
        crowds: asked.of(&CROWDS),
        rounds: asked.rounds,
        // It takes the first backend that loads: the guest's kernels have trampolines.
        agent: vec![AGENT.to_owned(), "run".to_owned()],
        commands: peers.commands(AGENT),
    };
    let Some(most) = plan.crowds.iter().map(|crowd| crowd.processes).max() else {
        return Ok(Vec::new());
    };
    say!(
        "    in a guest with kernel {}: this takes a quarter of an hour",
        asked.kernel
    );
    let mut programs = Programs::default();
    programs.program("payload/portreeve", agent);
    programs.program("payload/workload", workload);
    for path in peers.programs() {
        programs.with_libraries(path)?;
    }
    programs.text("payload/plan.json", serde_json::to_string(&plan)?);
    let guest = Guest {
        kernel: asked.kernel,
        name: "snapshot",
        script: SCRIPT,
        memory: if most > MANY { MORE_MEMORY } else { MEMORY },
        accelerator: asked.accelerator,
        limit: LIMIT,
    };
    let ended = guest.boot(workspace, programs)?;
    let said = read(&ended.written)?;
    if said.is_empty() {
        return Err(ended.gave_nothing());
    }
    Ok(vec![Measured {
        place: format!("in a guest, kernel {}, emulated", ended.version),
        plan,
        said,
        took: ended.took,
        by_kernel: true,
        broken_off: ended.broken_off,
    }])
}
