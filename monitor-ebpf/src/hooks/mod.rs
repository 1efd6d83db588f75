//! What is reported, one file a subject. The backends' entry points call in; nothing here knows which one did, but
//! for how a kernel pointer may be read.

pub mod accept;
pub mod bind;
pub mod call;
pub mod connect;
pub mod listen;
pub mod listeners;
pub mod places;
pub mod snapshot;

use monitor_common::{KIND_CONNECT, KIND_LISTEN, Record};

use crate::kernel::{
    Access, HAVE_TASK, Probed, Typed,
    executable::Executable,
    sock::{Common, Fields, Sock},
    task::{self, Running, Task},
};

/// `TCP_*` of include/net/tcp_states.h, which are part of the user-space interface.
mod state {
    pub const ESTABLISHED: u32 = 1;
    pub const SYN_SENT: u32 = 2;
    pub const SYN_RECV: u32 = 3;
    pub const FIN_WAIT1: u32 = 4;
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

/// A socket, and what of it decides whether it is reported: so that this is read once.
struct Seen<'a, A: Access> {
    sock: &'a Sock<A>,
    /// Apart, since where it is read at once, a value that is moved is copied.
    common: &'a Common<A>,
    protocol: u16,
    port: u16,
}

impl<'a, A: Access> Seen<'a, A> {
    #[inline(always)]
    fn of(sock: &'a Sock<A>, common: &'a Common<A>) -> Self {
        Self {
            sock,
            common,
            protocol: sock.protocol(),
            port: common.port(),
        }
    }
}

/// Writes all that a socket and the task that acts on it tell, for an event that happens now, but for the result. Gives what
/// the task executes.
#[inline(always)]
fn describe<A: Access>(record: &mut Record, kind: u16, seen: &Seen<'_, A>) -> Executable {
    let flags = describe_socket(record, kind, seen);
    // Plain loads where the kernel allows them: half of what this function costs is calls of helpers.
    if HAVE_TASK.load() != 0 {
        name_opener(record, flags, &Task::<Typed>::current())
    } else {
        name_opener(record, flags, &Task::<Probed>::current())
    }
}

/// Writes what the socket alone tells, and that it happens now; but for the result, and for its flags, which it gives.
#[inline(always)]
fn describe_socket<A: Access>(record: &mut Record, kind: u16, seen: &Seen<'_, A>) -> u32 {
    let Seen { sock, common, .. } = seen;
    let time = task::boot_time();
    let family = common.family();
    let (inode, mptcp) = sock.file();
    record.time = time;
    record.opened = time;
    record.socket = sock.address_of();
    record.cookie = common.cookie();
    record.inode = inode;
    record.kind = kind;
    record.path_bytes = 0;
    record.netns = common.netns();
    record.backlog = if kind == KIND_LISTEN { sock.backlog() } else { 0 };
    record.family = family;
    record.protocol = seen.protocol;
    record.port = seen.port;
    record.address = common.local_address(family);
    // Of other events it says nothing; of an accept the connection that was taken knows it.
    if kind == KIND_CONNECT {
        record.peer_port = common.peer_port();
        record.peer_address = common.peer_address(family);
    }
    sock.flags() | common.flags() | mptcp
}

/// Writes who acts, and all flags: with these.
#[inline(always)]
fn name_opener<A: Access>(record: &mut Record, flags: u32, opener: &Task<A>) -> Executable
where
    Task<A>: Running,
{
    let ids = opener.ids();
    record.cgroup = opener.cgroup();
    record.start_time = opener.start_time();
    record.tgid = ids.tgid;
    record.tid = ids.tid;
    record.uid = opener.uid();
    let name = opener.process_name();
    record.comm = name;
    record.thread = if ids.tid == ids.tgid {
        name
    } else {
        opener.thread_name()
    };
    // A thread of the kernel has none, which reads as zeroes, or that of the process whose memory it works in.
    let executable = opener.executable();
    record.flags = flags | opener.flags() | executable.flags;
    record.exe_inode = executable.inode;
    record.exe_device = executable.device;
    executable
}

/// Writes who ends what somebody opened.
#[inline(always)]
fn name_holder(record: &mut Record) {
    if HAVE_TASK.load() != 0 {
        name_holder_as::<Typed>(record);
    } else {
        name_holder_as::<Probed>(record);
    }
}

#[inline(always)]
fn name_holder_as<A: Access>(record: &mut Record)
where
    Task<A>: Running,
{
    let holder = Task::<A>::current();
    record.holder_tgid = holder.ids().tgid;
    record.holder_comm = holder.process_name();
}
