//! Loads programs and attaches them: subject by subject, with what a backend offers, tried in order.

use std::path::Path;

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf,
    programs::{BtfTracePoint, FEntry, FExit, KProbe, Program, ProgramError},
};

use super::{
    backend::{Attempt, Backend, HookState, Service},
    btf::Btf,
    hooks::{Group, Hook, Subject, Way},
    symbols,
    types::KernelTypes,
};

/// Where the kernel says how perf events are made of kprobes, and where aya reads it; not there where it has none.
const KPROBES: &str = "/sys/bus/event_source/devices/kprobe/type";

/// What attaching needs.
pub(super) struct Attacher<'a> {
    pub(super) ebpf: &'a mut Ebpf,
    pub(super) btf: &'a Btf,
    pub(super) types: &'a mut KernelTypes,
    /// Whether to attach, or only to load.
    pub(super) attach: bool,
    /// Whether to go on where listeners are not seen: only to be able to say what else there is.
    pub(super) thorough: bool,
    /// Called after each hook.
    pub(super) between: &'a mut dyn FnMut(),
}

impl Attacher<'_> {
    /// Tries a backend for all it can serve. What it cannot serve whole is not left attached.
    pub(super) fn attempt(&mut self, backend: Backend) -> Attempt {
        let mut hooks = Vec::new();
        for subject in Subject::ALL {
            hooks.extend(self.serve(backend, subject).1);
            if !self.thorough
                && hooks
                    .iter()
                    .any(|hook: &HookState| hook.subject == Subject::Listens && !hook.is_attached())
            {
                // It is of no use, and the next one is waited for.
                break;
            }
        }
        Attempt { backend, hooks }
    }

    /// Lets the other backends serve what this one does not.
    pub(super) fn help_out(&mut self, attempt: &mut Attempt, service: &mut Service) {
        for subject in Subject::ALL {
            if attempt.serves(subject) {
                service.set(subject, Some(attempt.backend));
                continue;
            }
            for other in Backend::ALL.iter().filter(|other| **other > attempt.backend) {
                let (served, hooks) = self.serve(*other, subject);
                if served {
                    attempt.hooks.retain(|hook| hook.subject != subject);
                    attempt.hooks.extend(hooks);
                    service.set(subject, Some(*other));
                    break;
                }
            }
        }
    }

    /// Tries the groups of hooks that can serve a subject. Gives whether one does, and how its hooks went; where none
    /// does, how the hooks of the first went.
    fn serve(&mut self, backend: Backend, subject: Subject) -> (bool, Vec<HookState>) {
        if (backend, subject) == (Backend::Tracepoint, Subject::Connects) && self.is_loaded("set_state") {
            // The program that reports listeners there reports connects too.
            let hooks = backend.groups(subject).iter().copied().flatten();
            return (true, hooks.map(|hook| state(hook, subject, backend, None)).collect());
        }
        let mut first = None;
        for group in backend.groups(subject) {
            let mut hooks = Vec::new();
            for hook in *group {
                hooks.push(self.try_hook(hook, subject, backend));
                if !self.thorough && subject == Subject::Listens && hooks.last().is_some_and(HookState::is_missed) {
                    // The backend is of no use, and to verify the next program takes as long as all else at the start.
                    break;
                }
            }
            if !hooks.iter().any(HookState::is_missed) {
                return (true, hooks);
            }
            self.release(group);
            first.get_or_insert(hooks);
        }
        (false, first.unwrap_or_default())
    }

    fn try_hook(&mut self, hook: &Hook, subject: Subject, backend: Backend) -> HookState {
        let hooked = refused_for_a_test(hook.name).and_then(|()| self.hook(hook));
        (self.between)();
        match hooked {
            Ok(symbol) => HookState {
                symbol,
                ..state(hook, subject, backend, None)
            },
            Err(error) => HookState {
                absent: hook.if_present && !self.btf.has_function(hook.name) && !symbols::has(hook.name),
                ..state(hook, subject, backend, Some(format!("{error:#}")))
            },
        }
    }

    /// Attaches one hook. Gives the symbol where it is not the function's own name.
    fn hook(&mut self, hook: &Hook) -> Result<Option<String>> {
        match hook.way {
            Way::Fexit(programs) => {
                let Some(count) = self.btf.parameters(hook.name) else {
                    bail!("{}", not_in_btf(hook.name))
                };
                let program = programs.iter().find(|(known, _)| *known == count);
                let (_, name) = program.with_context(|| {
                    let known: Vec<_> = programs.iter().map(|(known, _)| known.to_string()).collect();
                    format!(
                        "it takes {count} arguments here, and this version knows it with {}",
                        known.join(" or ")
                    )
                })?;
                let program: &mut FExit = program_of(self.ebpf, name)?;
                program.load(hook.name, self.types.get()?).map_err(refusal)?;
                if self.attach {
                    program.attach().map_err(refusal)?;
                }
            }
            Way::Fentry(name) => {
                if !self.btf.has_function(hook.name) {
                    bail!("{}", not_in_btf(hook.name));
                }
                let program: &mut FEntry = program_of(self.ebpf, name)?;
                program.load(hook.name, self.types.get()?).map_err(refusal)?;
                if self.attach {
                    program.attach().map_err(refusal)?;
                }
            }
            Way::Kprobe(name) => return self.kprobes(hook.name, &[name]),
            // The return first: an entry without it would be kept for nothing.
            Way::KprobePair(entry, exit) => return self.kprobes(hook.name, &[exit, entry]),
            Way::RawTracepoint(name) => {
                let program: &mut BtfTracePoint = program_of(self.ebpf, name)?;
                program.load(hook.name, self.types.get()?).map_err(refusal)?;
                if self.attach {
                    program.attach().map_err(refusal)?;
                }
            }
        }
        Ok(None)
    }

    /// Attaches programs to a function, all to the same symbol: its own name, or what the compiler made of it.
    fn kprobes(&mut self, function: &str, names: &[&str]) -> Result<Option<String>> {
        // First, since loading takes longer, and tells nothing of it: a kernel without kprobes takes their programs.
        if !Path::new(KPROBES).exists() {
            bail!("this kernel has no kprobes ({KPROBES} is not there)");
        }
        for name in names {
            let program: &mut KProbe = program_of(self.ebpf, name)?;
            program.load().map_err(refusal)?;
        }
        if !self.attach {
            return Ok(None);
        }
        let Err(error) = self.kprobes_on(function, names) else {
            return Ok(None);
        };
        for variant in symbols::variants_of(function) {
            if self.kprobes_on(&variant, names).is_ok() {
                return Ok(Some(variant));
            }
        }
        Err(error)
    }

    fn kprobes_on(&mut self, symbol: &str, names: &[&str]) -> Result<()> {
        let mut links = Vec::new();
        for name in names {
            let program: &mut KProbe = program_of(self.ebpf, name)?;
            match program.attach(symbol, 0) {
                Ok(link) => links.push((name, link)),
                Err(error) => {
                    for (name, link) in links {
                        let program: &mut KProbe = program_of(self.ebpf, name)?;
                        program.detach(link).map_err(refusal)?;
                    }
                    return Err(refusal(error));
                }
            }
        }
        Ok(())
    }

    fn is_loaded(&self, name: &str) -> bool {
        self.ebpf.program(name).is_some_and(|program| program.fd().is_ok())
    }

    /// Detaches and unloads the programs of a group.
    fn release(&mut self, group: Group) {
        for name in group.iter().flat_map(|hook| hook.way.programs()) {
            // Detaching happens with the program; one that was never loaded has nothing to release.
            match self.ebpf.program_mut(name) {
                Some(Program::FExit(program)) => drop(program.unload()),
                Some(Program::FEntry(program)) => drop(program.unload()),
                Some(Program::KProbe(program)) => drop(program.unload()),
                Some(Program::BtfTracePoint(program)) => drop(program.unload()),
                _ => {}
            }
        }
    }

    /// Detaches and unloads all that a backend may have attached.
    pub(super) fn release_all(&mut self, backend: Backend) {
        for subject in Subject::ALL {
            for group in backend.groups(subject) {
                self.release(group);
            }
        }
    }
}

/// All programs that may be attached for a hook, at entries and at returns; one that is not was not loaded either.
pub(super) fn all_programs_of(hook: &HookState) -> Vec<&'static str> {
    let hooks = hook.backend.groups(hook.subject).iter().copied().flatten();
    let known = hooks.filter(|known| known.name == hook.hook);
    known.flat_map(|known| known.way.programs()).collect()
}

/// The programs that may be attached for a hook; one that is not was not loaded either.
/// At a return none: what it was left out of shows as a call that was entered and did not return.
pub(super) fn programs_of(hook: &HookState) -> Vec<&'static str> {
    let hooks = hook.backend.groups(hook.subject).iter().copied().flatten();
    let mut names: Vec<_> = hooks
        .filter(|known| known.name == hook.hook)
        .flat_map(|known| match known.way {
            Way::KprobePair(entry, _) => vec![entry],
            way => way.programs(),
        })
        .collect();
    if hook.backend == Backend::Tracepoint {
        // As the backend it has one program for both.
        names.retain(|name| *name == "set_state" || hook.subject == Subject::Connects);
    }
    names.dedup();
    names
}

/// Why there is no trampoline: aya attaches them to what the kernel's own BTF describes, and to no module. A kprobe may
/// still be had.
fn not_in_btf(function: &str) -> String {
    match symbols::module_of(function) {
        Some(module) => format!("it is a function of the module {module}, where no trampoline is attached"),
        None => "the kernel's BTF has no such function".to_owned(),
    }
}

/// Fails for the hooks that the environment names, in builds for tests alone: no kernel at hand refuses them, and what stands in
/// for them has to be tried.
fn refused_for_a_test(hook: &str) -> Result<()> {
    if cfg!(debug_assertions)
        && std::env::var("PORTREEVE_REFUSED_HOOKS").is_ok_and(|refused| refused.split(',').any(|name| name == hook))
    {
        bail!("a test refuses it");
    }
    Ok(())
}

fn state(hook: &Hook, subject: Subject, backend: Backend, refusal: Option<String>) -> HookState {
    HookState {
        hook: hook.name,
        subject,
        backend,
        symbol: None,
        refusal,
        absent: false,
    }
}

fn program_of<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P>
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
            let hint = match perf_event_paranoid() {
                Some(level) if error.call == "perf_event_open" && level > 2 => {
                    format!(
                        "; kernel.perf_event_paranoid is {level}, with which it may ask for CAP_SYS_ADMIN: 2 is enough"
                    )
                }
                _ => String::new(),
            };
            anyhow::anyhow!(
                "the kernel does not attach it: {}: {}{hint}",
                error.call,
                error.io_error
            )
        }
        error => error.into(),
    }
}

/// What Debian's kernels add to the levels of `kernel.perf_event_paranoid`: 3 is for CAP_SYS_ADMIN alone.
fn perf_event_paranoid() -> Option<i32> {
    let text = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?;
    text.trim().parse().ok()
}
