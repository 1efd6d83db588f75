//! buildah, which builds a container image without a daemon.

use anyhow::{Result, bail};

use crate::setup::apt::{self, Package};
use crate::workspace::Workspace;

/// Makes sure that it is there, and that it can be used as this tree does.
///
/// # Errors
/// One sentence with what to install, or that root is needed.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    // It makes files of the image as their owners, and runs the image by chroot.
    if !apt::is_root() {
        bail!("building the container image without a daemon needs root; run cargo xtask image as root");
    }
    apt::ensure(workspace, &[Package::new("buildah", "buildah")], "the container image")
}
