//! `cargo xtask test`: everything that can be checked on this machine, and a list of what could not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::command::{cargo, run};
use crate::ebpf::{self, Comparison};
use crate::payload::{self, Payload, TARGET, static_cargo};
use crate::registry;
use crate::report::{Outcome, Report};
use crate::setup::apt::{self, Package};
use crate::setup::{amtool, cargo_tools, guest_tools, programs, promtool, rust_components};
use crate::vm::{self, VmArgs};
use crate::workspace::Workspace;
use crate::{deploy, dist, image, kubernetes, protos, say, test_output, tidy};

/// Runs every check: format, lints, tests, the kernel object, the agent on real kernels.
#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// Leave out what takes minutes: the kernel object's rebuild, the packages, the guests, the check of dependencies.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// All test kernels.
    #[arg(long)]
    full: bool,
}

/// Packages that are built for the machine, as cargo's flags: all but the kernel side, and but the fuzz targets.
const USER_SPACE: &[&str] = &["--workspace", "--exclude", "monitor-ebpf", "--exclude", "monitor-fuzz"];

/// The tests that need not exist: examples in documentation.
const DOCUMENTATION: &str = "documentation";

/// Runs `cargo xtask test`. Gives whether nothing failed.
///
/// # Errors
/// None so far: what fails is in the report.
pub(crate) fn main(workspace: &Workspace, args: &TestArgs) -> Result<bool> {
    let mut report = Report::default();
    sources(workspace, args, &mut report);
    let rebuilt = kernel_object(workspace, args, &mut report);
    lints(workspace, rebuilt.as_deref(), &mut report);
    let mut built = None;
    report.step("build agent and tests, static", |_| {
        let selection: Vec<&str> = USER_SPACE
            .iter()
            .chain(&["--lib", "--bins", "--tests"])
            .copied()
            .collect();
        built = Some(payload::build(workspace, &selection, rebuilt.as_deref())?);
        Ok(Outcome::Passed)
    });
    match built {
        Some(payload) => {
            unit_tests(workspace, rebuilt.as_deref(), &payload, &mut report);
            native(workspace, &payload, &mut report);
            kubernetes::agent_step(workspace, &payload.agent, &mut report);
            image::step(workspace, &payload.agent, &mut report);
            if args.quick {
                report.not_run("guests", "left out by --quick");
                report.not_run("packages", "left out by --quick");
            } else {
                dist::debug_steps(workspace, &payload.agent, &mut report);
                let guests = VmArgs {
                    full: args.full,
                    ..VmArgs::default()
                };
                vm::run(workspace, &guests, &payload, true, &mut report);
            }
        }
        None => {
            for step in [
                "unit tests",
                "integration tests on this machine's kernel",
                "kubernetes manifests: flags and configuration",
                "container image",
                "packages",
                "guests",
            ] {
                report.not_run(step, "there is no build to run");
            }
        }
    }
    dependencies(workspace, args, &mut report);
    Ok(report.finish())
}

/// What needs no build: format, the walls, the generated registry, what lies in `deploy/`.
fn sources(workspace: &Workspace, args: &TestArgs, report: &mut Report) {
    report.step("format", |_| {
        rust_components::ensure("fmt", "rustfmt")?;
        run(cargo().args(["fmt", "--all", "--check"]).current_dir(&workspace.root))?;
        Ok(Outcome::Passed)
    });
    report.step("tidy", |_| tidy::check(workspace).map(|()| Outcome::Passed));
    report.step("prototypes of what is hooked", |report| {
        protos::step(workspace, !args.quick, report)
    });
    report.step("registry", |_| {
        registry::generate(&workspace.root, true).map(|()| Outcome::Passed)
    });
    deploy::steps(workspace, report);
    kubernetes::step(workspace, report);
}

/// The rebuild of the kernel object. Gives the rebuilt one where it could not be compared, so that everything that
/// follows runs with it.
fn kernel_object(workspace: &Workspace, args: &TestArgs, report: &mut Report) -> Option<PathBuf> {
    const COMPARISON: &str = "kernel object: rebuilt and compared";
    const LINTS: &str = "kernel side: clippy";
    if args.quick {
        report.not_run(COMPARISON, "left out by --quick");
        report.not_run(LINTS, "left out by --quick");
        return None;
    }
    let mut kept = None;
    report.step(COMPARISON, |_| match ebpf::compare(workspace)? {
        Comparison::Equal => Ok(Outcome::Passed),
        Comparison::NotCompared { reason, rebuilt } => {
            say!("NOT COMPARED: {reason}");
            kept = Some(rebuilt);
            Ok(Outcome::NotRun(format!(
                "{reason}; the rebuilt object was loaded in every test instead"
            )))
        }
    });
    report.step(LINTS, |_| ebpf::lint(workspace).map(|()| Outcome::Passed));
    kept
}

fn lints(workspace: &Workspace, object: Option<&Path>, report: &mut Report) {
    report.step("clippy", |_| {
        rust_components::ensure("clippy", "clippy")?;
        run(static_cargo(workspace, object)
            .args(["clippy", "--quiet", "--locked", "--all-targets", "--target", TARGET])
            .args(USER_SPACE)
            .args(["--", "-D", "warnings"]))?;
        Ok(Outcome::Passed)
    });
}

/// All tests but those that need a kernel.
fn unit_tests(workspace: &Workspace, object: Option<&Path>, payload: &Payload, report: &mut Report) {
    report.step("unit tests", |report| {
        let mut command = static_cargo(workspace, object);
        command
            .args(["test", "--locked", "--no-fail-fast", "--target", TARGET])
            .args(USER_SPACE);
        command.args(["--lib", "--bins"]);
        for (_, test) in &payload.other_tests {
            command.args(["--test", test]);
        }
        tests(&mut command, "unit", report)
    });
    report.step("examples in the documentation", |report| {
        let mut command = static_cargo(workspace, object);
        command
            .args([
                "test",
                "--quiet",
                "--locked",
                "--no-fail-fast",
                "--target",
                TARGET,
                "--doc",
            ])
            .args(USER_SPACE);
        tests(&mut command, DOCUMENTATION, report)
    });
}

/// The integration tests on the kernel that runs this machine: whatever it offers.
fn native(workspace: &Workspace, payload: &Payload, report: &mut Report) {
    const STEP: &str = "integration tests on this machine's kernel";
    if !apt::is_root() {
        report.not_run(
            STEP,
            "loading programs into the kernel needs root; run cargo xtask test as root",
        );
        return;
    }
    report.step(STEP, |report| {
        let mut command = Command::new(&payload.kernel_tests);
        command
            .arg("--test-threads=1")
            .current_dir(workspace.root.join("monitor"));
        command
            .env("PORTREEVE_BIN", &payload.agent)
            .env("PORTREEVE_SCENARIOS", &payload.scenarios)
            .env("PORTREEVE_KERNEL_LABEL", "native");
        apt::ensure(
            workspace,
            &[Package::new("python3", "python3")],
            "a listener that portreeve did not write",
        )?;
        // A test whose tool is missing says itself that it was not run.
        let browser = [
            Package::new("chromium", "chromium"),
            Package::new("chromium-driver", "chromedriver"),
        ];
        if let Err(error) = apt::ensure(workspace, &browser, "looking at the page in a browser") {
            say!("without a browser: {error:#}");
        }
        for (variable, tool) in [
            ("PROMTOOL", promtool::ensure(workspace)),
            ("PORTREEVE_BUSYBOX", guest_tools::ensure_busybox(workspace)),
            ("PORTREEVE_PROGRAMS", programs::ensure(workspace)),
            ("PORTREEVE_ALERTMANAGER", amtool::ensure_package(workspace)),
            ("PORTREEVE_PROMETHEUS", promtool::ensure_package(workspace)),
        ] {
            match tool {
                Ok(path) => {
                    command.env(variable, path);
                }
                Err(error) => say!("without {variable}: {error:#}"),
            }
        }
        tests(&mut command, "native", report)
    });
}

/// Runs test binaries and counts their tests. A status that no failed test explains is a failure by itself.
fn tests(command: &mut Command, label: &str, report: &mut Report) -> Result<Outcome> {
    let output = command
        .output()
        .with_context(|| format!("cannot start the {label} tests"))?;
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let read = test_output::parse(&stdout);
    if !output.status.success() {
        say!("{stdout}\n{stderr}");
    }
    read.count(label, &test_output::reasons(&stderr), report);
    if !output.status.success() && !read.has_failures() {
        bail!(
            "the tests ended with {}, and no test that failed explains it",
            output.status
        );
    }
    if read.is_empty() && label != DOCUMENTATION {
        bail!("there was no test in what ran");
    }
    Ok(Outcome::Counted)
}

/// Licences, sources and banned crates. Known vulnerabilities need a database that is fetched; CI has none.
fn dependencies(workspace: &Workspace, args: &TestArgs, report: &mut Report) {
    const STEP: &str = "dependencies: licences, bans, sources";
    if args.quick {
        report.not_run(STEP, "left out by --quick");
        return;
    }
    report.step(STEP, |_| {
        if !fs::exists(workspace.root.join("deny.toml")).unwrap_or(false) {
            return Ok(Outcome::NotRun("there is no deny.toml".to_owned()));
        }
        match cargo_tools::DENY.ensure(workspace) {
            Ok(deny) => {
                run(Command::new(deny)
                    .args(["--log-level", "error", "check", "licenses", "bans", "sources"])
                    .current_dir(&workspace.root))?;
                Ok(Outcome::Passed)
            }
            Err(error) => Ok(Outcome::NotRun(format!(
                "cargo install cargo-deny --locked, then again ({error:#})"
            ))),
        }
    });
    report.not_run(
        "dependencies: known vulnerabilities",
        "needs the advisory database: cargo deny check advisories",
    );
}
