//! What boots a guest and what lives in it besides portreeve: QEMU and a static busybox.

use std::path::PathBuf;

use anyhow::Result;

use crate::setup::apt::{self, Package};
use crate::workspace::Workspace;

/// QEMU for x86-64 with its BIOS, installed.
///
/// # Errors
/// One sentence with what to install.
pub(crate) fn ensure_qemu(workspace: &Workspace) -> Result<()> {
    apt::ensure(
        workspace,
        &[
            Package::new("qemu-system-x86", "qemu-system-x86_64"),
            // Only recommended by QEMU's package, and nothing boots without it.
            Package::new("seabios", "/usr/share/seabios/bios-256k.bin"),
        ],
        "booting test kernels",
    )
}

/// A static busybox, unpacked below `target/tools`.
///
/// # Errors
/// Where Debian's package cannot be fetched.
pub(crate) fn ensure_busybox(workspace: &Workspace) -> Result<PathBuf> {
    Ok(apt::unpack(
        workspace,
        "busybox-static",
        "busybox-static",
        "bin/busybox",
        "a guest's userland",
    )?
    .join("bin/busybox"))
}
