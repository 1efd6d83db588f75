//! The listeners that were reported, so that their end can name who opened them.

use aya_ebpf::EbpfContext;
use aya_log_ebpf::warn;
use monitor_common::{LOST_LISTENERS, Record};

use super::places;
use crate::{
    emit::copy,
    maps::{LISTENER_PLACES, LISTENERS, count_loss},
};

/// Keeps the record of a listener.
#[inline(always)]
pub fn remember<C: EbpfContext>(ctx: &C, record: &Record) {
    if let Some(place) = places::claim(&LISTENER_PLACES, record.socket) {
        // SAFETY: both are records, and the place is this listener's.
        unsafe { copy(record, place) };
        return;
    }
    if LISTENERS.insert(record.socket, record, 0).is_err() && count_loss::<LOST_LISTENERS>() == 1 {
        warn!(
            ctx,
            "the map of reported listeners is full: ends of further listeners are left to the reconcile"
        );
    }
}

/// Hands out the record of a listener, if it was reported, and forgets it then.
#[inline(always)]
pub fn forget(socket: u64, report: impl FnOnce(&mut Record)) {
    let place = places::find(&LISTENER_PLACES, socket);
    let Some(record) = place.or_else(|| LISTENERS.get_ptr_mut(socket)) else {
        return;
    };
    // SAFETY: a record in a map, of a listener that is the caller's.
    unsafe {
        report(&mut *record);
        if place.is_some() {
            places::leave(record);
        } else {
            // An entry that is gone already is no loss.
            let _ = LISTENERS.remove(socket);
        }
    }
}
