//! A TCP socket starts to listen, fails to, or stops.

use aya_ebpf::EbpfContext;
use monitor_common::{
    FLAG_AGAIN, FLAG_LISTENED, FLAG_REFUSED, FLAG_UNCONFIRMED, HOOK_LISTEN, HOOK_UNLISTEN, KIND_LISTEN, KIND_UNLISTEN,
    Record, WATCH_LISTEN,
};

use super::{Seen, describe, listeners, name_holder, state};
use crate::{
    emit::emit,
    filter,
    kernel::{
        Access, Probed,
        sock::{IPPROTO_TCP, Sock},
        task,
    },
    maps::count_run,
};

/// `inet_csk_listen_start` has returned: only now are the port and the result known.
#[inline(always)]
pub fn returned<A: Access, C: EbpfContext>(ctx: &C, sk: *const u8, result: i32) -> u32 {
    let sock = Sock::<A>::new(sk);
    started(ctx, &sock, |record| {
        record.result = result;
        result == 0
    });
    0
}

/// Whether a socket listens already: `listen()` then changes its backlog and nothing else.
#[inline(always)]
pub fn is_listening(sk: *const u8) -> bool {
    u32::from(Sock::<Probed>::new(sk).state()) == state::LISTEN
}

/// `inet_csk_listen_stop` is entered.
#[inline(always)]
pub fn stopped(sk: *const u8) -> u32 {
    count_run::<HOOK_UNLISTEN>();
    // Of a socket that was not reported nothing is said.
    if let Some(mut reported) = listeners::Reported::find(sk as u64) {
        end(reported.record());
        emit(reported.record());
        reported.forget();
    }
    0
}

/// The state of some socket changes. This runs for every connection of the host, so the states are tested before
/// anything else is touched.
#[inline(always)]
pub fn changed<A: Access, C: EbpfContext>(ctx: &C, sk: *const u8, old: u32, new: u32) {
    if new == state::LISTEN {
        // The state is set before the port is taken, so whether this will be a listener, and for an
        // automatic port also which, is for the agent to confirm.
        let sock = Sock::<A>::new(sk);
        started(ctx, &sock, |record| {
            record.flags |= FLAG_UNCONFIRMED;
            if sock.has_listened() {
                record.flags |= FLAG_AGAIN;
            }
            true
        });
    } else if old == state::LISTEN && new == state::CLOSE {
        // A change from LISTEN to anything else is a child's, one for each connection.
        count_run::<HOOK_UNLISTEN>();
        let Some(mut reported) = listeners::Reported::find(sk as u64) else {
            return;
        };
        let record = reported.record();
        end(record);
        let sock = Sock::<A>::new(sk);
        // `skc_num` is already 0 where the port was automatic.
        let port = sock.source_port();
        if port != 0 {
            record.port = port;
        }
        // One that is refused is not closed yet.
        if sock.is_closed() {
            record.flags |= FLAG_LISTENED;
        } else if !sock.has_listened() {
            record.flags |= FLAG_REFUSED;
        } else if record.flags & FLAG_AGAIN == 0 {
            record.flags |= FLAG_LISTENED;
        }
        emit(record);
        reported.forget();
    }
}

/// Reports a socket that starts to listen, and who made it do so. `amend` says whether it may be a listener now.
#[inline(always)]
fn started<A: Access, C: EbpfContext>(ctx: &C, sock: &Sock<A>, amend: impl Fn(&mut Record) -> bool) {
    count_run::<HOOK_LISTEN>();
    // MPTCP's own socket changes its state too; the first subflow, which is TCP, is the one that listens.
    let common = sock.common();
    let seen = Seen::of(sock, &common);
    if seen.protocol != IPPROTO_TCP || !filter::passes(seen.port, WATCH_LISTEN) {
        return;
    }
    let socket = sock.address_of();
    let Some(mut entry) = listeners::Entry::of(socket) else {
        return;
    };
    let paper = entry.paper();
    let executable = describe(&mut paper.record, KIND_LISTEN, &seen);
    let listens = amend(&mut paper.record);
    paper.emit_with_path(&executable);
    if listens {
        entry.keep(ctx, socket);
    } else {
        entry.leave();
    }
}

/// Makes the record of an opening that of its end: now, and by whoever runs.
#[inline(always)]
pub fn end(record: &mut Record) {
    record.kind = KIND_UNLISTEN;
    record.time = task::boot_time();
    record.path_bytes = 0;
    name_holder(record);
}
