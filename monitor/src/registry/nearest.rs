//! "Did you mean": the service name nearest to one that does not exist.

use super::Registry;

/// Names longer than this are not compared; RFC 6335 allows 15 bytes, the longest in the registry has 36.
pub(super) const LONGEST: usize = 40;

impl Registry {
    /// The service name that is fewest edits away from `name`, whatever its case; `None` where all are far.
    ///
    /// An edit is a byte inserted, removed or replaced, or two neighbours swapped. Up to a third of the name's bytes
    /// may differ, three at most. Of names that are equally near, one that begins and ends alike wins, then the lowest
    /// port. Of a name with a dot (`ssh.service`, as a unit is called) the part before it is looked for, unless the
    /// whole is nearer to a name.
    #[must_use]
    pub fn nearest_name(&self, name: &str) -> Option<&str> {
        let part = name.split_once('.').and_then(|(part, _)| self.near(part));
        let nearest = match (part, self.near(name)) {
            (Some(part), Some(whole)) if whole.edits < part.edits => Some(whole),
            (part, whole) => part.or(whole),
        };
        nearest.map(|near| near.service)
    }

    fn near(&self, name: &str) -> Option<Near<'_>> {
        let wanted = name.to_ascii_lowercase();
        let limit = (wanted.len() / 3).clamp(1, 3);
        if wanted.is_empty() || wanted.len() > LONGEST {
            return None;
        }
        let mut nearest = None;
        let mut before = "";
        for registration in self.named() {
            let Some(service) = registration.service() else {
                continue;
            };
            if service.eq_ignore_ascii_case(before) {
                continue;
            }
            before = service;
            let Some(edits) = edits(&wanted, &service.to_ascii_lowercase(), limit) else {
                continue;
            };
            let port = registration.ports().map_or(u32::MAX, |ports| u32::from(ports.first));
            let rank = (edits, unlike(&wanted, service), port);
            if nearest.is_none_or(|(best, _)| rank < best) {
                nearest = Some((rank, Near { service, edits }));
            }
        }
        nearest.map(|(_, near)| near)
    }
}

/// A name, and how many edits away it is.
#[derive(Clone, Copy)]
struct Near<'a> {
    service: &'a str,
    edits: usize,
}

/// How unlikely it is that who typed this meant that name, of names that are equally near; 7 at most. Slips are rarest in
/// the first letter, then in the last, and a letter is sooner forgotten than one too many typed. But `sshd`
/// is the program of ssh.
pub(super) fn unlike(typed: &str, name: &str) -> u8 {
    if typed
        .strip_suffix('d')
        .is_some_and(|served| served.eq_ignore_ascii_case(name))
    {
        return 0;
    }
    let differ = |one: Option<u8>, other: Option<u8>| {
        one.map(|byte| byte.to_ascii_lowercase()) != other.map(|byte| byte.to_ascii_lowercase())
    };
    let first = differ(typed.bytes().next(), name.bytes().next());
    let last = differ(typed.bytes().next_back(), name.bytes().next_back());
    u8::from(first) * 4 + u8::from(last) * 2 + u8::from(name.len() < typed.len())
}

/// The number of edits between two lower-case names (optimal string alignment), or `None` where it is above `limit`.
pub(super) fn edits(one: &str, other: &str, limit: usize) -> Option<usize> {
    if one.len().abs_diff(other.len()) > limit || other.len() > LONGEST {
        return None;
    }
    Some(strsim::osa_distance(one, other)).filter(|edits| *edits <= limit)
}
