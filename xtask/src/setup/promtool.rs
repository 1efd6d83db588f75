//! promtool, which judges the metrics page.

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
        "checking the metrics page",
    )?
    .join("usr/bin/promtool"))
}
