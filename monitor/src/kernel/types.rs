//! The running kernel's BTF as the library takes it, to load programs with: the numbers of the types that programs are
//! attached to, and nothing of the others.
//!
//! Parsed whole it takes the library a fifth of the time until the agent is armed, and more memory than the agent has
//! otherwise.

use anyhow::{Context, Result};
use aya::{Btf, Endianness};

use super::btf::{self, Skeleton};

/// What is asked for, and the library's form of it.
pub(super) struct KernelTypes {
    skeleton: Skeleton,
    /// Made when a program first needs it.
    parsed: Option<Btf>,
}

impl KernelTypes {
    /// Those of the kernel whose BTF this is.
    pub(super) fn of(btf: &btf::Btf) -> Self {
        Self {
            skeleton: btf.skeleton(),
            parsed: None,
        }
    }

    /// The same, with nothing parsed.
    pub(super) fn afresh(&self) -> Self {
        Self {
            skeleton: self.skeleton.clone(),
            parsed: None,
        }
    }

    pub(super) fn get(&mut self) -> Result<&Btf> {
        if self.parsed.is_none() {
            let parsed = Btf::parse(&self.skeleton.bytes()?, Endianness::default());
            self.parsed = Some(parsed.context("the library does not take what was found in the kernel's BTF")?);
        }
        self.parsed.as_ref().context("the kernel's BTF is not there")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{KernelTypes, btf::Btf};
    use crate::kernel::{hooks, offsets};

    #[test]
    fn what_programs_are_attached_to_keeps_its_number() {
        let structs = offsets::structs();
        let functions = offsets::functions();
        let whole = Btf::of_kernel(Path::new("/sys"), offsets::wanted(&structs, &functions)).unwrap();
        let bytes = whole.skeleton().bytes().unwrap();
        let again = Btf::parse(bytes, offsets::wanted(&structs, &functions)).unwrap();
        assert_eq!(again.skeleton(), whole.skeleton());
        for name in hooks::FUNCTIONS {
            assert_eq!(again.has_function(name), whole.has_function(name), "{name}");
        }
        assert!(whole.has_function("inet_csk_listen_start"), "nothing was compared");
        assert!(KernelTypes::of(&whole).get().is_ok());
    }
}
