//! The listeners that were reported, so that their end can name who opened them.

use core::ptr;

use aya_ebpf::EbpfContext;
use aya_log_ebpf::warn;
use monitor_common::{LOST_LISTEN, LOST_LISTENERS, Record};

use super::places::Place;
use crate::{
    emit::Paper,
    maps::{LISTENER_PLACES, LISTENERS, count_loss},
};

/// Where a listener is described: at its place, where its record will be kept, or at a spare one.
pub struct Entry {
    place: Place<Paper>,
    is_spare: bool,
}

impl Entry {
    /// One for this socket; a loss where there is none.
    #[inline(always)]
    pub fn of(socket: u64) -> Option<Self> {
        let Some((place, is_spare)) = LISTENER_PLACES.claim_any(socket) else {
            count_loss::<LOST_LISTEN>();
            return None;
        };
        Some(Self { place, is_spare })
    }

    #[inline(always)]
    pub fn paper(&mut self) -> &mut Paper {
        // SAFETY: the place is this listener's.
        unsafe { &mut *self.place.kept() }
    }

    /// Keeps the record.
    #[inline(always)]
    pub fn keep<C: EbpfContext>(mut self, ctx: &C, socket: u64) {
        if !self.is_spare {
            return;
        }
        let record: &Record = &self.paper().record;
        if LISTENERS.insert(socket, record, 0).is_err() && count_loss::<LOST_LISTENERS>() == 0 {
            warn!(
                ctx,
                "the map of reported listeners is full: ends of further listeners are left to the reconcile"
            );
        }
        self.place.leave();
    }

    /// Lets go of it: it is no listener.
    #[inline(always)]
    pub fn leave(self) {
        self.place.leave();
    }
}

/// Keeps the record of a listener that no hook has seen.
#[inline(always)]
pub fn remember(record: &Record) {
    let socket = record.socket;
    if Reported::find(socket).is_some_and(|mut reported| reported.record().inode == record.inode) {
        return;
    }
    // What is kept else is of one that had the same memory, and ended unseen.
    match LISTENER_PLACES.claim(socket) {
        // SAFETY: the place is this listener's; both are records.
        Some(place) => unsafe { copy(record, &raw mut (*place.kept()).record) },
        None => {
            // What does not fit is told at its end by the reconcile.
            let _ = LISTENERS.insert(socket, record, 0);
        }
    }
}

/// Copies a record word by word: left to itself the compiler calls a function that moves bytes.
///
/// # Safety
/// As [`ptr::copy_nonoverlapping`].
#[inline(always)]
unsafe fn copy(from: *const Record, to: *mut Record) {
    let (from, to) = (from.cast::<u64>(), to.cast::<u64>());
    let mut word = 0;
    while word < Record::SIZE / size_of::<u64>() {
        // SAFETY: a record is integers without padding, its size and alignment are those of words (asserted where it is
        // defined).
        unsafe { ptr::write_volatile(to.add(word), ptr::read_volatile(from.add(word))) };
        word += 1;
    }
}

/// A listener that was reported.
pub struct Reported {
    socket: u64,
    place: Option<Place<Paper>>,
    record: *mut Record,
}

impl Reported {
    /// The one with this socket, which is the caller's.
    #[inline(always)]
    pub fn find(socket: u64) -> Option<Self> {
        let place = LISTENER_PLACES.find(socket);
        let record = match &place {
            // SAFETY: a pointer into a map.
            Some(place) => unsafe { &raw mut (*place.kept()).record },
            None => LISTENERS.get_ptr_mut(socket)?,
        };
        Some(Self { socket, place, record })
    }

    #[inline(always)]
    pub fn record(&mut self) -> &mut Record {
        // SAFETY: a record in a map, of a listener that is the caller's.
        unsafe { &mut *self.record }
    }

    /// It listens no more.
    #[inline(always)]
    pub fn forget(self) {
        if let Some(place) = self.place {
            place.leave();
        } else {
            // An entry that is gone already is no loss.
            let _ = LISTENERS.remove(self.socket);
        }
    }
}
