//! `cargo xtask ebpf --check`: the kernel side linted, and the objects rebuilt in another folder and compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::command::{output, run};
use crate::ebpf::build::build;
use crate::lock::{self, Lock, OBJECTS};
use crate::setup::bpf_toolchain::BpfToolchain;
use crate::setup::{apt, bpf_toolchain};
use crate::workspace::Workspace;

/// What a rebuild says about the committed objects.
#[derive(Debug)]
pub(crate) enum Comparison {
    /// The same bytes.
    Equal,
    /// Another compiler, LLVM or linker than the lock's: other bytes prove nothing.
    NotCompared {
        /// What differs, as a sentence.
        reason: String,
        /// The object of this toolchain, to load in place of the committed one.
        rebuilt: PathBuf,
    },
}

/// Rebuilds in another folder and compares.
///
/// # Errors
/// Where the lock is stale, the build fails, or the bytes differ although the toolchain is the lock's.
pub(crate) fn compare(workspace: &Workspace) -> Result<Comparison> {
    for object in OBJECTS {
        lock::verified_object(&workspace.root, object.arch).map_err(|sentence| anyhow!(sentence))?;
    }
    let toolchain = bpf_toolchain::ensure(workspace)?;
    let folder = workspace.target.join("ebpf-check");
    // Another folder of another depth: a path that leaks into the object cannot go unseen.
    let copy = folder.join("copied/sources");
    copy_sources(&workspace.root, &copy)?;
    let lock = Lock::read(&workspace.root).map_err(|sentence| anyhow!(sentence))?;
    let differences = differences(&toolchain, &lock);
    let mut first = None;
    for object in OBJECTS {
        let bytes = build(&toolchain, &copy, &folder.join("build"), object)?;
        let rebuilt = folder.join(object.file);
        fs::write(&rebuilt, &bytes).with_context(|| format!("cannot write {}", rebuilt.display()))?;
        if differences.is_empty() && lock.objects.get(object.file) != Some(&lock::sha256(&bytes)) {
            bail!(
                "{}/{} is not what its sources give with the lock's own toolchain; the rebuilt one is {}; run `cargo xtask ebpf`",
                lock::FOLDER,
                object.file,
                rebuilt.display()
            );
        }
        first.get_or_insert(rebuilt);
    }
    let rebuilt = first.context("there is no kernel object to check")?;
    if differences.is_empty() {
        return Ok(Comparison::Equal);
    }
    Ok(Comparison::NotCompared {
        reason: differences.join(", "),
        rebuilt,
    })
}

/// Why other bytes would prove nothing, if they would not.
fn differences(toolchain: &BpfToolchain, lock: &Lock) -> Vec<String> {
    let locked = |name: &str| lock.toolchain.get(name).map_or("unknown", String::as_str);
    let versions = toolchain
        .versions
        .iter()
        .filter(|(name, version)| locked(name) != version.as_str());
    let mut differences: Vec<String> = versions
        .map(|(name, version)| format!("{name} is {version} here and {} in the lock", locked(name)))
        .collect();
    differences.extend(
        toolchain
            .core_sources()
            .map(|sources| format!("lines of {} are in the rebuilt object", sources.display())),
    );
    differences
}

/// Runs clippy of the compiler that builds the kernel side, for the target of the kernel side, with warnings as errors.
///
/// # Errors
/// Where a lint fires, or that clippy cannot be had.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    let toolchain = bpf_toolchain::ensure(workspace)?;
    let driver = clippy_driver(workspace, &toolchain)?;
    let target_folder = workspace.target.join("ebpf-lint");
    for object in OBJECTS {
        // What cargo-clippy does, without asking that cargo and the compiler come from one toolchain.
        run(toolchain
            .cargo(&workspace.root, &target_folder, "check", object.target, object.arch)?
            .arg("--quiet")
            .env("RUSTC_WORKSPACE_WRAPPER", &driver)
            .env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__"))?;
    }
    Ok(())
}

/// clippy-driver of the toolchain's compiler.
fn clippy_driver(workspace: &Workspace, toolchain: &BpfToolchain) -> Result<PathBuf> {
    if toolchain.build_core {
        return Ok(toolchain.rustc.with_file_name("clippy-driver"));
    }
    let release = toolchain
        .versions
        .get("rustc")
        .and_then(|name| name.split(' ').nth(1))
        .unwrap_or_default();
    // Unpacked, not installed: the package may not stand beside rustup's. It must be of the compiler's very release.
    let why = "linting the kernel side";
    let folder = format!("rust-web-clippy-{release}");
    let driver =
        apt::unpack(workspace, "rust-web-clippy", &folder, "usr/bin/clippy-driver", why)?.join("usr/bin/clippy-driver");
    let version = output(Command::new(&driver).args(["--rustc", "--version"])).unwrap_or_default();
    if !version.contains(release) {
        bail!("Debian's clippy is of another release than rustc {release} here; run apt-get upgrade");
    }
    Ok(driver)
}

/// Copies what is committed or new, not what is ignored, so that the copy builds as a clone would.
fn copy_sources(root: &Path, copy: &Path) -> Result<()> {
    if copy.exists() {
        fs::remove_dir_all(copy).with_context(|| format!("cannot remove {}", copy.display()))?;
    }
    for file in crate::sources::files(root)? {
        let to = copy.join(&file);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::copy(root.join(&file), &to)
            .with_context(|| format!("cannot copy {} to {}", file.display(), to.display()))?;
    }
    Ok(())
}
