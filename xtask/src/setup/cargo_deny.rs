//! cargo-deny, which judges licences, sources and banned crates.

use std::path::PathBuf;

use anyhow::Result;

use crate::command::{cargo, find_program, run_logged, with_retries};
use crate::say;
use crate::workspace::Workspace;

/// Its release; another one may judge otherwise.
const VERSION: &str = "0.20.2";

/// cargo-deny of the machine, or built below `target/tools`.
///
/// # Errors
/// Where it cannot be built.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(found) = find_program("cargo-deny") {
        return Ok(found);
    }
    let tools = workspace.tools();
    let built = tools.join("bin/cargo-deny");
    if !built.is_file() {
        say!(
            "Building cargo-deny {VERSION} below target/tools (once, about three minutes), for the check of dependencies"
        );
        with_retries("building cargo-deny", || {
            run_logged(
                cargo()
                    .args(["install", "cargo-deny", "--version", VERSION, "--locked", "--root"])
                    .arg(&tools)
                    .arg("--target-dir")
                    .arg(tools.join("build"))
                    .env_remove("RUSTFLAGS")
                    .env_remove("CARGO_ENCODED_RUSTFLAGS"),
                &tools.join("cargo-deny.log"),
            )
        })?;
    }
    Ok(built)
}
