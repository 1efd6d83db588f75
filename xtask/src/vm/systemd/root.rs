//! A small Debian with systemd, made of packages of this machine's own apt sources, and kept as an archive below `target/`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::ROOT;
use crate::command::{run_logged, with_retries};
use crate::say;
use crate::setup::apt::{self, Package};
use crate::vm::initramfs::Initramfs;
use crate::workspace::Workspace;

/// What is in it beside what every Debian has: systemd, and what the tests use.
const PACKAGES: &str = "systemd,systemd-sysv,bpftool,containerd,curl,iproute2,netcat-openbsd,procps,runc";

/// What nobody reads there.
const LEFT_OUT: [&str; 4] = [
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/lib/udev/hwdb.d/*",
];

/// The archive, made where it is not there.
///
/// # Errors
/// Where the packages cannot be had, or this process may not make a root.
pub(super) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("systemd-root");
    let archive = folder.join("debian.cpio");
    if archive.is_file() {
        return Ok(archive);
    }
    apt::ensure(
        workspace,
        &[Package::new("mmdebstrap", "mmdebstrap")],
        "making a Debian root",
    )?;
    say!("Making a Debian root with systemd below target/systemd-root (by mmdebstrap, of this machine's apt sources)");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let (release, site) = (release()?, apt::site("debian")?);
    let source = format!("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {site} {release} main");
    let tree = folder.join("tree");
    with_retries("making a Debian root", || {
        if tree.exists() {
            fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
        }
        let mut command = Command::new("mmdebstrap");
        command.args(["--variant=minbase", "--mode=root", "--include", PACKAGES]);
        for option in LEFT_OUT {
            command.args(["--dpkgopt", option]);
        }
        run_logged(
            command.arg(&release).arg(&tree).arg(&source),
            &folder.join("mmdebstrap.log"),
        )
    })?;
    // Renamed once it is whole.
    let part = folder.join("debian.part");
    let mut writing = Initramfs::create(&part)?;
    writing.tree(ROOT, &tree)?;
    writing.finish()?;
    fs::rename(&part, &archive).with_context(|| format!("cannot write {}", archive.display()))?;
    fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    Ok(archive)
}

/// The name of this machine's release of Debian.
fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    match name {
        Some(name) => Ok(name.trim_matches('"').to_owned()),
        None => bail!("/etc/os-release names no release of Debian"),
    }
}
