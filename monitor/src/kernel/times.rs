//! How long the programs of the hooks run, by the kernel's own statistics.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    programs::ProgramFd,
    sys::{Stats, enable_stats},
};

use super::{
    attach::all_programs_of,
    backend::HookState,
    misses::{fdinfo, number},
};

/// The programs that are attached and what they serve, while the kernel measures them.
pub struct HookTimes {
    programs: Vec<(&'static str, ProgramFd)>,
    /// The kernel measures as long as somebody has this open.
    _stats: OwnedFd,
}

impl HookTimes {
    pub(super) fn start(ebpf: &Ebpf, hooks: &[HookState]) -> Result<Self> {
        let stats = enable_stats(Stats::RunTime).context(
            "--probe.stats: the kernel does not turn on its BPF statistics; that takes Linux 5.8 and CAP_SYS_ADMIN",
        )?;
        let attached = hooks.iter().filter(|hook| hook.is_attached());
        // A program that serves two subjects at one place is one.
        let programs: BTreeSet<_> = attached
            .flat_map(|hook| all_programs_of(hook).into_iter().map(|program| (hook.hook, program)))
            .collect();
        let programs = programs.into_iter().filter_map(|(hook, name)| {
            let fd = ebpf.program(name)?.fd().ok()?.try_clone().ok()?;
            Some((hook, fd))
        });
        Ok(Self {
            programs: programs.collect(),
            _stats: stats,
        })
    }

    /// Nanoseconds by hook, of all its programs, since the statistics were first on. The sums only grow.
    pub fn nanoseconds(&self) -> Vec<(&'static str, u64)> {
        let mut sums: Vec<(&'static str, u64)> = Vec::new();
        for (hook, program) in &self.programs {
            let text = fdinfo(program.as_fd().as_raw_fd());
            let ran = number(&text, "run_time_ns:");
            match sums.iter_mut().find(|(known, _)| known == hook) {
                Some((_, sum)) => *sum += ran,
                None => sums.push((hook, ran)),
            }
        }
        sums
    }
}
