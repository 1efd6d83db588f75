//! The licences of what the program is linked with: their texts have to come with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{cargo, output};
use crate::payload::TARGET;
use crate::workspace::Workspace;

/// How the files begin that hold a licence, in capital letters.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// A crate that is linked in.
#[derive(Debug, PartialEq, Eq)]
struct Linked<'a> {
    /// Name and version.
    name: String,
    licence: &'a str,
    manifest: &'a Path,
}

/// A list of all crates that the agent is linked with, and each text of a licence once.
///
/// # Errors
/// Where cargo or a file cannot be read.
pub(crate) fn text(workspace: &Workspace) -> Result<String> {
    let metadata = output(
        cargo()
            .args([
                "metadata",
                "--format-version",
                "1",
                "--locked",
                "--filter-platform",
                TARGET,
            ])
            .current_dir(&workspace.root),
    )?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata is no JSON")?;
    let crates = linked(&metadata).context("cargo metadata does not say what the agent depends on")?;
    let mut text = "What portreeve is linked with, and under which licences.\n\n".to_owned();
    let mut texts: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for found in &crates {
        writeln!(text, "{}: {}", found.name, found.licence)?;
        for licence in licences(found.manifest.parent().unwrap_or(found.manifest))? {
            texts.entry(licence).or_default().insert(&found.name);
        }
    }
    text.push_str("Rust's standard library: MIT OR Apache-2.0\n");
    text.push_str("SQLite, which comes with libsqlite3-sys: public domain\n");
    text.push_str("The GNU C library: LGPL-2.1-or-later\n");
    for (licence, crates) in texts {
        let crates: Vec<&str> = crates.into_iter().collect();
        writeln!(text, "\n{}\n{}\n\n{licence}", "=".repeat(78), crates.join(", "))?;
    }
    Ok(text)
}

/// The crates of others that the agent is linked with, by name: not what only builds or tests it.
fn linked(metadata: &Value) -> Option<Vec<Linked<'_>>> {
    let packages = metadata.get("packages")?.as_array()?;
    let nodes = metadata.pointer("/resolve/nodes")?.as_array()?;
    let with_id = |list: &'_ [Value], id: &str| {
        list.iter()
            .position(|item| item.get("id").and_then(Value::as_str) == Some(id))
    };
    let agent = packages
        .iter()
        .find(|package| package.get("name").and_then(Value::as_str) == Some("monitor"))?;
    let (mut left, mut seen) = (vec![agent.get("id")?.as_str()?], BTreeSet::new());
    while let Some(id) = left.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = nodes.get(with_id(nodes, id)?)?;
        for dependency in node.get("deps")?.as_array()? {
            let kinds = dependency.get("dep_kinds")?.as_array()?;
            if kinds.iter().any(|kind| kind.get("kind").is_some_and(Value::is_null)) {
                left.push(dependency.get("pkg")?.as_str()?);
            }
        }
    }
    let mut crates = Vec::new();
    for id in seen {
        let package = packages.get(with_id(packages, id)?)?;
        // What has no source is of this workspace.
        if package.get("source")?.is_null() {
            continue;
        }
        let field = |name: &str| package.get(name).and_then(Value::as_str);
        crates.push(Linked {
            name: format!("{} {}", field("name")?, field("version")?),
            licence: field("license").unwrap_or("see below"),
            manifest: Path::new(field("manifest_path")?),
        });
    }
    crates.sort_by(|one, other| one.name.cmp(&other.name));
    Some(crates)
}

/// The texts in a crate's folder, without blanks around them: crates copy them from each other.
fn licences(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry
            .with_context(|| format!("cannot list {}", folder.display()))?
            .path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if path.is_file() && NAMES.iter().any(|prefix| name.starts_with(prefix)) {
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let text = String::from_utf8_lossy(&bytes).replace('\r', "");
            texts.push(text.trim_matches(['\n', ' ', '\u{feff}']).to_owned());
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::linked;

    #[test]
    fn what_builds_or_tests_the_agent_is_not_in_it() {
        let package = |name: &str, source: Option<&str>| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT", "source": source, "manifest_path": "/x/Cargo.toml"});
        let depends = |on: &str, kind: Option<&str>| json!({"pkg": on, "dep_kinds": [{"kind": kind, "target": null}]});
        let metadata = json!({
            "packages": [
                package("monitor", None), package("monitor-common", None), package("linked", Some("registry")),
                package("below", Some("registry")), package("tests", Some("registry")), package("builds", Some("registry")),
            ],
            "resolve": {"nodes": [
                {"id": "monitor", "deps": [
                    depends("monitor-common", None), depends("linked", None), depends("tests", Some("dev")), depends("builds", Some("build")),
                ]},
                {"id": "linked", "deps": [depends("below", None)]},
                {"id": "below", "deps": []}, {"id": "monitor-common", "deps": []},
            ]},
        });
        let names: Vec<String> = linked(&metadata).unwrap().into_iter().map(|found| found.name).collect();
        assert_eq!(names, ["below 1.0.0", "linked 1.0.0"]);
    }
}
