//! What is reported, one file a subject. The backends' entry points call in; nothing here knows which one did, but
//! for how a kernel pointer may be read.

pub mod accept;
pub mod bind;
pub mod call;
pub mod connect;
pub mod listen;

use monitor_common::{FLAG_KERNEL_THREAD, KIND_LISTEN, Record};

use crate::kernel::{
    Access,
    sock::Sock,
    task::{self, Task},
};

/// `TCP_*` of include/net/tcp_states.h, which are part of the user-space interface.
mod state {
    pub const ESTABLISHED: u32 = 1;
    pub const SYN_SENT: u32 = 2;
    pub const SYN_RECV: u32 = 3;
    pub const CLOSE: u32 = 7;
    pub const LISTEN: u32 = 10;
}

/// Which of two functions returned, where IPv6's calls IPv4's for an IPv4-mapped address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V4,
    V6,
}

impl Version {
    /// Whether the return of IPv6's function, which is still to come, speaks for this call.
    #[inline(always)]
    fn is_inner<A: Access>(self, sock: &Sock<A>) -> bool {
        self == Self::V4 && sock.family() == crate::kernel::sock::AF_INET6
    }
}

/// Writes all that a socket and the task that acts on it tell, for an event that happens now.
#[inline(always)]
fn describe<A: Access>(record: &mut Record, kind: u32, sock: &Sock<A>, opener: &Task) {
    let family = sock.family();
    let time = task::boot_time();
    let (inode, mptcp) = sock.file();
    record.time = time;
    record.opened = time;
    record.socket = sock.address_of();
    record.cookie = sock.cookie();
    record.inode = inode;
    record.cgroup = task::cgroup();
    record.start_time = opener.start_time();
    record.kind = kind;
    record.flags = sock.flags() | mptcp;
    record.netns = sock.netns();
    record.tgid = opener.tgid;
    record.tid = opener.tid;
    record.uid = opener.uid();
    record.result = 0;
    record.backlog = if kind == KIND_LISTEN { sock.backlog() } else { 0 };
    record.interface = sock.interface();
    record.holder_tgid = opener.tgid;
    record.path_bytes = 0;
    record.family = family;
    record.protocol = sock.protocol();
    record.port = sock.port();
    record.peer_port = 0;
    record.address = sock.local_address(family);
    record.peer_address = [0; 2];
    opener.thread_name(&mut record.thread);
    opener.process_name(&mut record.comm);
    record.holder_comm = record.comm;
    if opener.is_kernel_thread() {
        record.flags |= FLAG_KERNEL_THREAD;
        record.exe_inode = 0;
        record.exe_device = 0;
    } else {
        let executable = opener.executable();
        record.flags |= executable.flags;
        record.exe_inode = executable.inode;
        record.exe_device = executable.device;
    }
}
