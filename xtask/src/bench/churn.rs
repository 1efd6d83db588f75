//! Listeners that come and go as fast as this machine makes them: what is not reported must be counted.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::agent::Agent;
use super::lines::Tally;
use super::sample::Shown;
use super::table::Table;
use workload::process::cpu;

const CYCLES: u64 = 100_000;
const THREADS: u64 = 2;

/// How long the cycles may take.
const LIMIT: Duration = Duration::from_secs(120);

/// How long no further line may come before the agent is taken to have told all: longer than it waits for the result of a
/// listen, and than it takes to read the kernel side's counters again.
const QUIET: Duration = Duration::from_secs(3);

/// How exactly the end is known.
const STEP: Duration = Duration::from_millis(5);

/// How long that may take.
const CAUGHT_UP: Duration = Duration::from_secs(60);

/// Measures the rate without and with the agent, and what it reported.
///
/// # Errors
/// Where a listen fails, or the agent cannot be run.
pub(super) fn measure(binary: &Path, table: &mut Table) -> Result<()> {
    let bare = rate(cycles()?);
    let mut agent = Agent::start(binary)?;
    let tally = Tally::of(agent.stdout()?, std::process::id());
    let before = cpu(agent.pid())?;
    let took = cycles()?;
    let ended = Instant::now();
    let caught_up = until_quiet(&tally, ended)?;
    let after = cpu(agent.pid())?;
    let account = Account {
        done: CYCLES,
        listens: tally.listens(),
        unlistens: tally.unlistens(),
        lost: losses(&agent.scrape()?.0),
    };
    let with = rate(took);
    table.plain(
        "churn: cycles of listen and close",
        format!("{with:.0}/s"),
        format!(
            "{CYCLES} by {THREADS} threads in {}; {bare:.0}/s without the agent, {:.2} times as many; backend {}",
            Shown(took),
            bare / with,
            agent.backend
        ),
    );
    table.must(
        "churn: listens that were not reported",
        account.done.saturating_sub(account.listens).to_string(),
        "none",
        account.listens == account.done,
        format!(
            "of {CYCLES}; {} lines of listen, {} of unlisten",
            account.listens, account.unlistens
        ),
    );
    table.must(
        "churn: listens reported and counted as lost",
        account.shown_listens(),
        &CYCLES.to_string(),
        account.is_exact_for_listens(),
        format!("portreeve_events_lost_total: {}", account.shown_losses()),
    );
    table.must(
        "churn: lines written and counted as lost",
        account.told_lines().to_string(),
        &(2 * CYCLES).to_string(),
        account.told_lines() == 2 * CYCLES,
        String::new(),
    );
    let (user, kernel) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    let lines = (account.listens + account.unlistens).max(1);
    table.plain(
        "  churn: the agent's CPU time",
        Shown(user + kernel).to_string(),
        format!(
            "user {}, kernel {}; {:.1} µs a line; the last line came {} after the last close",
            Shown(user),
            Shown(kernel),
            (user + kernel).as_secs_f64() * 1e6 / lines as f64,
            Shown(caught_up.max(STEP))
        ),
    );
    agent.stop()
}

/// Opens and closes listeners on automatic ports from several threads.
fn cycles() -> Result<Duration> {
    let start = Instant::now();
    let one_thread = || {
        for _ in 0..CYCLES / THREADS {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            if start.elapsed() > LIMIT {
                return Err(std::io::Error::from(std::io::ErrorKind::TimedOut));
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(one_thread)).collect();
        for thread in threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => bail!("cannot open and close {CYCLES} listeners on 127.0.0.1: {error}"),
                Err(_) => bail!("a thread that opens and closes listeners broke off"),
            }
        }
        Ok(start.elapsed())
    })
}

/// Waits until no line has come for a while. Gives how long after `ended` the last one came.
fn until_quiet(tally: &Tally, ended: Instant) -> Result<Duration> {
    let count = || tally.listens() + tally.unlistens();
    let (mut last, mut changed) = (count(), Instant::now());
    while changed.elapsed() < QUIET {
        if ended.elapsed() > CAUGHT_UP {
            bail!("the agent still writes lines {CAUGHT_UP:?} after the last close");
        }
        thread::sleep(STEP);
        let now = count();
        if now != last {
            (last, changed) = (now, Instant::now());
        }
    }
    Ok(changed.saturating_duration_since(ended))
}

fn rate(took: Duration) -> f64 {
    CYCLES as f64 / took.as_secs_f64().max(1e-9)
}

/// What happened, what was told of it, and what was counted as lost.
#[derive(Debug)]
struct Account {
    /// Listens, each of which was closed.
    done: u64,
    listens: u64,
    unlistens: u64,
    /// By edge.
    lost: BTreeMap<String, u64>,
}

impl Account {
    fn lost_at(&self, edge: &str) -> u64 {
        self.lost.get(edge).copied().unwrap_or(0)
    }

    /// Listens that were told or counted as lost where that is known of a listen.
    fn told_listens(&self) -> u64 {
        self.listens + self.lost_at("ring_listen")
    }

    /// The same, with what may be lost listens or lost ends behind it.
    fn shown_listens(&self) -> String {
        match self.lost_either() {
            0 => self.told_listens().to_string(),
            either => format!("{} + ≤{either}", self.told_listens()),
        }
    }

    /// Lines that were counted as lost where it is not known whether of a listen or of an end.
    fn lost_either(&self) -> u64 {
        self.lost_at("stdout") + self.lost_at("decode")
    }

    /// Lines that were written, or counted as lost at an edge where exactly one line is lost with each. At `pending` and
    /// `inventory` the line is told, without all that belongs to it.
    fn told_lines(&self) -> u64 {
        let edges = ["ring_listen", "ring_unlisten", "listeners_map", "decode", "stdout"];
        let lost: u64 = edges.iter().map(|edge| self.lost_at(edge)).sum();
        self.listens + self.unlistens + lost
    }

    /// Whether no listen is unaccounted for. At stdout and at decode it is not known whether a listen or an end was lost:
    /// then all lines together must add up, and what is missing of the listens must be among those.
    fn is_exact_for_listens(&self) -> bool {
        match self.done.checked_sub(self.told_listens()) {
            Some(0) => true,
            Some(missing) => missing <= self.lost_either() && self.told_lines() == 2 * self.done,
            None => false,
        }
    }

    fn shown_losses(&self) -> String {
        let losses: Vec<_> = self
            .lost
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(edge, count)| format!("{edge} {count}"))
            .collect();
        if losses.is_empty() {
            "0 at every edge".to_owned()
        } else {
            losses.join(", ")
        }
    }
}

/// The losses on a page of metrics, by edge.
fn losses(page: &str) -> BTreeMap<String, u64> {
    page.lines()
        .filter_map(|line| {
            let (edge, count) = line
                .strip_prefix("portreeve_events_lost_total{edge=\"")?
                .split_once("\"} ")?;
            Some((edge.to_owned(), count.trim().parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Account, losses};

    fn account(listens: u64, unlistens: u64, lost: &[(&str, u64)]) -> Account {
        Account {
            done: 100,
            listens,
            unlistens,
            lost: lost.iter().map(|(edge, count)| ((*edge).to_owned(), *count)).collect(),
        }
    }

    #[test]
    fn losses_are_read_from_the_page_by_edge() {
        let page = "# TYPE portreeve_events_lost_total counter\nportreeve_events_lost_total{edge=\"ring_listen\"} 7\n\
                    portreeve_events_lost_total{edge=\"stdout\"} 0\nportreeve_events_total{event=\"listen\"} 9\n";
        let read = losses(page);
        assert_eq!(read.get("ring_listen"), Some(&7));
        assert_eq!((read.get("stdout"), read.len()), (Some(&0), 2));
    }

    #[test]
    fn nothing_lost_adds_up() {
        let account = account(100, 100, &[("stdout", 0)]);
        assert!(account.is_exact_for_listens());
        assert_eq!(account.told_lines(), 200);
        assert_eq!(account.shown_losses(), "0 at every edge");
    }

    #[test]
    fn a_listen_that_the_ring_had_no_room_for_adds_up_only_where_it_is_counted() {
        assert!(account(90, 95, &[("ring_listen", 10), ("ring_unlisten", 5)]).is_exact_for_listens());
        assert!(!account(90, 95, &[("ring_listen", 9), ("ring_unlisten", 6)]).is_exact_for_listens());
        assert!(!account(100, 100, &[("ring_listen", 1)]).is_exact_for_listens());
    }

    #[test]
    fn lines_that_stdout_did_not_take_add_up_together() {
        let exact = account(97, 96, &[("stdout", 7)]);
        assert!(exact.is_exact_for_listens());
        assert_eq!(exact.shown_losses(), "stdout 7");
        assert_eq!(exact.shown_listens(), "97 + ≤7");
        assert!(!account(97, 96, &[("stdout", 6)]).is_exact_for_listens());
    }

    #[test]
    fn a_listen_that_was_told_without_its_result_is_no_line_lost() {
        assert_eq!(account(100, 100, &[("pending", 3), ("inventory", 2)]).told_lines(), 200);
    }
}
