//! Small roots of this machine's own Debian, made by mmdebstrap of its own apt sources, and each kept as an archive below `target/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{run_logged, with_retries};
use crate::lock::sha256;
use crate::say;
use crate::setup::apt::{self, Package};
use crate::workspace::{Workspace, empty};

/// A root, and how it is kept.
#[derive(Debug)]
pub(crate) struct Debian {
    /// What it is needed for, as people are told: "trying the packages".
    pub(crate) serves: &'static str,
    /// Packages beside those that are essential: names with commas between.
    pub(crate) packages: &'static str,
    /// Paths that dpkg leaves out of packages: patterns.
    pub(crate) left_out: &'static [&'static str],
    /// The folder below `target/` where it is kept. Nothing else may lie in it.
    pub(crate) folder: &'static str,
    /// How the archive's name ends.
    pub(crate) extension: &'static str,
    /// Packs the root, a folder, into the archive, a file.
    pub(crate) pack: fn(&Path, &Path) -> Result<()>,
}

impl Debian {
    /// The archive. It is made where there is none of these packages, release and sources, and takes the place of any other.
    ///
    /// # Errors
    /// Where this is no Debian, the packages cannot be had, or this process may not make a root.
    pub(crate) fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
        // First: it says what is missing where this is no Debian.
        apt::ensure(workspace, &[Package::new("mmdebstrap", "mmdebstrap")], self.serves)?;
        let release = release()?;
        let (debian, security) = (apt::site("debian")?, apt::site("debian-security")?);
        let mut recipe = vec!["--mode=root".into(), "--variant=essential".into()];
        recipe.push(format!("--include={}", self.packages));
        recipe.extend(
            self.left_out
                .iter()
                .map(|path| format!("--dpkgopt=path-exclude={path}")),
        );
        let key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]";
        let sources = [
            format!("deb {key} {debian} {release} main"),
            format!("deb {key} {security} {release}-security main"),
        ];

        let folder = workspace.target.join(self.folder);
        let archive = folder.join(kept_as(&release, &recipe, &sources, self.extension));
        if archive.is_file() {
            return Ok(archive);
        }
        say!(
            "Making a small Debian {release} below target/{} (about a minute), for {}",
            self.folder,
            self.serves
        );
        let (tree, part) = (folder.join("tree"), folder.join("part"));
        with_retries("making a Debian root", || {
            empty(&folder)?;
            let mut command = Command::new("mmdebstrap");
            command.args(&recipe).arg(&release).arg(&tree).args(&sources);
            run_logged(&mut command, &folder.join("mmdebstrap.log"))
        })?;
        (self.pack)(&tree, &part)?;
        fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
        // Named once it is whole.
        fs::rename(&part, &archive).with_context(|| format!("cannot write {}", archive.display()))?;
        Ok(archive)
    }
}

/// The name says what the archive is made of, so that none of another recipe is taken for it.
fn kept_as(release: &str, recipe: &[String], sources: &[String], extension: &str) -> String {
    let made_of = [recipe, sources].concat().join("\n");
    let sum = sha256(made_of.as_bytes());
    format!("debian-{release}-{}.{extension}", sum.get(..8).unwrap_or(&sum))
}

/// The name of this machine's release of Debian.
fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let name =
        name.context("/etc/os-release names no release of Debian, and a Debian root is made of this machine's")?;
    Ok(name.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::kept_as;

    #[test]
    fn an_archive_of_other_packages_release_or_sources_has_another_name() {
        let name = |release: &str, packages: &str, source: &str| {
            kept_as(release, &[packages.to_owned()], &[source.to_owned()], "tar")
        };
        let kept = name("bookworm", "passwd", "deb http://one bookworm main");
        assert_eq!(kept, name("bookworm", "passwd", "deb http://one bookworm main"));
        assert!(kept.starts_with("debian-bookworm-") && kept.ends_with(".tar"), "{kept}");
        assert_ne!(kept, name("trixie", "passwd", "deb http://one bookworm main"));
        assert_ne!(kept, name("bookworm", "passwd,perl", "deb http://one bookworm main"));
        assert_ne!(kept, name("bookworm", "passwd", "deb http://two bookworm main"));
    }
}
