//! The tracepoint backend on this machine's own kernel: nanoseconds that the kernel counts for each run of its program.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use workload::bpf::{Held, Runs};
use workload::calls::{Kind, MEASURED, Made, connections, listeners, round};
use workload::plan::Port;

use super::tools::{NAMED, OTHER};
use crate::bench::agent::Agent;
use crate::bench::lines::Lines;
use crate::bench::sample::Spread;
use crate::bench::table::Table;

/// The switch of the kernel's BPF statistics. While it is on, every run of every program costs some more.
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

const REPETITIONS: usize = 7;
const CALLS: u32 = 2_000;

/// Listeners that are open at a time: fewer than the files that a process may open.
const LISTENERS: u32 = 500;

/// Connections that are open at a time, with two files each.
const CONNECTIONS: u32 = 400;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Listen,
    Close,
    /// One connect, one accept and both ends' close: the tracepoint fires six times.
    Connection,
    /// The close of both ends alone: the program sees at once that it is not meant, so what is counted is the kernel's own
    /// clock and the call of a program.
    Nothing,
}

impl What {
    const ALL: [Self; 4] = [Self::Listen, Self::Close, Self::Connection, Self::Nothing];

    fn name(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Close => "a listener's close",
            Self::Connection => "connection",
            Self::Nothing => "a connection's close",
        }
    }

    /// How often it is done in a repetition.
    fn calls(self) -> u32 {
        match self {
            Self::Listen | Self::Close => LISTENERS,
            Self::Connection => CALLS,
            Self::Nothing => CONNECTIONS,
        }
    }
}

/// What the program may take, in nanoseconds a run.
const NAMED_BELOW: f64 = 150.0;
const OTHER_BELOW: f64 = 40.0;

/// What a listen with the executable's path may take, in nanoseconds.
const LISTEN_BELOW: f64 = 1_500.0;

/// Measures both phases on a named and on another port, in turn. Gives each repetition as JSON.
///
/// # Errors
/// Where the agent cannot be run with that backend, or the kernel counts nothing.
pub(super) fn measure(agent: &Path, table: &mut Table) -> Result<Value> {
    let named = NAMED.to_string();
    let mut agent = Agent::start_with(agent, &["--backend", "tracepoint", "--watch", &named])?;
    let _lines = Lines::of(agent.stdout()?);
    let each = What::ALL
        .into_iter()
        .flat_map(|what| Port::ALL.map(|port| Phase::new(what, port)));
    let mut phases: Vec<Phase> = each.collect();
    let statistics = Statistics::on()?;
    for _ in 0..REPETITIONS {
        for phase in &mut phases {
            phase.repeat(agent.pid())?;
        }
    }
    drop(statistics);
    let nothing = phases.iter().filter(|phase| phase.what == What::Nothing);
    let clock = Spread::of(nothing.filter_map(Phase::a_run).map(|run| run.median))
        .context("nothing was measured natively")?
        .least;
    for phase in &phases {
        phase.add_to(table, clock)?;
    }
    agent.stop()?;
    Ok(phases.iter().map(Phase::json).collect())
}

/// The same calls on one port, again and again.
struct Phase {
    what: What,
    port: Port,
    /// What the agent's programs ran in each repetition, all together.
    runs: Vec<Runs>,
}

impl Phase {
    fn new(what: What, port: Port) -> Self {
        Self {
            what,
            port,
            runs: Vec::new(),
        }
    }

    fn repeat(&mut self, agent: u32) -> Result<()> {
        let port = match self.port {
            Port::Named => NAMED,
            Port::Other => OTHER,
        };
        let before = Held::by(agent)?;
        let ran = match self.what {
            What::Connection => {
                round(Kind::Connect, MEASURED, port, CALLS, &mut Made::default())?;
                since(&before, &Held::by(agent)?)
            }
            What::Nothing => {
                let open = connections(MEASURED, port, CONNECTIONS)?;
                let connected = Held::by(agent)?;
                drop(open);
                since(&connected, &Held::by(agent)?)
            }
            What::Listen | What::Close => {
                let open = listeners(MEASURED, port, LISTENERS)?;
                let listening = Held::by(agent)?;
                drop(open);
                match self.what {
                    What::Listen => since(&before, &listening),
                    _ => since(&listening, &Held::by(agent)?),
                }
            }
        };
        if ran.count == 0 {
            bail!(
                "the kernel counted no run of the agent's programs during {} calls; does {SWITCH} stay 1, and does the agent \
                 hold its programs open?",
                self.what.calls()
            );
        }
        self.runs.push(ran);
        Ok(())
    }

    /// Nanoseconds for each run of the program.
    fn a_run(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().map(|runs| runs.nanoseconds as f64 / runs.count as f64))
    }

    /// Nanoseconds for each call, in all runs that belong to it.
    fn a_call(&self) -> Option<Spread> {
        Spread::of(
            self.runs
                .iter()
                .map(|runs| runs.nanoseconds as f64 / f64::from(self.what.calls())),
        )
    }

    fn runs_a_call(&self) -> Option<Spread> {
        Spread::of(
            self.runs
                .iter()
                .map(|runs| runs.count as f64 / f64::from(self.what.calls())),
        )
    }

    /// `clock` is what the kernel counts for a run that does nothing.
    fn add_to(&self, table: &mut Table, clock: f64) -> Result<()> {
        let all = || Some((self.a_run()?, self.a_call()?, self.runs_a_call()?));
        let (run, call, count) = all().context("nothing was measured natively")?;
        let what = format!("natively, tracepoint: {}, {} port", self.what.name(), self.port.name());
        let own = (run.median - clock).max(0.0);
        let more = format!(
            "a run {:.0} ns ({:.0}–{:.0} of {}), of which the kernel's clock and the call of a program are {clock:.0} ns; \
             together {:.0} ns in {:.1} runs",
            run.median, run.least, run.greatest, run.times, call.median, count.median
        );
        let (figure, target, below) = match (self.what, self.port) {
            (What::Nothing, _) => {
                table.plain(&what, format!("{:.0} ns", run.median), more);
                return Ok(());
            }
            (What::Listen | What::Close, _) => (call.median, "< 1500 ns", LISTEN_BELOW),
            (What::Connection, Port::Named) => (own, "< 150 ns a run", NAMED_BELOW),
            (What::Connection, Port::Other) => (own, "< 40 ns a run", OTHER_BELOW),
        };
        table.must(&what, format!("{figure:.0} ns"), target, figure < below, more);
        Ok(())
    }

    fn json(&self) -> Value {
        let runs = self.runs.iter();
        let runs: Vec<Value> = runs
            .map(|runs| json!({ "nanoseconds": runs.nanoseconds, "runs": runs.count, "calls": self.what.calls() }))
            .collect();
        json!({ "what": self.what.name(), "port": self.port, "repetitions": runs })
    }
}

/// What all programs ran between two looks.
fn since(before: &Held, after: &Held) -> Runs {
    let mut sum = Runs::default();
    for (id, after) in &after.programs {
        let before = before.programs.get(id).copied().unwrap_or_default();
        sum.nanoseconds += after.nanoseconds.saturating_sub(before.nanoseconds);
        sum.count += after.count.saturating_sub(before.count);
    }
    sum
}

/// The kernel's BPF statistics, on until this is dropped.
struct Statistics {
    before: String,
}

impl Statistics {
    fn on() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
        fs::write(SWITCH, "1").with_context(|| {
            format!("cannot turn on the kernel's BPF statistics at {SWITCH}, the only clock for single runs")
        })?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SWITCH, self.before.trim()) {
            eprintln!(
                "cannot turn the kernel's BPF statistics off again ({error}): write {} to {SWITCH}",
                self.before.trim()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use workload::bpf::{Held, Runs};

    use super::since;

    fn held(programs: &[(u64, u64, u64)]) -> Held {
        let programs = programs.iter().map(|(id, nanoseconds, count)| {
            (
                *id,
                Runs {
                    nanoseconds: *nanoseconds,
                    count: *count,
                },
            )
        });
        Held {
            programs: programs.collect(),
            ..Held::default()
        }
    }

    #[test]
    fn only_what_ran_meanwhile_counts_of_all_programs() {
        let ran = since(
            &held(&[(1, 100, 2), (2, 50, 1)]),
            &held(&[(1, 400, 5), (2, 50, 1), (3, 7, 1)]),
        );
        assert_eq!(
            ran,
            Runs {
                nanoseconds: 307,
                count: 4
            }
        );
    }
}
