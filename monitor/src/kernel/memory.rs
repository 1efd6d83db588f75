//! Memory that the kernel counts against a limit, and memory that is given back.

use std::{error::Error, fs, path::Path, ptr};

use anyhow::anyhow;
use aya::EbpfError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lifts the limit on locked memory, against which kernels before 5.11 count maps, root's included. Returns the
/// limit that is left where it could not be lifted.
pub(super) fn raise_memlock_limit() -> Option<u64> {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if setrlimit(Resource::Memlock, unlimited).is_ok() {
        return None;
    }
    // Without the right to lift the hard limit, up to it is still allowed.
    let Rlimit { maximum, .. } = getrlimit(Resource::Memlock);
    let _ = setrlimit(
        Resource::Memlock,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
    maximum
}

/// Says what to do where the kernel refused the object. On old kernels a limit that is too small looks like a lack
/// of permission.
pub(super) fn explain(error: &EbpfError, memlock: Option<u64>) -> anyhow::Error {
    let text = words(error);
    match memlock.filter(|_| super::capability::counts_memlock()) {
        Some(limit) if text.contains("os error 1)") || text.contains("os error 12)") => anyhow!(
            "cannot load the kernel object: {text}; before 5.11 maps count against the limit on locked memory, which \
             is {} KiB here and could not be raised: set LimitMEMLOCK=infinity (systemd) or ulimit -l unlimited",
            limit / 1024
        ),
        _ if text.contains("os error 24)") => anyhow!(
            "cannot load the kernel object: {text}; it takes some fifty descriptors: set ulimit -n, or LimitNOFILE (systemd), to \
             256 or more"
        ),
        _ => anyhow!("cannot load the kernel object: {text}"),
    }
}

/// An error and its causes, without what one of them has said already: some of the library's errors name their cause.
fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// One heap for all threads, before there is a second one. What a look leaves in the inventory would lie scattered over the heap of
/// the thread that looked, between what it gave back: a third of the agent's memory with ten thousand listeners.
pub fn share_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two numbers (mallopt(3)).
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives freed memory back to the kernel: reading BTF takes twenty megabytes for a moment, and the allocator would
/// keep them. So does the program's own code, most of which is for the start, for errors, and for what nobody asked for.
pub fn give_back_memory() {
    give_back_code();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes no pointers and may be called at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets go of the pages of the program's code. Those that are needed are mapped again one after the other, out of the page cache.
fn give_back_code() {
    let (Ok(maps), Ok(program)) = (fs::read_to_string("/proc/self/maps"), fs::read_link("/proc/self/exe")) else {
        return;
    };
    for (start, length) in code(&maps, &program) {
        // SAFETY: a mapping of this process that nothing can have written to: it is taken from the file again.
        unsafe {
            libc::madvise(ptr::with_exposed_provenance_mut(start), length, libc::MADV_DONTNEED);
        }
    }
}

/// Where the code of a program is mapped: start and length.
fn code(maps: &str, program: &Path) -> Vec<(usize, usize)> {
    let mapping = |line: &str| {
        let mut words = line.split_whitespace();
        let (range, permissions, path) = (words.next()?, words.next()?, words.nth(3)?);
        let (start, end) = range.split_once('-')?;
        let (start, end) = (
            usize::from_str_radix(start, 16).ok()?,
            usize::from_str_radix(end, 16).ok()?,
        );
        let is_code = permissions == "r-xp" && Path::new(path) == program;
        is_code.then_some((start, end.checked_sub(start)?))
    };
    maps.lines().filter_map(mapping).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_may_be_run_and_not_written_of_the_program_itself() {
        let maps = "55d0c0000000-55d0c0200000 r--p 00000000 fe:00 42 /usr/bin/portreeve\n\
                    55d0c0200000-55d0c0600000 r-xp 00200000 fe:00 42 /usr/bin/portreeve\n\
                    55d0c0600000-55d0c0700000 rw-p 00600000 fe:00 42 /usr/bin/portreeve\n\
                    7f0000000000-7f0000100000 r-xp 00000000 fe:00 43 /usr/lib/libc.so.6\n\
                    7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0 [vdso]\n";
        assert_eq!(
            code(maps, Path::new("/usr/bin/portreeve")),
            [(0x55d0_c020_0000, 0x40_0000)]
        );
        assert_eq!(code("nonsense\n", Path::new("/x")), []);
        // It goes on after that.
        give_back_memory();
    }
}
