//! All tools in turn, with nothing running between: each is compared with the calls right before and right after it.

use std::io::Write;
use std::path::Path;

use anyhow::Result;

use crate::bpf::Held;
use crate::calls::{Kind, MEASURED, Made, round};
use crate::lines::write;
use crate::plan::{Cell, Cost, MadeOn, Plan, Port, Tool, Turn};
use crate::process::{cpu, memory};
use crate::processors::Processors;
use crate::tool::Running;

/// Does what a plan says, and writes each turn as a JSON line as soon as it is over. A tool that does not run is a turn with
/// a refusal, and is not started again.
///
/// # Errors
/// Where the calls themselves fail, or a turn cannot be written.
pub fn run(plan: &Plan, folder: &Path, to: &mut impl Write) -> Result<()> {
    let processors = Processors::divided()?;
    processors.take_calls()?;
    let mut refused: Vec<&str> = Vec::new();
    for repetition in 0..plan.repetitions {
        write(&bare(plan, repetition)?, to)?;
        // Back and forth, so that a machine that slowly becomes busier favours nobody.
        let mut tools: Vec<&Tool> = plan.tools.iter().collect();
        if repetition % 2 == 1 {
            tools.reverse();
        }
        for tool in tools {
            if refused.contains(&tool.name.as_str()) {
                continue;
            }
            let turn = match beside(tool, plan, folder, &processors) {
                Ok(turn) => Turn { repetition, ..turn },
                Err(error) => {
                    refused.push(&tool.name);
                    Turn {
                        refusal: Some(format!("{error:#}")),
                        ..empty(Some(tool), repetition)
                    }
                }
            };
            let ran = turn.refusal.is_none();
            write(&turn, to)?;
            if ran {
                write(&bare(plan, repetition)?, to)?;
            }
        }
    }
    Ok(())
}

fn empty(tool: Option<&Tool>, repetition: u32) -> Turn {
    Turn {
        tool: tool.map(|tool| tool.name.clone()),
        repetition,
        refusal: None,
        cells: Vec::new(),
        cost: None,
        told: Vec::new(),
    }
}

/// The calls with nothing beside them: all kinds that any tool is measured on.
fn bare(plan: &Plan, repetition: u32) -> Result<Turn> {
    let measured = |kind: &Kind| {
        let mut sights = plan.tools.iter().flat_map(|tool| &tool.sights);
        sights.any(|sight| sight.kind == *kind)
    };
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(measured).collect();
    let (cells, _) = cells(plan, &kinds, || Ok(()))?;
    Ok(Turn {
        cells,
        ..empty(None, repetition)
    })
}

/// The same calls beside a tool.
fn beside(tool: &Tool, plan: &Plan, folder: &Path, processors: &Processors) -> Result<Turn> {
    let running = Running::start(tool, plan, folder, processors)?;
    running.await_quiet()?;
    let before = cpu(running.pid())?;
    let kinds: Vec<Kind> = tool.sights.iter().map(|sight| sight.kind).collect();
    // What a tool still does of the calls before would slow the next ones where two processors share a core, and is counted
    // as its CPU time anyway.
    let (cells, made) = cells(plan, &kinds, || running.await_quiet())?;
    running.await_quiet()?;
    let after = cpu(running.pid())?;
    let (resident, most_resident) = memory(running.pid())?;
    let cpu = (after.0 + after.1).saturating_sub(before.0 + before.1);
    let calls = made
        .iter()
        .flat_map(|(_, made)| Kind::ALL.map(|kind| made.of(kind)))
        .sum();
    let cost = Cost {
        ready_ms: milliseconds(running.ready_after),
        cpu_ms: milliseconds(cpu),
        calls,
        resident,
        most_resident,
        maps: Held::by(running.pid())?.map_memory(),
    };
    Ok(Turn {
        cells,
        cost: Some(cost),
        told: running.stop(plan, &made)?,
        ..empty(Some(tool), 0)
    })
}

fn cells(plan: &Plan, kinds: &[Kind], mut rest: impl FnMut() -> Result<()>) -> Result<(Vec<Cell>, MadeOn)> {
    let mut made = Port::ALL.map(|port| (port, Made::default()));
    let mut cells = Vec::new();
    for kind in kinds {
        for (port, made) in &mut made {
            let mut rounds = Vec::new();
            for _ in 0..plan.rounds {
                rounds.push(round(*kind, MEASURED, plan.port(*port), plan.calls, made)?);
                rest()?;
            }
            cells.push(Cell {
                kind: *kind,
                port: *port,
                rounds,
            });
        }
    }
    Ok((cells, made))
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::run;
    use crate::calls::Kind;
    use crate::plan::{Plan, Port, Sight, Tool, Turn};

    fn tool(name: &str, script: &str) -> Tool {
        Tool {
            name: name.to_owned(),
            command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
            says: Some("ready".to_owned()),
            sights: vec![Sight {
                kind: Kind::Bind,
                line: vec!["never".to_owned()],
                tells: vec![Port::Named],
                probed: false,
            }],
        }
    }

    #[test]
    fn a_tool_stands_between_two_turns_without_one_and_a_refused_one_is_tried_once() {
        let folder = std::env::temp_dir().join(format!("workload-turns-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let plan = Plan {
            repetitions: 2,
            rounds: 2,
            calls: 3,
            named: 21_895,
            other: 21_896,
            tools: vec![
                tool(
                    "waits",
                    "echo ready >&2; trap 'exit 0' INT; while :; do sleep 0.01; done",
                ),
                tool("ends", "echo no such hook >&2; exit 1"),
            ],
        };
        let mut written = Vec::new();
        run(&plan, &folder, &mut written).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        let turns: Vec<Turn> = String::from_utf8(written)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let names: Vec<&str> = turns.iter().map(|turn| turn.tool.as_deref().unwrap_or("-")).collect();
        assert_eq!(names, ["-", "waits", "-", "ends", "-", "waits", "-"]);
        let waits = &turns[1];
        assert_eq!(waits.cells.len(), 2, "one kind on two ports");
        assert_eq!(waits.told.first().map(|told| (told.made, told.lines)), Some((6, 0)));
        assert!(waits.cost.is_some_and(|cost| cost.most_resident > 0));
        let refusal = turns[3].refusal.as_deref();
        assert_eq!(refusal, Some("it ended with status 1: no such hook"));
    }
}
