//! Debian packages: installed as root where they are missing, or fetched and unpacked below `target/` without
//! installing them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{find_program, output, run_logged, with_retries};
use crate::say;
use crate::workspace::Workspace;

/// A package, and the file that shows that it is there, however it came to the machine.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// Name of the Debian package.
    pub(crate) name: String,
    /// A path of the package, or a program's name to look for on `PATH`.
    pub(crate) shown_by: String,
}

impl Package {
    /// Pairs a package with the file, or the program, that shows it.
    pub(crate) fn new(name: impl Into<String>, shown_by: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            shown_by: shown_by.into(),
        }
    }

    fn is_there(&self) -> bool {
        if self.shown_by.starts_with('/') {
            Path::new(&self.shown_by).exists()
        } else {
            find_program(&self.shown_by).is_some()
        }
    }
}

/// Installs the packages that are missing.
///
/// # Errors
/// One sentence with what to install, where this process may not or the machine has no apt; apt's own words where it
/// fails.
pub(crate) fn ensure(workspace: &Workspace, packages: &[Package], why: &str) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|package| !package.is_there())
        .map(|package| package.name.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    let by_hand = format!("apt-get install --no-install-recommends {names}");
    if find_program("apt-get").is_none() {
        bail!("{why} needs what Debian's packages {names} hold, and this machine has no apt-get; install it by hand");
    }
    if !is_root() {
        bail!("{why} needs the packages {names}; run as root: {by_hand}");
    }
    say!("Installing Debian packages, since {why} needs them: {names}");
    let log = workspace.target.join("tools/apt.log");
    let install = || {
        run_logged(
            apt_get()
                .args(["install", "-y", "--no-install-recommends"])
                .args(&missing),
            &log,
        )
    };
    // The lists may be absent or old: then the installation fails, and is tried again with fresh ones.
    if have_lists() && install().is_ok() {
        return Ok(());
    }
    with_retries("fetching Debian packages", || {
        run_logged(apt_get().arg("update"), &log)?;
        install()
    })
    .with_context(|| format!("cannot install {names}; try it by hand: apt-get update && {by_hand}"))?;
    match packages.iter().find(|package| !package.is_there()) {
        Some(package) => bail!("{} is installed, but {} is not there", package.name, package.shown_by),
        None => Ok(()),
    }
}

/// Fetches a package as it is in the machine's own apt sources and unpacks it into `folder` below `target/tools`, without
/// installing it or what it depends on. Gives the folder's path.
///
/// # Errors
/// Where there is no apt-get, no such package, or no network.
pub(crate) fn unpack(workspace: &Workspace, package: &str, folder: &str, shown_by: &str, why: &str) -> Result<PathBuf> {
    let folder = workspace.tools().join(folder);
    if folder.join(shown_by).exists() {
        return Ok(folder);
    }
    if find_program("apt-get").is_none() {
        bail!("{why} needs what Debian's package {package} holds, and this machine has no apt-get");
    }
    say!("Fetching the Debian package {package} (unpacked below target/, not installed), since {why} needs it");
    let archives = workspace.tools().join("archives");
    fs::create_dir_all(&archives).with_context(|| format!("cannot create {}", archives.display()))?;
    let log = workspace.tools().join("apt.log");
    let download = || run_logged(apt_get().args(["download", package]).current_dir(&archives), &log);
    if !have_lists() || download().is_err() {
        if !is_root() {
            bail!("cannot fetch the package {package}; run as root: apt-get update");
        }
        with_retries("fetching a Debian package", || {
            run_logged(apt_get().arg("update"), &log)?;
            download()
        })?;
    }
    let prefix = format!("{package}_");
    for archive in files_below(&archives)? {
        if archive
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        {
            run_logged(Command::new("dpkg").arg("-x").arg(&archive).arg(&folder), &log)?;
            fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
        }
    }
    if !folder.join(shown_by).exists() {
        bail!("the package {package} holds no {shown_by}");
    }
    Ok(folder)
}

/// Where this machine's apt takes an archive of Debian's from, by the name that its address ends in.
///
/// # Errors
/// Where it has no such source.
pub(crate) fn site(name: &str) -> Result<String> {
    let uris = output(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]))?;
    let found = uris
        .lines()
        .find(|uri| uri.trim_end_matches('/').ends_with(&format!("/{name}")));
    found
        .map(str::to_owned)
        .with_context(|| format!("this machine's apt has no source that ends in /{name}; add one of Debian's"))
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    // The owner of /proc/self is the effective user.
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// apt-get as a program that asks nothing.
fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-q", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=2"]);
    command
}

/// Whether `apt-get update` has ever run here.
fn have_lists() -> bool {
    files_below(Path::new("/var/lib/apt/lists")).is_ok_and(|files| {
        files
            .iter()
            .any(|file| file.to_string_lossy().contains("_Packages") || file.to_string_lossy().contains("_InRelease"))
    })
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
}
