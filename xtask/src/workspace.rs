//! Where things lie: the workspace's root and the caches below `target/`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folders that every task needs.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// The folder of the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's target folder; everything that is built or fetched lies below it.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds the workspace of the xtask that runs.
    ///
    /// # Errors
    /// Where xtask was not started by cargo and no workspace lies above the current folder.
    pub(crate) fn find() -> Result<Self> {
        let root = match env::var_os("CARGO_MANIFEST_DIR") {
            Some(xtask) => Path::new(&xtask).parent().map(Path::to_path_buf),
            None => env::current_dir()?
                .ancestors()
                .find(|folder| folder.join("xtask/Cargo.toml").is_file())
                .map(Path::to_path_buf),
        };
        let root = root.context("cannot find the workspace; start this as `cargo xtask` inside it")?;
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
        Ok(Self { root, target })
    }

    /// Tools that xtask installs for itself: `bin/` and unpacked packages.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }
}

/// Makes a folder that is empty, whatever was there.
///
/// # Errors
/// Where what was there cannot be removed, or the folder not be made.
pub(crate) fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}
