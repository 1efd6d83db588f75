//! A TCP socket starts to listen, fails to, or stops.

use aya_ebpf::EbpfContext;
use aya_log_ebpf::warn;
use monitor_common::{
    FLAG_CLOSED, FLAG_UNCONFIRMED, HOOK_LISTEN, HOOK_UNLISTEN, KIND_LISTEN, KIND_UNLISTEN, LOST_LISTENERS, Record,
    WATCH_LISTEN,
};

use crate::{
    emit::emit,
    filter,
    kernel::{
        Access, Probed, Typed,
        sock::{IPPROTO_TCP, SHUTDOWN_MASK, Sock},
        task,
    },
    maps::{LISTENERS, count_loss, count_run},
};

/// `TCP_LISTEN` and `TCP_CLOSE` of include/net/tcp_states.h, which are part of the user-space interface.
const LISTEN: u32 = 10;
const CLOSE: u32 = 7;

/// `inet_csk_listen_start` has returned: only now are the port and the result known.
#[inline(always)]
pub fn returned<C: EbpfContext>(ctx: &C, sk: *const u8, result: i32) -> u32 {
    let sock = Sock::<Typed>::new(sk);
    let Some(mut record) = started(&sock) else { return 0 };
    record.result = result;
    record.cookie = sock.cookie();
    if result == 0 {
        remember(ctx, &record);
    }
    emit(&record);
    0
}

/// `inet_csk_listen_stop` is entered.
#[inline(always)]
pub fn stopped<C: EbpfContext>(_ctx: &C, sk: *const u8) -> u32 {
    count_run::<HOOK_UNLISTEN>();
    forget(sk as u64, |_| {});
    0
}

/// The state of some socket changes. This runs for every connection of the host, so the states are tested before
/// anything else is touched.
#[inline(always)]
pub fn changed<C: EbpfContext>(ctx: &C, sk: *const u8, old: u32, new: u32) -> i32 {
    if new == LISTEN {
        // The state is set before the port is taken, so whether this will be a listener, and for an
        // automatic port also which, is for the agent to confirm.
        let sock = Sock::<Probed>::new(sk);
        let Some(mut record) = started(&sock) else { return 0 };
        record.flags |= FLAG_UNCONFIRMED;
        record.cookie = sock.stored_cookie();
        remember(ctx, &record);
        emit(&record);
    } else if old == LISTEN && new == CLOSE {
        // A change from LISTEN to anything else is a child's, one for each connection.
        count_run::<HOOK_UNLISTEN>();
        forget(sk as u64, |record| {
            let sock = Sock::<Probed>::new(sk);
            // `skc_num` is already 0 where the port was automatic.
            let port = sock.source_port();
            if port != 0 {
                record.port = port;
            }
            if sock.shutdown() == SHUTDOWN_MASK {
                record.flags |= FLAG_CLOSED;
            }
        });
    }
    0
}

/// All that is known of a socket that starts to listen, and of who made it do so; `None` where that is not reported.
#[inline(always)]
fn started<A: Access>(sock: &Sock<A>) -> Option<Record> {
    count_run::<HOOK_LISTEN>();
    // MPTCP's own socket changes its state too; the first subflow, which is TCP, is the one that listens.
    if sock.protocol() != IPPROTO_TCP {
        return None;
    }
    let port = sock.port();
    if !filter::passes(port, WATCH_LISTEN) {
        return None;
    }
    let family = sock.family();
    let opener = task::current();
    let time = task::boot_time();
    Some(Record {
        time,
        opened: time,
        socket: sock.address_of(),
        cookie: 0,
        inode: sock.inode(),
        cgroup: task::cgroup(),
        start_time: opener.start_time,
        exe_inode: 0,
        kind: KIND_LISTEN,
        flags: sock.flags() | opener.flags,
        netns: sock.netns(),
        tgid: opener.tgid,
        tid: opener.tid,
        uid: opener.uid,
        result: 0,
        backlog: sock.backlog(),
        interface: sock.interface(),
        holder_tgid: opener.tgid,
        exe_device: 0,
        path_bytes: 0,
        family,
        protocol: IPPROTO_TCP,
        port,
        peer_port: 0,
        address: sock.local_address(family),
        peer_address: [0; 2],
        comm: opener.comm,
        thread: opener.thread,
        holder_comm: opener.comm,
    })
}

/// Keeps the record, so that the end of this listener can name who opened it.
#[inline(always)]
fn remember<C: EbpfContext>(ctx: &C, record: &Record) {
    if LISTENERS.insert(record.socket, record, 0).is_err() && count_loss::<LOST_LISTENERS>() == 1 {
        warn!(
            ctx,
            "the map of reported listeners is full: ends of further listeners are left to the reconcile"
        );
    }
}

/// Reports the end of a listener that had been reported; says nothing of any other socket.
#[inline(always)]
fn forget(socket: u64, amend: impl Fn(&mut Record)) {
    // SAFETY: the entry is read at once. The socket is locked by the caller, so no other CPU writes this entry.
    let Some(opened) = (unsafe { LISTENERS.get(socket) }) else {
        return;
    };
    let mut record = *opened;
    let holder = task::current();
    record.kind = KIND_UNLISTEN;
    record.time = task::boot_time();
    record.holder_tgid = holder.tgid;
    record.holder_comm = holder.comm;
    amend(&mut record);
    // An entry that is gone already is no loss.
    let _ = LISTENERS.remove(socket);
    emit(&record);
}
