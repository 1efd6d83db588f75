//! The running kernel's BTF as the library takes it, to load programs with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::{Btf, Endianness};

/// Where it lies, and what was parsed of it.
pub(super) struct KernelTypes {
    path: PathBuf,
    /// Parsed when a program first needs it: it costs time, and more memory than the agent has otherwise.
    parsed: Option<Btf>,
}

impl KernelTypes {
    /// Those of the kernel whose sysfs this is. Reads nothing yet.
    pub(super) fn below(sysfs: &Path) -> Self {
        Self {
            path: super::btf::file(sysfs),
            parsed: None,
        }
    }

    /// The same, with nothing parsed.
    pub(super) fn afresh(&self) -> Self {
        Self {
            path: self.path.clone(),
            parsed: None,
        }
    }

    pub(super) fn get(&mut self) -> Result<&Btf> {
        if self.parsed.is_none() {
            let parsed = Btf::parse_file(&self.path, Endianness::default());
            self.parsed =
                Some(parsed.with_context(|| format!("cannot read the kernel's BTF in {}", self.path.display()))?);
        }
        self.parsed.as_ref().context("the kernel's BTF is not there")
    }
}
