//! `portreeve doctor`: what this kernel offers, what would not be seen, and what stands in the way.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::{print::print, run::PathArgs};
use crate::{
    confinement, exit,
    kernel::{
        Attempt, HookState, OpenFiles, Probe, Service,
        capability::{self, CAPABILITIES, Effective},
    },
    output::log::{self, Format, Level},
    snapshot::Dumper,
};

/// The flags of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    paths: PathArgs,

    /// How much to log
    #[arg(long = "log.level", value_enum, default_value = "warn")]
    log_level: Level,
}

/// What was found out.
struct Findings {
    kernel: String,
    attempts: Result<Vec<Attempt>>,
    /// Whether this is the host's pid namespace.
    in_host_pids: bool,
    /// Whether all open files can be looked at.
    open_files: Result<()>,
    capabilities: Effective,
    /// What this kernel's Landlock would do.
    landlock: &'static str,
    obstacles: Vec<String>,
}

/// Prints what was found; fails where no backend attaches.
pub fn run(args: &Args) -> Result<ExitCode> {
    log::start(args.log_level, Format::Logfmt);
    let findings = examine(&args.paths)?;
    let text = if args.json {
        format!("{}\n", as_json(&findings))
    } else {
        as_text(&findings)
    };
    print(&text)?;
    let works = findings.chosen().is_some();
    Ok(ExitCode::from(if works { exit::OK } else { exit::FAILED }))
}

impl Findings {
    fn chosen(&self) -> Option<Service> {
        let mut service = Service::possible(self.attempts.as_ref().ok()?, None)?;
        service.sees_all = self.open_files.is_ok();
        service.sees_processes = self.in_host_pids;
        Some(service)
    }
}

fn examine(paths: &PathArgs) -> Result<Findings> {
    paths.check()?;
    let procfs = paths.paths().procfs;
    let (attempts, open_files) = match Probe::load(&paths.sysfs, None) {
        Ok(mut probe) => (
            Ok(probe.survey(true)),
            probe.open_files().and_then(OpenFiles::read).map(drop),
        ),
        Err(error) => (Err(error), Ok(())),
    };
    let capabilities = Effective::of_self(&procfs);
    let mut obstacles: Vec<String> = CAPABILITIES
        .iter()
        .filter(|capability| !capabilities.allows(capability))
        .map(|capability| format!("{} is not held: it is needed {}", capability.name, capability.purpose))
        .collect();
    if let Ok(attempts) = &attempts
        && capabilities.missing().is_empty()
    {
        for attempt in attempts {
            let why = if attempt.is_refused_by_policy() {
                "this kernel refuses such programs although the capabilities are held: its configuration, lockdown or another policy forbids them"
            } else if attempt.is_attached() {
                continue;
            } else {
                "this kernel does not offer what such programs are attached to: the table says what is missing"
            };
            obstacles.push(format!("{}: {why}", attempt.backend));
        }
    }
    match capability::lockdown(&paths.sysfs).as_deref() {
        None | Some("none") => {}
        Some(mode) => obstacles.push(format!(
            "lockdown={mode}: the kernel may refuse programs that read its memory"
        )),
    }
    if let Some(hidepid) = capability::hidepid(&procfs) {
        obstacles.push(format!(
            "hidepid={hidepid} on {}: without CAP_SYS_PTRACE, processes of other users have no executable and no command line",
            procfs.display()
        ));
    }
    // The load raised the limit as far as this process may.
    if let Some(limit) = capability::memlock() {
        obstacles.push(format!(
            "memlock: before 5.11 maps count against the limit on locked memory, which stays at {} KiB here; set LimitMEMLOCK=infinity or ulimit -l unlimited",
            limit / 1024
        ));
    }
    if !capability::in_initial_pid_namespace(&procfs) {
        obstacles.push(
            "this is not the host's pid namespace: processes cannot be looked up by the kernel's pids; use the host's (hostPID)"
                .to_owned(),
        );
    }
    if let Err(error) = Dumper::new().and_then(|mut dumper| dumper.listening()) {
        obstacles.push(format!(
            "sock_diag: {error}; /proc/net is read instead, which is slower"
        ));
    }
    obstacles.extend(paths.runtime_refusal());
    Ok(Findings {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        attempts,
        in_host_pids: capability::in_initial_pid_namespace(&procfs),
        open_files,
        capabilities,
        landlock: confinement::landlock(),
        obstacles,
    })
}

fn as_text(findings: &Findings) -> String {
    let mut text = format!("kernel: {}\n\n", findings.kernel);
    match &findings.attempts {
        Ok(attempts) => {
            text.push_str(&format!("{:<24} {:<11} {:<9} STATE\n", "HOOK", "BACKEND", "FOR"));
            for hook in attempts.iter().flat_map(|attempt| &attempt.hooks) {
                text.push_str(&format!(
                    "{:<24} {:<11} {:<9} {}\n",
                    hook.hook,
                    hook.backend.name(),
                    hook.subject.name(),
                    state(hook)
                ));
            }
            let open_files = match &findings.open_files {
                Ok(()) => "works".to_owned(),
                Err(error) => format!("{error:#}; /proc is read instead"),
            };
            text.push_str(&format!(
                "{:<24} {:<11} {:<9} {open_files}\n",
                "open files", "iterator", "snapshot"
            ));
        }
        Err(error) => text.push_str(&format!("nothing can be loaded: {error:#}\n")),
    }
    match findings.chosen() {
        Some(service) => {
            text.push_str(&format!("\nchosen: {}\n", service.backend));
            for (subject, backend) in service.helpers() {
                text.push_str(&format!("  {} by {backend}\n", subject.loss()));
            }
            text.push_str("\nnot seen here:\n");
            for situation in service.blind_spots() {
                text.push_str(&format!("  {:<24} {}\n", situation.name, situation.meaning));
            }
        }
        None => text.push_str("\nchosen: none: no backend attaches\n"),
    }
    text.push_str("\ncapabilities:\n");
    for capability in CAPABILITIES {
        let held = if findings.capabilities.has(capability) {
            "yes"
        } else {
            "no"
        };
        text.push_str(&format!("  {:<20} {held:<4} {}\n", capability.name, capability.purpose));
    }
    text.push_str(&format!(
        "\nonce it runs it gives up what it does not need:\n  {:<20} {}  threads that look at no process write beside their files alone and run nothing\n",
        "Landlock", findings.landlock
    ));
    if findings.obstacles.is_empty() {
        text.push_str("\nnothing stands in the way.\n");
    } else {
        text.push_str("\nin the way:\n");
        for obstacle in &findings.obstacles {
            text.push_str(&format!("  {obstacle}\n"));
        }
    }
    text
}

/// How a hook went, and what is not seen because of it.
fn state(hook: &HookState) -> String {
    match (&hook.refusal, &hook.symbol) {
        (None, None) => "attaches".to_owned(),
        (None, Some(symbol)) => format!("attaches to {symbol}"),
        (Some(refusal), _) if hook.absent => format!("not needed: {refusal}"),
        (Some(refusal), _) => format!("{refusal}; without it this backend sees no {}", hook.subject.loss()),
    }
}

fn as_json(findings: &Findings) -> Value {
    let backends = match &findings.attempts {
        Ok(attempts) => attempts
            .iter()
            .map(|attempt| {
                let hooks: Vec<Value> = attempt
                    .hooks
                    .iter()
                    .map(|hook| {
                        json!({
                            "hook": hook.hook,
                            "attaches": hook.is_attached(),
                            "symbol": hook.symbol,
                            "refusal": hook.refusal,
                            "absent": hook.absent,
                            "serves": hook.subject,
                        })
                    })
                    .collect();
                json!({"backend": attempt.backend, "attaches": attempt.is_attached(), "hooks": hooks})
            })
            .collect(),
        Err(_) => Vec::new(),
    };
    let capabilities: Vec<Value> = CAPABILITIES
        .iter()
        .map(|capability| {
            json!({
                "name": capability.name,
                "held": findings.capabilities.has(capability),
                "required": capability.required,
                "purpose": capability.purpose,
            })
        })
        .collect();
    let chosen = findings.chosen();
    json!({
        "kernel": findings.kernel,
        "chosen": chosen.map(|service| service.backend),
        "backends": backends,
        "error": findings.attempts.as_ref().err().map(|error| format!("{error:#}")),
        "open_files": {
            "works": findings.attempts.is_ok() && findings.open_files.is_ok(),
            "refusal": findings.open_files.as_ref().err().map(|error| format!("{error:#}")),
        },
        "blind_spots": chosen.map(|service| service.blind_spots()),
        "capabilities": capabilities,
        "landlock": findings.landlock,
        "obstacles": findings.obstacles,
    })
}
