//! The listeners that were reported, so that their end can name who opened them.

use core::ptr::{self, NonNull};

use aya_ebpf::EbpfContext;
use aya_log_ebpf::warn;
use monitor_common::{LOST_LISTENERS, Record};

use super::places;
use crate::{
    emit::{Draft, Paper, Slot, Writing},
    maps::{LISTENER_PLACES, LISTENERS, count_loss},
};

/// Where a listener is described.
pub enum Entry {
    /// At its place, where its record will be kept.
    Place(NonNull<Paper>),
    /// On a draft: another one has its place.
    Draft(Writing),
}

impl Entry {
    #[inline(always)]
    pub fn of(slot: Slot, socket: u64) -> Option<Self> {
        match places::claim(&LISTENER_PLACES, socket) {
            Some(paper) => Some(Self::Place(paper)),
            None => Draft::of(slot).map(Self::Draft),
        }
    }

    #[inline(always)]
    pub fn paper(&mut self) -> &mut Paper {
        match self {
            // SAFETY: the place is this listener's.
            Self::Place(paper) => unsafe { paper.as_mut() },
            Self::Draft(draft) => draft,
        }
    }

    /// Keeps the record.
    #[inline(always)]
    pub fn keep<C: EbpfContext>(self, ctx: &C, socket: u64) {
        let Self::Draft(draft) = self else { return };
        if LISTENERS.insert(socket, &draft.record, 0).is_err() && count_loss::<LOST_LISTENERS>() == 0 {
            warn!(
                ctx,
                "the map of reported listeners is full: ends of further listeners are left to the reconcile"
            );
        }
    }

    /// Lets go of it: it is no listener.
    #[inline(always)]
    pub fn leave(self) {
        if let Self::Place(paper) = self {
            // SAFETY: it was claimed.
            unsafe { places::leave(paper) };
        }
    }
}

/// Keeps the record of a listener that no hook has seen.
#[inline(always)]
pub fn remember(record: &Record) {
    let socket = record.socket;
    if places::find(&LISTENER_PLACES, socket).is_some() || LISTENERS.get_ptr(socket).is_some() {
        return;
    }
    match places::claim(&LISTENER_PLACES, socket) {
        // SAFETY: the place is this listener's; both are records.
        Some(paper) => unsafe { copy(record, &raw mut (*paper.as_ptr()).record) },
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
    place: Option<NonNull<Paper>>,
    record: *mut Record,
}

impl Reported {
    /// The one with this socket, which is the caller's.
    #[inline(always)]
    pub fn find(socket: u64) -> Option<Self> {
        let place = places::find(&LISTENER_PLACES, socket);
        let record = match place {
            Some(paper) => paper.cast::<Record>().as_ptr(),
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
        if let Some(paper) = self.place {
            // SAFETY: it was found there.
            unsafe { places::leave(paper) };
        } else {
            // An entry that is gone already is no loss.
            let _ = LISTENERS.remove(self.socket);
        }
    }
}
