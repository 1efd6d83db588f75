//! What the guest measured, as rows with the targets beside them.

use std::time::Duration;

use workload::calls::Kind;
use workload::plan::{Cost, Port, Turn};

use super::figures::{Figure, What, bare, costs, figure, refusal, told};
use super::guest::Measured;
use super::guests;
use super::tools::{backends, is_ours, with_all_ports, with_one_port};
use crate::bench::sample::{Shown, Spread};
use crate::bench::table::{Table, mebibytes};

/// What the guest's clock counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Nanoseconds,
    /// As many as it would take at one a nanosecond.
    Instructions,
}

impl Unit {
    fn shown(self, count: f64) -> String {
        match self {
            Self::Nanoseconds => Shown(Duration::from_secs_f64((count / 1e9).max(0.0))).to_string(),
            Self::Instructions => format!("{count:.0} instr."),
        }
    }
}

/// Adds everything that a guest measured.
pub(super) fn add(measured: &Measured, table: &mut Table) {
    let Measured {
        version,
        unit,
        turns,
        plan,
        ..
    } = measured;
    table.plain(
        "in guests",
        Shown(measured.took).to_string(),
        format!(
            "kernel {version}, emulated, {} counted; a call with the tool / without, each time beside the calls right before and \
             after it; median of {}; half a peer: what adds half of what the cheapest peer adds that sees the same; a tool \
             also tells the calls that prepare others",
            match unit {
                Unit::Nanoseconds => "time is",
                Unit::Instructions => "instructions are",
            },
            guests(plan.repetitions)
        ),
    );
    let names: Vec<&str> = plan.tools.iter().map(|tool| tool.name.as_str()).collect();
    for kind in Kind::ALL {
        for port in Port::ALL {
            calls(measured, &names, kind, port, table);
        }
    }
    for backend in backends() {
        many_ports(turns, backend, table);
    }
    for name in &names {
        tool(turns, name, table);
    }
    if let Some(why) = &measured.broken_off {
        table.not_measured("the rest of the guest", why.clone());
    }
}

/// One call on one port: bare, with the agent in each way, with each peer.
fn calls(measured: &Measured, names: &[&str], kind: Kind, port: Port, table: &mut Table) {
    let Measured { unit, turns, .. } = measured;
    let Some(without) = bare(turns, kind, port, What::Median) else {
        return;
    };
    table.plain(
        &format!("{}, {} port: bare", kind.name(), port.name()),
        unit.shown(without.median),
        format!(
            "{} to {}, {} times",
            unit.shown(without.least),
            unit.shown(without.greatest),
            without.times
        ),
    );
    let found = |name: &&str| Some((*name).to_owned()).zip(figure(turns, name, kind, port, What::Median));
    let (ours, peers): (Vec<_>, Vec<_>) = names.iter().filter_map(found).partition(|(name, _)| is_ours(name));
    // Of the peers the cheapest that sees the same: one that filters a port away sees nothing of it.
    let cheapest_that_sees = |port: Port| {
        // A UDP socket on any port counts as a listener in the end, so the agent sees each: so does a peer that tells of all.
        let alike = match kind {
            Kind::UdpBind => Port::Named,
            _ => port,
        };
        peers
            .iter()
            .filter_map(|(name, _)| figure(turns, name, kind, alike, What::Median))
            .min_by(|one, other| one.ratio.median.total_cmp(&other.ratio.median))
    };
    for (name, figure) in &ours {
        // All ports named: then the other one is named as well.
        let as_port = if backends().any(|backend| name.starts_with(&with_all_ports(backend))) {
            Port::Named
        } else {
            port
        };
        let cheapest = cheapest_that_sees(as_port);
        let goal = if is_a_stopgap(name) {
            Goal {
                fixed: None,
                peer: cheapest.map(|peer| ("a peer", peer.ratio.median)),
            }
        } else {
            Goal {
                fixed: fixed_target(kind, as_port),
                peer: cheapest.map(|peer| ("half a peer", 1.0 + (peer.ratio.median - 1.0).max(0.0) / 2.0)),
            }
        };
        let more = more(measured, name, kind, port, figure);
        let what = format!("  {name}");
        let shown = format!("{:.3}", figure.ratio.median);
        // What a backend does not see costs nothing, and meets no target.
        let sees = told(turns, name, kind, Port::Named).is_some_and(|(_, lines)| lines > 0);
        match goal.shown().filter(|_| sees) {
            Some(target) => table.must(&what, shown, &target, goal.is_met(figure.ratio.median), more),
            None => table.plain(&what, shown, more),
        }
    }
    for (name, figure) in &peers {
        table.plain(
            &format!("  {name}"),
            format!("{:.3}", figure.ratio.median),
            more(measured, name, kind, port, figure),
        );
    }
}

/// What a ratio must not exceed.
#[derive(Clone, Copy, Debug)]
struct Goal {
    /// DESIGN.md's number.
    fixed: Option<f64>,
    /// What the cheapest peer adds in the same run, or half of it, and what that is called.
    peer: Option<(&'static str, f64)>,
}

impl Goal {
    fn shown(self) -> Option<String> {
        match (self.fixed, self.peer) {
            (Some(fixed), Some((peer, limit))) => Some(format!("≤ {fixed:.2}, {peer} ≤ {limit:.3}")),
            (Some(fixed), None) => Some(format!("≤ {fixed:.2}")),
            (None, Some((peer, limit))) => Some(format!("{peer} ≤ {limit:.3}")),
            (None, None) => None,
        }
    }

    fn is_met(self, ratio: f64) -> bool {
        [self.fixed, self.peer.map(|(_, limit)| limit)]
            .into_iter()
            .flatten()
            .all(|limit| ratio <= limit)
    }
}

/// Whether it is a backend that no kernel of the guests picks by itself: DESIGN.md's numbers are of the one that is
/// picked. A kprobe and its return cost what they cost a peer that uses them too, so it must not cost more than one.
fn is_a_stopgap(tool: &str) -> bool {
    tool.contains(" kprobe,")
}

/// The numbers of DESIGN.md's "Figures to reach".
fn fixed_target(kind: Kind, port: Port) -> Option<f64> {
    match (kind, port) {
        (Kind::Listen, _) | (Kind::Bind, Port::Named) => Some(2.2),
        (Kind::Bind, Port::Other) | (Kind::Connect, Port::Named) => Some(1.5),
        (Kind::Connect, Port::Other) => Some(1.1),
        (Kind::Accept | Kind::UdpBind, _) => None,
    }
}

fn more(measured: &Measured, name: &str, kind: Kind, port: Port, found: &Figure) -> String {
    let Measured { unit, turns, .. } = measured;
    let mut parts = vec![
        format!("{} of {}", range(&found.ratio), found.ratio.times),
        added(*unit, found.added.median),
    ];
    if let Some(mean) = figure(turns, name, kind, port, What::Mean) {
        parts.push(format!("mean {:.2} ({})", mean.ratio.median, range(&mean.ratio)));
    }
    if let Some(close) = figure(turns, name, kind, port, What::WithClose) {
        parts.push(format!(
            "with close {:.2} ({}), {}",
            close.ratio.median,
            range(&close.ratio),
            added(*unit, close.added.median)
        ));
    }
    parts.push(match told(turns, name, kind, port) {
        None => "not to be told".to_owned(),
        Some((made, 0)) => format!("told none of {made}"),
        Some((made, lines)) if lines == made => format!("told all {made}"),
        Some((made, lines)) if lines < made => format!("lost {} of {made}", made - lines),
        Some((made, lines)) => format!("told {lines} of {made}: {} twice", lines - made),
    });
    parts.join("; ")
}

/// 65,536 named ports beside one.
fn many_ports(turns: &[Turn], backend: &str, table: &mut Table) {
    let of = |tool: &str, kind| figure(turns, tool, kind, Port::Named, What::Median).map(|found| found.ratio.median);
    let each = Kind::ALL.into_iter().filter_map(|kind| {
        let (one, all) = (of(&with_one_port(backend), kind)?, of(&with_all_ports(backend), kind)?);
        Some((kind, all / one))
    });
    let each: Vec<(Kind, f64)> = each.collect();
    let Some(greatest) = Spread::of(each.iter().map(|(_, ratio)| *ratio)).map(|spread| spread.greatest) else {
        return;
    };
    let listed: Vec<String> = each
        .iter()
        .map(|(kind, ratio)| format!("{} {ratio:.2}", kind.name()))
        .collect();
    table.plain(
        &format!("{backend}: all ports named / one, at most"),
        format!("{greatest:.2}"),
        listed.join(", "),
    );
}

/// What a tool costs besides its hooks.
fn tool(turns: &[Turn], name: &str, table: &mut Table) {
    if let Some(why) = refusal(turns, name) {
        table.plain(name, "not run".to_owned(), why.to_owned());
    }
    let costs = costs(turns, name);
    let middle = |of: fn(&Cost) -> u64| {
        let mut sorted: Vec<u64> = costs.iter().map(of).collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or(0)
    };
    let Some(most) = costs.iter().map(|cost| cost.most_resident).max() else {
        return;
    };
    let lines: u64 = turns
        .iter()
        .filter(|turn| turn.tool.as_deref() == Some(name))
        .flat_map(|turn| &turn.told)
        .map(|told| told.lines)
        .sum();
    let cpu: u64 = costs.iter().map(|cost| cost.cpu_ms).sum();
    table.plain(
        &format!("{name}: memory"),
        mebibytes(middle(|cost| cost.resident)),
        format!(
            "at most {}; maps in the kernel {}; CPU {} for {lines} lines{}; ready after {}",
            mebibytes(most),
            mebibytes(middle(|cost| cost.maps)),
            Shown(Duration::from_millis(cpu)),
            a_line(cpu, lines),
            Shown(Duration::from_millis(middle(|cost| cost.ready_ms))),
        ),
    );
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for people to read, with one digit behind the point"
)]
fn a_line(cpu_ms: u64, lines: u64) -> String {
    if lines == 0 {
        return String::new();
    }
    format!(" ({:.1} µs a line)", cpu_ms as f64 * 1e3 / lines as f64)
}

fn range(spread: &Spread) -> String {
    format!("{:.2}–{:.2}", spread.least, spread.greatest)
}

fn added(unit: Unit, more: f64) -> String {
    let sign = if more < 0.0 { "−" } else { "+" };
    format!("{sign}{}", unit.shown(more.abs()))
}

#[cfg(test)]
mod tests {
    use workload::calls::Kind;
    use workload::plan::Port;

    use super::{Goal, Unit, added, fixed_target};

    #[test]
    fn both_goals_must_be_met_where_there_are_both() {
        let goal = Goal {
            fixed: fixed_target(Kind::Bind, Port::Other),
            peer: Some(("half a peer", 1.4)),
        };
        assert_eq!(goal.shown().as_deref(), Some("≤ 1.50, half a peer ≤ 1.400"));
        assert!(goal.is_met(1.4) && !goal.is_met(1.45) && !goal.is_met(1.6));
    }

    #[test]
    fn a_call_without_any_goal_has_none() {
        let goal = Goal {
            fixed: fixed_target(Kind::Accept, Port::Named),
            peer: None,
        };
        assert_eq!(goal.shown(), None);
    }

    #[test]
    fn what_a_call_takes_longer_is_shown_with_its_sign() {
        assert_eq!(added(Unit::Nanoseconds, 3_210.0), "+3.21 µs");
        assert_eq!(added(Unit::Nanoseconds, -40.0), "−0.04 µs");
        assert_eq!(added(Unit::Instructions, 1_056.0), "+1056 instr.");
    }
}
