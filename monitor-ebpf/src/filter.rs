//! The filter: one byte a port, one bit an event.

use crate::maps::FILTER;

/// Whether events of this kind (`WATCH_*`) are reported for this port (host order).
#[inline(always)]
pub fn passes(port: u16, watch: u8) -> bool {
    match FILTER.get_ptr(0) {
        // SAFETY: the value has one byte for each u16. A pointer, not an index: an index would leave a bounds check.
        Some(ports) => unsafe { *ports.cast::<u8>().add(port as usize) & watch != 0 },
        None => false,
    }
}
