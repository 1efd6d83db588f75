//! A socket is bound, or the stack refuses it. A UDP socket that is bound and has no peer takes what anybody sends: it is
//! as good as a listener, until it is closed or connected.

use monitor_common::{
    FLAG_AUTOMATIC, FLAG_CONNECTED, FLAG_LATE, HOOK_BIND, HOOK_UNLISTEN, KIND_BIND, LOST_UDP, Record, UDP_COUNTS_AFTER,
    WATCH_BIND,
};

use super::{Seen, describe, listen};
use crate::{
    emit::{Draft, Slot, emit},
    filter,
    kernel::{
        Access,
        sock::{Fields, IPPROTO_TCP, IPPROTO_UDP, Sock},
        sockaddr::SockAddr,
        task,
    },
    maps::{BOUND_UDP, count_loss, count_run},
};

/// `BPF_NOEXIST`: insert only what is not there.
const NOEXIST: u64 = 1;

/// Whether a bind of this socket to this address may be reported once it has returned. Only the return knows which port
/// 0 became.
#[inline(always)]
pub fn is_awaited<A: Access>(sk: *const u8, address: *const u8) -> bool {
    match Sock::<A>::new(sk).protocol() {
        IPPROTO_UDP => true,
        IPPROTO_TCP => {
            let port = SockAddr(address).port();
            port == 0 || filter::passes(port, WATCH_BIND)
        }
        _ => false,
    }
}

/// `__inet_bind` or `__inet6_bind` has returned.
#[inline(always)]
pub fn returned<A: Access>(slot: Slot, sk: *const u8, address: *const u8, result: i32) -> u32 {
    let sock = Sock::<A>::new(sk);
    let protocol = sock.protocol();
    let is_udp = protocol == IPPROTO_UDP;
    if !is_udp && protocol != IPPROTO_TCP {
        return 0;
    }
    // A socket that was refused holds nothing: what it asked for stands in the argument alone.
    let port = if result == 0 {
        sock.port()
    } else {
        SockAddr(address).port()
    };
    let is_named = filter::passes(port, WATCH_BIND);
    // With IP_BIND_ADDRESS_NO_PORT the port is still to be chosen.
    let listens = is_udp && result == 0 && port != 0;
    if !is_named && !listens {
        return 0;
    }
    count_run::<HOOK_BIND>();
    let Some(mut draft) = Draft::of(slot) else { return 0 };
    let record = &mut draft.record;
    let seen = Seen {
        sock: &sock,
        common: &sock.common(),
        protocol,
        port,
    };
    let executable = describe(record, KIND_BIND, &seen);
    record.result = result;
    if result != 0 {
        let (family, requested) = SockAddr(address).address();
        record.family = family;
        record.address = requested;
        record.flags &= !FLAG_AUTOMATIC;
        if port == 0 {
            record.flags |= FLAG_AUTOMATIC;
        }
    }
    if listens {
        if !is_named {
            record.flags |= FLAG_LATE;
        }
        let bound: &Record = record;
        if BOUND_UDP.insert(bound.socket, bound, 0).is_err() {
            count_loss::<LOST_UDP>();
        }
    }
    if is_named {
        draft.emit_with_path(&executable);
    }
    0
}

/// `udp_lib_unhash` is entered: the socket gives its port back.
#[inline(always)]
pub fn udp_closed(sk: *const u8) -> u32 {
    udp_ended(sk as u64, 0);
    0
}

/// A UDP socket has a peer now.
#[inline(always)]
pub fn udp_connected(socket: u64) {
    udp_ended(socket, FLAG_CONNECTED);
}

/// Ends a UDP socket as a listener, if it was one. One that lived so briefly that nobody was told of it goes in silence.
#[inline(always)]
fn udp_ended(socket: u64, reason: u32) {
    let Some(record) = BOUND_UDP.get_ptr_mut(socket) else {
        return;
    };
    count_run::<HOOK_UNLISTEN>();
    // SAFETY: a record in a map. Socket and port belong to the caller, so no other CPU has it.
    let record = unsafe { &mut *record };
    if record.flags & FLAG_LATE == 0 || task::boot_time() - record.opened >= UDP_COUNTS_AFTER {
        listen::end(record);
        record.flags |= reason;
        emit(record);
    }
    let _ = BOUND_UDP.remove(socket);
}

/// Keeps a UDP socket that no hook has seen.
#[inline(always)]
pub fn remember(record: &Record) {
    // SAFETY: a record in a map, read as it is.
    let known = unsafe { BOUND_UDP.get(record.socket) }.map(|known| known.inode);
    // One that is there was bound before the agent looked, and is known better; unless it is of one that had the same memory
    // and ended unseen.
    let _ = match known {
        Some(inode) if inode == record.inode => return,
        Some(_) => BOUND_UDP.insert(record.socket, record, 0),
        None => BOUND_UDP.insert(record.socket, record, NOEXIST),
    };
}

/// Whether a UDP socket counts as a listener.
#[inline(always)]
pub fn is_bound_udp(socket: u64) -> bool {
    // SAFETY: nothing is read.
    unsafe { BOUND_UDP.get(socket) }.is_some()
}
