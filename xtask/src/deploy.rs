//! What lies in `deploy/`, judged by the tools of the servers that will read it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::shown;
use crate::report::{Outcome, Report};
use crate::say;
use crate::setup::{amtool, promtool};
use crate::workspace::Workspace;

/// Labels of an alert, and the receiver that the sample route gives it to.
const ROUTES: [(&str, &str); 3] = [
    ("severity=critical", "pager"),
    ("severity=warning", "chat"),
    ("severity=info", "log"),
];

/// Runs `cargo xtask rules`. Gives whether nothing failed.
pub(crate) fn main(workspace: &Workspace) -> bool {
    let mut report = Report::default();
    steps(workspace, &mut report);
    report.finish()
}

/// The steps that `cargo xtask test` has of this.
pub(crate) fn steps(workspace: &Workspace, report: &mut Report) {
    report.step("prometheus rules", |_| {
        with(promtool::ensure(workspace), |promtool| rules(workspace, promtool))
    });
    report.step("alertmanager route", |_| {
        with(amtool::ensure(workspace), |amtool| route(workspace, amtool))
    });
}

/// Checks with a tool; where it cannot be fetched, nothing was checked, and nothing is wrong.
fn with(tool: Result<PathBuf>, check: impl FnOnce(&Path) -> Result<()>) -> Result<Outcome> {
    match tool {
        Ok(tool) => check(&tool).map(|()| Outcome::Passed),
        Err(error) => Ok(Outcome::NotRun(format!("{error:#}"))),
    }
}

/// The rules, their tests, and the sample configuration that loads them.
fn rules(workspace: &Workspace, promtool: &Path) -> Result<()> {
    for arguments in [
        &["check", "rules", "--lint=all", "--lint-fatal", "portreeve.rules.yaml"][..],
        &["test", "rules", "portreeve.rules_test.yaml"],
        &["check", "config", "prometheus.yml"],
    ] {
        judge(workspace, "deploy/prometheus", promtool, arguments)?;
    }
    Ok(())
}

/// The sample route, and whom it tells.
fn route(workspace: &Workspace, amtool: &Path) -> Result<()> {
    let folder = "deploy/alertmanager";
    judge(workspace, folder, amtool, &["check-config", "alertmanager.yml"])?;
    for (labels, receiver) in ROUTES {
        let receiver = format!("--verify.receivers={receiver}");
        let arguments = [
            "config",
            "routes",
            "test",
            "--config.file=alertmanager.yml",
            &receiver,
            labels,
        ];
        judge(workspace, folder, amtool, &arguments)?;
    }
    Ok(())
}

/// Runs a tool in a folder of the repository, and shows what it says only where it refuses something.
fn judge(workspace: &Workspace, folder: &str, tool: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(tool);
    command.args(arguments).current_dir(workspace.root.join(folder));
    let output = command
        .output()
        .with_context(|| format!("cannot start `{}`", shown(&command)))?;
    if !output.status.success() {
        say!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        bail!("`{}` failed in {folder}; it says above what is wrong", shown(&command));
    }
    Ok(())
}
