//! The RPM, judged and tried by Debian's rpm in a root that has no other package of its kind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{output, run, run_logged};
use crate::dist::Made;
use crate::dist::root::Root;
use crate::say;
use crate::setup::apt::{self, Package};
use crate::workspace::Workspace;

/// What the distributions of RPM have at another place than Debian, and what only one of the two has.
const ONLY_DEBIAN: [&str; 4] = [
    "/usr/share/zsh/vendor-completions/",
    "/usr/share/doc/portreeve/c",
    "/usr/share/doc/portreeve/third-party-licenses",
    "/usr/share/lintian/",
];

/// Checks digests and files, installs it in a root of its own, and removes it.
///
/// # Errors
/// Says what is wrong.
pub(crate) fn check(workspace: &Workspace, made: &Made) -> Result<()> {
    apt::ensure(workspace, &[Package::new("rpm", "rpm")], "judging the RPM")?;
    run(Command::new("rpm").args(["--checksig", "--nosignature"]).arg(&made.rpm))?;
    let listed = output(
        Command::new("rpm")
            .args(["--query", "--list", "--package"])
            .arg(&made.rpm),
    )?;
    let listed: BTreeSet<&str> = listed.lines().collect();
    let of_the_deb = output(Command::new("dpkg-deb").arg("--contents").arg(&made.deb))?;
    let missing: Vec<&str> = files(&of_the_deb)
        .filter(|file| !ONLY_DEBIAN.iter().any(|known| file.starts_with(known)) && !listed.contains(file))
        .collect();
    ensure!(
        missing.is_empty(),
        "the .deb has what the RPM has not: {}",
        missing.join(", ")
    );

    let root = Root::fresh(workspace, &made.stage.target.join("rpm-root"))?;
    let log = made.stage.target.join("rpm.log");
    // Debian's packages are none to rpm, so nothing that it asks for is there in its eyes.
    rpm(&root, &["--install", "--nodeps"], &made.rpm, &log)?;
    root.run("portreeve check /etc/portreeve/portreeve.toml; test -f /usr/lib/systemd/system/portreeve.service")?;
    let config = root.at("/etc/portreeve/portreeve.toml");
    fs::write(&config, "# changed\n").with_context(|| format!("cannot write {}", config.display()))?;
    rpm(&root, &["--erase"], Path::new("portreeve"), &log)?;
    ensure!(
        !root.has("/usr/bin/portreeve"),
        "/usr/bin/portreeve is left after the removal"
    );
    ensure!(
        root.has("/etc/portreeve/portreeve.toml.rpmsave"),
        "the removal does not keep a configuration that was changed"
    );
    say!(
        "    {} files; installed and removed, the changed configuration is kept",
        listed.len()
    );
    fs::remove_dir_all(&root.path).with_context(|| format!("cannot remove {}", root.path.display()))
}

/// rpm on a root, with its database there.
fn rpm(root: &Root, action: &[&str], package: &Path, log: &Path) -> Result<()> {
    let mut command = Command::new("rpm");
    command.arg("--root").arg(&root.path).args(["--dbpath", "/var/lib/rpm"]);
    run_logged(command.args(action).arg(package), log)
}

/// The files in the listing of a .deb, as they lie in a system. Folders belong to nobody.
fn files(listing: &str) -> impl Iterator<Item = &str> {
    listing
        .lines()
        .filter(|line| !line.starts_with('d'))
        .filter_map(|line| line.split_whitespace().nth(5)?.strip_prefix('.'))
}

#[cfg(test)]
mod tests {
    use super::files;

    #[test]
    fn folders_are_no_files() {
        let listing = "drwxr-xr-x 0/0               0 2026-11-26 06:37 ./etc/\n\
                       -rw-r--r-- 0/0             356 2026-11-26 06:37 ./etc/portreeve/conf.d/README\n";
        assert_eq!(files(listing).collect::<Vec<_>>(), ["/etc/portreeve/conf.d/README"]);
    }
}
