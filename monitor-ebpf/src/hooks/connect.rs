//! A connection is tried; its outcome comes later, in whatever context the answer arrives.
//!
//! Who connects is stored once the call has returned and the SYN is on its way. Until then the caller holds the socket's
//! lock, so no answer can have been processed; and a call that fails is reported from its return, the only place that
//! knows why. Whoever takes the stored entry out reports.

use monitor_common::{FLAG_ERRNO_UNKNOWN, HOOK_CONNECT, KIND_CONNECT, Record, WATCH_CONNECT};

use super::{Seen, Version, bind, describe, state};
use crate::{
    emit::{Draft, Slot, emit},
    filter,
    kernel::{
        Access,
        sock::{Fields, IPPROTO_TCP, IPPROTO_UDP, Sock},
        sockaddr::SockAddr,
        task,
    },
    maps::{CONNECT_PLACES, CONNECTS, count_connect_ended, count_connect_stored, count_run, do_connects_wait},
};

/// `ECANCELED`: the connection was given up before there was an answer.
const ECANCELED: i32 = 125;

/// `BPF_NOEXIST`: insert only what is not there.
const NOEXIST: u64 = 1;

/// Whether the outcome of a connect to this address is reported.
#[inline(always)]
pub fn is_awaited(address: *const u8) -> bool {
    filter::passes(SockAddr(address).port(), WATCH_CONNECT)
}

/// `tcp_v4_connect` or `tcp_v6_connect` has returned.
#[inline(always)]
pub fn returned<A: Access>(slot: Slot, sk: *const u8, address: *const u8, result: i32, version: Version) -> u32 {
    let sock = Sock::<A>::new(sk);
    if result == 0 {
        // In repair mode the connection is there at once, and nothing was tried.
        if filter::passes(sock.peer_port(), WATCH_CONNECT)
            && !version.is_inner(&sock)
            && u32::from(sock.state()) == state::SYN_SENT
        {
            store(slot, &sock, 0);
        }
    } else if is_awaited(address) && !version.is_inner(&sock) {
        failed(slot, &sock, address, result);
    }
    0
}

/// The state of some socket changes, for the backend that is not told of calls: to SYN_SENT once the destination is known.
#[inline(always)]
pub fn began<A: Access>(sk: *const u8, new: u32) {
    if new != state::SYN_SENT {
        return;
    }
    let sock = Sock::<A>::new(sk);
    // MPTCP's own socket changes its state too; its subflows are TCP.
    if !filter::passes(sock.peer_port(), WATCH_CONNECT) || sock.protocol() != IPPROTO_TCP {
        return;
    }
    // Where the call itself fails after this, it does so without a word on the socket.
    store(Slot::SetState, &sock, FLAG_ERRNO_UNKNOWN);
}

/// Whether some socket's state changes from where a connection begins to ESTABLISHED, or to CLOSE or FIN_WAIT1 where it ends
/// before. A self-connect goes through SYN_RECV, as every connection that comes in does.
#[inline(always)]
pub fn is_end(old: u32, new: u32) -> bool {
    (old == state::SYN_SENT || old == state::SYN_RECV) && (new == state::ESTABLISHED || is_over(new))
}

#[inline(always)]
fn is_over(new: u32) -> bool {
    new == state::CLOSE || new == state::FIN_WAIT1
}

/// The state of some socket changes so: see [`is_end`].
#[inline(always)]
pub fn ended<A: Access>(sk: *const u8, new: u32) {
    let sock = Sock::<A>::new(sk);
    if !filter::passes(sock.peer_port(), WATCH_CONNECT) {
        return;
    }
    let key = sock.address_of();
    let place = CONNECT_PLACES.find(key);
    let record = match &place {
        Some(place) => place.kept(),
        // Whoever stored it had the socket's lock, and had counted it by then.
        None if !do_connects_wait() => return,
        None => match CONNECTS.get_ptr_mut(key) {
            Some(record) => record,
            None => return,
        },
    };
    // SAFETY: a record in a map. The socket is locked, so no other CPU has it.
    let record = unsafe { &mut *record };
    count_run::<HOOK_CONNECT>();
    record.time = task::boot_time();
    record.address = sock.common().local_address(record.family);
    // `skc_num` is already 0 where the port was automatic and the connection is over.
    record.port = sock.source_port();
    let is_unknown = record.flags & FLAG_ERRNO_UNKNOWN != 0;
    record.flags &= !FLAG_ERRNO_UNKNOWN;
    if is_over(new) {
        let error = sock.error();
        record.result = if error == 0 { -ECANCELED } else { -error };
        // Where the call itself fails, no SYN has left. Whoever gives up waits for the answer to one, or closes.
        if error == 0 && is_unknown && sock.packets_out() == 0 && !sock.is_shut_down() {
            record.flags |= FLAG_ERRNO_UNKNOWN;
        }
    }
    emit(record);
    if let Some(place) = place {
        place.leave();
    } else if CONNECTS.remove(key).is_ok() {
        count_connect_ended();
    }
}

/// `__ip4_datagram_connect` or `__ip6_datagram_connect` has returned.
#[inline(always)]
pub fn udp_returned<A: Access>(slot: Slot, sk: *const u8, address: *const u8, result: i32, version: Version) -> u32 {
    let sock = Sock::<A>::new(sk);
    if sock.protocol() != IPPROTO_UDP || version.is_inner(&sock) {
        return 0;
    }
    if result == 0 {
        bind::udp_connected(sock.address_of());
        if filter::passes(sock.peer_port(), WATCH_CONNECT) {
            count_run::<HOOK_CONNECT>();
            if let Some(mut draft) = Draft::of(slot) {
                describe(&mut draft.record, KIND_CONNECT, &Seen::of(&sock, &sock.common()));
                draft.record.result = 0;
                draft.emit();
            }
        }
    } else if is_awaited(address) {
        failed(slot, &sock, address, result);
    }
    0
}

/// Whether the connect of a UDP socket has consequences.
#[inline(always)]
pub fn is_udp_awaited<A: Access>(sk: *const u8, address: *const u8) -> bool {
    let sock = Sock::<A>::new(sk);
    sock.protocol() == IPPROTO_UDP && (is_awaited(address) || bind::is_bound_udp(sock.address_of()))
}

/// Reports a call that failed: the socket may hold nothing of what was asked for.
#[inline(always)]
fn failed<A: Access>(slot: Slot, sock: &Sock<A>, address: *const u8, result: i32) {
    count_run::<HOOK_CONNECT>();
    let Some(mut draft) = Draft::of(slot) else { return };
    let record = &mut draft.record;
    describe(record, KIND_CONNECT, &Seen::of(sock, &sock.common()));
    let (family, requested) = SockAddr(address).address();
    if family != record.family {
        // An IPv6 socket and an IPv4 destination.
        record.family = family;
        // One by one: as one value it would be a call.
        record.address[0] = 0;
        record.address[1] = core::hint::black_box(0);
    }
    record.result = result;
    record.peer_address = requested;
    record.peer_port = SockAddr(address).port();
    draft.emit();
}

/// Keeps a connect, whose destination the socket holds, until its outcome is known.
#[inline(always)]
fn store<A: Access>(slot: Slot, sock: &Sock<A>, flags: u32) {
    count_run::<HOOK_CONNECT>();
    let place = CONNECT_PLACES.claim(sock.address_of());
    let mut draft = None;
    let record = match &place {
        // SAFETY: the place is this connect's.
        Some(place) => unsafe { &mut *place.kept() },
        None => match Draft::of(slot) {
            Some(free) => &mut draft.insert(free).record,
            None => return,
        },
    };
    describe(record, KIND_CONNECT, &Seen::of(sock, &sock.common()));
    record.flags |= flags;
    record.result = 0;
    if place.is_some() {
        return;
    }
    let record: &Record = record;
    if CONNECTS.insert(record.socket, record, NOEXIST).is_ok() {
        count_connect_stored();
    } else {
        // Its last outcome was not seen; this one replaces it.
        let _ = CONNECTS.insert(record.socket, record, 0);
    }
}
