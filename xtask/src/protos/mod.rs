//! The prototypes that the kernel side relies on: each `match-proto` line against the BTF of the test kernels, and
//! `cargo xtask protos NAME…`, which shows what a function looks like in each of them.

mod kernel;
mod lines;

use std::fs;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::report::{Outcome, Report};
use crate::say;
use crate::setup::kernels::{self, KERNELS, Kernel};
use crate::workspace::Workspace;
use kernel::KernelTypes;
use lines::Version;

/// Shows how functions, or raw tracepoints, look in each test kernel.
#[derive(Args, Debug)]
pub(crate) struct ProtosArgs {
    /// Names of functions or of raw tracepoints.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Where the hooks stand.
const HOOKS: &str = "monitor-ebpf/src/main.rs";

/// Runs `cargo xtask protos`.
///
/// # Errors
/// Where a kernel cannot be fetched or read.
pub(crate) fn main(workspace: &Workspace, args: &ProtosArgs) -> Result<()> {
    let kernels = kernels_of(workspace, true);
    for (label, types) in &kernels {
        if let Err(error) = types {
            bail!("kernel {label}: {error:#}");
        }
    }
    for name in &args.names {
        say!("{name}");
        for (label, types) in &kernels {
            let Ok((_, types)) = types else { continue };
            match types.prototype(name) {
                Some(prototype) => say!("  {label:>5}  {prototype}"),
                None => say!("  {label:>5}  absent"),
            }
        }
    }
    Ok(())
}

/// Checks the lines as a step of a run. A kernel that cannot be had is listed as not run; with `fetch` it is fetched
/// before.
///
/// # Errors
/// Where the lines cannot be read, or one of them is wrong.
pub(crate) fn step(workspace: &Workspace, fetch: bool, report: &mut Report) -> Result<Outcome> {
    let violations = check(workspace, fetch, |label, reason| {
        report.not_run(&format!("prototypes of what is hooked, kernel {label}"), reason);
    })?;
    conclude(&violations).map(|()| Outcome::Passed)
}

/// The same for `cargo xtask tidy`, where every kernel must be had.
///
/// # Errors
/// As [`step`], and where a kernel cannot be fetched.
pub(crate) fn tidy(workspace: &Workspace) -> Result<()> {
    let mut missing = Vec::new();
    let violations = check(workspace, true, |label, reason| {
        missing.push(format!("kernel {label}: {reason}"))
    })?;
    conclude(&violations)?;
    match missing.as_slice() {
        [] => Ok(()),
        missing => bail!("prototypes were not compared everywhere: {}", missing.join("; ")),
    }
}

fn conclude(violations: &[String]) -> Result<()> {
    for violation in violations {
        say!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        count => bail!("what is hooked differs from its match-proto lines in {count} places, see above"),
    }
}

fn check(workspace: &Workspace, fetch: bool, mut not_run: impl FnMut(&str, String)) -> Result<Vec<String>> {
    let text = fs::read_to_string(workspace.root.join(HOOKS)).with_context(|| format!("cannot read {HOOKS}"))?;
    let hooks = lines::Hooks::parse(HOOKS, &text)?;
    let mut violations = hooks.without_line();
    for (label, types) in kernels_of(workspace, fetch) {
        match types {
            Ok((version, types)) => violations.extend(hooks.compare(label, version, |name| types.prototype(name))),
            Err(error) => not_run(label, format!("{error:#}")),
        }
    }
    Ok(violations)
}

type Found = Result<(Version, KernelTypes)>;

/// The types of every test kernel, with its version.
fn kernels_of(workspace: &Workspace, fetch: bool) -> Vec<(&'static str, Found)> {
    let all: Vec<&'static Kernel> = KERNELS.iter().collect();
    let fetched = if fetch {
        kernels::ensure(workspace, &all)
    } else {
        all.iter().map(|kernel| kernels::in_cache(workspace, kernel)).collect()
    };
    let found = all.iter().zip(fetched).map(|(kernel, fetched)| {
        let types = fetched.and_then(|fetched| {
            let version = Version::leading(&fetched.version)
                .with_context(|| format!("{} is not the version of a kernel", fetched.version))?;
            Ok((version, KernelTypes::of_image(workspace, &fetched.vmlinuz)?))
        });
        (kernel.label, types)
    });
    found.collect()
}
