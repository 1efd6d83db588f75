//! The only writer to the ring. What does not fit is counted by kind.

use core::{
    ops::{Deref, DerefMut},
    ptr,
};

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use monitor_common::{
    FLAG_PATH_CUT, KIND_ACCEPT, KIND_BIND, KIND_CONNECT, KIND_UNLISTEN, LOST_ACCEPT, LOST_BIND, LOST_CONNECT,
    LOST_LISTEN, LOST_UNLISTEN, Record,
};

use crate::{
    kernel::executable::{Executable, ROOM, place},
    maps::{ATTENTION, DRAFTS, EVENTS, count_loss},
};

/// Where a record is put together, with the names that may follow it: more than a program's stack holds.
#[repr(C)]
pub struct Paper {
    pub record: Record,
    names: [u8; ROOM],
}

/// A paper of a program.
#[repr(C)]
pub struct Draft {
    paper: Paper,
    /// Not 0 while the program writes it.
    busy: u64,
}

/// A draft that a program writes, until it lets go of it.
pub struct Writing(&'static mut Draft);

impl Drop for Writing {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.busy = 0;
    }
}

impl Deref for Writing {
    type Target = Paper;

    #[inline(always)]
    fn deref(&self) -> &Paper {
        &self.0.paper
    }
}

impl DerefMut for Writing {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Paper {
        &mut self.0.paper
    }
}

/// Which program a draft belongs to. Each has two of its own on each CPU: before 6.1 the kernel lets a program at a raw
/// tracepoint, which runs in system calls, be interrupted by itself, running where packets are received. From then on it
/// leaves the inner run out, and counts that.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Slot {
    Bind4,
    Bind6,
    Connect4,
    Connect6,
    Accept,
    UdpConnect4,
    UdpConnect6,
    SetState,
    OpenFiles,
}

/// Number of programs that write drafts.
const SLOTS: u32 = Slot::OpenFiles as u32 + 1;

/// Number of drafts on each CPU.
pub const DRAFTS_MAX: u32 = 2 * SLOTS;

impl Draft {
    /// This CPU's draft of a program. Whatever it held is overwritten.
    #[inline(always)]
    pub fn of(slot: Slot) -> Option<Writing> {
        let first = DRAFTS.get_ptr_mut(slot as u32)?;
        // SAFETY: the map's value is a `Draft`, of any bytes, and of this CPU alone.
        let draft = if unsafe { (*first).busy } == 0 {
            first
        } else {
            DRAFTS.get_ptr_mut(slot as u32 + SLOTS)?
        };
        // SAFETY: nobody else writes it: see `Slot`.
        let draft = unsafe { &mut *draft };
        draft.busy = 1;
        Some(Writing(draft))
    }
}

impl Paper {
    /// Sends the record to the agent, or counts it as lost.
    #[inline(always)]
    pub fn emit(&self) {
        emit(&self.record);
    }

    /// Sends the record with the path of the opener's executable behind it.
    #[inline(always)]
    pub fn emit_with_path(&mut self, executable: &Executable) {
        let length = self.write_path(executable);
        // SAFETY: so many bytes are the record and its names.
        unsafe {
            let bytes = ptr::slice_from_raw_parts((&raw const self.record).cast::<u8>(), length);
            if EVENTS.output::<[u8]>(&*bytes, wake(self.record.time)).is_err() {
                lost(self.record.kind);
            }
        }
    }

    /// Writes the path of the opener's executable behind the record. Gives how many bytes both are.
    #[inline(always)]
    pub fn write_path(&mut self, executable: &Executable) -> usize {
        // SAFETY: the names are `ROOM` bytes, and lie right behind the record.
        unsafe {
            if !executable.write_path((&raw mut self.names).cast(), &raw mut self.record.path_bytes) {
                self.record.flags |= FLAG_PATH_CUT;
            }
            Record::SIZE + place(ptr::read_volatile(&raw const self.record.path_bytes) as usize)
        }
    }
}

/// Sends a record to the agent, or counts it as lost.
#[inline(always)]
pub fn emit(record: &Record) {
    if EVENTS.output::<Record>(record, wake(record.time)).is_err() {
        lost(record.kind);
    }
}

/// Whether the agent is woken for a record of this moment: the flags of `bpf_ringbuf_output`. 0 wakes it where it has read
/// all that lay there before.
#[inline(always)]
fn wake(time: u64) -> u64 {
    const { assert!(BPF_RB_NO_WAKEUP == 1) };
    // SAFETY: an integer, which is written whole.
    let until = unsafe { ptr::read_volatile(ATTENTION.as_ptr()) };
    // 1 where it is later: neither has the highest bit, and without a branch this is two instructions.
    time.wrapping_sub(until) >> 63
}

#[inline(always)]
fn lost(kind: u16) {
    match kind {
        KIND_UNLISTEN => count_loss::<LOST_UNLISTEN>(),
        KIND_BIND => count_loss::<LOST_BIND>(),
        KIND_CONNECT => count_loss::<LOST_CONNECT>(),
        KIND_ACCEPT => count_loss::<LOST_ACCEPT>(),
        _ => count_loss::<LOST_LISTEN>(),
    };
}

const _: () = assert!(size_of::<Paper>() == Record::SIZE + ROOM);
