//! `portreeve doctor`: what this kernel offers, what would not be seen, and what stands in the way.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::{print::print, run::PathArgs};
use crate::{
    exit,
    kernel::{
        Attempt, Backend, Probe,
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
    capabilities: Effective,
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
    fn chosen(&self) -> Option<Backend> {
        self.attempts
            .as_ref()
            .ok()?
            .iter()
            .find(|attempt| attempt.is_attached())
            .map(|attempt| attempt.backend)
    }
}

fn examine(paths: &PathArgs) -> Result<Findings> {
    let procfs = paths.paths().procfs;
    capability::check_procfs(&procfs)?;
    let attempts = Probe::load(&paths.sysfs).map(|mut probe| probe.survey(true));
    let capabilities = Effective::of_self(&procfs);
    let mut obstacles: Vec<String> = CAPABILITIES
        .iter()
        .filter(|capability| !capabilities.allows(capability))
        .map(|capability| format!("{} is not held: it is needed {}", capability.name, capability.purpose))
        .collect();
    if let Ok(attempts) = &attempts
        && capabilities.missing().is_empty()
    {
        for attempt in attempts.iter().filter(|attempt| attempt.is_refused_by_policy()) {
            obstacles.push(format!(
                "{}: this kernel refuses such programs although the capabilities are held: its configuration, lockdown or another policy forbids them",
                attempt.backend
            ));
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
    Ok(Findings {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        attempts,
        capabilities,
        obstacles,
    })
}

fn as_text(findings: &Findings) -> String {
    let mut text = format!("kernel: {}\n\n", findings.kernel);
    match &findings.attempts {
        Ok(attempts) => {
            text.push_str(&format!("{:<12} {:<24} {}\n", "BACKEND", "HOOK", "STATE"));
            for attempt in attempts {
                for (hook, refusal) in &attempt.hooks {
                    let state = refusal.as_deref().unwrap_or("attaches");
                    text.push_str(&format!("{:<12} {hook:<24} {state}\n", attempt.backend.name()));
                }
            }
        }
        Err(error) => text.push_str(&format!("nothing can be loaded: {error:#}\n")),
    }
    match findings.chosen() {
        Some(backend) => {
            text.push_str(&format!("\nchosen: {backend}\n\nnot seen here:\n"));
            for situation in backend.blind_spots() {
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

fn as_json(findings: &Findings) -> Value {
    let backends = match &findings.attempts {
        Ok(attempts) => attempts
            .iter()
            .map(|attempt| {
                let hooks: Vec<Value> = attempt
                    .hooks
                    .iter()
                    .map(|(hook, refusal)| json!({"hook": hook, "attaches": refusal.is_none(), "refusal": refusal}))
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
        "chosen": chosen,
        "backends": backends,
        "error": findings.attempts.as_ref().err().map(|error| format!("{error:#}")),
        "blind_spots": chosen.map(|backend| backend.blind_spots().collect::<Vec<_>>()),
        "capabilities": capabilities,
        "obstacles": findings.obstacles,
    })
}
