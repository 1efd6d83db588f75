//! How long whole processes take: the agent until it is armed, and its peer beside it.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::agent::Agent;
use super::lines::Lines;
use super::sample::{Sample, Shown, ratio};
use super::table::Table;
use crate::command::shown;
use crate::setup::apt::{self, Package};
use crate::workspace::Workspace;

const STARTS: usize = 10;

/// Measures starts and the size of the binary; each process in turn with its peer, so that both meet the same
/// machine.
///
/// # Errors
/// Where a process cannot be run or fails.
pub(super) fn measure(workspace: &Workspace, binary: &Path, table: &mut Table) -> Result<()> {
    let size = fs::metadata(binary)
        .with_context(|| format!("cannot look at {}", binary.display()))?
        .len();
    table.bytes("binary, stripped", size, 8, String::new());

    let ss = apt::ensure(
        workspace,
        &[Package::new("iproute2", "ss")],
        "the peer of the agent's start",
    );
    let (mut armed, mut peer, mut backend) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..STARTS {
        let mut agent = Agent::start(binary)?;
        let _lines = Lines::of(agent.stdout()?);
        armed.push(agent.armed_after);
        backend.clone_from(&agent.backend);
        agent.stop()?;
        if ss.is_ok() {
            peer.push(whole("ss", ["-ltn"], &[0])?);
        }
    }
    let armed = Sample::new(armed)?;
    let more = format!("{}; backend {backend}", armed.range());
    table.time(
        "start to armed, median",
        armed.median(),
        Duration::from_millis(100),
        more,
    );
    match ss.and_then(|()| Sample::new(peer)) {
        Ok(peer) => table.plain(
            "  ss -ltn, whole process, median",
            Shown(peer.median()).to_string(),
            format!(
                "{}; start to armed is {:.1} times that",
                peer.range(),
                ratio(armed.median(), peer.median())
            ),
        ),
        Err(error) => table.not_measured("  ss -ltn, whole process", format!("{error:#}")),
    }
    Ok(())
}

/// The time of a process from before its spawn until it has ended, with one of these exit codes.
pub(super) fn whole<const N: usize>(
    program: impl AsRef<OsStr>,
    arguments: [&str; N],
    codes: &[i32],
) -> Result<Duration> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", shown(&command)))?;
    let took = start.elapsed();
    if status.code().is_none_or(|code| !codes.contains(&code)) {
        bail!("`{}` failed ({status})", shown(&command));
    }
    Ok(took)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::whole;

    #[test]
    fn a_process_that_fails_gives_no_time() {
        assert!(whole("true", [], &[0]).unwrap() > Duration::ZERO);
        assert!(
            whole("false", [], &[0])
                .unwrap_err()
                .to_string()
                .contains("`false` failed")
        );
    }
}
