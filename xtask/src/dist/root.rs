//! A small Debian in a folder, for packages to be installed in. Each command in it has namespaces of its own: what it mounts,
//! opens and starts is gone when it ends, however it ends, and nothing of the machine's own is reached.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{run_logged, with_retries};
use crate::say;
use crate::setup::apt::{self, Package};
use crate::workspace::Workspace;

const RELEASE: &str = "bookworm";
/// What the package depends on, and useradd.
const INCLUDED: &str = "init-system-helpers,passwd";

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
    /// Unpacks a fresh one at `path`, which is made by Debian's mmdebstrap once.
    ///
    /// # Errors
    /// Where this is no Debian, or this process not root.
    pub(crate) fn fresh(workspace: &Workspace, path: &Path) -> Result<Self> {
        let archive = archive(workspace)?;
        if path.exists() {
            fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
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

/// The packed root, made with the machine's own sources of packages.
fn archive(workspace: &Workspace) -> Result<PathBuf> {
    let archive = workspace.tools().join(format!("debian-{RELEASE}.tar"));
    if archive.is_file() {
        return Ok(archive);
    }
    apt::ensure(
        workspace,
        &[Package::new("mmdebstrap", "mmdebstrap")],
        "trying the packages",
    )?;
    let (debian, security) = (apt::site("debian")?, apt::site("debian-security")?);
    let key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]";
    say!("Making a small Debian {RELEASE} below target/tools (once, about a minute), for trying the packages");
    let part = archive.with_extension("part.tar");
    with_retries("making a Debian root", || {
        let mut command = Command::new("mmdebstrap");
        command.args(["--mode=root", "--variant=essential", "--format=tar"]);
        command.arg(format!("--include={INCLUDED}")).arg(RELEASE).arg(&part);
        command.arg(format!("deb {key} {debian} {RELEASE} main"));
        command.arg(format!("deb {key} {security} {RELEASE}-security main"));
        run_logged(&mut command, &archive.with_extension("log"))
    })?;
    fs::rename(&part, &archive).with_context(|| format!("cannot rename {}", part.display()))?;
    Ok(archive)
}
