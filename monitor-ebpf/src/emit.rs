//! The only writer to the ring. What does not fit is counted by kind.

use core::ptr;

use monitor_common::{
    FLAG_KERNEL_THREAD, KIND_ACCEPT, KIND_BIND, KIND_CONNECT, KIND_UNLISTEN, LOST_ACCEPT, LOST_BIND, LOST_CONNECT,
    LOST_LISTEN, LOST_UNLISTEN, Record,
};

use crate::{
    kernel::{
        executable::{Executable, ROOM, place},
        task::Task,
    },
    maps::{DRAFTS, EVENTS, count_loss},
};

/// Where a record is put together, with the names that may follow it: more than a program's stack holds.
#[repr(C)]
pub struct Draft {
    pub record: Record,
    names: [u8; ROOM],
}

/// Which program a draft belongs to. Each has one of its own on each CPU: a program can be preempted by another, but not by
/// itself, since the kernel keeps it from running twice at a time on one CPU.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Slot {
    Listen,
    ListenStop,
    Bind4,
    Bind6,
    Connect4,
    Connect6,
    Outcome,
    Accept,
    UdpUnhash,
    UdpConnect4,
    UdpConnect6,
    SetState,
}

/// Number of drafts on each CPU.
pub const SLOTS: u32 = Slot::SetState as u32 + 1;

impl Draft {
    /// This CPU's draft of a program. Whatever it held is overwritten.
    #[inline(always)]
    pub fn of(slot: Slot) -> Option<&'static mut Self> {
        // SAFETY: the map's value is a `Draft`, of any bytes, and nobody else's while the program runs: see `Slot`.
        DRAFTS.get_ptr_mut(slot as u32).map(|draft| unsafe { &mut *draft })
    }

    /// Sends the record to the agent, or counts it as lost.
    #[inline(always)]
    pub fn emit(&self) {
        if EVENTS.output::<Record>(&self.record, 0).is_err() {
            lost(self.record.kind);
        }
    }

    /// Sends the record with the path of the opener's executable behind it.
    #[inline(always)]
    pub fn emit_with_path(&mut self, opener: &Task) {
        if self.record.flags & FLAG_KERNEL_THREAD != 0 {
            self.emit();
            return;
        }
        let executable: Executable = opener.executable();
        // SAFETY: the names are `ROOM` bytes, and lie right behind the record.
        unsafe {
            let (length, flags) = executable.write_path((&raw mut self.names).cast());
            let length = place(length);
            self.record.flags |= flags;
            self.record.path_bytes = length as u32;
            let bytes = ptr::slice_from_raw_parts((&raw const self.record).cast::<u8>(), Record::SIZE + length);
            if EVENTS.output::<[u8]>(&*bytes, 0).is_err() {
                lost(self.record.kind);
            }
        }
    }
}

#[inline(always)]
fn lost(kind: u32) {
    match kind {
        KIND_UNLISTEN => count_loss::<LOST_UNLISTEN>(),
        KIND_BIND => count_loss::<LOST_BIND>(),
        KIND_CONNECT => count_loss::<LOST_CONNECT>(),
        KIND_ACCEPT => count_loss::<LOST_ACCEPT>(),
        _ => count_loss::<LOST_LISTEN>(),
    };
}

const _: () = assert!(size_of::<Draft>() == Record::SIZE + ROOM);
