//! `cargo xtask tidy`: the walls between the parts of portreeve, and the habits that a compiler does not check.
//!
//! Each rule is a function from a file's name and text to violations, so that its tests can show it failing.

mod alerts;
mod dashboards;
mod files;
mod records;
mod tokens;
mod walls;

use std::env;
use std::fmt;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use toml::Table;

use crate::kubernetes;
use crate::metrics;
use crate::say;
use crate::sources;
use crate::workspace::Workspace;

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    file: String,
    line: usize,
    sentence: String,
}

impl Violation {
    fn new(file: &str, line: usize, sentence: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            sentence: sentence.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.sentence)
    }
}

/// Checks every file of the repository and prints what is wrong.
///
/// # Errors
/// Where a rule is broken, or the repository cannot be read.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let private = files::Private {
        hosts: mirror_hosts(),
        folders: private_folders(workspace),
    };
    let mut violations = Vec::new();
    let (mut rust, mut alerting, mut boards, mut deployed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for file in sources::files(&workspace.root)? {
        let path = workspace.root.join(&file);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (name, text) = (
            file.to_string_lossy().into_owned(),
            String::from_utf8_lossy(&bytes).into_owned(),
        );
        violations.extend(private.check(&name, &text));
        if name == metrics::PAGE {
            let sentence = metrics::stale(&text);
            violations.extend(sentence.map(|sentence| Violation::new(&name, 1, sentence)));
        }
        if name.ends_with(".rs") {
            violations.extend(files::length(&name, &text));
            violations.extend(walls::check(&name, &text));
            rust.push((name, text));
            continue;
        }
        if dashboards::concerns(&name) {
            boards.push((name.clone(), text.clone()));
        }
        if name.starts_with("deploy/") {
            deployed.push((name.clone(), text.clone()));
        }
        if alerts::concerns(&name) {
            alerting.push((name, text));
        }
    }
    let common: Vec<(String, String)> = rust
        .into_iter()
        .filter(|(name, _)| name.starts_with("monitor-common/src/"))
        .collect();
    violations.extend(records::check(&common));
    violations.extend(alerts::check(&alerting));
    violations.extend(dashboards::check(&boards));
    let copies = kubernetes::stale(&deployed).into_iter();
    violations.extend(copies.map(|(file, sentence)| Violation::new(file, 1, sentence)));
    violations.extend(manifests(workspace)?);
    for violation in &violations {
        say!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        1 => bail!("1 rule is broken, see above"),
        count => bail!("{count} rules are broken, see above"),
    }
}

/// The manifests of all members: what each crate must say.
fn manifests(workspace: &Workspace) -> Result<Vec<Violation>> {
    let read = |file: &str| -> Result<Table> {
        let text = fs::read_to_string(workspace.root.join(file)).with_context(|| format!("cannot read {file}"))?;
        text.parse().with_context(|| format!("{file} is not TOML"))
    };
    let root = read("Cargo.toml")?;
    let members = root
        .get("workspace")
        .and_then(|table| table.get("members")?.as_array())
        .context("Cargo.toml names no members")?;
    let mut violations = Vec::new();
    for member in members.iter().filter_map(|member| member.as_str()) {
        let file = format!("{member}/Cargo.toml");
        let manifest = read(&file)?;
        violations.extend(files::lints(&file, &manifest));
        if member == "monitor-common" {
            violations.extend(files::no_dependencies(&file, &manifest));
        }
    }
    Ok(violations)
}

/// Hosts of the package mirrors that this machine's apt uses; none where it has no apt.
fn mirror_hosts() -> Vec<String> {
    let listing = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)"])
        .stderr(Stdio::null())
        .output();
    let listing = listing
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    files::hosts_of(&listing)
}

/// Folders of this machine that no committed file may name.
fn private_folders(workspace: &Workspace) -> Vec<String> {
    let home = env::home_dir().map(|home| home.display().to_string());
    // Root's home is the same everywhere and stands in a guest's /etc/passwd.
    let home = home.filter(|home| home != "/root");
    let folders = home.into_iter().chain([workspace.root.display().to_string()]);
    // A folder at the top, as containers have it (/src, /build), is no one machine's.
    folders
        .filter(|folder| folder.matches('/').count() > 1)
        .map(|folder| format!("{folder}/"))
        .collect()
}
