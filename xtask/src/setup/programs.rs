//! Servers that people run, for the tests that watch them: unpacked below `target/tools`, since installing them would start
//! them.

use std::path::PathBuf;

use anyhow::Result;

use crate::setup::apt;
use crate::workspace::Workspace;

/// Packages, and what shows that each is there.
const PACKAGES: [(&str, &str); 14] = [
    ("nginx", "usr/sbin/nginx"),
    ("redis-tools", "usr/bin/redis-check-rdb"),
    ("redis-server", "usr/bin/redis-server"),
    ("dnsmasq-base", "usr/sbin/dnsmasq"),
    ("openssh-server", "usr/sbin/sshd"),
    ("openssh-client", "usr/bin/ssh-keygen"),
    // What they are linked with and a small system has not.
    ("liblzf1", "usr/share/doc/liblzf1"),
    ("libjemalloc2", "usr/share/doc/libjemalloc2"),
    ("libnetfilter-conntrack3", "usr/share/doc/libnetfilter-conntrack3"),
    ("libnfnetlink0", "usr/share/doc/libnfnetlink0"),
    ("libnftables1", "usr/share/doc/libnftables1"),
    ("libnftnl11", "usr/share/doc/libnftnl11"),
    ("libjansson4", "usr/share/doc/libjansson4"),
    ("libwrap0", "usr/share/doc/libwrap0"),
];

/// The folder that they are unpacked in: a root of their own.
///
/// # Errors
/// Where a package cannot be fetched.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    for (package, shown_by) in PACKAGES {
        apt::unpack(workspace, package, "programs", shown_by, "watching real servers")?;
    }
    Ok(workspace.tools().join("programs"))
}
