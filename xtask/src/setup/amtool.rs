//! amtool, which judges Alertmanager's configuration.

use std::path::PathBuf;

use anyhow::Result;

use crate::setup::apt;
use crate::workspace::Workspace;

/// amtool of Debian's prometheus-alertmanager, unpacked below `target/tools`: installing the package would start a server.
///
/// # Errors
/// Where the package cannot be fetched.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    Ok(apt::unpack(
        workspace,
        "prometheus-alertmanager",
        "prometheus-alertmanager",
        "usr/bin/amtool",
        "checking the sample of a route",
    )?
    .join("usr/bin/amtool"))
}
