//! The only writer to the ring. What does not fit is counted by kind.

use monitor_common::{KIND_UNLISTEN, LOST_LISTEN, LOST_UNLISTEN, Record};

use crate::maps::{EVENTS, count_loss};

/// Sends a record to the agent, or counts it as lost.
#[inline(always)]
pub fn emit(record: &Record) {
    if EVENTS.output::<Record>(record, 0).is_err() {
        if record.kind == KIND_UNLISTEN {
            count_loss::<LOST_UNLISTEN>();
        } else {
            count_loss::<LOST_LISTEN>();
        }
    }
}
