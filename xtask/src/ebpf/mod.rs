//! The kernel objects: built with stable bytes and written beside their lock file, or rebuilt and compared.

mod build;
mod check;

use std::fs;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use crate::lock::{self, Lock, OBJECTS};
use crate::say;
use crate::setup::bpf_toolchain;
use crate::workspace::Workspace;

pub(crate) use check::{Comparison, compare, lint};

/// Builds the kernel objects into monitor/bpf, with their lock file.
#[derive(Args, Debug)]
pub(crate) struct EbpfArgs {
    /// Rebuild elsewhere, compare with what is committed, and lint the kernel side; change nothing.
    #[arg(long)]
    check: bool,
}

/// Runs `cargo xtask ebpf`.
///
/// # Errors
/// Where the toolchain cannot be had, the build fails, or (with `--check`) bytes or lints are not as they must be.
pub(crate) fn main(workspace: &Workspace, args: &EbpfArgs) -> Result<()> {
    if !args.check {
        return write(workspace);
    }
    let linted = lint(workspace);
    match compare(workspace)? {
        Comparison::Equal => say!("The committed kernel objects are what these sources give, byte for byte."),
        Comparison::NotCompared { reason, rebuilt } => {
            say!("NOT COMPARED: {reason}");
            say!(
                "The rebuilt object lies at {}; PORTREEVE_BPF_OBJECT makes a build take it.",
                rebuilt.display()
            );
        }
    }
    linted
}

/// Builds each object and writes it and the lock.
fn write(workspace: &Workspace) -> Result<()> {
    let toolchain = bpf_toolchain::ensure(workspace)?;
    if let Some(sources) = toolchain.core_sources() {
        bail!(
            "lines of {} would end up in the object, and no machine without them could rebuild it; remove the package rust-web-src",
            sources.display()
        );
    }
    let folder = workspace.root.join(lock::FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // Taken first: an edit during the build leaves a lock that is stale, never one that is wrong.
    let sources = lock::fingerprint(&workspace.root).map_err(|sentence| anyhow!(sentence))?;
    let mut lock = Lock {
        toolchain: toolchain.versions.clone(),
        sources,
        ..Lock::default()
    };
    for object in OBJECTS {
        let bytes = build::build(&toolchain, &workspace.root, &workspace.target.join("ebpf"), object)?;
        let path = folder.join(object.file);
        fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
        say!("wrote {}/{} ({} bytes)", lock::FOLDER, object.file, bytes.len());
        lock.objects.insert(object.file.to_owned(), lock::sha256(&bytes));
    }
    let path = lock::lock_path(&workspace.root);
    fs::write(&path, lock.to_text()).with_context(|| format!("cannot write {}", path.display()))?;
    let versions: Vec<&str> = lock.toolchain.values().map(String::as_str).collect();
    say!(
        "wrote {}/lock.toml ({} sources; {})",
        lock::FOLDER,
        lock.sources.len(),
        versions.join(", ")
    );
    Ok(())
}
