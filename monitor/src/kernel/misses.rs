//! Runs that the kernel left out: a program is not run where it, or on older kernels any program, runs on the same
//! processor already.

use std::{
    fs,
    os::fd::{AsRawFd, RawFd},
};

use aya::{Ebpf, programs::ProgramFd};

use super::{attach::programs_of, backend::HookState};

/// The programs that are attached, and what they serve.
#[derive(Default)]
pub struct HookMisses {
    programs: Vec<(&'static str, ProgramFd)>,
}

impl HookMisses {
    pub(super) fn of(ebpf: &Ebpf, hooks: &[HookState]) -> Self {
        let mut programs = Vec::new();
        for hook in hooks.iter().filter(|hook| hook.is_attached()) {
            for name in programs_of(hook) {
                let program = ebpf
                    .program(name)
                    .and_then(|program| program.fd().ok()?.try_clone().ok());
                programs.extend(program.map(|program| (hook.hook, program)));
            }
        }
        Self { programs }
    }

    /// Adds, to what was missed of each function's returns, the runs that the kernel left out, as far as it counts them:
    /// those of trampolines since 5.12, those of other programs later.
    /// The sums only grow.
    pub fn add(&self, returns: &[(&'static str, u64)]) -> Vec<(&'static str, u64)> {
        let mut sums: Vec<(&'static str, u64)> = Vec::new();
        let own = self.programs.iter().map(|(hook, program)| (*hook, left_out(program)));
        for (hook, count) in returns.iter().copied().chain(own) {
            match sums.iter_mut().find(|(known, _)| *known == hook) {
                Some((_, sum)) => *sum += count,
                None => sums.push((hook, count)),
            }
        }
        sums
    }
}

/// The runs that the kernel left out of a program; 0 where it does not tell.
fn left_out(program: &ProgramFd) -> u64 {
    use std::os::fd::AsFd;
    number(&fdinfo(program.as_fd().as_raw_fd()), "recursion_misses:")
}

/// What the kernel tells of a program that is open here; nothing where it cannot be read.
pub(super) fn fdinfo(descriptor: RawFd) -> String {
    fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap_or_default()
}

/// The number behind a key at the begin of a line; 0 where there is none.
pub(super) fn number(fdinfo: &str, key: &str) -> u64 {
    let line = fdinfo.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_count_is_read_and_an_old_kernel_has_none() {
        let new = "pos:\t0\nrun_time_ns:\t1700\nrun_cnt:\t3\nrecursion_misses:\t12\nverified_insns:\t90\n";
        assert_eq!(number(new, "recursion_misses:"), 12);
        assert_eq!(number(new, "run_time_ns:"), 1700);
        assert_eq!(number("pos:\t0\nprog_type:\t17\n", "recursion_misses:"), 0);
    }

    #[test]
    fn sums_of_one_function_are_one_series() {
        let misses = HookMisses::default();
        assert_eq!(misses.add(&[("a", 1), ("b", 0), ("a", 2)]), [("a", 3), ("b", 0)]);
    }
}
