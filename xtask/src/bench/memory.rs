//! Resident memory of the agent, and what many open listeners do to it, to its scrape and to its speed.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::agent::{Agent, LIMIT};
use super::latency::listens;
use super::lines::{Lines, event};
use super::listeners;
use super::sample::{Sample, Shown};
use super::table::{Table, mebibytes};
use workload::process::{cpu, memory};
use workload::scrape;

/// How long after it is armed an agent is taken to be idle.
const SETTLED: Duration = Duration::from_secs(5);

/// The many listeners.
const LISTENERS: usize = 10_000;

/// How long they may take to be reported, all of them.
const REPORTED: Duration = Duration::from_secs(120);

const SCRAPES: usize = 20;
const LISTENS: usize = 100;

/// Far more often than anybody scrapes, and not so often that the scraper takes the processors from the agent.
const SCRAPED_EVERY: Duration = Duration::from_millis(20);

/// Enough that some fall into each part of a scrape.
const SCRAPED_LISTENS: usize = 500;

/// Measures an agent at rest, then the same with many listeners.
///
/// # Errors
/// Where the agent cannot be run, so many files may not be opened, or a line does not come.
pub(super) fn measure(binary: &Path, table: &mut Table) -> Result<()> {
    let mut agent = Agent::start(binary)?;
    let lines = Lines::of(agent.stdout()?);
    thread::sleep(SETTLED);
    let (idle, peak) = memory(agent.pid())?;
    table.bytes("memory idle", idle, 12, format!("VmRSS {SETTLED:?} after armed"));
    table.bytes("memory peak at start", peak, 48, "VmHWM then".to_owned());
    scrapes(&agent, "  a scrape, idle, median", None, table)?;

    let cpu_before = cpu(agent.pid())?;
    let start = Instant::now();
    let open = listeners::set(LISTENERS)?;
    let opened = start.elapsed();
    let inodes: HashSet<u64> = open.iter().map(|listener| listener.inode).collect();
    for _ in 0..LISTENERS {
        lines.wait_for("the lines about 10,000 listeners", REPORTED, |line| {
            event(line).is_some_and(|(kind, inode)| kind == "listen" && inodes.contains(&inode))
        })?;
    }
    let reported = start.elapsed();
    let cpu_after = cpu(agent.pid())?;
    thread::sleep(Duration::from_secs(2));
    let (many, peak) = memory(agent.pid())?;
    table.bytes(
        "memory with 10,000 listeners",
        many,
        32,
        format!("VmRSS; each on a port of its own; VmHWM {}", mebibytes(peak)),
    );
    table.plain(
        "  10,000 listeners, from the first to the last line",
        Shown(reported).to_string(),
        format!(
            "opened within {}; the agent used {} of CPU time",
            Shown(opened),
            Shown(cpu_after.0 + cpu_after.1 - cpu_before.0 - cpu_before.1)
        ),
    );
    scrapes(
        &agent,
        "scrape with 10,000 listeners, median",
        Some(Duration::from_millis(20)),
        table,
    )?;
    let sample = listens(&lines, LISTENS, Duration::from_millis(1))?;
    table.plain(
        "  listen to line with 10,000 listeners, p99",
        Shown(sample.per_mille(990)).to_string(),
        format!("p50 {}, {}", Shown(sample.median()), sample.range()),
    );
    let (sample, scrapes) = listens_while_scraped(&agent, &lines)?;
    table.plain(
        "  the same while it is scraped, p99",
        Shown(sample.per_mille(990)).to_string(),
        format!(
            "p50 {}, {}; {scrapes} scrapes, {SCRAPED_EVERY:?} apart",
            Shown(sample.median()),
            sample.range()
        ),
    );

    drop(open);
    for _ in 0..LISTENERS {
        lines.wait_for("the lines about the end of 10,000 listeners", REPORTED, |line| {
            event(line).is_some_and(|(kind, inode)| kind == "unlisten" && inodes.contains(&inode))
        })?;
    }
    thread::sleep(Duration::from_secs(2));
    let (after, _) = memory(agent.pid())?;
    table.plain("  memory once they are closed", mebibytes(after), "VmRSS".to_owned());
    agent.stop()
}

/// Listens while somebody scrapes again and again. Gives how many scrapes there were, too.
fn listens_while_scraped(agent: &Agent, lines: &Lines) -> Result<(Sample, usize)> {
    let (over, address) = (AtomicBool::new(false), agent.address());
    thread::scope(|scope| {
        let scraper = scope.spawn(|| -> Result<usize> {
            let mut scrapes = 0;
            while !over.load(Ordering::Relaxed) {
                scrape::page(address, LIMIT)?;
                scrapes += 1;
                thread::sleep(SCRAPED_EVERY);
            }
            Ok(scrapes)
        });
        let sample = listens(lines, SCRAPED_LISTENS, Duration::from_millis(1));
        over.store(true, Ordering::Relaxed);
        match scraper.join() {
            Ok(scrapes) => Ok((sample?, scrapes?)),
            Err(_) => bail!("the thread that scrapes broke off"),
        }
    })
}

fn scrapes(agent: &Agent, what: &str, target: Option<Duration>, table: &mut Table) -> Result<()> {
    let mut times = Vec::with_capacity(SCRAPES);
    let mut series = 0;
    for _ in 0..SCRAPES {
        let (page, took) = agent.scrape()?;
        times.push(took);
        series = page.lines().filter(|line| !line.starts_with('#')).count();
    }
    let sample = Sample::new(times)?;
    let more = format!("{}; {series} series", sample.range());
    match target {
        Some(target) => table.time(what, sample.median(), target, more),
        None => table.plain(what, Shown(sample.median()).to_string(), more),
    }
    Ok(())
}
