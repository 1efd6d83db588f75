//! What packages hold beside files of the repository: the program, and what is made from it. It lies where both packagers look
//! for what cargo built, in a target folder of its own, so that any build can be packaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{output, run};
use crate::dist::notices;
use crate::payload::TARGET;
use crate::workspace::Workspace;

/// The shells whose completions are packaged.
pub(crate) const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// A filled folder.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The target folder.
    pub(crate) target: PathBuf,
    /// Of the last commit, in seconds since 1970: the time of every file in a package.
    pub(crate) epoch: String,
}

impl Stage {
    /// Where the packagers look for what cargo built.
    pub(crate) fn files(&self) -> PathBuf {
        self.target.join(TARGET).join("release")
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.files().join("portreeve")
    }
}

/// Fills the folder `target` from a built agent.
///
/// # Errors
/// Where a tool is missing or fails.
pub(crate) fn fill(workspace: &Workspace, agent: &Path, target: &Path) -> Result<Stage> {
    let stage = Stage {
        target: target.to_path_buf(),
        epoch: epoch(workspace)?,
    };
    let files = stage.files();
    let (man, completions) = (files.join("man"), files.join("completions"));
    fs::create_dir_all(&completions).with_context(|| format!("cannot create {}", completions.display()))?;
    let program = stage.program();
    run(Command::new("strip").arg("-o").arg(&program).arg(agent)).context("binutils have strip")?;
    // Nothing of this is kept in the tree, so nothing can be older than the flags.
    run(Command::new(&program).arg("man").arg(&man))?;
    let entries = fs::read_dir(&man).with_context(|| format!("cannot list {}", man.display()))?;
    for entry in entries {
        compress(&entry?.path())?;
    }
    for shell in SHELLS {
        let script = output(Command::new(&program).args(["completions", shell]))?;
        write(&completions.join(format!("portreeve.{shell}")), &script)?;
    }
    for (name, text) in [
        ("changelog.Debian", changelog(&stage.epoch)?),
        ("third-party-licenses", notices::text(workspace)?),
    ] {
        let file = files.join(name);
        write(&file, &text)?;
        compress(&file)?;
    }
    Ok(stage)
}

/// The time of the last commit, or what reproducible builds elsewhere set instead.
fn epoch(workspace: &Workspace) -> Result<String> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    let epoch = output(
        Command::new("git")
            .args(["log", "-1", "--format=%ct"])
            .current_dir(&workspace.root),
    )
    .context("without git, set SOURCE_DATE_EPOCH to the time of the sources")?;
    Ok(epoch.trim().to_owned())
}

/// Debian's own changelog: it says that this version was packaged, and when.
fn changelog(epoch: &str) -> Result<String> {
    let date = output(
        Command::new("date")
            .args(["--utc", "--rfc-email", "--date"])
            .arg(format!("@{epoch}"))
            .env("LC_ALL", "C"),
    )?;
    Ok(format!(
        "portreeve ({}) unstable; urgency=medium\n\n  * changelog.gz beside this file says what changed.\n\n -- {}  {date}",
        concat!(env!("CARGO_PKG_VERSION"), "-1"),
        "The portreeve authors <portreeve@example.org>",
    ))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Compresses a file in its place, without its name and time, which would differ from build to build.
fn compress(file: &Path) -> Result<()> {
    run(Command::new("gzip").args(["-9", "--no-name"]).arg(file))
}
