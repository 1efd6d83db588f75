//! The packages, from the lists in monitor/Cargo.toml.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, run_logged};
use crate::dist::Made;
use crate::dist::stage::Stage;
use crate::payload::TARGET;
use crate::setup::cargo_tools;
use crate::workspace::Workspace;

/// Makes the packages in `folder`, and once more beside the stage: the same bytes must come out.
///
/// # Errors
/// Where a tool cannot be had, or fails, or what it makes differs.
pub(crate) fn make(workspace: &Workspace, stage: Stage, folder: &Path) -> Result<Made> {
    let version = env!("CARGO_PKG_VERSION");
    let again = stage.target.join("again");
    let deb = |folder: &Path| folder.join(format!("portreeve_{version}-1_amd64.deb"));
    let rpm = |folder: &Path| folder.join(format!("portreeve-{version}-1.x86_64.rpm"));
    fs::create_dir_all(&again).with_context(|| format!("cannot create {}", again.display()))?;
    for folder in [folder, again.as_path()] {
        let mut command = Command::new(cargo_tools::DEB.ensure(workspace)?);
        command
            .args(["--package", "monitor", "--locked", "--no-build", "--no-strip"])
            .args(["--target", TARGET, "--output"])
            .arg(deb(folder));
        run_logged(
            prepared(&mut command, workspace, &stage),
            &stage.target.join("packages.log"),
        )?;
        make_rpm(workspace, &stage, &rpm(folder), &[])?;
    }
    same(&deb(folder), &deb(&again))?;
    same(&rpm(folder), &rpm(&again))?;
    let program = folder.join(format!("portreeve-{version}-x86_64-linux"));
    fs::copy(stage.program(), &program).with_context(|| format!("cannot write {}", program.display()))?;
    Ok(Made {
        program,
        deb: deb(folder),
        rpm: rpm(folder),
        stage,
    })
}

/// Makes an RPM of the stage, with further arguments to the packager.
///
/// # Errors
/// Where the packager cannot be had, or fails.
pub(crate) fn make_rpm(workspace: &Workspace, stage: &Stage, rpm: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(cargo_tools::RPM.ensure(workspace)?);
    command.args(["--package", "monitor", "--auto-req", "no", "--target", TARGET]);
    command.args(arguments).arg("--output").arg(rpm);
    run_logged(
        prepared(&mut command, workspace, stage),
        &stage.target.join("packages.log"),
    )
}

/// A packager with the stage as its target folder.
fn prepared<'a>(command: &'a mut Command, workspace: &Workspace, stage: &Stage) -> &'a mut Command {
    command
        .current_dir(&workspace.root)
        .env("CARGO", cargo().get_program())
        .env("CARGO_TARGET_DIR", &stage.target)
        .env("SOURCE_DATE_EPOCH", &stage.epoch)
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("CARGO_MANIFEST_PATH")
}

fn same(one: &Path, other: &Path) -> Result<()> {
    let read = |file: &Path| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    if read(one)? != read(other)? {
        bail!(
            "{} differs from the second one that was made of the same, {}; compare them with diffoscope",
            one.display(),
            other.display()
        );
    }
    Ok(())
}
