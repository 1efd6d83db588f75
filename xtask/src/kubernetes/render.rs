//! What helm and kustomize make of `deploy/kubernetes`, as files below `target/kubernetes` and as objects.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::said;
use crate::command::output;
use crate::setup::kubernetes::Tools;
use crate::workspace::Workspace;

const FOLDER: &str = "deploy/kubernetes";
/// Files of values below the chart's `ci` folder.
const VALUES_END: &str = "-values.yaml";

/// Values that the chart must refuse, and what it has to say.
const REFUSED: [(&[&str], &str); 12] = [
    (&[], "image.repository: name the image"),
    (&["imge.tag=1"], "imge"),
    (&["image.repository=portreeve:1.2"], "/image/repository"),
    (&["listenAddress=0.0.0.0"], "127.0.0.1 has this port already"),
    (&["listenAddress=[::ffff:0.0.0.0]"], "127.0.0.1 has this port already"),
    (&["listenAddress=localhost"], "127.0.0.1 has this port already"),
    (&["listenAddress=10.0.0.1:80"], "/listenAddress"),
    (&["criSocket=/var/run/crio/crio.sock"], "/criSocket"),
    (&["statePath=/"], "/statePath"),
    (&["podMonitor.interval=soon"], "/podMonitor/interval"),
    (&[r"configFiles.a\.yaml=x"], "conf.d/*.toml"),
    (&["capabilities.extra={CAP_SYS_RESOURCE}"], "/capabilities/extra/0"),
];

/// Manifests that were made.
#[derive(Debug)]
pub(crate) struct Rendered {
    /// The file of values without its end, or the kustomization.
    pub(crate) name: String,
    /// Where they lie, as YAML.
    pub(crate) file: PathBuf,
    /// The same, read.
    pub(crate) objects: Vec<Value>,
}

impl Rendered {
    /// The objects of one kind.
    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects
            .iter()
            .filter(move |object| object.get("kind").and_then(Value::as_str) == Some(kind))
    }
}

/// What kustomize is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kustomization {
    /// The base alone.
    Base,
    /// The base with what the Prometheus operator takes.
    Operator,
}

/// Has helm look at the chart with each file of values.
///
/// # Errors
/// What helm has to say.
pub(crate) fn lint(workspace: &Workspace, tools: &Tools) -> Result<()> {
    for values in values(workspace)? {
        let mut command = tools.helm();
        command.args(["lint", "--strict"]).arg(chart(workspace));
        let (ok, text) = said(command.arg("--values").arg(&values))?;
        if !ok {
            bail!("helm lint with {}:\n{text}", values.display());
        }
    }
    Ok(())
}

/// The chart with each file of values.
///
/// # Errors
/// Where helm refuses one.
pub(crate) fn charts(workspace: &Workspace, tools: &Tools) -> Result<Vec<Rendered>> {
    let mut all = Vec::new();
    for values in values(workspace)? {
        let mut command = tools.helm();
        command.args(["template", "portreeve"]).arg(chart(workspace));
        command.args(["--namespace", "portreeve", "--values"]).arg(&values);
        let name = values.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_suffix(VALUES_END).unwrap_or(&name);
        all.push(read(workspace, tools, name, &output(&mut command)?)?);
    }
    Ok(all)
}

/// A kustomization.
///
/// # Errors
/// Where kustomize refuses it.
pub(crate) fn kustomize(workspace: &Workspace, tools: &Tools, which: Kustomization) -> Result<Rendered> {
    let from = workspace.root.join(FOLDER);
    let (name, folder) = match which {
        Kustomization::Base => ("base", from.join("base")),
        Kustomization::Operator => ("operator", overlay(workspace, &from)?),
    };
    let text = output(tools.kubectl().arg("kustomize").arg(folder))?;
    let name = if name == "base" {
        name.to_owned()
    } else {
        format!("{name} by kustomize")
    };
    read(workspace, tools, &name, &text)
}

/// An overlay as a user writes it, in a copy of the folder: kustomize takes no absolute paths.
fn overlay(workspace: &Workspace, from: &Path) -> Result<PathBuf> {
    let to = out(workspace)?.join("overlay");
    for folder in ["base", "components/prometheus-operator"] {
        let (from, to) = (from.join(folder), to.join(folder));
        fs::create_dir_all(&to).with_context(|| format!("cannot create {}", to.display()))?;
        let entries = fs::read_dir(&from).with_context(|| format!("cannot list {}", from.display()))?;
        for entry in entries {
            let name = entry?.file_name();
            fs::copy(from.join(&name), to.join(&name)).with_context(|| format!("cannot copy {}", name.display()))?;
        }
    }
    let here = to.join("here");
    fs::create_dir_all(&here).with_context(|| format!("cannot create {}", here.display()))?;
    let text = "resources: [../base]\ncomponents: [../components/prometheus-operator]\n";
    fs::write(here.join("kustomization.yaml"), text).context("cannot write an overlay")?;
    Ok(here)
}

/// Which values the chart takes and must not.
///
/// # Errors
/// Where helm cannot be started.
pub(crate) fn refusals(workspace: &Workspace, tools: &Tools) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (values, reason) in REFUSED {
        let mut command = tools.helm();
        command.args(["template", "portreeve"]).arg(chart(workspace));
        for value in values {
            command.args(["--set", "image.repository=portreeve", "--set", value]);
        }
        let (ok, text) = said(&mut command)?;
        if ok || !text.contains(reason) {
            wrong.push(format!(
                "the chart with {values:?} is to be refused with `{reason}`, and: {text}"
            ));
        }
    }
    Ok(wrong)
}

fn chart(workspace: &Workspace) -> PathBuf {
    workspace.root.join(FOLDER).join("chart")
}

/// The files of values, sorted.
fn values(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let folder = chart(workspace).join("ci");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.to_string_lossy().ends_with(VALUES_END));
    files.sort();
    Ok(files)
}

fn out(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("kubernetes");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Keeps YAML, and reads it with the Python that judges it.
fn read(workspace: &Workspace, tools: &Tools, name: &str, text: &str) -> Result<Rendered> {
    const AS_JSON: &str = "
import json, sys, yaml
json.dump([one for one in yaml.safe_load_all(open(sys.argv[1])) if one], sys.stdout)
";
    let file = out(workspace)?.join(format!("{}.yaml", name.replace(' ', "-")));
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let json = output(tools.python().args(["-c", AS_JSON]).arg(&file))?;
    let objects = serde_json::from_str(&json).with_context(|| format!("{} holds no objects", file.display()))?;
    Ok(Rendered {
        name: name.to_owned(),
        file,
        objects,
    })
}
