//! `cargo xtask dist --check`: the packages, judged by their distributions' tools, and tried.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::command::{find_program, run};
use crate::dist::root::Root;
use crate::dist::stage::SHELLS;
use crate::dist::{Made, deb, rpm};
use crate::report::{Outcome, Report};
use crate::setup::apt::{self, Package};
use crate::workspace::Workspace;

/// The configuration that a package brings.
pub(crate) const CONFIG: &str = "/etc/portreeve/portreeve.toml";
/// Another file that a package brings there.
pub(crate) const README: &str = "/etc/portreeve/conf.d/README";
/// What an administrator writes into the configuration that the package brought.
pub(crate) const OWN: &str = "\n[watch]\nports = [\"8080\"]\n";
/// A file of the administrator's own.
pub(crate) const MINE: &str = "/etc/portreeve/conf.d/mine.toml";
/// The state of an agent that ran.
pub(crate) const HISTORY: &str = "/var/lib/portreeve/history.db";
/// What the newer package has at the end of the files that it brings to /etc.
pub(crate) const NEW: &str = "# of the newer package\n";

/// The steps. What this machine has not the means for is said, and not run.
pub(crate) fn steps(workspace: &Workspace, made: &Made, report: &mut Report) {
    report.step("packages: completions are read by their shells", |_| {
        completions(workspace, made).map(|()| Outcome::Passed)
    });
    report.step("packages: lintian", |_| {
        lintian(workspace, &made.deb).map(|()| Outcome::Passed)
    });
    for (name, check) in [
        (
            "packages: .deb installed, upgraded, removed, purged",
            deb::check as Check,
        ),
        ("packages: .rpm listed, installed, upgraded, removed", rpm::check),
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

/// What a host has where the agent ran and somebody changed its configuration. Gives the text of that.
///
/// # Errors
/// Where a file cannot be read or written.
pub(crate) fn use_it(root: &Root) -> Result<String> {
    // As systemd lays it out for a DynamicUser.
    root.run("mkdir --parents /var/lib/private/portreeve; ln --symbolic private/portreeve /var/lib")?;
    root.write(HISTORY, "kept")?;
    root.write(MINE, "[agent]\nlabels = { env = \"test\" }\n")?;
    let own = format!("{}{OWN}", root.read(CONFIG)?);
    root.write(CONFIG, &own)?;
    Ok(own)
}
