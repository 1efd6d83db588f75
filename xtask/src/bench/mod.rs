//! `cargo xtask bench`: the built agent, measured natively on this machine's kernel, beside the figures to reach.
//!
//! Reading order: `latency`, `memory`, `start` and `churn` are what is measured, `kernel` what the hooks cost, `snapshot` how
//! long it takes to learn what listens, `registry` what it takes to name a port, `fleet` what many hosts cost a Prometheus; `agent`, `lines` and `receiver` run the agent and read what it says, `alertmanager` is whom it tells, `guest` boots what measures
//! by itself; `sample` and `table` turn times into rows.

mod agent;
mod alertmanager;
mod churn;
mod fleet;
mod guest;
mod kernel;
mod latency;
mod lines;
mod listeners;
mod memory;
mod receiver;
mod registry;
mod sample;
mod snapshot;
mod start;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::table::Table;
use crate::command::{cargo, run};
use crate::payload::{TARGET, static_cargo};
use crate::say;
use crate::setup::apt::is_root;
use crate::vm::Accelerator;
use crate::workspace::Workspace;

/// Measures the agent on this machine's kernel, and the cost of its hooks and its looks in a guest, beside the figures to
/// reach.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// What to measure; where nothing is named, everything but `kernel` and `snapshot`, which take a quarter of an hour each,
    /// and `fleet`, which takes some minutes.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Measures this binary instead of building one; a static one for `kernel` and `snapshot`.
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Measures this static agent as well in the guest of `kernel`, in turns with the first: that of before a change.
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
    /// The guest's kernel for `kernel` and `snapshot`: 5.10, 6.1, 6.12, 6.18, new, or none [default: 6.1 for `kernel`, on
    /// which most peers load, and 6.12 for `snapshot`].
    #[arg(long, value_name = "KERNEL")]
    guest: Option<String>,
    /// How the guest of `kernel` and `snapshot` runs [default: tcg-counted for `kernel`, whose figures are then numbers of
    /// instructions, and tcg for `snapshot`].
    #[arg(long, value_enum)]
    accel: Option<Accelerator>,
    /// Only tools whose name contains this, for `kernel`: `fexit, one`, `solisten`; only such crowds for `snapshot`: `1000
    /// processes`. Can be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// In how many guests each tool is started and measured for `kernel`, and how often each way is taken for `snapshot`
    /// [default: 5; 1 where instructions are counted].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: Option<u32>,
    /// How many hosts `fleet` has; can be given several times [default: 250 and 500, from which 3,000 are worked out].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    hosts: Vec<u32>,
    /// Writes the figures as JSON as well, with every single time of `kernel` and `snapshot`.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// From the return of `listen()` to the JSON line, to the message at a receiver of alerts, and to a real Alertmanager.
    Latency,
    /// Resident memory, idle and with many listeners; a scrape then.
    Memory,
    /// From spawn to armed; the size of the binary.
    Start,
    /// Listen and close as fast as it goes: is anything lost?
    Churn,
    /// What the hooks cost the calls that they see, beside their peers in one guest, and natively.
    Kernel,
    /// What a look-up in the registry takes; `explain` beside `getent`.
    Registry,
    /// What a look at all that listens takes, beside `ss` and `lsof` in one guest, and natively; memory with many listeners.
    Snapshot,
    /// What a fleet costs a real Prometheus: copies of a real scrape, and each query of the dashboard of the fleet.
    Fleet,
}

impl Part {
    /// Where nothing is named.
    const BY_DEFAULT: [Self; 5] = [Self::Latency, Self::Memory, Self::Start, Self::Churn, Self::Registry];
}

/// How often something is measured that takes another time each time.
const REPETITIONS: u32 = 5;

/// In the place of a guest's kernel: no guest.
const NO_GUEST: &str = "none";

/// What is measured, with what.
struct Bench<'a> {
    workspace: &'a Workspace,
    args: &'a BenchArgs,
    /// The agent, once one is needed that was not given.
    built: Option<PathBuf>,
    table: Table,
    /// Every single time of `kernel`.
    kernel: Value,
    /// Every single time of `snapshot`.
    snapshot: Value,
}

impl Bench<'_> {
    fn measure(&mut self, part: Part) -> Result<()> {
        let guest = self.args.guest.as_deref();
        let accelerator = |default| self.args.accel.unwrap_or(default);
        if part == Part::Kernel {
            let accelerator = accelerator(Accelerator::TcgCounted);
            let guests = if accelerator == Accelerator::TcgCounted {
                1
            } else {
                REPETITIONS
            };
            let asked = kernel::Asked {
                kernel: guest.unwrap_or(kernel::KERNEL),
                agent: self.args.agent.as_deref(),
                beside: self.args.beside.as_deref(),
                accelerator,
                repetitions: self.args.repetitions.unwrap_or(guests),
                only: &self.args.only,
            };
            self.kernel = kernel::measure(self.workspace, &asked, &mut self.table)?;
            return Ok(());
        }
        if part == Part::Snapshot {
            let asked = snapshot::Asked {
                kernel: guest.unwrap_or(snapshot::KERNEL),
                agent: self.args.agent.as_deref(),
                accelerator: accelerator(Accelerator::default()),
                rounds: self.args.repetitions.unwrap_or(REPETITIONS),
                only: &self.args.only,
            };
            self.snapshot = snapshot::measure(self.workspace, &asked, &mut self.table)?;
            return Ok(());
        }
        let agent = &self.agent()?;
        match part {
            Part::Latency => latency::measure(self.workspace, agent, &mut self.table),
            Part::Memory => memory::measure(agent, &mut self.table),
            Part::Start => start::measure(self.workspace, agent, &mut self.table),
            Part::Churn => churn::measure(agent, &mut self.table),
            Part::Registry => registry::measure(self.workspace, agent, &mut self.table),
            Part::Fleet => fleet::measure(self.workspace, agent, &self.args.hosts, &mut self.table),
            Part::Kernel | Part::Snapshot => Ok(()),
        }
    }

    /// The agent as it is released, or the one that was given.
    fn agent(&mut self) -> Result<PathBuf> {
        if let Some(agent) = self.args.agent.as_ref().or(self.built.as_ref()) {
            return Ok(agent.clone());
        }
        let agent = build(self.workspace)?;
        self.built = Some(agent.clone());
        Ok(agent)
    }

    fn write_json(&self, file: &Path) -> Result<()> {
        let all = json!({ "conditions": conditions()?, "rows": self.table.json(), "kernel": self.kernel, "snapshot": self.snapshot });
        fs::write(file, format!("{all:#}\n")).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Runs `cargo xtask bench`. Gives whether everything could be measured: a figure that misses its target stands in the
/// table and is no failure, since a machine that does other work too misses some.
///
/// # Errors
/// Where the agent cannot be built, or this process is not root.
pub(crate) fn main(workspace: &Workspace, args: &BenchArgs) -> Result<bool> {
    if !is_root() {
        bail!("the agent loads programs into the kernel, so measuring it needs root; run cargo xtask bench as root");
    }
    let parts = if args.parts.is_empty() {
        &Part::BY_DEFAULT
    } else {
        args.parts.as_slice()
    };
    say!("{}", conditions()?);
    let mut bench = Bench {
        workspace,
        args,
        built: None,
        table: Table::default(),
        kernel: Value::Null,
        snapshot: Value::Null,
    };
    for part in parts {
        let load = one_line("/proc/loadavg")?;
        say!("measuring {part:?} (load {load})");
        if let Err(error) = bench.measure(*part) {
            bench.table.not_measured(format!("{part:?}"), format!("{error:#}"));
        }
    }
    bench.table.print();
    say!("load at the end: {}", one_line("/proc/loadavg")?);
    if let Some(file) = &args.json {
        bench.write_json(file)?;
    }
    Ok(bench.table.is_complete())
}

/// The agent as it is released.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    run(cargo()
        .args(["build", "--release", "--locked", "--package", "monitor"])
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target))?;
    Ok(workspace.target.join("release/portreeve"))
}

/// Agent and workload as a guest needs them: released, and static.
fn build_static(workspace: &Workspace, with_agent: bool) -> Result<(PathBuf, PathBuf)> {
    let mut command = static_cargo(workspace, None);
    command.args([
        "build",
        "--release",
        "--locked",
        "--target",
        TARGET,
        "--package",
        "workload",
    ]);
    if with_agent {
        command.args(["--package", "monitor"]);
    }
    run(&mut command)?;
    let folder = workspace.target.join(TARGET).join("release");
    Ok((folder.join("portreeve"), folder.join("workload")))
}

/// What the figures depend on.
fn conditions() -> Result<String> {
    let kernel = one_line("/proc/sys/kernel/osrelease")?;
    let cores = thread::available_parallelism().context("cannot count this machine's cores")?;
    Ok(format!(
        "kernel {kernel}, {cores} cores; what else runs here shows in each load (1, 5, 15 minutes, running/all tasks)"
    ))
}

fn one_line(path: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.trim_end().to_owned())
}
