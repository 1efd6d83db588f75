//! rsyslog, which judges its configuration of `deploy/logs`.

use std::env::consts::ARCH;
use std::path::PathBuf;

use anyhow::Result;

use crate::setup::apt;
use crate::workspace::Workspace;

/// Where rsyslog lies, with what it needs beside it.
#[derive(Debug)]
pub(crate) struct Rsyslog {
    pub(crate) program: PathBuf,
    /// For `LD_LIBRARY_PATH`.
    pub(crate) libraries: PathBuf,
    /// For `-M`.
    pub(crate) modules: PathBuf,
}

/// Debian's rsyslog with its two libraries, unpacked below `target/tools`: installing the package would start a server.
///
/// # Errors
/// Where a package cannot be fetched.
pub(crate) fn ensure(workspace: &Workspace) -> Result<Rsyslog> {
    const WHY: &str = "checking what rsyslog is given";
    let libraries = format!("usr/lib/{ARCH}-linux-gnu");
    for (package, library) in [("libestr0", "libestr.so.0"), ("libfastjson4", "libfastjson.so.4")] {
        apt::unpack(workspace, package, "rsyslog", &format!("{libraries}/{library}"), WHY)?;
    }
    let folder = apt::unpack(workspace, "rsyslog", "rsyslog", "usr/sbin/rsyslogd", WHY)?;
    let libraries = folder.join(libraries);
    Ok(Rsyslog {
        program: folder.join("usr/sbin/rsyslogd"),
        modules: libraries.join("rsyslog"),
        libraries,
    })
}
