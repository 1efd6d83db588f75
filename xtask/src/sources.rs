//! The files that make up the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::output;

/// Files below `root` that git tracks, or would: relative paths, sorted. What is ignored is left out, and so is a
/// file that is deleted but not yet committed.
///
/// # Errors
/// Where git is missing, or `root` is no clone.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let listing = output(
        Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root),
    )
    .context("cannot list the repository's files; git must be installed, and this must be a clone")?;
    let mut files: Vec<PathBuf> = listing
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(|file| root.join(file).is_file())
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}
