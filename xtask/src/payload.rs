//! The one build that unit tests, the native integration tests and the guests share: static programs, so that the same
//! ones run in a guest, which has no libraries.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{cargo, output};
use crate::workspace::Workspace;

/// The target of every test build. Named, so that static linking is not asked of build scripts and macros.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Name of the integration test that runs on a real kernel.
pub(crate) const KERNEL_TEST: &str = "kernel";

/// Package and program that play scenarios.
const SCENARIOS: &str = "scenarios";

/// What was built.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    /// The agent.
    pub(crate) agent: PathBuf,
    /// The program that plays scenarios for them.
    pub(crate) scenarios: PathBuf,
    /// The integration tests that need a kernel.
    pub(crate) kernel_tests: PathBuf,
    /// The other integration tests, as (package, test) pairs.
    pub(crate) other_tests: BTreeSet<(String, String)>,
}

/// cargo for the shared build: with the same flags each time, or it builds everything again.
pub(crate) fn static_cargo(workspace: &Workspace, object: Option<&Path>) -> Command {
    let mut command = cargo();
    command
        .current_dir(&workspace.root)
        .env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-C target-feature=+crt-static",
        )
        .env("CARGO_TARGET_DIR", &workspace.target)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    match object {
        Some(object) => command.env("PORTREEVE_BPF_OBJECT", object),
        None => command.env_remove("PORTREEVE_BPF_OBJECT"),
    };
    command
}

/// Builds the agent and the tests of the selected packages (cargo's own flags; empty for what guests need alone), with
/// another kernel object than the committed one where one is given.
///
/// # Errors
/// Where the build fails, or the test `kernel` or the agent is not part of it.
pub(crate) fn build(workspace: &Workspace, selection: &[&str], object: Option<&Path>) -> Result<Payload> {
    let selection = if selection.is_empty() {
        &["--package", "monitor", "--test", KERNEL_TEST]
    } else {
        selection
    };
    let mut messages = output(
        static_cargo(workspace, object)
            .args(["test", "--no-run", "--quiet", "--locked", "--target", TARGET])
            .arg("--message-format=json-render-diagnostics")
            .args(selection),
    )?;
    // The program by itself: a build of tests makes those of its units alone.
    messages.push_str(&output(
        static_cargo(workspace, object)
            .args(["build", "--quiet", "--locked", "--target", TARGET])
            .arg("--message-format=json-render-diagnostics")
            .args(["--package", SCENARIOS]),
    )?);
    found_in(&messages)
}

/// Finds the programs in cargo's messages.
fn found_in(messages: &str) -> Result<Payload> {
    let (mut agent, mut scenarios, mut kernel_tests, mut other_tests) = (None, None, None, BTreeSet::new());
    for line in messages.lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let Some(executable) = message.get("executable").and_then(Value::as_str) else {
            continue;
        };
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let is_test = message
            .pointer("/profile/test")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        match (text("/target/kind/0"), text("/target/name"), is_test) {
            ("bin", "portreeve", false) => agent = Some(PathBuf::from(executable)),
            ("bin", SCENARIOS, false) => scenarios = Some(PathBuf::from(executable)),
            ("test", KERNEL_TEST, _) => kernel_tests = Some(PathBuf::from(executable)),
            ("test", name, _) => {
                let package = Path::new(text("/manifest_path"))
                    .parent()
                    .and_then(Path::file_name)
                    .unwrap_or_default();
                other_tests.insert((package.to_string_lossy().into_owned(), name.to_owned()));
            }
            _ => {}
        }
    }
    Ok(Payload {
        agent: agent.context("cargo built no program portreeve")?,
        scenarios: scenarios.context("cargo built no program scenarios")?,
        kernel_tests: kernel_tests.context("cargo built no integration test `kernel` in monitor/tests")?,
        other_tests,
    })
}

#[cfg(test)]
mod tests {
    use super::found_in;

    const AGENT: &str = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"portreeve"},"profile":{"test":false},"executable":"/t/portreeve"}"#;
    const AGENTS_UNIT_TESTS: &str = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"portreeve"},"profile":{"test":true},"executable":"/t/portreeve-1"}"#;
    const KERNEL: &str = r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"kernel"},"profile":{"test":true},"executable":"/t/kernel-2"}"#;
    const PLAYER: &str = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"scenarios"},"profile":{"test":false},"executable":"/t/scenarios"}"#;
    const OTHER: &str = r#"{"reason":"compiler-artifact","manifest_path":"/w/monitor/Cargo.toml","target":{"kind":["test"],"name":"cli"},"profile":{"test":true},"executable":"/t/cli-3"}"#;

    #[test]
    fn the_agent_is_told_from_its_unit_tests() {
        let payload = found_in(&[AGENTS_UNIT_TESTS, AGENT, KERNEL, PLAYER, OTHER, "noise"].join("\n")).unwrap();
        assert_eq!(payload.agent.to_str(), Some("/t/portreeve"));
        assert_eq!(payload.kernel_tests.to_str(), Some("/t/kernel-2"));
        assert!(payload.other_tests.contains(&("monitor".to_owned(), "cli".to_owned())));
    }

    #[test]
    fn a_build_without_the_integration_tests_is_refused() {
        let both = [AGENT, PLAYER].join("\n");
        assert!(found_in(&both).unwrap_err().to_string().contains("`kernel`"));
        assert!(found_in(AGENT).unwrap_err().to_string().contains("scenarios"));
        assert!(found_in(KERNEL).unwrap_err().to_string().contains("portreeve"));
    }
}
