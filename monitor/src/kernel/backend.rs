//! The backends: which programs each needs, how they are attached, and what each cannot see.

use std::fmt;

use anyhow::{Context, Result, bail};
use aya::{
    Btf as AyaBtf, Ebpf,
    programs::{FEntry, FExit, Program, ProgramError, RawTracePoint},
};
use serde::Serialize;

use super::btf::Btf;

/// A way to be told by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// BTF trampolines on the kernel's functions (kernels from 5.5 on x86, 6.0 on arm64)
    Fexit,
    /// The raw tracepoint `inet_sock_set_state`, for kernels that take nothing else
    Tracepoint,
}

/// A place in the kernel that a backend attaches to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// The name in metrics, in `doctor` and in the log.
    pub name: &'static str,
    entry: Entry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Entry {
    ListenStart,
    ListenStop,
    SetState,
}

/// Something that a backend, on any kernel, does not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Situation {
    /// The label of `portreeve_blind_spot`.
    pub name: &'static str,
    /// One sentence for people.
    pub meaning: &'static str,
}

/// How the attempt to use a backend ended.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// The backend that was tried.
    pub backend: Backend,
    /// Each hook with `None` where it attached (or loaded), else the reason.
    pub hooks: Vec<(&'static str, Option<String>)>,
}

impl Attempt {
    /// Whether a hook was refused for want of permission.
    pub fn is_refused_by_policy(&self) -> bool {
        let denied =
            |refusal: &Option<String>| refusal.as_ref().is_some_and(|refusal| refusal.contains("(os error 1)"));
        self.hooks.iter().any(|(_, refusal)| denied(refusal))
    }

    /// Whether every hook took.
    pub fn is_attached(&self) -> bool {
        self.hooks.iter().all(|(_, refusal)| refusal.is_none())
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.backend)?;
        let mut separator = ": ";
        for (hook, refusal) in &self.hooks {
            if let Some(refusal) = refusal {
                write!(f, "{separator}{hook}: {refusal}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const LISTEN_START: &str = "inet_csk_listen_start";
const LISTEN_STOP: &str = "inet_csk_listen_stop";
const SET_STATE: &str = "inet_sock_set_state";

/// Not seen by any backend of this version.
const ALWAYS: &[Situation] = &[
    Situation {
        name: "listeners_before_start",
        meaning: "what listened before the agent started is not known",
    },
    Situation {
        name: "udp",
        meaning: "UDP sockets are not reported",
    },
    Situation {
        name: "bind_connect_accept",
        meaning: "binds, connects and accepts are not reported, also not for watched ports",
    },
    Situation {
        name: "sctp",
        meaning: "SCTP listeners are not reported: they do not pass inet_csk_listen_start",
    },
    Situation {
        name: "refused_before_hook",
        meaning: "a listen that an LSM, a cgroup program or an argument check refuses never reaches the hook",
    },
];

const TRACEPOINT: &[Situation] = &[
    Situation {
        name: "listen_errno",
        meaning: "a listen that fails is seen, its errno is not",
    },
    Situation {
        name: "listen_shutdown_at_once",
        meaning: "a listener that shutdown() ends before it was confirmed looks like a listen that failed",
    },
];

impl Backend {
    /// All backends, best first.
    pub const ALL: &'static [Self] = &[Self::Fexit, Self::Tracepoint];

    /// The name in flags, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fexit => "fexit",
            Self::Tracepoint => "tracepoint",
        }
    }

    /// The hooks that this backend attaches.
    pub const fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Fexit => &[
                Hook {
                    name: LISTEN_START,
                    entry: Entry::ListenStart,
                },
                Hook {
                    name: LISTEN_STOP,
                    entry: Entry::ListenStop,
                },
            ],
            Self::Tracepoint => &[Hook {
                name: SET_STATE,
                entry: Entry::SetState,
            }],
        }
    }

    /// What is not seen with this backend.
    pub fn blind_spots(self) -> impl Iterator<Item = Situation> {
        let own: &[Situation] = match self {
            Self::Fexit => &[],
            Self::Tracepoint => TRACEPOINT,
        };
        ALWAYS.iter().chain(own).copied()
    }

    /// Loads this backend's programs and, with `attach`, attaches them. Leaves none attached unless all are.
    pub(super) fn try_on(self, ebpf: &mut Ebpf, btf: &Btf, types: &mut Option<AyaBtf>, attach: bool) -> Attempt {
        let hooks: Vec<_> = self
            .hooks()
            .iter()
            .map(|hook| {
                (
                    hook.name,
                    hook.try_on(ebpf, btf, types, attach)
                        .err()
                        .map(|error| format!("{error:#}")),
                )
            })
            .collect();
        let attempt = Attempt { backend: self, hooks };
        if !attempt.is_attached() {
            self.release(ebpf);
        }
        attempt
    }

    /// Detaches and unloads this backend's programs.
    pub(super) fn release(self, ebpf: &mut Ebpf) {
        for name in self.hooks().iter().flat_map(|hook| hook.entry.names()) {
            // Detaching happens with the program; one that was never loaded has nothing to release.
            match ebpf.program_mut(name) {
                Some(Program::FExit(program)) => drop(program.unload()),
                Some(Program::FEntry(program)) => drop(program.unload()),
                Some(Program::RawTracePoint(program)) => drop(program.unload()),
                _ => {}
            }
        }
    }
}

impl Entry {
    /// The programs that can serve, of which the kernel's prototype picks one.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::ListenStart => &["listen_start", "listen_start_with_backlog"],
            Self::ListenStop => &["listen_stop"],
            Self::SetState => &["set_state"],
        }
    }
}

impl Hook {
    fn try_on(self, ebpf: &mut Ebpf, btf: &Btf, types: &mut Option<AyaBtf>, attach: bool) -> Result<()> {
        match self.entry {
            Entry::ListenStart => {
                let name = match btf.parameters(LISTEN_START) {
                    Some(1) => "listen_start",
                    Some(2) => "listen_start_with_backlog",
                    Some(count) => bail!("it takes {count} arguments here, and this version knows it with 1 or 2"),
                    None => bail!("the kernel's BTF has no such function"),
                };
                let program: &mut FExit = program(ebpf, name)?;
                program.load(LISTEN_START, kernel_types(types)?).map_err(refusal)?;
                if attach {
                    program.attach().map_err(refusal)?;
                }
            }
            Entry::ListenStop => {
                if !btf.has_function(LISTEN_STOP) {
                    bail!("the kernel's BTF has no such function");
                }
                let program: &mut FEntry = program(ebpf, "listen_stop")?;
                program.load(LISTEN_STOP, kernel_types(types)?).map_err(refusal)?;
                if attach {
                    program.attach().map_err(refusal)?;
                }
            }
            Entry::SetState => {
                let program: &mut RawTracePoint = program(ebpf, "set_state")?;
                program.load().map_err(refusal)?;
                if attach {
                    program.attach(SET_STATE).map_err(refusal)?;
                }
            }
        }
        Ok(())
    }
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the kernel object has no program {name}"))?;
    program
        .try_into()
        .with_context(|| format!("the program {name} is of another type"))
}

fn kernel_types(types: &mut Option<AyaBtf>) -> Result<&AyaBtf> {
    if types.is_none() {
        *types = Some(AyaBtf::from_sys_fs().context("cannot read the kernel's BTF")?);
    }
    types.as_ref().context("the kernel's BTF is not there")
}

/// The kernel's reason in one line. What the verifier had to say is for the debug log: it can be pages.
fn refusal(error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let text = verifier_log.to_string();
            if !text.trim().is_empty() {
                ::log::debug!("the verifier's words:\n{text}");
            }
            // The verifier ends with its statistics; what it objects to stands before them.
            let objection = text
                .lines()
                .rfind(|line| {
                    let line = line.trim();
                    !line.is_empty()
                        && !["processed ", "verification time", "stack depth", "insns "]
                            .iter()
                            .any(|s| line.starts_with(s))
                })
                .map(|line| format!(" ({})", line.trim()))
                .unwrap_or_default();
            anyhow::anyhow!("the kernel does not load the program: {io_error}{objection}")
        }
        ProgramError::SyscallError(error) => {
            anyhow::anyhow!("the kernel does not attach it: {}: {}", error.call, error.io_error)
        }
        error => error.into(),
    }
}
