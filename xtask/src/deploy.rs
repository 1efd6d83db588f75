//! What lies in `deploy/`, judged by the tools of the servers that will read it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{run_logged, shown, with_retries};
use crate::report::{Outcome, Report};
use crate::say;
use crate::setup::apt::{self, Package};
use crate::setup::rsyslog::Rsyslog;
use crate::setup::{amtool, node, promtool, rsyslog};
use crate::workspace::{Workspace, empty};

/// Labels of an alert, and the receiver that the sample route gives it to.
const ROUTES: [(&str, &str); 3] = [
    ("severity=critical", "pager"),
    ("severity=warning", "chat"),
    ("severity=info", "log"),
];

/// The units in `deploy/systemd`.
const UNITS: [&str; 2] = ["portreeve.service", "portreeve.socket"];

/// How exposed the service may be, in tenths of what `systemd-analyze security` counts.
const EXPOSURE_MAX: u32 = 20;

/// What the check of dashboards is made of, beside the dashboards.
const DASHBOARD_CHECK: [&str; 5] = ["package.json", "package-lock.json", ".npmrc", "check.mjs", "types.ts"];

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
    report.step("rsyslog", |_| {
        with(rsyslog::ensure(workspace), |rsyslog| {
            events_by_syslog(workspace, rsyslog)
        })
    });
    report.step("Ansible role", |_| with(ansible(workspace), |()| role(workspace)));
    report.step("systemd unit", |_| {
        with(systemd_analyze(workspace), |folder| units(workspace, folder))
    });
    report.step("demo script", |_| {
        judge(&workspace.root.join("deploy"), Path::new("sh"), &["-n", "demo.sh"]).map(|()| Outcome::Passed)
    });
    report.step("dashboards: Grafana's types", |_| {
        with(dashboard_check(workspace), |folder| {
            judge(folder, Path::new("node"), &["check.mjs"])
        })
    });
}

/// Checks with a tool; where it cannot be fetched, nothing was checked, and nothing is wrong.
fn with<T>(tool: Result<T>, check: impl FnOnce(&T) -> Result<()>) -> Result<Outcome> {
    match tool {
        Ok(tool) => check(&tool).map(|()| Outcome::Passed),
        Err(error) => Ok(Outcome::NotRun(format!("{error:#}"))),
    }
}

/// The rules, their tests, and the sample configurations that load them.
fn rules(workspace: &Workspace, promtool: &Path) -> Result<()> {
    for arguments in [
        &["check", "rules", "--lint=all", "--lint-fatal", "portreeve.rules.yaml"][..],
        &[
            "check",
            "rules",
            "--lint=all",
            "--lint-fatal",
            "portreeve.recording.yaml",
        ],
        &[
            "test",
            "rules",
            "portreeve.rules_test.yaml",
            "portreeve.recording_test.yaml",
        ],
        &["check", "config", "prometheus.yml"],
        &["check", "config", "prometheus-fleet.yml"],
    ] {
        judge(&workspace.root.join("deploy/prometheus"), promtool, arguments)?;
    }
    Ok(())
}

/// The sample route, and whom it tells.
fn route(workspace: &Workspace, amtool: &Path) -> Result<()> {
    let folder = &workspace.root.join("deploy/alertmanager");
    judge(folder, amtool, &["check-config", "alertmanager.yml"])?;
    judge(folder, Path::new("sh"), &["-n", "ha.default"])?;
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
        judge(folder, amtool, &arguments)?;
    }
    Ok(())
}

/// What hands the agent's events on.
fn events_by_syslog(workspace: &Workspace, rsyslog: &Rsyslog) -> Result<()> {
    let mut command = Command::new(&rsyslog.program);
    command
        .arg("-N1")
        .arg("-M")
        .arg(&rsyslog.modules)
        .args(["-f", "rsyslog.conf"]);
    command.env("LD_LIBRARY_PATH", &rsyslog.libraries);
    judged(command, &workspace.root.join("deploy/logs"))
}

/// Programs in Python, none of them a server.
fn ansible(workspace: &Workspace) -> Result<()> {
    let packages = [
        Package::new("ansible-core", "ansible-playbook"),
        Package::new("ansible-lint", "ansible-lint"),
    ];
    apt::ensure(workspace, &packages, "checking the Ansible role")
}

/// The role, and the play that has it.
fn role(workspace: &Workspace) -> Result<()> {
    let folder = &workspace.root.join("deploy/ansible");
    let play = ["--syntax-check", "--inventory", "localhost,", "site.yml"];
    judge(folder, Path::new("ansible-playbook"), &play)?;
    // Offline, or it would fetch what a file of requirements named. Its notes are kept below target/.
    let mut lint = Command::new("ansible-lint");
    lint.args(["--offline", "--nocolor", "-p"])
        .env("XDG_CACHE_HOME", workspace.tools().join("ansible"));
    judged(lint, folder)
}

/// Installs what judges units. Gives a folder for copies of them.
fn systemd_analyze(workspace: &Workspace) -> Result<PathBuf> {
    apt::ensure(
        workspace,
        &[Package::new("systemd", "systemd-analyze")],
        "judging the systemd unit",
    )?;
    let folder = workspace.tools().join("units");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// What systemd says of the units, and how exposed the service is by its count.
fn units(workspace: &Workspace, folder: &Path) -> Result<()> {
    let analyze = Path::new("systemd-analyze");
    let from = workspace.root.join("deploy/systemd");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let security = ["security", "--offline=yes", &threshold, "portreeve.service"];
    judge(&from, analyze, &security)?;
    // The programs that it names must be there to be verified, and the agent is not installed.
    for unit in UNITS {
        let text = fs::read_to_string(from.join(unit)).with_context(|| format!("cannot read {unit}"))?;
        let copy = folder.join(unit);
        let text = text.replace("/usr/bin/portreeve", "/usr/bin/true");
        fs::write(&copy, text).with_context(|| format!("cannot write {}", copy.display()))?;
    }
    let mut verify = Command::new(analyze);
    verify
        .args(["verify", "--man=no"])
        .args(UNITS.map(|unit| folder.join(unit)));
    let output = verify
        .output()
        .with_context(|| format!("cannot start `{}`", shown(&verify)))?;
    // What it only warns of is wrong too, and it speaks of this machine's other units as well.
    let said = String::from_utf8_lossy(&output.stderr);
    let about: Vec<&str> = said.lines().filter(|line| line.contains("portreeve")).collect();
    if !output.status.success() || !about.is_empty() {
        bail!("`{}` says: {}", shown(&verify), about.join("; "));
    }
    Ok(())
}

/// A copy of the check below `target/tools`, with what it depends on: that is not put among the sources.
fn dashboard_check(workspace: &Workspace) -> Result<PathBuf> {
    node::ensure()?;
    let (from, folder) = (workspace.root.join("deploy/grafana"), workspace.tools().join("grafana"));
    let (lock, installed) = ("package-lock.json", folder.join("node_modules/.package-lock.json"));
    let wanted = fs::read(from.join(lock)).with_context(|| format!("cannot read {lock} of deploy/grafana"))?;
    let is_installed = installed.exists() && fs::read(folder.join(lock)).is_ok_and(|found| found == wanted);

    let boards = folder.join("dashboards");
    empty(&boards)?;
    let copy = |file: &Path| -> Result<()> {
        fs::copy(from.join(file), folder.join(file)).with_context(|| format!("cannot copy {}", file.display()))?;
        Ok(())
    };
    for file in DASHBOARD_CHECK {
        copy(Path::new(file))?;
    }
    let entries = fs::read_dir(from.join("dashboards")).context("cannot list deploy/grafana/dashboards")?;
    for entry in entries {
        copy(&Path::new("dashboards").join(entry?.file_name()))?;
    }
    if !is_installed {
        say!(
            "Fetching Grafana's types and TypeScript (npm ci, below target/), since the check of dashboards needs them"
        );
        with_retries("fetching npm packages", || {
            let mut command = Command::new("npm");
            run_logged(
                command.arg("ci").current_dir(&folder),
                &workspace.tools().join("npm.log"),
            )
        })?;
    }
    Ok(folder)
}

/// Runs a tool in a folder, and shows what it says only where it refuses something.
fn judge(folder: &Path, tool: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(tool);
    command.args(arguments);
    judged(command, folder)
}

fn judged(mut command: Command, folder: &Path) -> Result<()> {
    let output = command
        .current_dir(folder)
        .output()
        .with_context(|| format!("cannot start `{}`", shown(&command)))?;
    if !output.status.success() {
        say!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        bail!(
            "`{}` failed in {}; it says above what is wrong",
            shown(&command),
            folder.display()
        );
    }
    Ok(())
}
