//! `cargo xtask kubernetes`: what `deploy/kubernetes` gives a cluster, rendered as people render it, and judged.
//!
//! Reading order: `copies` (files that are made of others), `render` (helm and kustomize), `wants` (what a manifest must
//! say; pure).

mod copies;
mod render;
mod wants;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::shown;
use crate::report::{Outcome, Report};
use crate::setup::kubernetes::{self as setup, Tools};
use crate::setup::promtool;
use crate::workspace::Workspace;
use render::{Kustomization, Rendered};

pub(crate) use copies::stale;

/// Versions of Kubernetes: the oldest with the fields that are used, and the newest whose schemas there are.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];
/// Kinds that Kubernetes itself does not know, so that no schema of its is asked for.
const OPERATOR: &str = "monitoring.coreos.com/v1";

/// Runs `cargo xtask kubernetes`: writes the copies, and checks everything. Gives whether nothing failed.
///
/// # Errors
/// Where a copy cannot be written.
pub(crate) fn main(workspace: &Workspace, agent: Option<&Path>) -> Result<bool> {
    copies::write(&workspace.root)?;
    let mut report = Report::default();
    step(workspace, &mut report);
    if let Some(agent) = agent {
        agent_step(workspace, agent, &mut report);
    }
    Ok(report.finish())
}

/// The step of `cargo xtask test` that needs no agent.
pub(crate) fn step(workspace: &Workspace, report: &mut Report) {
    report.step("kubernetes manifests", |_| match setup::ensure(workspace) {
        Ok(tools) => check(workspace, &tools).map(|()| Outcome::Passed),
        Err(error) => Ok(Outcome::NotRun(format!("{error:#}"))),
    });
}

/// The step that asks the agent whether it takes what it would be given.
pub(crate) fn agent_step(workspace: &Workspace, agent: &Path, report: &mut Report) {
    report.step(
        "kubernetes manifests: flags and configuration",
        |_| match setup::ensure(workspace) {
            Ok(tools) => check_agent(workspace, &tools, agent).map(|()| Outcome::Passed),
            Err(error) => Ok(Outcome::NotRun(format!("{error:#}"))),
        },
    );
}

/// All that is rendered: by helm for each file of values, and by kustomize without and with the operator's kinds.
fn renderings(workspace: &Workspace, tools: &Tools) -> Result<Vec<Rendered>> {
    let mut all = render::charts(workspace, tools)?;
    for kustomization in [Kustomization::Base, Kustomization::Operator] {
        all.push(render::kustomize(workspace, tools, kustomization)?);
    }
    Ok(all)
}

fn check(workspace: &Workspace, tools: &Tools) -> Result<()> {
    render::lint(workspace, tools)?;
    let all = renderings(workspace, tools)?;
    let mut wrong = Vec::new();
    for rendered in &all {
        validate(tools, rendered)?;
        let sentences = wants::all(&rendered.objects);
        wrong.extend(
            sentences
                .into_iter()
                .map(|sentence| format!("{}: {sentence}", rendered.name)),
        );
    }
    for (chart, kustomization) in [("default", "base"), ("operator", "operator by kustomize")] {
        let (chart, plain) = (named(&all, chart)?, named(&all, kustomization)?);
        wrong.extend(wants::differences(&chart.objects, &plain.objects));
    }
    wrong.extend(wants::versions(
        &all.iter().map(|one| &one.objects[..]).collect::<Vec<_>>(),
    ));
    alerting_rules(workspace, &all)?;
    wrong.extend(render::refusals(workspace, tools)?);
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

fn named<'a>(all: &'a [Rendered], name: &str) -> Result<&'a Rendered> {
    all.iter()
        .find(|rendered| rendered.name == name)
        .with_context(|| format!("nothing was rendered as {name}"))
}

/// Has each object judged by Kubernetes' own schemas. A field that is unknown there is refused too.
fn validate(tools: &Tools, rendered: &Rendered) -> Result<()> {
    let mut command = tools.python();
    command.args(["-m", "kubernetes_validate", "--strict"]);
    for version in VERSIONS {
        command.args(["--kubernetes-version", version]);
    }
    command.arg(&rendered.file);
    let (ok, text) = said(&mut command)?;
    let lines: Vec<&str> = text.lines().collect();
    // What it has no schema for, it passes with a warning.
    let unexpected: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| !(line.starts_with("INFO ") || line.starts_with("WARN ") && line.contains(OPERATOR)))
        .collect();
    let wanted = rendered.objects.len() * VERSIONS.len();
    if !ok || !unexpected.is_empty() {
        bail!(
            "{} ({}) is not what Kubernetes takes:\n{}",
            rendered.name,
            rendered.file.display(),
            unexpected.join("\n")
        );
    }
    if lines.len() != wanted {
        bail!(
            "{}: {} objects were judged, and there are {wanted}",
            rendered.name,
            lines.len()
        );
    }
    Ok(())
}

/// Has promtool judge the rules as the operator would hand them to Prometheus, and compares them with those of
/// `deploy/prometheus`.
fn alerting_rules(workspace: &Workspace, all: &[Rendered]) -> Result<()> {
    let rules: Vec<(&Rendered, &Value)> = all
        .iter()
        .flat_map(|rendered| rendered.of_kind("PrometheusRule").map(move |rule| (rendered, rule)))
        .collect();
    if rules.len() < 2 {
        bail!("neither the chart nor kustomize gives a PrometheusRule");
    }
    let Ok(promtool) = promtool::ensure(workspace) else {
        return Ok(());
    };
    for (rendered, rule) in rules {
        let file = rendered.file.with_extension("rules.json");
        let spec = rule.get("spec").context("a PrometheusRule has no spec")?;
        fs::write(&file, spec.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
        let mut command = Command::new(&promtool);
        command
            .args(["check", "rules", "--lint=all", "--lint-fatal"])
            .arg(&file);
        let (ok, text) = said(&mut command)?;
        if !ok {
            bail!("the rules of {} are none:\n{text}", rendered.name);
        }
    }
    Ok(())
}

/// Has the agent read each flag and each file that a rendering gives it.
fn check_agent(workspace: &Workspace, tools: &Tools, agent: &Path) -> Result<()> {
    for rendered in renderings(workspace, tools)? {
        let folder = rendered.file.with_extension("config");
        for (path, text) in wants::configuration(&rendered.objects) {
            let file = folder.join(path);
            let parent = file.parent().unwrap_or(&folder);
            fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        let file = folder.join("portreeve.toml");
        let (ok, text) = said(Command::new(agent).arg("check").arg(&file))?;
        if !ok {
            bail!("{}: the agent refuses its configuration:\n{text}", rendered.name);
        }
        for host in ["192.0.2.7", "2001:db8::7"] {
            // Flags are read in their order, so that `--help` comes last and nothing is started.
            let mut command = Command::new(agent);
            command.args(wants::arguments(&rendered.objects, host)).arg("--help");
            let (ok, text) = said(&mut command)?;
            if !ok {
                bail!("{}: the agent refuses `{}`:\n{text}", rendered.name, shown(&command));
            }
        }
    }
    Ok(())
}

/// Runs a program: whether it succeeded, and what it said.
fn said(command: &mut Command) -> Result<(bool, String)> {
    let output = command
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}
