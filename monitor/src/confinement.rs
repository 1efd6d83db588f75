//! What the agent gives up of what it may do, once it does not need it any more.
//!
//! Capabilities belong to threads, so each kind of thread keeps those of its own work ([`Part`]). Files are taken away by
//! Landlock where the kernel has it, and only from threads that look at no other process: who is in a Landlock domain may not look
//! into a process outside of it, whatever capability it has (security/landlock/ptrace.c), and would find neither executables
//! nor descriptors nor network namespaces. So there is none around the threads that name processes.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Once,
};

use landlock::{
    ABI, AccessFs, RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus,
    path_beneath_rules,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

/// The newest rules that are asked for; an older kernel takes those that it knows.
const RULES: ABI = ABI::V5;

/// Where SQLite puts what it does not want to keep in memory.
const TEMPORARY: [&str; 2] = ["/var/tmp", "/tmp"];

/// Threads, by what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Takes events and names processes; makes iterators in the kernel. It `enters` namespaces itself where the backend does
    /// not tell what came of a listen.
    Events {
        /// Whether it does.
        enters: bool,
    },
    /// Looks at all that listens, in all network namespaces.
    Looks,
    /// Answers HTTP. Keys and certificates are read again when they change, and may be root's alone.
    Http,
    /// Tells a receiver of alerts, whose files may be root's alone too.
    Receivers,
    /// Writes lines to what is open already.
    Output,
    /// Writes the history.
    History,
    /// Asks a container runtime for images. The way to its socket may be root's alone.
    Images,
}

impl Part {
    const fn needs(self) -> CapabilitySet {
        let processes = CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH);
        let programs = CapabilitySet::BPF.union(CapabilitySet::PERFMON);
        match self {
            Self::Events { enters: false } => processes.union(programs),
            Self::Events { enters: true } => processes.union(programs).union(CapabilitySet::SYS_ADMIN),
            Self::Looks => processes.union(CapabilitySet::SYS_ADMIN),
            Self::Http | Self::Receivers | Self::Images => CapabilitySet::DAC_READ_SEARCH,
            Self::Output | Self::History => CapabilitySet::empty(),
        }
    }
}

/// To be called before there is a second thread: from now on no program that is started can do more than this process, not even
/// one that is setuid. Nothing that is held is lost.
pub fn begin() {
    warn_once(set_no_new_privs(true).map_err(Into::into));
    for number in 0..u64::BITS {
        // Without CAP_SETPCAP it is refused, and the other is what counts. The first number that the kernel does not know ends it.
        if remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)).is_err() {
            break;
        }
    }
}

/// The calling thread, and those that it starts, keep the capabilities of this part.
pub fn give_up(part: Part) {
    warn_once(keep(part));
}

/// Like [`give_up`]; and it writes files below these folders alone, and runs no program. Only for parts that look at no process.
pub fn give_up_files_too<'a>(part: Part, writable: impl IntoIterator<Item = &'a Path>) {
    give_up(part);
    warn_once(write_below(writable).map_err(io::Error::other).map(drop));
}

/// Folders in which SQLite writes, for a database in this folder.
pub fn of_database(folder: &Path) -> Vec<PathBuf> {
    let temporary = TEMPORARY.iter().map(PathBuf::from);
    temporary.chain([std::env::temp_dir(), folder.to_owned()]).collect()
}

/// Says in one line what is given up. `part` is that of the calling thread.
pub fn tell(part: Part) {
    let held = capabilities(None).map_or_else(|_| CapabilitySet::empty(), |sets| sets.permitted);
    let kept = part.needs() & held;
    ::log::info!(
        keeps = names(kept).as_str(), landlock = landlock();
        "confined: no new privileges; what reads events and looks at processes keeps its capabilities, what answers HTTP and tells \
         receivers keeps CAP_DAC_READ_SEARCH at most"
    );
}

/// What this kernel's Landlock does with threads that look at no process.
#[must_use]
pub fn landlock() -> &'static str {
    // A thread of its own: there is no way back.
    let tried = std::thread::spawn(|| write_below([]).map(|status| status.ruleset)).join();
    match tried {
        Ok(Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced)) => "enforced",
        _ => "not there",
    }
}

fn keep(part: Part) -> io::Result<()> {
    let held = capabilities(None)?;
    let stands_for_both = !held.permitted.contains(CapabilitySet::BPF | CapabilitySet::PERFMON);
    let mut kept = part.needs();
    if stands_for_both && kept.contains(CapabilitySet::BPF) {
        kept |= CapabilitySet::SYS_ADMIN;
    }
    let kept = CapabilitySets {
        effective: held.effective & kept,
        permitted: held.permitted & kept,
        inheritable: held.inheritable & kept,
    };
    // Of the ambient set the kernel keeps what is both permitted and inheritable.
    Ok(set_capabilities(None, kept)?)
}

fn write_below<'a>(folders: impl IntoIterator<Item = &'a Path>) -> Result<RestrictionStatus, RulesetError> {
    let writes = AccessFs::from_write(RULES);
    Ruleset::default()
        .handle_access(writes | AccessFs::Execute)?
        .create()?
        .add_rules(path_beneath_rules(folders, writes))?
        .restrict_self()
}

/// What cannot be given up is kept, and the agent does its work: many threads would say so, one does.
fn warn_once(given_up: io::Result<()>) {
    static SAID: Once = Once::new();
    if let Err(error) = given_up {
        SAID.call_once(|| ::log::warn!("cannot give up what the agent does not need any more: {error}"));
    }
}

fn names(set: CapabilitySet) -> String {
    let names: Vec<_> = set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    names.join(",")
}

#[cfg(test)]
mod tests;
