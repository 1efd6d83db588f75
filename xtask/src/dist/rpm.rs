//! The RPM, judged and tried by Debian's rpm in a root that has no other package of its kind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use toml::{Table, Value};

use crate::command::{output, run, run_logged};
use crate::dist::check::{CONFIG, HISTORY, MINE, NEW, README, use_it};
use crate::dist::root::Root;
use crate::dist::{Made, packages};
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

/// Stands for systemd, which cannot run in a root: it writes down what it is asked.
const SYSTEMCTL: &str = "#!/bin/sh\necho \"$*\" >>/asked\n";
const ASKED: &str = "/asked";

/// What the package's scripts ask of systemd when it comes: whether the agent starts is for presets to say.
const WHEN_INSTALLED: &str = "daemon-reload\npreset portreeve.service\n";
/// When a newer one takes its place, nothing is stopped or disabled, and what ran runs the newer program. The last line is the older
/// package's.
const WHEN_UPGRADED: &str = "daemon-reload\ntry-restart portreeve.service\ndaemon-reload\n";
/// When it goes.
const WHEN_REMOVED: &str = "disable --now portreeve.socket portreeve.service\ndaemon-reload\n";

/// Checks digests and files, installs it in a root of its own, upgrades and removes it.
///
/// # Errors
/// Says what is wrong.
pub(crate) fn check(workspace: &Workspace, made: &Made) -> Result<()> {
    apt::ensure(workspace, &[Package::new("rpm", "rpm")], "judging the RPM")?;
    run(Command::new("rpm").args(["--checksig", "--nosignature"]).arg(&made.rpm))?;
    list(made)?;
    let newer = newer(workspace, made)?;
    let root = Root::fresh(workspace, &made.stage.target.join("rpm-root"))?;
    fs::create_dir_all(root.at("/run/systemd/system")).context("cannot make a folder of systemd's")?;
    root.write("/usr/bin/systemctl", SYSTEMCTL)?;
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(root.at("/usr/bin/systemctl"), everybody).context("cannot make systemctl a program")?;
    let host = Host {
        root,
        log: made.stage.target.join("rpm.log"),
    };
    host.untouched(&made.rpm, &newer)?;
    host.used(&made.rpm, &newer)?;
    fs::remove_dir_all(&host.root.path).with_context(|| format!("cannot remove {}", host.root.path.display()))
}

/// It has whatever the .deb has.
fn list(made: &Made) -> Result<()> {
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
    say!("    {} files", listed.len());
    Ok(())
}

/// The files in the listing of a .deb, as they lie in a system. Folders belong to nobody.
fn files(listing: &str) -> impl Iterator<Item = &str> {
    listing
        .lines()
        .filter(|line| !line.starts_with('d'))
        .filter_map(|line| line.split_whitespace().nth(5)?.strip_prefix('.'))
}

/// The same package with a newer release and another default configuration.
fn newer(workspace: &Workspace, made: &Made) -> Result<PathBuf> {
    let stage = &made.stage.target;
    let crate_folder = workspace.root.join("monitor");
    let changed = |file: &Path| -> Result<PathBuf> {
        let to = stage.join(file.file_name().unwrap_or_default());
        let from = crate_folder.join(file);
        let text = fs::read_to_string(&from).with_context(|| format!("cannot read {}", from.display()))?;
        fs::write(&to, format!("{text}{NEW}")).with_context(|| format!("cannot write {}", to.display()))?;
        Ok(to)
    };
    let manifest = crate_folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let manifest: Table = toml::from_str(&text).context("cannot read monitor/Cargo.toml")?;
    let mut assets = manifest
        .get("package")
        .and_then(|package| package.get("metadata")?.get("generate-rpm")?.get("assets")?.as_array())
        .context("monitor/Cargo.toml lists no files of the RPM")?
        .clone();
    for asset in assets.iter_mut().filter_map(Value::as_table_mut) {
        let into_etc = asset
            .get("dest")
            .and_then(Value::as_str)
            .is_some_and(|dest| dest.starts_with("/etc/"));
        if let (true, Some(Value::String(source))) = (into_etc, asset.get_mut("source")) {
            *source = changed(Path::new(source))?.display().to_string();
        }
    }
    let metadata = Table::from_iter([
        ("release".to_owned(), Value::from("1.1")),
        ("assets".to_owned(), Value::from(assets)),
    ]);
    let newer = stage.join("newer.rpm");
    packages::make_rpm(
        workspace,
        &made.stage,
        &newer,
        &["--set-metadata", &metadata.to_string()],
    )?;
    Ok(newer)
}

/// A root with rpm's database in it, and a systemctl that writes down what it is asked.
struct Host {
    root: Root,
    log: PathBuf,
}

impl Host {
    /// Where nobody changed anything, the newer package brings its own configuration, and nothing is left of it.
    fn untouched(&self, older: &Path, newer: &Path) -> Result<()> {
        let before = self.root.files()?;
        self.install(older)?;
        self.root.run(&format!(
            "portreeve check {CONFIG}; test -f /usr/lib/systemd/system/portreeve.service"
        ))?;
        self.upgrade(newer)?;
        for file in [CONFIG, README] {
            ensure!(
                self.root.read(file)?.ends_with(NEW),
                "the upgrade does not replace {file}, which nobody changed"
            );
        }
        self.remove()?;
        let after = self.root.files()?;
        // Folders of shells, say, are of whichever package comes first, and a distribution has them.
        let is_its = |path: &&PathBuf| path.to_string_lossy().contains("portreeve");
        let left: Vec<_> = after.difference(&before).filter(is_its).collect();
        ensure!(
            left.is_empty(),
            "{left:?} are left after the removal, and nobody changed anything"
        );
        say!("    installed, upgraded, removed: a configuration that nobody changed is replaced, and nothing is left");
        Ok(())
    }

    /// What was changed, and what the agent wrote, stays through all of it.
    fn used(&self, older: &Path, newer: &Path) -> Result<()> {
        self.install(older)?;
        let own = use_it(&self.root)?;
        self.upgrade(newer)?;
        self.root.run(&format!("portreeve check {CONFIG}"))?;
        ensure!(
            self.root.read(CONFIG)? == own,
            "the upgrade does not keep a configuration that was changed"
        );
        ensure!(
            self.root.read(&format!("{CONFIG}.rpmnew"))?.ends_with(NEW),
            "the upgrade does not offer the new configuration beside the changed one"
        );
        self.has_what_is_not_the_packages("upgrade")?;
        self.remove()?;
        ensure!(
            self.root.read(&format!("{CONFIG}.rpmsave"))? == own,
            "the removal does not keep a configuration that was changed"
        );
        self.has_what_is_not_the_packages("removal")?;
        say!("    once more, with a changed configuration and a history: both are kept");
        Ok(())
    }

    fn has_what_is_not_the_packages(&self, after: &str) -> Result<()> {
        for kept in [HISTORY, MINE] {
            ensure!(self.root.has(kept), "{kept} is gone after the {after}");
        }
        Ok(())
    }

    fn install(&self, package: &Path) -> Result<()> {
        // Debian's packages are none to rpm, so nothing that it asks for is there in its eyes.
        self.rpm(&["--install", "--nodeps"], package, WHEN_INSTALLED)
    }

    fn upgrade(&self, newer: &Path) -> Result<()> {
        self.rpm(&["--upgrade", "--nodeps"], newer, WHEN_UPGRADED)
    }

    fn remove(&self) -> Result<()> {
        self.rpm(&["--erase"], Path::new("portreeve"), WHEN_REMOVED)?;
        for gone in ["/usr/bin/portreeve", "/usr/lib/systemd/system/portreeve.service"] {
            ensure!(!self.root.has(gone), "{gone} is left after the removal");
        }
        Ok(())
    }

    /// rpm on the root. Its package's scripts must ask this of systemd, and nothing else.
    fn rpm(&self, action: &[&str], package: &Path, asks: &str) -> Result<()> {
        self.root.write(ASKED, "")?;
        let mut command = Command::new("rpm");
        command.arg("--root").arg(&self.root.path);
        command.args(["--dbpath", "/var/lib/rpm"]).args(action).arg(package);
        run_logged(&mut command, &self.log)?;
        let asked = self.root.read(ASKED)?;
        ensure!(
            asked == asks,
            "at `rpm {}` the package's scripts ask systemctl for\n{asked}and not for\n{asks}",
            action.join(" ")
        );
        Ok(())
    }
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
