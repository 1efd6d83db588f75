//! `portreeve watch`: what begins and ends to listen, by looking again and again.

use std::{
    collections::{HashMap, HashSet},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use super::{
    list::{
        filters::{FilterArgs, Filters},
        gather::{Look, Looker, SourceArgs, may_hide},
        json::{Listener, time},
        row::{Key, Row, key},
        text::{Lines, unseen},
    },
    print::{SCHEMA, is_read, say},
    terminal::{self, Color, Paint},
};
use crate::snapshot::Found;

/// The flags of `watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filters: FilterArgs,

    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=3600))]
    interval: u32,

    /// Print each opening and each end as one JSON object a line
    #[arg(long)]
    json: bool,

    /// When to use colours
    #[arg(long, value_enum, default_value = "auto")]
    color: Color,

    #[command(flatten)]
    sources: SourceArgs,
}

/// Looks until SIGINT, or until nobody reads any more.
///
/// # Errors
/// Where arguments or configuration are wrong, or stdout cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let looker = Looker::new(&args.sources, args.sources.read()?, false);
    let filters = Filters::new(&args.filters, &looker.registry, looker.automatic)?;
    let style = Style {
        json: args.json,
        color: args.color.applies() && !args.json,
        width: terminal::width(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the clock")?;
    runtime.block_on(watch(
        looker,
        &filters,
        style,
        Duration::from_secs(args.interval.into()),
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// How a change is written.
#[derive(Clone, Copy, Debug)]
struct Style {
    json: bool,
    color: bool,
    /// Columns that a line may have; `None` where nothing has to fit.
    width: Option<usize>,
}

impl Style {
    /// The lines behind a sign and a blank.
    fn lines(self) -> Lines {
        Lines::new(self.width.map(|width| width.saturating_sub(2)), self.color)
    }
}

async fn watch(mut looker: Looker, filters: &Filters, style: Style, every: Duration) -> Result<()> {
    let signals = |kind| signal(kind).context("cannot wait for signals");
    let (mut interrupt, mut terminate) = (signals(SignalKind::interrupt())?, signals(SignalKind::terminate())?);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut known = Known::default();
    let first = looker.look(true);
    let not_seen = unseen(&first.unseen);
    known.update(first, &mut |found| looker.describe(found));
    let shown = known
        .rows
        .values()
        .filter(|row| is_shown(row, filters, &looker))
        .count();
    let blind: String = not_seen.iter().map(|part| format!("; {part}")).collect();
    say(&format!("{shown} listen now; what changes follows{blind}"));
    if !style.json && !is_read(&format!("  {}", style.lines().head()))? {
        return Ok(());
    }
    loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let changes = known.again(&mut looker);
        let now = Timestamp::now();
        let mut text = String::new();
        for change in changes.iter().filter(|change| is_shown(&change.row, filters, &looker)) {
            text.push_str(&line(change, style, &looker.host, now)?);
        }
        if !text.is_empty() && !is_read(&text)? {
            return Ok(());
        }
    }
}

fn is_shown(row: &Row, filters: &Filters, looker: &Looker) -> bool {
    filters.shows(row) && !filters.leaves_out(row, &looker.policy)
}

/// What happened between two looks.
#[derive(Clone, Debug)]
struct Change {
    kind: Kind,
    row: Row,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Opened,
    Ended,
}

/// What listened at the last look.
#[derive(Debug, Default)]
struct Known {
    rows: HashMap<Key, Row>,
}

impl Known {
    /// Looks again. Who holds a socket is asked for only where there is a new one.
    fn again(&mut self, looker: &mut Looker) -> Vec<Change> {
        let mut look = looker.look(false);
        if look.found.iter().any(|found| !self.rows.contains_key(&key(found))) {
            look = looker.look(true);
        }
        if self.misses_some(&look) {
            // A table that changes while it is read may leave one out: nothing ends before a second look.
            let second = looker.look(true);
            look.unseen.extend(second.unseen);
            let keys: HashSet<_> = look.found.iter().map(key).collect();
            let more = second.found.into_iter().filter(|found| !keys.contains(&key(found)));
            look.found.extend(more);
        }
        self.update(look, &mut |found| looker.describe(found))
    }

    fn misses_some(&self, look: &Look) -> bool {
        let keys: HashSet<_> = look.found.iter().map(key).collect();
        let missed = |key: &Key| !keys.contains(key) && !may_hide(&look.unseen, key);
        self.rows.keys().any(missed)
    }

    /// Takes a look in, and says what changed: ends first, each in the order of the table. Only what is new is described.
    fn update(&mut self, look: Look, describe: &mut dyn FnMut(Found) -> Row) -> Vec<Change> {
        let mut before = std::mem::take(&mut self.rows);
        let mut opened = Vec::new();
        for found in look.found {
            let key = key(&found);
            let row = before.remove(&key).unwrap_or_else(|| {
                let row = describe(found);
                opened.push(row.clone());
                row
            });
            self.rows.insert(key, row);
        }
        let mut ended = Vec::new();
        for (key, row) in before {
            if may_hide(&look.unseen, &key) {
                self.rows.insert(key, row);
            } else {
                ended.push(row);
            }
        }
        let changes = |kind, mut rows: Vec<Row>| {
            rows.sort_by_cached_key(Row::order);
            rows.into_iter().map(move |row| Change { kind, row })
        };
        changes(Kind::Ended, ended)
            .chain(changes(Kind::Opened, opened))
            .collect()
    }
}

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    host: &'a str,
    /// When the look found it.
    time: String,
    event: &'static str,
    #[serde(flatten)]
    listener: Listener<'a>,
}

fn line(change: &Change, style: Style, host: &str, now: Timestamp) -> Result<String> {
    let (sign, event, paint) = match change.kind {
        Kind::Opened => ("+", "listen", Paint::Bold),
        Kind::Ended => ("-", "unlisten", Paint::Dim),
    };
    if style.json {
        let line = Line {
            schema: SCHEMA,
            host,
            time: time(now),
            event,
            listener: Listener::from(&change.row),
        };
        let line = serde_json::to_string(&line).context("cannot write a change as JSON")?;
        return Ok(format!("{line}\n"));
    }
    let sign = paint.on(sign, style.color);
    Ok(format!("{sign} {}", style.lines().of(&change.row, now)))
}

#[cfg(test)]
mod tests {
    use super::{
        super::list::{
            row::{Unseen, What},
            tests::{nc, row, sshd},
        },
        *,
    };

    fn look(found: Vec<Found>) -> Look {
        Look {
            found,
            unseen: Vec::new(),
        }
    }

    /// What `known` says of a look, as lines.
    fn changes(known: &mut Known, look: Look) -> Vec<String> {
        let mut describe = |found: Found| {
            if found.socket.port == 1992 {
                row(nc())
            } else {
                row(sshd())
            }
        };
        let style = Style {
            json: false,
            color: false,
            width: None,
        };
        let changes = known.update(look, &mut describe);
        let lines = changes
            .iter()
            .map(|change| line(change, style, "web-7", Timestamp::UNIX_EPOCH));
        lines.map(Result::unwrap).collect()
    }

    #[test]
    fn what_comes_and_what_goes_is_told_once() {
        let mut known = Known::default();
        changes(&mut known, look(vec![sshd().0]));
        let opened = changes(&mut known, look(vec![nc().0, sshd().0]));
        assert_eq!(
            opened,
            [
                "+ 00:00:00Z  tcp    0.0.0.0:1992           wildcard  stun-p3,ipsendmsg  nc[812]               alice     user@1000.service     host        unexpected\n"
            ]
        );
        assert!(changes(&mut known, look(vec![sshd().0, nc().0])).is_empty());
        let ended = changes(&mut known, look(vec![nc().0]));
        assert_eq!(
            ended,
            [
                "- 00:00:00Z  tcp    0.0.0.0:22             wildcard  ssh                sshd[700]             root      ssh.service           host        unruled\n"
            ]
        );
    }

    #[test]
    fn another_socket_on_the_same_port_is_an_end_and_an_opening() {
        let mut known = Known::default();
        changes(&mut known, look(vec![nc().0]));
        let mut again = nc().0;
        again.socket.inode += 5;
        let signs: Vec<_> = changes(&mut known, look(vec![again]))
            .iter()
            .map(|line| line[..1].to_owned())
            .collect();
        assert_eq!(signs, ["-", "+"]);
    }

    #[test]
    fn a_namespace_that_could_not_be_read_has_not_lost_its_listeners() {
        let mut known = Known::default();
        changes(&mut known, look(vec![nc().0, sshd().0]));
        let mut closed = look(Vec::new());
        closed.unseen.push(Unseen {
            what: What::Namespace,
            netns: Some(nc().0.netns),
            listeners: None,
            reason: "it is closed".to_owned(),
        });
        assert!(changes(&mut known, closed).is_empty());
        assert_eq!(changes(&mut known, look(Vec::new())).len(), 2);
    }

    #[test]
    fn a_json_line_is_a_listener_with_what_happened_to_it() {
        let style = Style {
            json: true,
            color: false,
            width: None,
        };
        let change = Change {
            kind: Kind::Ended,
            row: row(nc()),
        };
        let line = line(&change, style, "web-7", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["event"], &line["port"]), (&"unlisten".into(), &1992.into()));
        assert_eq!(
            (&line["host"], &line["verdict"]),
            (&"web-7".into(), &"unexpected".into())
        );
    }
}
