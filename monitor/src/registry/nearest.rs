//! "Did you mean": the service name nearest to one that does not exist.

use super::Registry;

/// Names longer than this are not compared; RFC 6335 allows 15 bytes, the longest in the registry has 36.
pub(super) const LONGEST: usize = 40;

impl Registry {
    /// The service name that is fewest edits away from `name`, whatever its case; `None` where all are far.
    ///
    /// An edit is a byte inserted, removed or replaced, or two neighbours swapped. Up to a third of the name's bytes
    /// may differ, three at most. Of names that are equally near, one that begins alike wins, then the lowest port.
    #[must_use]
    pub fn nearest_name(&self, name: &str) -> Option<&str> {
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
            let begins_otherwise = !first_byte(&wanted).eq_ignore_ascii_case(&first_byte(service));
            let port = registration.ports().map_or(u32::MAX, |ports| u32::from(ports.first));
            let rank = (edits, begins_otherwise, port);
            if nearest.is_none_or(|(best, _)| rank < best) {
                nearest = Some((rank, service));
            }
        }
        nearest.map(|(_, service)| service)
    }
}

fn first_byte(text: &str) -> u8 {
    text.bytes().next().unwrap_or_default()
}

/// The number of edits between two lower-case names (optimal string alignment), or `None` where it is above `limit`.
pub(super) fn edits(one: &str, other: &str, limit: usize) -> Option<usize> {
    if one.len().abs_diff(other.len()) > limit || other.len() > LONGEST {
        return None;
    }
    Some(strsim::osa_distance(one, other)).filter(|edits| *edits <= limit)
}
