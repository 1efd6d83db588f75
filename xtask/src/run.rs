//! `cargo xtask run`: the agent, built by this user and started by root.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Error, Result, bail};
use clap::Args;

use crate::command::{cargo, find_program, run};
use crate::setup::apt::is_root;
use crate::workspace::Workspace;

/// Builds the agent and runs it: as root, through sudo where needed.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The agent's arguments: flags are those of `portreeve run`; a subcommand takes its place.
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
}

/// Runs `cargo xtask run`. Returns only where it fails: the agent takes the place of this process, so that signals go
/// straight to it.
///
/// # Errors
/// Where the build fails, or the agent cannot be started as root.
pub(crate) fn main(workspace: &Workspace, args: &RunArgs) -> Result<()> {
    run(cargo()
        .args(["build", "--release", "--package", "monitor"])
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target))?;
    let agent = workspace.target.join("release/portreeve");
    let mut command = as_root(&agent)?;
    let error = command.args(agent_arguments(&args.arguments)).exec();
    Err(Error::new(error).context(format!("cannot start {}", agent.display())))
}

/// The agent as root. Only the agent: what was built belongs to the user.
fn as_root(agent: &Path) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(agent));
    }
    let Some(sudo) = find_program("sudo") else {
        bail!(
            "portreeve loads programs into the kernel, and there is no sudo here; run as root: {} run",
            agent.display()
        );
    };
    let mut command = Command::new(sudo);
    command.arg("--").arg(agent);
    Ok(command)
}

/// `run`, unless the arguments start with a subcommand of their own.
fn agent_arguments(given: &[OsString]) -> Vec<OsString> {
    let names_a_subcommand = given
        .first()
        .is_some_and(|word| !word.as_encoded_bytes().starts_with(b"-"));
    let run = (!names_a_subcommand).then(|| OsString::from("run"));
    run.into_iter().chain(given.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::agent_arguments;

    fn resulting(given: &[&str]) -> Vec<OsString> {
        agent_arguments(&given.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn without_arguments_the_agent_runs() {
        assert_eq!(resulting(&[]), ["run"]);
    }

    #[test]
    fn flags_are_those_of_run() {
        assert_eq!(
            resulting(&["--events=json", "--watch", "22"]),
            ["run", "--events=json", "--watch", "22"]
        );
    }

    #[test]
    fn a_subcommand_takes_the_place_of_run() {
        assert_eq!(resulting(&["explain", "1992"]), ["explain", "1992"]);
    }
}
