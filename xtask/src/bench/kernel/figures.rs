//! Ratios: a call with a tool beside it, to the same call right before and right after without one.

use workload::calls::{Kind, Round};
use workload::plan::{Cost, Port, Turn};

use crate::bench::sample::Spread;

/// What of a round is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The call that half of the calls did not exceed.
    Median,
    /// The mean.
    Mean,
    /// A listen and the listener's close together.
    WithClose,
}

impl What {
    fn of(self, round: &Round) -> Option<f64> {
        match self {
            Self::Median => Some(round.median),
            Self::Mean => Some(round.mean),
            Self::WithClose => round.with_close,
        }
    }
}

/// A call beside a tool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    /// With the tool, by without.
    pub(super) ratio: Spread,
    /// Nanoseconds that a call takes longer.
    pub(super) added: Spread,
}

/// Compares a tool's turns with their neighbours. Nothing where it never ran with this call.
pub(super) fn figure(turns: &[Turn], tool: &str, kind: Kind, port: Port, what: What) -> Option<Figure> {
    let mut pairs = Vec::new();
    for (index, turn) in turns.iter().enumerate() {
        if turn.tool.as_deref() != Some(tool) {
            continue;
        }
        let Some(with) = time(turn, kind, port, what) else {
            continue;
        };
        let bare = |turn: &&Turn| turn.tool.is_none();
        let before = turns.iter().take(index).rev().find(bare);
        let after = turns.iter().skip(index + 1).find(bare);
        let neighbours = [before, after].map(|turn| turn.and_then(|turn| time(turn, kind, port, what)));
        if let Some(without) = mean(neighbours.into_iter().flatten()).filter(|without| *without > 0.0) {
            pairs.push((with, without));
        }
    }
    Some(Figure {
        ratio: Spread::of(pairs.iter().map(|(with, without)| with / without))?,
        added: Spread::of(pairs.iter().map(|(with, without)| with - without))?,
    })
}

/// What a call takes with no tool beside it, in nanoseconds.
pub(super) fn bare(turns: &[Turn], kind: Kind, port: Port, what: What) -> Option<Spread> {
    let bare = turns.iter().filter(|turn| turn.tool.is_none());
    Spread::of(bare.filter_map(|turn| time(turn, kind, port, what)))
}

/// The middle round of one turn, in nanoseconds.
fn time(turn: &Turn, kind: Kind, port: Port, what: What) -> Option<f64> {
    let cell = turn.cells.iter().find(|cell| cell.kind == kind && cell.port == port)?;
    Spread::of(cell.rounds.iter().filter_map(|round| what.of(round))).map(|spread| spread.median)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Calls that a tool was to tell in all turns, and lines about them. Nothing where it need not tell any.
pub(super) fn told(turns: &[Turn], tool: &str, kind: Kind, port: Port) -> Option<(u64, u64)> {
    let of_tool = turns.iter().filter(|turn| turn.tool.as_deref() == Some(tool));
    of_tool
        .flat_map(|turn| &turn.told)
        .filter(|told| told.kind == kind && told.port == port)
        .map(|told| (told.made, told.lines))
        .reduce(|sum, next| (sum.0 + next.0, sum.1 + next.1))
}

/// What a tool cost besides, in each turn.
pub(super) fn costs(turns: &[Turn], tool: &str) -> Vec<Cost> {
    let of_tool = turns.iter().filter(|turn| turn.tool.as_deref() == Some(tool));
    of_tool.filter_map(|turn| turn.cost).collect()
}

/// Why a tool did not run, or not to the end.
pub(super) fn refusal<'a>(turns: &'a [Turn], tool: &str) -> Option<&'a str> {
    let mut of_tool = turns.iter().filter(|turn| turn.tool.as_deref() == Some(tool));
    of_tool.find_map(|turn| turn.refusal.as_deref())
}

#[cfg(test)]
mod tests {
    use workload::calls::{Kind, Round};
    use workload::plan::{Cell, Port, Told, Turn};

    use super::{What, bare, figure, refusal, told};

    fn turn(tool: Option<&str>, medians: &[f64]) -> Turn {
        let rounds = medians.iter().map(|median| Round {
            median: *median,
            mean: 2.0 * median,
            with_close: None,
        });
        Turn {
            tool: tool.map(str::to_owned),
            repetition: 0,
            refusal: None,
            cells: vec![Cell {
                kind: Kind::Bind,
                port: Port::Named,
                rounds: rounds.collect(),
            }],
            cost: None,
            told: vec![Told {
                kind: Kind::Bind,
                port: Port::Named,
                made: 10,
                lines: 9,
            }],
        }
    }

    #[test]
    fn a_tool_is_compared_with_the_calls_right_before_and_right_after_it() {
        let turns = [
            turn(None, &[100.0]),
            turn(Some("a"), &[900.0, 300.0, 200.0]),
            turn(None, &[200.0]),
            turn(Some("b"), &[1000.0]),
            turn(None, &[300.0]),
            turn(Some("a"), &[600.0]),
        ];
        let a = figure(&turns, "a", Kind::Bind, Port::Named, What::Median).unwrap();
        // 300 to the mean of 100 and 200; 600 to 300, since nothing came after it.
        assert_eq!((a.ratio.least, a.ratio.greatest, a.ratio.times), (2.0, 2.0, 2));
        assert_eq!((a.added.least, a.added.greatest), (150.0, 300.0));
        let b = figure(&turns, "b", Kind::Bind, Port::Named, What::Mean).unwrap();
        assert_eq!(b.ratio.median, 4.0);
        assert_eq!(figure(&turns, "b", Kind::Bind, Port::Named, What::WithClose), None);
        assert_eq!(figure(&turns, "b", Kind::Bind, Port::Other, What::Median), None);
        let without = bare(&turns, Kind::Bind, Port::Named, What::Median).unwrap();
        assert_eq!((without.median, without.times), (200.0, 3));
    }

    #[test]
    fn what_was_told_adds_up_over_all_turns() {
        let turns = [turn(Some("a"), &[1.0]), turn(None, &[1.0]), turn(Some("a"), &[1.0])];
        assert_eq!(told(&turns, "a", Kind::Bind, Port::Named), Some((20, 18)));
        assert_eq!(told(&turns, "a", Kind::Bind, Port::Other), None);
    }

    #[test]
    fn a_refusal_is_found_by_the_tools_name() {
        let refused = Turn {
            refusal: Some("no such hook".to_owned()),
            ..turn(Some("a"), &[])
        };
        let turns = [turn(None, &[1.0]), refused];
        assert_eq!(refusal(&turns, "a"), Some("no such hook"));
        assert_eq!(refusal(&turns, "b"), None);
        assert_eq!(figure(&turns, "a", Kind::Bind, Port::Named, What::Median), None);
    }
}
