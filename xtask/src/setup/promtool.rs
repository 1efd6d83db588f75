//! promtool, which judges the metrics page and the alerting rules.

use std::path::PathBuf;

use anyhow::Result;

use crate::setup::apt;
use crate::workspace::Workspace;

/// promtool of Debian's prometheus, unpacked below `target/tools`: installing the package would start a server.
///
/// # Errors
/// Where the package cannot be fetched.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    Ok(apt::unpack(
        workspace,
        "prometheus",
        "prometheus",
        "usr/bin/promtool",
        "checking metrics and alerting rules",
    )?
    .join("usr/bin/promtool"))
}
