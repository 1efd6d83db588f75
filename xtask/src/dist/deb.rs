//! The Debian package, tried in a Debian root: each step of its life leaves what it must.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{output, run, run_logged};
use crate::dist::Made;
use crate::dist::check::{CONFIG, HISTORY, MINE, NEW, OWN, README, use_it};
use crate::dist::root::Root;
use crate::say;
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

/// Installs it in a root of its own, upgrades, removes and purges it.
///
/// # Errors
/// Says what is wrong.
pub(crate) fn check(workspace: &Workspace, made: &Made) -> Result<()> {
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

/// An agent whose receiver has a name that libnss_myhostname answers, which crashes a static program that loads it. It must come to
/// its end by itself.
const RECEIVER: &str = r#"
cd /tmp
# Loopback is down here. SIOCSIFFLAGS with IFF_UP and IFF_RUNNING; there is no ip.
perl -MSocket -e 'socket(my $s, AF_INET, SOCK_DGRAM, 0) or die; my $r = pack "a16 s x22", "lo", 0x41; ioctl($s, 0x8914, $r) or die "$!"'
printf '[[webhook]]\nurl = "http://hook.localhost:9/"\n' >hook.toml
portreeve run --config.file hook.toml 2>log & agent=$!
for _ in $(seq 300); do ! grep --quiet armed log || break; sleep 0.1; done
portreeve test-alert >told 2>&1 || :
kill -INT $agent
wait $agent
grep --quiet hook.localhost told
rm hook.toml log told
"#;

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
    root.write("/etc/nsswitch.conf", "hosts: files myhostname dns\n")?;
    root.run(RECEIVER)?;
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
    let own = use_it(root)?;
    root.run("dpkg --force-confdef --force-confold --install /newer.deb")?;
    root.run(&format!("portreeve check {CONFIG}"))?;
    ensure!(root.read(CONFIG)? == own, "a changed configuration is not kept");
    let offered = root.read(&format!("{CONFIG}.dpkg-dist"))?;
    ensure!(
        offered.ends_with(NEW),
        "the new configuration is not offered beside the changed one"
    );
    let untouched = root.read(README)?;
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
    for kept in [CONFIG, MINE, HISTORY] {
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
        root.read(CONFIG)?.ends_with(OWN),
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

/// The same package with a newer version and another default configuration.
fn newer(deb: &Path, folder: &Path) -> Result<PathBuf> {
    let (tree, newer) = (folder.join("newer"), folder.join("newer.deb"));
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(deb).arg(&tree))?;
    for file in [CONFIG, README] {
        change(&tree.join(file.trim_start_matches('/')), |text| format!("{text}{NEW}"))?;
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
