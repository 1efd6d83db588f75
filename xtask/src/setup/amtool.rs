//! Alertmanager, for the tests of what the agent sends it, and its amtool, which judges its configuration.

use std::path::PathBuf;

use anyhow::Result;

use crate::setup::apt;
use crate::workspace::Workspace;

/// amtool of Debian's prometheus-alertmanager.
///
/// # Errors
/// Where the package cannot be fetched.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    Ok(ensure_package(workspace)?.join("usr/bin/amtool"))
}

/// Debian's prometheus-alertmanager, unpacked below `target/tools`: installing the package would start a server.
///
/// # Errors
/// Where the package cannot be fetched.
pub(crate) fn ensure_package(workspace: &Workspace) -> Result<PathBuf> {
    apt::unpack(
        workspace,
        "prometheus-alertmanager",
        "prometheus-alertmanager",
        "usr/bin/amtool",
        "checking what Alertmanager is given",
    )
}
