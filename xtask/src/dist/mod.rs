//! `cargo xtask dist`: what people install. One static program, a Debian package and an RPM, with their sums, in `target/dist`.

mod check;
mod deb;
mod notices;
mod packages;
mod root;
mod rpm;
mod stage;
mod static_program;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::command::run;
use crate::dist::stage::Stage;
use crate::lock::sha256;
use crate::payload::{TARGET, static_cargo};
use crate::report::{Outcome, Report};
use crate::say;
use crate::workspace::{Workspace, empty};

/// Makes the static program, the .deb and the .rpm, with their sums, in target/dist.
#[derive(Args, Debug)]
pub(crate) struct DistArgs {
    /// Then try them: install, upgrade, remove and purge in a Debian root of their own (as root, on Debian).
    #[arg(long)]
    check: bool,
    /// Package the debug build, which takes less time, in target/dist-debug: to try the packages, not to hand them out.
    #[arg(long)]
    debug: bool,
    /// Package this static program, which is built already, in target/dist-debug: to try the packages, too.
    #[arg(long, conflicts_with = "debug", value_name = "FILE")]
    program: Option<PathBuf>,
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Made {
    /// The program by itself.
    pub(crate) program: PathBuf,
    /// The Debian package.
    pub(crate) deb: PathBuf,
    /// The RPM.
    pub(crate) rpm: PathBuf,
    /// What they were made of.
    pub(crate) stage: Stage,
}

/// Runs `cargo xtask dist`. Gives whether nothing failed.
///
/// # Errors
/// Where the agent cannot be built.
pub(crate) fn main(workspace: &Workspace, args: &DistArgs) -> Result<bool> {
    let trial = args.debug || args.program.is_some();
    let agent = match &args.program {
        Some(program) => program.clone(),
        None => build(workspace, args.debug)?,
    };
    let mut report = Report::default();
    if let Some(made) = step(workspace, &agent, folder(trial), &mut report)
        && args.check
    {
        check::steps(workspace, &made, &mut report);
    }
    Ok(report.finish())
}

/// Packages a debug agent that is built, static, and tries that: the steps that `cargo xtask test` has of this.
pub(crate) fn debug_steps(workspace: &Workspace, agent: &Path, report: &mut Report) {
    match step(workspace, agent, folder(true), report) {
        Some(made) => check::steps(workspace, &made, report),
        None => report.not_run("packages: tried", "there are none"),
    }
}

/// The folder below `target/`. Nobody shall take packages that were made to be tried for those to hand out.
fn folder(trial: bool) -> &'static str {
    if trial { "dist-debug" } else { "dist" }
}

fn step(workspace: &Workspace, agent: &Path, folder: &str, report: &mut Report) -> Option<Made> {
    let mut made = None;
    report.step(&format!("packages: made in target/{folder}, twice the same"), |_| {
        made = Some(make(workspace, agent, &workspace.target.join(folder))?);
        Ok(Outcome::Passed)
    });
    made
}

/// The static agent, with the committed kernel object in it.
fn build(workspace: &Workspace, debug: bool) -> Result<PathBuf> {
    let mut command = static_cargo(workspace, None);
    command.args([
        "build",
        "--locked",
        "--package",
        "monitor",
        "--bin",
        "portreeve",
        "--target",
        TARGET,
    ]);
    if !debug {
        command.arg("--release");
    }
    run(&mut command)?;
    let profile = if debug { "debug" } else { "release" };
    Ok(workspace.target.join(TARGET).join(profile).join("portreeve"))
}

fn make(workspace: &Workspace, agent: &Path, folder: &Path) -> Result<Made> {
    empty(folder)?;
    let stage = stage::fill(workspace, agent, &folder.join("stage"))?;
    static_program::check(&stage.program())?;
    let made = packages::make(workspace, stage, folder)?;
    let files = [&made.program, &made.deb, &made.rpm];
    let mut sums = String::new();
    for file in files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        sums.push_str(&format!("{}  {name}\n", sha256(&bytes)));
        say!("    {name}: {} KiB", bytes.len().div_ceil(1024));
    }
    let list = folder.join("sha256sums");
    fs::write(&list, sums).with_context(|| format!("cannot write {}", list.display()))?;
    say!("    all of it in {}", folder.display());
    Ok(made)
}
