//! How selectors lie to each other: which say the same, and which expectations leave a rule nothing. What those take, it never
//! tells.

use super::{Glob, Selector, UserIs, covers};
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

/// Whether two selectors mean the same, however they are written.
pub fn says_the_same(one: &Selector, other: &Selector) -> bool {
    let asked = |selector: &Selector, situation| {
        let asks = takes(selector, situation);
        let ports = asks.then(|| ports(selector, situation.protocol));
        merged(ports.unwrap_or_default())
    };
    let has = |these: &[Glob], those: &[Glob]| those.iter().all(|glob| these.contains(glob));
    let same = |these: &[Glob], those: &[Glob]| has(these, those) && has(those, these);
    one.names_ports == other.names_ports
        && situations().all(|situation| asked(one, situation) == asked(other, situation))
        && same(&one.exe, &other.exe)
        && same(&one.unit, &other.unit)
        && same(&one.container, &other.container)
        && has_users(&one.user, &other.user)
        && has_users(&other.user, &one.user)
}

/// Whether these users are among those, by name or by number.
fn has_users(those: &[UserIs], these: &[UserIs]) -> bool {
    these.iter().all(|user| those.iter().any(|other| other.is_same(user)))
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
    let user = wide.user.is_empty() || (!narrow.user.is_empty() && has_users(&wide.user, &narrow.user));
    user && takes_all(&wide.exe, &narrow.exe)
        && takes_all(&wide.unit, &narrow.unit)
        && takes_all(&wide.container, &narrow.container)
}

/// Whether these patterns take all that those take, as far as that is plain to see.
fn takes_all(these: &[Glob], those: &[Glob]) -> bool {
    let taken = |glob: &Glob| these.iter().any(|pattern| pattern.takes_all_of(glob));
    these.is_empty() || (!those.is_empty() && those.iter().all(taken))
}
