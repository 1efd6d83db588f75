//! What was measured, as rows with the targets beside them.

use std::time::Duration;

use workload::snapshot::{Crowd, LOOK, Said};

use super::Measured;
use super::figures::{Figure, figure, refusal, times_as_fast};
use super::native::MANY_LISTENERS;
use super::ways::{LIST, PEER};
use crate::bench::sample::{Shown, Spread};
use crate::bench::table::{Table, mebibytes};

/// How many times as fast as the peer a look is, with the kernel side's program loaded, beside so many processes or more.
const LOOK_FASTER: f64 = 30.0;
const LOOK_BESIDE: u32 = 1_000;

/// The same of `portreeve list` from a cold start: never slower.
const LIST_FASTER: f64 = 1.0;

/// MiB with 10,000 listeners.
const MEMORY_BELOW: u64 = 32;

/// Adds everything that one run measured.
pub(super) fn add(measured: &Measured, table: &mut Table) {
    table.plain(
        &measured.place,
        Shown(measured.took).to_string(),
        format!(
            "medians of {} rounds in which each way is taken once; × is how many times as fast it was as `{PEER}` of its round",
            measured.plan.rounds
        ),
    );
    for (index, crowd) in measured.plan.crowds.iter().enumerate() {
        if up(measured, index, crowd, table) {
            ways(measured, index, crowd, table);
            memory(measured, index, crowd, table);
        }
    }
    if let Some(why) = &measured.broken_off {
        table.not_measured(format!("{}: the rest", measured.place), why.clone());
    }
}

/// A head for a crowd. Gives whether it ever stood.
fn up(measured: &Measured, index: usize, crowd: &Crowd, table: &mut Table) -> bool {
    let took = measured.said.iter().find_map(|said| match said {
        Said::Up { crowd, took_ms } if *crowd == index => Some(Duration::from_millis(*took_ms)),
        _ => None,
    });
    match took {
        Some(took) => table.plain(&crowd.name(), String::new(), format!("made within {}", Shown(took))),
        None => table.not_measured(crowd.name(), "it was never there".to_owned()),
    }
    took.is_some()
}

fn ways(measured: &Measured, index: usize, crowd: &Crowd, table: &mut Table) {
    let commands = measured.plan.commands.iter().map(|command| command.name.as_str());
    for way in std::iter::once(LOOK).chain(commands) {
        let what = format!("  {way}");
        if let Some(why) = refusal(&measured.said, index, way) {
            table.not_measured(&what, why.to_owned());
        }
        let Some(figure) = figure(&measured.said, index, way) else {
            continue;
        };
        let ratio = times_as_fast(&measured.said, index, way, PEER);
        let goal = match way {
            LOOK if measured.by_kernel && crowd.processes >= LOOK_BESIDE => Some(LOOK_FASTER),
            LIST => Some(LIST_FASTER),
            _ => None,
        };
        let shown = Shown(time(figure.took.median)).to_string();
        let more = more(&figure, ratio.filter(|_| way != PEER).as_ref(), crowd);
        match goal.zip(ratio) {
            Some((goal, ratio)) => {
                let met = ratio.median >= goal && figure.told.is_some_and(|told| told >= crowd.listeners);
                table.must(&what, shown, &format!("≥ {goal:.0} ×"), met, more);
            }
            None => table.plain(&what, shown, more),
        }
    }
}

fn memory(measured: &Measured, index: usize, crowd: &Crowd, table: &mut Table) {
    let agent = measured.said.iter().find_map(|said| match said {
        Said::Agent {
            crowd,
            backend,
            known,
            resident,
            most_resident,
        } if *crowd == index => Some((backend, *known, *resident, *most_resident)),
        _ => None,
    });
    let Some((backend, known, resident, most)) = agent else {
        return;
    };
    let what = "  the agent's memory after its looks";
    let more = format!(
        "VmRSS; VmHWM {}; backend {backend}; it knew {known} listeners once armed",
        mebibytes(most)
    );
    if known < u64::from(crowd.listeners) {
        table.not_measured(what, format!("the agent did not know them all: {more}"));
    } else if crowd.listeners >= MANY_LISTENERS.listeners {
        table.bytes(what, resident, MEMORY_BELOW, more);
    } else {
        table.plain(what, mebibytes(resident), more);
    }
}

fn more(figure: &Figure, ratio: Option<&Spread>, crowd: &Crowd) -> String {
    let took = figure.took;
    let mut parts = Vec::new();
    if let Some(ratio) = ratio {
        parts.push(format!(
            "{:.2} × ({:.2}–{:.2} of {})",
            ratio.median, ratio.least, ratio.greatest, ratio.times
        ));
    }
    parts.push(format!(
        "min {}, max {}, {} times",
        Shown(time(took.least)),
        Shown(time(took.greatest)),
        took.times
    ));
    parts.push(match figure.told {
        None => "how many it told was not counted".to_owned(),
        Some(told) if told >= crowd.listeners => "told all listeners".to_owned(),
        Some(told) => format!("told {told} of {} listeners", crowd.listeners),
    });
    parts.join("; ")
}

fn time(nanoseconds: f64) -> Duration {
    Duration::from_secs_f64((nanoseconds / 1e9).max(0.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use workload::snapshot::{Command, Crowd, LOOK, Plan, Said};

    use super::super::Measured;
    use super::super::ways::{LIST, PEER};
    use super::add;
    use crate::bench::table::Table;

    fn measured(said: Vec<Said>) -> Measured {
        let command = |name: &str| Command {
            words: Vec::new(),
            name: name.to_owned(),
            before_port: String::new(),
        };
        Measured {
            place: "in a guest".to_owned(),
            plan: Plan {
                crowds: vec![Crowd {
                    processes: 1_000,
                    files: 50,
                    listeners: 200,
                }],
                rounds: 1,
                agent: Vec::new(),
                commands: [LIST, PEER].map(command).to_vec(),
            },
            said,
            took: Duration::from_secs(60),
            by_kernel: true,
            broken_off: None,
        }
    }

    fn took(way: &str, nanoseconds: u64, listeners: u16) -> Said {
        Said::Took {
            crowd: 0,
            round: 0,
            way: way.to_owned(),
            nanoseconds,
            listeners: Some(listeners),
        }
    }

    fn verdicts(said: Vec<Said>) -> (Vec<String>, bool) {
        let mut table = Table::default();
        add(&measured(said), &mut table);
        let rows = table.json();
        let verdicts = rows.as_array().unwrap().iter().map(|row| {
            let text = |key: &str| row[key].as_str().unwrap().to_owned();
            format!("{} {} {}", text("what"), text("target"), text("verdict"))
                .trim_end()
                .to_owned()
        });
        (verdicts.skip(2).collect(), table.is_complete())
    }

    #[test]
    fn a_look_is_thirty_times_as_fast_and_a_list_no_slower() {
        let up = Said::Up { crowd: 0, took_ms: 1 };
        let (rows, complete) = verdicts(vec![
            up.clone(),
            took(LOOK, 100, 200),
            took(LIST, 3_001, 200),
            took(PEER, 3_000, 200),
        ]);
        let look = format!("{LOOK} ≥ 30 × met");
        assert_eq!(rows, [look, format!("{LIST} ≥ 1 × missed"), PEER.to_owned()]);
        assert!(complete);
        let (rows, _) = verdicts(vec![up, took(LOOK, 1, 199), took(PEER, 3_000, 200)]);
        assert_eq!(
            rows[0],
            format!("{LOOK} ≥ 30 × missed"),
            "quick, and not all that listens"
        );
    }

    #[test]
    fn what_could_not_be_taken_is_not_measured() {
        let refused = Said::Refused {
            crowd: 0,
            way: LIST.to_owned(),
            why: "no such subcommand".to_owned(),
        };
        let up = Said::Up { crowd: 0, took_ms: 1 };
        assert!(!verdicts(vec![up, took(PEER, 3_000, 200), refused]).1);
        assert!(!verdicts(Vec::new()).1, "the crowd was never there");
    }
}
