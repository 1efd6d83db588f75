//! Prometheus, for the tests of its alerts, and its promtool, which judges the metrics page and the alerting rules.

use std::path::PathBuf;

use anyhow::Result;

use crate::setup::apt;
use crate::workspace::Workspace;

/// promtool of Debian's prometheus.
///
/// # Errors
/// Where the package cannot be fetched.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    Ok(ensure_package(workspace)?.join("usr/bin/promtool"))
}

/// Debian's prometheus, unpacked below `target/tools`: installing the package would start a server.
///
/// # Errors
/// Where the package cannot be fetched.
pub(crate) fn ensure_package(workspace: &Workspace) -> Result<PathBuf> {
    apt::unpack(
        workspace,
        "prometheus",
        "prometheus",
        "usr/bin/promtool",
        "checking metrics and alerting rules",
    )
}
