//! What a fleet costs a Prometheus: copies of a real scrape, and each query of the dashboard of the fleet, with recording rules and
//! without.
//!
//! `page` is the scrape, `hosts` serves it, `prometheus` scrapes it, `questions` has the queries. CPU time is what is compared:
//! a machine that does other work too has no say in it.

mod hosts;
mod page;
mod prometheus;
mod questions;

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use workload::process::memory;

use self::hosts::Pages;
use self::page::Page;
use self::prometheus::{Answer, Prometheus};
use self::questions::Question;
use super::agent::{Agent, LIMIT};
use super::listeners::{Listener, set};
use super::sample::{Sample, Shown};
use super::table::{Table, mebibytes};
use crate::say;
use crate::workspace::Workspace;

/// Sizes that are measured where none are asked for: two, to see whether one follows from the other.
const SIZES: [u32; 2] = [250, 500];

/// What the figures are carried on to.
const FLEET: u32 = 3_000;

/// Ports on which one host listens. With IPv4 and IPv6 on most of them these are some 40 listeners, and as many series.
const PORTS: usize = 23;

/// A watched port of this measurement's own: what listens there is unexpected.
const WATCHED: u16 = 31_999;

/// How long Prometheus works undisturbed, once it has scraped all: four scrapes, two evaluations of what is recorded.
const UNDISTURBED: Duration = Duration::from_secs(60);

/// What a panel over six hours asks for at half the width of a screen: a step of 30 s.
const STEPS: u32 = 720;
/// The range that is asked for: as long as there is something to see.
const RANGE: u64 = 90;

/// A query is asked again until it was asked so often, or took so long altogether.
const TIMES: u32 = 10;
const LONG: Duration = Duration::from_secs(4);

/// What is less of at the greatest size costs nobody anything, and is not carried on.
const LITTLE: Duration = Duration::from_millis(5);
const MANY: f64 = 1e6;

/// The figures of one size that are carried on, by what they are of.
type Figures = Vec<(String, f64, Unit)>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Count,
    Bytes,
    Cores,
    Seconds,
}

/// Takes a scrape, and measures a Prometheus for each size of the fleet.
///
/// # Errors
/// Where the agent or Prometheus cannot be run.
pub(super) fn measure(workspace: &Workspace, agent: &Path, asked: &[u32], table: &mut Table) -> Result<()> {
    let pages = scrapes(agent)?;
    let series = pages.usual.series();
    table.plain(
        "series of a host",
        series.to_string(),
        format!("listeners on {PORTS} ports, beside what this machine has"),
    );
    let fleet = hosts::serve(pages)?;
    let questions = questions::of_the_fleet(workspace, RANGE)?;
    let sizes = if asked.is_empty() { &SIZES } else { asked };
    let mut measured = Vec::new();
    for size in sizes {
        say!("scraping {size} hosts");
        let figures = of_size(workspace, *size, fleet, &questions, table)?;
        measured.push((*size, figures));
    }
    if let [.., (less, of_less), (more, of_more)] = measured.as_slice() {
        for (what, figure, unit) in of_more {
            let before = of_less.iter().find(|(other, ..)| other == what);
            let Some((_, before, _)) = before else { continue };
            let (reached, factor) = carried_on((*less, *before), (*more, *figure));
            table.plain(
                &format!("{FLEET} hosts, carried on: {what}"),
                unit.shown(reached),
                format!("{more} hosts have {factor:.2} times what {less} have"),
            );
        }
    }
    Ok(())
}

/// What hosts serve: the agent's page with listeners on so many ports, and the same with the watched port open.
fn scrapes(agent: &Path) -> Result<Pages> {
    let watched = WATCHED.to_string();
    let agent = Agent::start_with(agent, &["--watch", &watched])?;
    let listeners = set(PORTS)?;
    let usual = settled(&agent, PORTS, |page| {
        let opened = page
            .lines()
            .filter(|line| line.starts_with("portreeve_listeners{") && line.contains("port=\"200"));
        opened.count() >= PORTS
    })?;
    let odd = Listener::among(&mut std::iter::once(WATCHED))?;
    let open = format!("portreeve_watched_port_listeners{{port=\"{WATCHED}\",protocol=\"tcp\"}} 1");
    let unexpected = settled(&agent, 1, |page| page.contains(&open))?;
    drop((listeners, odd));
    agent.stop()?;
    Ok(Pages {
        usual: Page::new(&usual),
        odd: Page::new(&unexpected),
    })
}

/// A page that shows what was opened.
fn settled(agent: &Agent, opened: usize, is_there: impl Fn(&str) -> bool) -> Result<String> {
    let end = Instant::now() + LIMIT;
    loop {
        let (page, _) = agent.scrape()?;
        if is_there(&page) {
            return Ok(page);
        }
        if Instant::now() > end {
            bail!("the agent does not show {opened} listeners within {LIMIT:?}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn of_size(
    workspace: &Workspace,
    size: u32,
    fleet: SocketAddr,
    asked: &[Question],
    table: &mut Table,
) -> Result<Figures> {
    let mut prometheus = Prometheus::start(workspace, size, fleet)?;
    prometheus.wait("that all hosts were scraped", |prometheus| {
        Ok(prometheus.value("sum(up)")? >= f64::from(size))
    })?;
    let (before, appended, start) = (prometheus.used()?, appended(&prometheus)?, Instant::now());
    thread::sleep(UNDISTURBED);
    let took = start.elapsed().as_secs_f64();
    let cores = (prometheus.used()? - before).as_secs_f64() / took;
    let (now, most) = memory(prometheus.pid())?;
    let rate = (self::appended(&prometheus)? - appended) / took;
    let series = prometheus.own("prometheus_tsdb_head_series")?;
    let recorded = prometheus.value("count({__name__=~\".+:.+\"})")?;
    let up = prometheus.value("sum(up)")?;
    let slowest = prometheus.value("max(scrape_duration_seconds)")?;
    let evaluated = prometheus.recording_took()?;

    let mut figures = vec![
        ("series in memory".to_owned(), series, Unit::Count),
        ("samples a second".to_owned(), rate, Unit::Count),
        ("cores used by scrapes and rules".to_owned(), cores, Unit::Cores),
        ("resident memory".to_owned(), now as f64, Unit::Bytes),
    ];
    let row = |what: &str| format!("{size} hosts: {what}");
    table.plain(
        &row("series in memory"),
        Unit::Count.shown(series),
        format!("{recorded} of them recorded; {up} hosts answer, the slowest within {slowest:.3} s"),
    );
    table.plain(
        &row("samples a second"),
        Unit::Count.shown(rate),
        "each host every 15 s".to_owned(),
    );
    table.plain(
        &row("cores used by scrapes and rules"),
        Unit::Cores.shown(cores),
        format!(
            "CPU time over {UNDISTURBED:?}; the recording rules took {}",
            Shown(evaluated)
        ),
    );
    table.plain(
        &row("resident memory"),
        mebibytes(now),
        format!(
            "VmRSS after some {} min; VmHWM {}",
            UNDISTURBED.as_secs().div_ceil(60) + 1,
            mebibytes(most)
        ),
    );

    let (mut whole, mut whole_raw) = (Duration::ZERO, Duration::ZERO);
    for question in asked {
        let with = ask(&prometheus, question, &question.expression)?;
        let mut more = with.more();
        whole += with.cpu();
        if let Some(raw) = &question.raw {
            let without = ask(&prometheus, question, raw)?;
            more = format!("{more}; not recorded: {}, {}", without.figure(), without.more());
            whole_raw += without.cpu();
            without.kept(&format!("{}, not recorded", question.place), &mut figures);
        } else {
            whole_raw += with.cpu();
        }
        let kind = if question.instant { "now" } else { "range" };
        table.plain(&row(&format!("{} ({kind})", question.place)), with.figure(), more);
        with.kept(&question.place, &mut figures);
    }
    for (what, whole) in [
        ("the whole dashboard once", whole),
        ("the same, not recorded", whole_raw),
    ] {
        table.plain(&row(what), Shown(whole).to_string(), "CPU time".to_owned());
        figures.push((what.to_owned(), whole.as_secs_f64(), Unit::Seconds));
    }
    Ok(figures)
}

/// What a query took: CPU time, the time until its answer, and the most samples in memory at one moment.
struct Took {
    cpu: Duration,
    elapsed: Duration,
    samples: f64,
}

/// That, or why there is no answer.
struct Asked(Result<Took, String>);

impl Asked {
    fn cpu(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |took| took.cpu)
    }

    fn figure(&self) -> String {
        match &self.0 {
            Ok(took) => Shown(took.cpu).to_string(),
            Err(_) => "refused".to_owned(),
        }
    }

    fn more(&self) -> String {
        match &self.0 {
            Ok(took) => format!("elapsed {}, {:.0} samples", Shown(took.elapsed), took.samples),
            Err(reason) => reason.clone(),
        }
    }

    /// Remembers what is enough to be carried on.
    fn kept(&self, what: &str, figures: &mut Figures) {
        if let Ok(took) = &self.0 {
            if took.cpu > LITTLE {
                figures.push((format!("{what}, CPU time"), took.cpu.as_secs_f64(), Unit::Seconds));
            }
            if took.samples > MANY {
                figures.push((format!("{what}, samples"), took.samples, Unit::Count));
            }
        }
    }
}

/// Medians of a query that is asked a few times: so what Prometheus does meanwhile anyway counts in few of them.
fn ask(prometheus: &Prometheus, question: &Question, expression: &str) -> Result<Asked> {
    let range = (!question.instant).then_some((RANGE, STEPS));
    let start = Instant::now();
    let (mut times, mut used, mut most) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..TIMES {
        let before = prometheus.used()?;
        match prometheus.ask(expression, range)? {
            Answer::Given(time, samples) => {
                times.push(time);
                used.push(prometheus.used()?.saturating_sub(before));
                most = samples.max(most);
            }
            Answer::Refused(reason) => return Ok(Asked(Err(reason))),
        }
        if start.elapsed() > LONG {
            break;
        }
    }
    Ok(Asked(Ok(Took {
        cpu: Sample::new(used)?.median(),
        elapsed: Sample::new(times)?.median(),
        samples: most,
    })))
}

fn appended(prometheus: &Prometheus) -> Result<f64> {
    // Newer ones have it by the type of sample.
    prometheus
        .own("prometheus_tsdb_head_samples_appended_total")
        .or_else(|_| prometheus.own("prometheus_tsdb_head_samples_appended_total{type=\"float\"}"))
}

/// A straight line through both points: where it is at the fleet's size, and how often the first goes into the second.
fn carried_on(less: (u32, f64), more: (u32, f64)) -> (f64, f64) {
    let hosts = f64::from(more.0) - f64::from(less.0);
    let slope = if hosts == 0.0 { 0.0 } else { (more.1 - less.1) / hosts };
    let reached = more.1 + slope * (f64::from(FLEET) - f64::from(more.0));
    (reached.max(0.0), more.1 / less.1.max(1e-9))
}

impl Unit {
    fn shown(self, figure: f64) -> String {
        match self {
            Self::Count => format!("{figure:.0}"),
            Self::Cores => format!("{figure:.3}"),
            Self::Bytes => format!("{:.1} MiB", figure / f64::from(1 << 20)),
            Self::Seconds => Shown(Duration::from_secs_f64(figure.max(0.0))).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FLEET, Unit, carried_on};

    #[test]
    fn a_straight_line_is_carried_on_with_what_no_host_costs() {
        let (reached, factor) = carried_on((250, 100.0), (500, 150.0));
        assert!((reached - 650.0).abs() < 1e-6, "{reached}");
        assert!((factor - 1.5).abs() < 1e-9);
        assert_eq!(carried_on((FLEET, 3.0), (FLEET, 3.0)).0, 3.0);
    }

    #[test]
    fn figures_are_shown_in_their_unit() {
        assert_eq!(Unit::Count.shown(1234.4), "1234");
        assert_eq!(Unit::Bytes.shown(1_572_864.0), "1.5 MiB");
        assert_eq!(Unit::Cores.shown(0.25), "0.250");
        assert_eq!(Unit::Seconds.shown(0.0042), "4.20 ms");
    }
}
