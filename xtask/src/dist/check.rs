//! `cargo xtask dist --check`: the packages, judged by their distributions' tools, and tried.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{find_program, output, run, run_logged};
use crate::dist::root::Root;
use crate::dist::stage::SHELLS;
use crate::dist::{Made, rpm};
use crate::report::{Outcome, Report};
use crate::say;
use crate::setup::apt::{self, Package};
use crate::workspace::Workspace;

/// A user with a listener on 1992 beside one of root's. perl is part of every Debian.
const LISTENERS: &str = r#"
listen='use IO::Socket::INET; my $s = IO::Socket::INET->new(Listen => 5, LocalAddr => shift) or die; $| = 1; print "up\n"; sleep 60'
mkfifo /tmp/alice /tmp/root
useradd --uid 1992 alice
setpriv --reuid=1992 --regid=1992 --clear-groups perl -e "$listen" 127.0.0.1:1992 >/tmp/alice &
perl -e "$listen" 127.0.0.1:8080 >/tmp/root &
read up </tmp/alice
read up </tmp/root
portreeve list
"#;

/// What an administrator writes into the configuration that the package brought.
const OWN: &str = "\n[watch]\nports = [\"8080\"]\n";

/// The steps. What this machine has not the means for is said, and not run.
pub(crate) fn steps(workspace: &Workspace, made: &Made, report: &mut Report) {
    report.step("packages: completions are read by their shells", |_| {
        completions(workspace, made).map(|()| Outcome::Passed)
    });
    report.step("packages: lintian", |_| {
        lintian(workspace, &made.deb).map(|()| Outcome::Passed)
    });
    for (name, check) in [
        ("packages: .deb installed, upgraded, removed, purged", debian as Check),
        ("packages: .rpm listed, installed, removed", rpm::check),
    ] {
        if apt::is_root() && find_program("apt-get").is_some() {
            report.step(name, |_| check(workspace, made).map(|()| Outcome::Passed));
        } else {
            report.not_run(name, "it needs root, and Debian's apt-get");
        }
    }
}

type Check = fn(&Workspace, &Made) -> Result<()>;

fn completions(workspace: &Workspace, made: &Made) -> Result<()> {
    let shells = SHELLS.map(|shell| Package::new(shell, shell));
    apt::ensure(workspace, &shells, "reading the completions")?;
    let folder = made.stage.files().join("completions");
    for shell in SHELLS {
        // Each reads the script and runs nothing of it.
        run(Command::new(shell)
            .arg("-n")
            .arg(folder.join(format!("portreeve.{shell}"))))?;
    }
    Ok(())
}

fn lintian(workspace: &Workspace, deb: &Path) -> Result<()> {
    apt::ensure(
        workspace,
        &[Package::new("lintian", "lintian")],
        "judging the Debian package",
    )?;
    run(Command::new("lintian")
        .args(["--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"])
        .arg(deb))
}

const CONFIG: &str = "/etc/portreeve/portreeve.toml";
/// A file of the administrator's own.
const MINE: &str = "/etc/portreeve/conf.d/mine.toml";

/// The life of the package: each step leaves what it must.
fn debian(workspace: &Workspace, made: &Made) -> Result<()> {
    let folder = &made.stage.target;
    let root = Root::fresh(workspace, &folder.join("root"))?;
    let newer = newer(&made.deb, folder)?;
    for (from, to) in [(&made.deb, "/portreeve.deb"), (&newer, "/newer.deb")] {
        fs::copy(from, root.at(to)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let before = root.files()?;
    install(&root)?;
    upgrade(&root)?;
    remove(&root)?;
    purge(&root, &before)?;
    fs::remove_dir_all(&root.path).with_context(|| format!("cannot remove {}", root.path.display()))
}

/// The service is enabled, and the program does its work with nothing but what is in the root.
fn install(root: &Root) -> Result<()> {
    root.run("dpkg --install /portreeve.deb")?;
    let enabled = "/etc/systemd/system/multi-user.target.wants/portreeve.service";
    ensure!(root.has(enabled), "the service is not enabled: there is no {enabled}");
    root.run(&format!("portreeve check {CONFIG}"))?;
    let page = "/usr/share/man/man1/portreeve-list.1.gz";
    ensure!(root.has(page), "there is no {page}");
    say!("    installed: {}", root.run("portreeve --version")?.trim());
    let list = root.run(LISTENERS)?;
    say!("{list}");
    for (user, port) in [("alice", ":1992 "), ("root", ":8080 ")] {
        let is_row = |line: &str| line.contains(port) && line.contains(&format!(" {user} "));
        ensure!(
            list.lines().any(is_row),
            "portreeve list does not say that {user} listens at{port}:\n{list}"
        );
    }
    let doctor = root.run("portreeve doctor")?;
    let chosen = doctor.lines().find(|line| line.starts_with("chosen: "));
    say!(
        "    doctor: {}",
        chosen.with_context(|| format!("portreeve doctor does not work in it:\n{doctor}"))?
    );
    Ok(())
}

/// A newer package with another default configuration keeps one that was changed, and replaces what nobody changed.
fn upgrade(root: &Root) -> Result<()> {
    // As systemd lays it out for a DynamicUser.
    root.run("mkdir --parents /var/lib/private/portreeve; ln --symbolic private/portreeve /var/lib")?;
    write(root, "/var/lib/private/portreeve/history.db", "kept")?;
    let own = format!("{}{OWN}", read(root, CONFIG)?);
    write(root, CONFIG, &own)?;
    write(root, MINE, "[agent]\nlabels = { env = \"test\" }\n")?;
    root.run("dpkg --force-confdef --force-confold --install /newer.deb")?;
    root.run(&format!("portreeve check {CONFIG}"))?;
    ensure!(read(root, CONFIG)? == own, "a changed configuration is not kept");
    let offered = read(root, &format!("{CONFIG}.dpkg-dist"))?;
    ensure!(
        offered.ends_with(NEW),
        "the new configuration is not offered beside the changed one"
    );
    let untouched = read(root, "/etc/portreeve/conf.d/README")?;
    ensure!(untouched.ends_with(NEW), "a file that nobody changed is not replaced");
    say!("    upgraded: the changed configuration is kept, the new one lies beside it");
    Ok(())
}

/// Configuration and state stay, also when it is installed again.
fn remove(root: &Root) -> Result<()> {
    root.run("dpkg --remove portreeve")?;
    for gone in ["/usr/bin/portreeve", "/usr/lib/systemd/system/portreeve.service"] {
        ensure!(!root.has(gone), "{gone} is left after the removal");
    }
    for kept in [CONFIG, MINE, "/var/lib/portreeve/history.db"] {
        ensure!(
            root.has(kept),
            "{kept} is gone after the removal, and only a purge may take it"
        );
    }
    root.run("dpkg --install /newer.deb")?;
    for unit in ["portreeve.service", "portreeve.socket"] {
        let mask = format!("/etc/systemd/system/{unit}");
        ensure!(!root.has(&mask), "{unit} is still masked after it was installed again");
    }
    ensure!(
        read(root, CONFIG)?.ends_with(OWN),
        "installing it again does not keep the configuration"
    );
    say!("    removed: configuration and history are kept, and used when it is installed again");
    Ok(())
}

/// Nothing is left but what is the administrator's own.
fn purge(root: &Root, before: &BTreeSet<PathBuf>) -> Result<()> {
    root.run("dpkg --purge portreeve")?;
    ensure!(
        root.has(MINE),
        "{MINE} is gone after the purge: it is the administrator's"
    );
    let mine: Vec<&Path> = Path::new(MINE.trim_start_matches('/')).ancestors().collect();
    // The trial's user and pipes: useradd keeps what was before it as passwd-, shadow- and so on.
    let of_the_trial =
        |path: &Path| path.starts_with("tmp") || (path.starts_with("etc") && path.to_string_lossy().ends_with('-'));
    let files = root.files()?;
    let left: Vec<String> = files
        .difference(before)
        .filter(|path| !mine.contains(&path.as_path()) && !of_the_trial(path))
        .map(|path| path.display().to_string())
        .collect();
    ensure!(left.is_empty(), "left after the purge: {}", left.join(", "));
    say!("    purged: nothing is left but the administrator's own conf.d/mine.toml");
    Ok(())
}

/// What the newer package has at the end of its configuration files.
const NEW: &str = "# of the newer package\n";

/// The same package with a newer version and another default configuration.
fn newer(deb: &Path, folder: &Path) -> Result<PathBuf> {
    let (tree, newer) = (folder.join("newer"), folder.join("newer.deb"));
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(deb).arg(&tree))?;
    for file in ["etc/portreeve/portreeve.toml", "etc/portreeve/conf.d/README"] {
        change(&tree.join(file), |text| format!("{text}{NEW}"))?;
    }
    let version = format!("Version: {}-1", env!("CARGO_PKG_VERSION"));
    change(&tree.join("DEBIAN/control"), |text| {
        text.replace(&version, &format!("{version}.1"))
    })?;
    run_logged(
        Command::new("dpkg-deb")
            .args(["-Zgzip", "--root-owner-group", "--build"])
            .arg(&tree)
            .arg(&newer),
        &folder.join("newer.log"),
    )?;
    let (old, new) = (version_of(deb)?, version_of(&newer)?);
    if old == new {
        bail!("the newer package has the version {new} too");
    }
    Ok(newer)
}

fn version_of(deb: &Path) -> Result<String> {
    output(Command::new("dpkg-deb").arg("--field").arg(deb).arg("Version"))
}

fn change(file: &Path, by: impl FnOnce(String) -> String) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    fs::write(file, by(text)).with_context(|| format!("cannot write {}", file.display()))
}

fn read(root: &Root, path: &str) -> Result<String> {
    let path = root.at(path);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(root: &Root, path: &str, text: &str) -> Result<()> {
    let path = root.at(path);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
