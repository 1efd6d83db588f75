//! A small Debian in a folder, for packages to be installed in. Each command in it has namespaces of its own: what it mounts,
//! opens and starts is gone when it ends, however it ends, and nothing of the machine's own is reached.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{run, run_logged};
use crate::setup::debian::Debian;
use crate::workspace::{Workspace, empty};

/// What the package depends on, useradd, and a module for looking names up that the program must not load.
const DEBIAN: Debian = Debian {
    serves: "trying the packages",
    packages: "init-system-helpers,libnss-myhostname,passwd",
    left_out: &[],
    folder: "tools/debian-root",
    extension: "tar",
    pack: |tree, archive| {
        let mut pack = Command::new("tar");
        pack.args(["--create", "--numeric-owner", "--file"]).arg(archive);
        run(pack.arg("--directory").arg(tree).arg("."))
    },
};

/// Mounts what a system has mounted, below the root `$0`, and runs `$1` in it.
const ENTER: &str =
    r#"mount -t proc proc "$0/proc"; mount -t sysfs sysfs "$0/sys"; exec chroot "$0" /bin/sh -euc "$1""#;

/// Where packages and the C library's tools write whatever is installed.
const NOT_COMPARED: [&str; 5] = ["proc", "sys", "var/lib/dpkg", "var/log", "var/cache"];

/// The folder.
#[derive(Debug)]
pub(crate) struct Root {
    /// Its path.
    pub(crate) path: PathBuf,
}

impl Root {
    /// Unpacks a fresh one at `path`, which is made by mmdebstrap once.
    ///
    /// # Errors
    /// Where this is no Debian, or this process not root.
    pub(crate) fn fresh(workspace: &Workspace, path: &Path) -> Result<Self> {
        let archive = DEBIAN.ensure(workspace)?;
        empty(path)?;
        let mut unpack = Command::new("tar");
        unpack.args(["--extract", "--preserve-permissions", "--numeric-owner", "--file"]);
        unpack.arg(&archive).arg("--directory").arg(path);
        run_logged(&mut unpack, &archive.with_extension("log"))?;
        Ok(Self {
            path: path.to_path_buf(),
        })
    }

    /// Runs a shell script in it, which ends at the first command that fails, and gives what it wrote.
    ///
    /// # Errors
    /// Where it fails: with all that it wrote.
    pub(crate) fn run(&self, script: &str) -> Result<String> {
        let output = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"])
            .args(["--propagation", "private", "--", "/bin/sh", "-euc", ENTER])
            .arg(&self.path)
            .arg(script)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .context("cannot start unshare; install util-linux")?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if !output.status.success() {
            bail!("in the Debian root, `{script}` failed ({}):\n{said}", output.status);
        }
        Ok(said)
    }

    /// A path of the root, as the machine sees it.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }

    /// The text of a file in it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(crate) fn read(&self, path: &str) -> Result<String> {
        let path = self.at(path);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Writes a file in it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(crate) fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.at(path);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Whether something is there, a link that leads nowhere in particular.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    /// All files and folders in it, but for those where every installation leaves something.
    ///
    /// # Errors
    /// Where a folder cannot be listed.
    pub(crate) fn files(&self) -> Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
                let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
                let path = entry.path();
                let name = path.strip_prefix(&self.path).unwrap_or(&path).to_path_buf();
                if NOT_COMPARED.iter().any(|left_out| name == Path::new(left_out)) {
                    continue;
                }
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                }
                found.insert(name);
            }
        }
        Ok(found)
    }
}
