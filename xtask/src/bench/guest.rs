//! A guest that measures, and how it ended.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};

use crate::setup::guest_tools;
use crate::setup::kernels;
use crate::vm::Accelerator;
use crate::vm::boot::{self, Work};
use crate::vm::programs::Programs;
use crate::workspace::Workspace;

/// A guest that is to be booted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guest<'a> {
    /// Label of its kernel.
    pub(super) kernel: &'a str,
    /// What is measured: names its logs.
    pub(super) name: &'a str,
    /// What it does.
    pub(super) script: &'a str,
    /// Memory in MiB.
    pub(super) memory: u32,
    /// How it runs.
    pub(super) accelerator: Accelerator,
    /// After this it is ended.
    pub(super) limit: Duration,
}

/// What a guest gave.
#[derive(Debug)]
pub(super) struct Ended {
    /// Version of its kernel.
    pub(super) version: String,
    /// Boot included.
    pub(super) took: Duration,
    /// What its script wrote.
    pub(super) written: String,
    /// Why it ended before it was done, if it did.
    pub(super) broken_off: Option<String>,
    excerpt: String,
}

impl Guest<'_> {
    /// Installs what is missing, and boots it with these programs.
    ///
    /// # Errors
    /// Where the guest cannot be made.
    pub(super) fn boot(&self, workspace: &Workspace, programs: Programs) -> Result<Ended> {
        let kernel = kernels::named(self.kernel)?;
        guest_tools::ensure_qemu(workspace)?;
        let busybox = guest_tools::ensure_busybox(workspace)?;
        let fetched = kernels::ensure(workspace, &[kernel])
            .pop()
            .with_context(|| format!("there is no kernel {}", kernel.label))??;
        let folder = workspace.target.join("bench");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let version = fetched.version.clone();
        let guest = boot::Guest {
            label: format!("bench-{}-{}", self.name, kernel.label),
            kernel_label: kernel.label,
            kernel: fetched,
            without: None,
            work: Work::Script {
                script: self.script.to_owned(),
                programs,
            },
            busybox,
            memory: self.memory,
            accelerator: self.accelerator,
            limit: self.limit,
            folder: folder.join(format!("{}-{}", self.name, kernel.label)),
        };
        let ended = guest.boot()?;
        let broken_off = match ended.status {
            Some(0) => None,
            Some(status) => Some(format!("the workload ended with status {status}")),
            None => Some(ended.without_status().to_owned()),
        };
        let logs = format!("its console is in {}", guest.console_log().display());
        Ok(Ended {
            version,
            took: ended.time,
            broken_off: broken_off.map(|why| format!("{why}; {logs}")),
            excerpt: ended.excerpt(),
            written: ended.tests,
        })
    }
}

impl Ended {
    /// The error of a guest that measured nothing.
    pub(super) fn gave_nothing(&self) -> Error {
        let why = self.broken_off.as_deref().unwrap_or("it ended");
        anyhow!("the guest gave no figure: {why}\n{}", self.excerpt)
    }
}
