//! Programs out of the crate registry: the machine's own, or built below `target/tools`.

use std::path::PathBuf;

use anyhow::Result;

use crate::command::{cargo, find_program, run_logged, with_retries};
use crate::say;
use crate::workspace::Workspace;

/// A program that `cargo install` builds.
#[derive(Debug)]
pub(crate) struct Tool {
    name: &'static str,
    /// Its release; another one may judge otherwise.
    version: &'static str,
    takes: &'static str,
    serves: &'static str,
}

/// Judges licences, sources and banned crates.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    takes: "about three minutes",
    serves: "the check of dependencies",
};

/// Builds fuzz targets and runs them.
pub(crate) const FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    version: "0.13.2",
    takes: "about a minute",
    serves: "fuzzing",
};

/// Makes the Debian package.
pub(crate) const DEB: Tool = Tool {
    name: "cargo-deb",
    version: "3.8.0",
    takes: "about a minute",
    serves: "the Debian package",
};

/// Makes the RPM.
pub(crate) const RPM: Tool = Tool {
    name: "cargo-generate-rpm",
    version: "0.21.1",
    takes: "about two minutes",
    serves: "the RPM",
};

impl Tool {
    /// Where it lies; it is built where it is missing.
    ///
    /// # Errors
    /// Where it cannot be built.
    pub(crate) fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
        let Self {
            name,
            version,
            takes,
            serves,
        } = self;
        if let Some(found) = find_program(name) {
            return Ok(found);
        }
        let tools = workspace.tools();
        let built = tools.join("bin").join(name);
        if !built.is_file() {
            say!("Building {name} {version} below target/tools (once, {takes}), for {serves}");
            with_retries(&format!("building {name}"), || {
                run_logged(
                    cargo()
                        .args(["install", name, "--version", version, "--locked", "--root"])
                        .arg(&tools)
                        .arg("--target-dir")
                        .arg(tools.join("build"))
                        // They run for seconds, and take minutes to build as their authors release them.
                        .envs([
                            ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
                            ("CARGO_PROFILE_RELEASE_LTO", "off"),
                            ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
                            ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
                        ])
                        .env_remove("RUSTFLAGS")
                        .env_remove("CARGO_ENCODED_RUSTFLAGS"),
                    &tools.join(format!("{name}.log")),
                )
            })?;
        }
        Ok(built)
    }
}
