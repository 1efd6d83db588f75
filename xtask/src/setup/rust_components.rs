//! rustfmt and clippy, which rustup's minimal profile leaves out.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::command::{cargo, find_program, run, with_retries};
use crate::say;

/// Makes sure that cargo has a subcommand of rustup's component.
///
/// # Errors
/// One sentence with what to install.
pub(crate) fn ensure(subcommand: &str, component: &str) -> Result<()> {
    let there = |command: &mut Command| {
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    if there(cargo().args([subcommand, "--version"])) {
        return Ok(());
    }
    if find_program("rustup").is_none() {
        bail!("cargo {subcommand} is missing; install {component} of the same release as rustc");
    }
    say!("Adding rustup's component {component}, for cargo {subcommand}");
    with_retries("adding a component", || {
        run(Command::new("rustup").args(["component", "add", component]))
    })
}
