//! "Did you mean": the service name nearest to one that does not exist.

use super::table::Registry;

/// Names longer than this are not compared; RFC 6335 allows 15 bytes, the longest in the registry has 36.
const LONGEST: usize = 40;

impl Registry {
    /// The service name that is fewest edits away from `name`, whatever its case; `None` where all are far.
    ///
    /// An edit is a byte inserted, removed or replaced, or two neighbours swapped. Up to a third of the name's bytes
    /// may differ, three at most. Of names that are equally near, one that begins alike wins, then the lowest port.
    #[must_use]
    pub fn nearest_name(&self, name: &str) -> Option<&str> {
        let wanted = name.as_bytes();
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
            let Some(edits) = edits(wanted, service.as_bytes(), limit) else {
                continue;
            };
            let begins_otherwise = !first_byte(wanted).eq_ignore_ascii_case(&first_byte(service.as_bytes()));
            let port = registration.ports().map_or(u32::MAX, |ports| u32::from(ports.first));
            let rank = (edits, begins_otherwise, port);
            if nearest.is_none_or(|(best, _)| rank < best) {
                nearest = Some((rank, service));
            }
        }
        nearest.map(|(_, service)| service)
    }
}

fn first_byte(text: &[u8]) -> u8 {
    text.first().copied().unwrap_or_default()
}

/// The number of edits between two names (optimal string alignment), or `None` where it is above `limit` or a name is
/// too long to compare.
fn edits(one: &[u8], other: &[u8], limit: usize) -> Option<usize> {
    if one.len().abs_diff(other.len()) > limit || other.len() > LONGEST || one.len() > LONGEST {
        return None;
    }
    // Rows of the table of distances: the one above, and the one above that, from which a swap continues.
    let mut above_that = [0_usize; LONGEST + 1];
    let mut above: [usize; LONGEST + 1] = std::array::from_fn(|column| column);
    let mut a_before = None;
    for (row, a) in one.iter().map(u8::to_ascii_lowercase).enumerate() {
        let mut left = row + 1;
        let mut lowest = left;
        let mut current = [left; LONGEST + 1];
        let mut b_before = None;
        let mut swapped_from = None;
        let cells = current.iter_mut().skip(1).zip(above.windows(2)).zip(above_that);
        for (b, ((cell, upper), far)) in other.iter().map(u8::to_ascii_lowercase).zip(cells) {
            let [diagonal, up] = *upper else { return None };
            let mut best = (diagonal + usize::from(a != b)).min(up + 1).min(left + 1);
            if let Some(from) = swapped_from
                && (a_before, b_before) == (Some(b), Some(a))
            {
                best = best.min(from + 1);
            }
            *cell = best;
            left = best;
            lowest = lowest.min(best);
            b_before = Some(b);
            swapped_from = Some(far);
        }
        if lowest > limit {
            return None;
        }
        above_that = above;
        above = current;
        a_before = Some(a);
    }
    above.get(other.len()).copied().filter(|edits| *edits <= limit)
}
