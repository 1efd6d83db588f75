//! A connection is taken from a listener's queue.

use monitor_common::{HOOK_ACCEPT, KIND_ACCEPT, WATCH_ACCEPT};

use super::{Seen, describe};
use crate::{
    emit::{Draft, Slot},
    filter,
    kernel::{
        Access, Probed,
        sock::{AF_INET, AF_INET6, Fields, Sock},
        task::Ids,
    },
    maps::{ACCEPTS, count_run},
};

/// `inet_csk_accept` has returned: with a connection, or with null and an errno.
#[inline(always)]
pub fn returned<A: Access>(listener: *const u8, child: *const u8) -> u32 {
    let listener = Sock::<A>::new(listener);
    if !child.is_null() && filter::passes(listener.port(), WATCH_ACCEPT) {
        taken(&listener, &Sock::<A>::new(child));
    }
    0
}

/// `inet_csk_accept` is entered. It waits for a connection, so nothing may be hung on its return: too many callers would
/// wait there, and the returns of the others be lost.
#[inline(always)]
pub fn entered(listener: *const u8) -> u32 {
    if filter::passes(Sock::<Probed>::new(listener).port(), WATCH_ACCEPT) {
        // A full map makes room by itself.
        let _ = ACCEPTS.insert(Ids::current().tid, listener as u64, 0);
    }
    0
}

/// `security_sock_graft` is entered: a connection gets its file, which `accept()` does after the wait, and other families
/// and calls do too.
#[inline(always)]
pub fn grafted(child: *const u8) -> u32 {
    let child = Sock::<Probed>::new(child);
    let family = child.family();
    if family != AF_INET && family != AF_INET6 {
        return 0;
    }
    // A client that has reset leaves a child without `skc_num`.
    let port = child.source_port();
    if !filter::passes(port, WATCH_ACCEPT) {
        return 0;
    }
    let tid = Ids::current().tid;
    // SAFETY: the entry is read at once; only this thread writes it.
    let Some(listener) = (unsafe { ACCEPTS.get(tid) }).copied() else {
        return 0;
    };
    let _ = ACCEPTS.remove(tid);
    let listener = Sock::<Probed>::new(listener as *const u8);
    // What an accept() without a connection left behind may be of another listener.
    if listener.port() == port {
        taken(&listener, &child);
    }
    0
}

#[inline(always)]
fn taken<A: Access>(listener: &Sock<A>, child: &Sock<A>) {
    count_run::<HOOK_ACCEPT>();
    let Some(mut draft) = Draft::of(Slot::Accept) else {
        return;
    };
    let record = &mut draft.record;
    describe(record, KIND_ACCEPT, &Seen::of(listener, &listener.common()));
    record.result = 0;
    let child = child.common();
    record.peer_port = child.peer_port();
    record.peer_address = child.peer_address(record.family);
    draft.emit();
}
