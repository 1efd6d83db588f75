//! `cargo xtask image`: the container image, built by buildah without a daemon, looked at and tried.

mod layout;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::command::{output, run, run_logged};
use crate::payload::{TARGET, static_cargo};
use crate::report::{Outcome, Report};
use crate::say;
use crate::setup::buildah;
use crate::workspace::{Workspace, empty};

const CONTAINERFILE: &str = "deploy/container/Containerfile";
const NAME: &str = "portreeve";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The container that the image is tried in.
const CONTAINER: &str = "portreeve-try";

/// Builds the container image as an OCI archive below target/image, checks what is in it, and runs it once.
#[derive(Args, Debug)]
pub(crate) struct ImageArgs {
    /// The agent to put in, a static program; without this one is built for release.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Runs `cargo xtask image`.
///
/// # Errors
/// Where something is missing, or the image is not as it must be.
pub(crate) fn main(workspace: &Workspace, args: &ImageArgs) -> Result<bool> {
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => release(workspace)?,
    };
    buildah::ensure(workspace)?;
    let build = Build::new(workspace, &binary)?;
    build.check()?;
    let archive = build.archive()?;
    let size = fs::metadata(&archive).map_or(0, |file| file.len());
    say!(
        "{} ({:.1} MiB, compressed)",
        archive.display(),
        size as f64 / 1_048_576.0
    );
    say!("Push it, for example: skopeo copy oci-archive:FILE docker://registry.example.com/{NAME}:{VERSION}");
    build.forget();
    Ok(true)
}

/// The step of `cargo xtask test`, with the agent that is there.
pub(crate) fn step(workspace: &Workspace, agent: &Path, report: &mut Report) {
    report.step("container image", |_| {
        if let Err(error) = buildah::ensure(workspace) {
            return Ok(Outcome::NotRun(format!("{error:#}")));
        }
        let build = Build::new(workspace, agent)?;
        build.check()?;
        build.forget();
        Ok(Outcome::Passed)
    });
}

/// The static agent as people run it.
fn release(workspace: &Workspace) -> Result<PathBuf> {
    run(static_cargo(workspace, None)
        .args(["build", "--release", "--locked", "--target", TARGET])
        .args(["--package", "monitor"]))?;
    Ok(workspace.target.join(TARGET).join("release/portreeve"))
}

/// An image in a storage of its own, which no other use of buildah sees.
struct Build {
    folder: PathBuf,
}

impl Build {
    /// Builds it.
    fn new(workspace: &Workspace, binary: &Path) -> Result<Self> {
        let build = Self {
            folder: workspace.target.join("image"),
        };
        build.forget();
        let context = build.folder.join("context");
        empty(&context)?;
        fs::copy(binary, context.join(NAME)).with_context(|| format!("cannot copy {}", binary.display()))?;
        let git = |arguments: &[&str]| {
            let told = output(Command::new("git").args(arguments).current_dir(&workspace.root));
            told.map(|text| text.trim().to_owned())
                .context("git says which commit this is")
        };
        // The same commit and the same agent make the same image.
        let (revision, time) = (git(&["rev-parse", "HEAD"])?, git(&["log", "-1", "--format=%ct"])?);
        run_logged(
            build
                .buildah()
                .args([
                    "build",
                    "--isolation",
                    "chroot",
                    "--layers=false",
                    "--identity-label=false",
                ])
                .args(["--timestamp", &time, "--tag", &format!("{NAME}:{VERSION}")])
                .args(["--build-arg", &format!("VERSION={VERSION}")])
                .args(["--build-arg", &format!("REVISION={revision}")])
                .arg("--file")
                .arg(workspace.root.join(CONTAINERFILE))
                .arg(&context),
            &build.log(),
        )?;
        fs::remove_dir_all(&context).with_context(|| format!("cannot remove {}", context.display()))?;
        Ok(build)
    }

    /// Looks at what was built, and runs it.
    fn check(&self) -> Result<()> {
        let layout = self.folder.join("layout");
        if layout.exists() {
            fs::remove_dir_all(&layout).with_context(|| format!("cannot remove {}", layout.display()))?;
        }
        self.push(&format!("oci:{}:{VERSION}", layout.display()))?;
        let wrong = layout::read(&layout)?.wrong(VERSION);
        if !wrong.is_empty() {
            bail!("the image is not as it must be:\n{}", wrong.join("\n"));
        }
        fs::remove_dir_all(&layout).with_context(|| format!("cannot remove {}", layout.display()))?;
        let container = [
            "from",
            "--quiet",
            "--pull-never",
            "--name",
            CONTAINER,
            &format!("localhost/{NAME}:{VERSION}"),
        ];
        output(self.buildah().args(container))?;
        let said = self.run(&["--version"])?;
        if said.trim() != format!("{NAME} {VERSION}") {
            bail!("`{NAME} --version` in the image says {said:?}");
        }
        let listing: Value = serde_json::from_str(&self.run(&["list", "--json"])?)
            .context("`portreeve list --json` in the image says something else")?;
        if !listing.get("listeners").is_some_and(Value::is_array) {
            bail!("`portreeve list --json` in the image has no listeners in it");
        }
        Ok(())
    }

    /// Runs the agent in the image: by chroot, so it needs no runtime, and has the few capabilities of any container.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.buildah();
        command.args(["run", "--isolation", "chroot", CONTAINER, "--", "/bin/portreeve"]);
        output(command.args(arguments)).context(
            "the image was built, and cannot be run here (a program that is not static finds no libraries in it)",
        )
    }

    /// The image as one file.
    fn archive(&self) -> Result<PathBuf> {
        let archive = self.folder.join(format!("{NAME}-{VERSION}.oci.tar"));
        if archive.exists() {
            fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
        }
        self.push(&format!("oci-archive:{}:{NAME}:{VERSION}", archive.display()))?;
        Ok(archive)
    }

    fn push(&self, to: &str) -> Result<()> {
        let image = format!("localhost/{NAME}:{VERSION}");
        run_logged(self.buildah().args(["push", &image, to]), &self.log())
    }

    /// Removes the storage. What cannot be removed is in the way of the next build, which says so.
    fn forget(&self) {
        let _ = self.buildah().args(["rm", "--all"]).output();
        for part in ["storage", "run"] {
            let _ = fs::remove_dir_all(self.folder.join(part));
        }
    }

    fn buildah(&self) -> Command {
        let mut command = Command::new("buildah");
        command
            .args(["--storage-driver", "vfs", "--root"])
            .arg(self.folder.join("storage"))
            .arg("--runroot")
            .arg(self.folder.join("run"));
        command
    }

    fn log(&self) -> PathBuf {
        self.folder.join("buildah.log")
    }
}
