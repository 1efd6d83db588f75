//! Which expectations leave a rule nothing: what they take, it never tells.

use super::{Glob, Selector, covers};
use crate::{event::Protocol, event::Scope};

/// All that selectors tell apart beside ports and who is behind a socket.
#[derive(Clone, Copy)]
struct Situation {
    protocol: Protocol,
    scope: Scope,
    host_netns: bool,
    automatic: bool,
}

/// A first and a last port.
type Ports = (u16, u16);

/// The expectations that take all that a rule takes, by their index: each that does so alone, or else the first group that does
/// so together and of which none can be left out.
pub fn hiding(rule: &Selector, expects: &[&Selector]) -> Vec<Vec<usize>> {
    let situations: Vec<_> = situations().filter(|situation| takes(rule, *situation)).collect();
    let hides = |group: &[usize]| {
        situations.iter().all(|situation| {
            let helpful = group.iter().filter_map(|index| expects.get(*index));
            let taken = helpful.filter(|expect| takes(expect, *situation));
            let taken = merged(taken.flat_map(|expect| ports(expect, situation.protocol)).collect());
            let mut asked = ports(rule, situation.protocol).into_iter();
            asked.all(|(first, last)| taken.iter().any(|(from, to)| *from <= first && last <= *to))
        })
    };
    let whoever = expects
        .iter()
        .enumerate()
        .filter(|(_, expect)| takes_whoever(expect, rule));
    let mut group: Vec<_> = whoever.map(|(index, _)| index).collect();
    let alone: Vec<_> = group
        .iter()
        .map(|index| vec![*index])
        .filter(|one| hides(one))
        .collect();
    if !alone.is_empty() || !hides(&group) {
        return alone;
    }
    for index in group.clone() {
        let others: Vec<_> = group.iter().copied().filter(|other| *other != index).collect();
        if hides(&others) {
            group = others;
        }
    }
    vec![group]
}

fn situations() -> impl Iterator<Item = Situation> {
    let protocols = [Protocol::Tcp, Protocol::Udp];
    let scopes = [Scope::Wildcard, Scope::Loopback, Scope::Address];
    let places = scopes.into_iter().flat_map(|scope| [(scope, true), (scope, false)]);
    places.flat_map(move |(scope, host_netns)| {
        let ways = protocols
            .into_iter()
            .flat_map(|protocol| [(protocol, true), (protocol, false)]);
        ways.map(move |(protocol, automatic)| Situation {
            protocol,
            scope,
            host_netns,
            automatic,
        })
    })
}

fn takes(selector: &Selector, situation: Situation) -> bool {
    selector.protocols.contains(&situation.protocol)
        && selector.scope.takes(situation.scope, situation.host_netns)
        && selector.namespace.takes(situation.host_netns)
        && selector.automatic.takes(situation.automatic)
}

/// Its ports of this protocol, in ranges; nothing can listen on port 0.
fn ports(selector: &Selector, protocol: Protocol) -> Vec<Ports> {
    if selector.ports.is_empty() {
        return vec![(1, u16::MAX)];
    }
    let specs = selector.ports.iter().filter(|spec| covers(spec, protocol, spec.first));
    specs.map(|spec| (spec.first.max(1), spec.last)).collect()
}

/// The same ports in ranges of which none touches another.
fn merged(mut ports: Vec<Ports>) -> Vec<Ports> {
    ports.sort_unstable();
    let mut merged: Vec<Ports> = Vec::new();
    for (first, last) in ports {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// Whether one takes whoever the other one takes, as far as that is plain to see.
fn takes_whoever(wide: &Selector, narrow: &Selector) -> bool {
    let user =
        wide.user.is_empty() || (!narrow.user.is_empty() && narrow.user.iter().all(|user| wide.user.contains(user)));
    user && takes_all(&wide.exe, &narrow.exe)
        && takes_all(&wide.unit, &narrow.unit)
        && takes_all(&wide.container, &narrow.container)
}

/// Whether these patterns take all that those take, as far as that is plain to see.
fn takes_all(these: &[Glob], those: &[Glob]) -> bool {
    let plain = |glob: &Glob| !glob.as_str().contains(['*', '?', '[']);
    let taken =
        |glob: &Glob| these.contains(glob) || (plain(glob) && these.iter().any(|pattern| pattern.takes(glob.as_str())));
    these.is_empty() || (!those.is_empty() && those.iter().all(taken))
}
