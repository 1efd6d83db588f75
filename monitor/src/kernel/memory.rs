//! Memory that the kernel counts against a limit, and memory that is given back.

use std::error::Error;

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
/// keep them.
pub fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes no pointers and may be called at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
