//! The filter: one byte a port, one bit an event.

use core::ptr;

use crate::maps::FILTER;

/// Whether events of this kind (`WATCH_*`) are reported for this port (host order).
#[inline(always)]
pub fn passes(port: u16, watch: u8) -> bool {
    // SAFETY: the value has one byte for each u16, which the agent writes at any time. A pointer, not an index: an index would
    // leave a bounds check.
    unsafe { ptr::read_volatile(FILTER.as_ptr().cast::<u8>().add(port as usize)) & watch != 0 }
}
