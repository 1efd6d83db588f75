//! Puts the kernel object where `include_bytes!` finds it, and refuses one that does not belong to the sources.
//!
//! The object is built by `cargo xtask ebpf` and committed, so that this build needs nothing but stable Rust. Sets
//! `PORTREEVE_BPF_OBJECT` for the crate: the path of the object's copy in `OUT_DIR`. The same name in the environment
//! of the build gives another object in place of the committed one (`cargo xtask ebpf --check` rebuilds one).

#[path = "bpf/lock.rs"]
mod lock;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The object of this build: from the environment of the build, or the committed one.
const OBJECT: &str = "PORTREEVE_BPF_OBJECT";

fn main() {
    // `cargo::error` fails the build with the sentence alone: no panic, no backtrace.
    match place_object() {
        Ok(placed) => println!("cargo::rustc-env={OBJECT}={}", placed.display()),
        Err(sentence) => println!("cargo::error={sentence}"),
    }
}

fn place_object() -> Result<PathBuf, String> {
    let manifest_folder = variable("CARGO_MANIFEST_DIR")?;
    let root = Path::new(&manifest_folder)
        .parent()
        .ok_or("the crate monitor is not inside its workspace")?;
    println!("cargo::rerun-if-env-changed={OBJECT}");
    println!("cargo::rerun-if-changed={}", root.join(lock::FOLDER).display());
    for input in lock::INPUTS {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    let object = match env::var_os(OBJECT) {
        Some(path) => PathBuf::from(path),
        None => lock::verified_object(root, &variable("CARGO_CFG_TARGET_ARCH")?)?,
    };
    println!("cargo::rerun-if-changed={}", object.display());
    let placed = Path::new(&variable("OUT_DIR")?).join("portreeve.bpf.o");
    fs::copy(&object, &placed).map_err(|e| format!("cannot copy {}: {e}", object.display()))?;
    Ok(placed)
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("{name} is not set; build with cargo"))
}
