//! The record of one event, as the kernel side writes it into the ring.

use core::mem::{align_of, offset_of, size_of};

/// A TCP socket started to listen, or the stack refused it.
pub const KIND_LISTEN: u16 = 1;
/// A socket that had been reported as listening stopped.
pub const KIND_UNLISTEN: u16 = 2;
/// A socket was bound, or the stack refused it. A UDP socket that was bound counts as a listener until it is closed or
/// connected.
pub const KIND_BIND: u16 = 3;
/// A connection was tried, and its outcome is known. For UDP: a peer was set, nothing was sent.
pub const KIND_CONNECT: u16 = 4;
/// A connection was taken from a listener's queue.
pub const KIND_ACCEPT: u16 = 5;

// Where a bit of the kernel's gives a flag, the flag is the same bit where it can be: nothing is to be moved then.

/// The port was chosen by the kernel: the socket was bound to port 0, or not bound at all.
pub const FLAG_AUTOMATIC: u32 = 1 << 3;
/// IPV6_V6ONLY is set, so an IPv6 socket takes no IPv4 connections.
pub const FLAG_V6ONLY: u32 = 1 << 0;
/// SO_REUSEPORT is set.
pub const FLAG_REUSEPORT: u32 = 1 << 2;
/// The task that called is a kernel thread (`PF_KTHREAD`).
pub const FLAG_KERNEL_THREAD: u32 = 1 << 21;
/// The socket belongs to the kernel (`sk_kern_sock`), whoever's task created it.
pub const FLAG_KERNEL_SOCKET: u32 = 1 << 1;
/// The hook fires before the result is known: [`Record::result`] says nothing, and for an automatic port
/// [`Record::port`] is 0.
pub const FLAG_UNCONFIRMED: u32 = 1 << 5;
/// Set on an unlisten of the tracepoint backend: the socket had listened.
pub const FLAG_LISTENED: u32 = 1 << 6;
/// Set on an unlisten of UDP: the socket was connected, and so takes datagrams of one peer alone.
pub const FLAG_CONNECTED: u32 = 1 << 7;
/// The listener belongs to an MPTCP socket: this is its first subflow.
pub const FLAG_MPTCP: u32 = 1 << 8;
/// The call failed, and this backend cannot know why: [`Record::result`] is just negative.
pub const FLAG_ERRNO_UNKNOWN: u32 = 1 << 9;
/// The opener's executable has no name any more: its file was removed or replaced.
pub const FLAG_EXE_DELETED: u32 = 1 << 10;
/// The opener's executable never had a path: it is memory of `memfd_create()`.
pub const FLAG_EXE_MEMFD: u32 = 1 << 11;
/// The names behind the record are not the whole path: it was too long, too deep, or a part could not be read.
pub const FLAG_PATH_CUT: u32 = 1 << 12;
/// A UDP socket on a port that nothing names: its bind is not reported when it happens, but once it has been bound for
/// [`crate::UDP_COUNTS_AFTER`]; its end only if it lived that long.
pub const FLAG_LATE: u32 = 1 << 13;

/// Set by the tracepoint backend: the socket had listened once before.
pub const FLAG_AGAIN: u32 = 1 << 15;
/// Set on an unlisten of the tracepoint backend: the socket never listened, its listen failed. Where neither this nor
/// [`FLAG_LISTENED`] is set, that is not known: it listened once before ([`FLAG_AGAIN`]).
pub const FLAG_REFUSED: u32 = 1 << 16;

/// No hook saw how it began to listen: it was there when a look at all open files found it, and the opener is one of those that
/// hold it.
pub const FLAG_EXISTING: u32 = 1 << 14;

/// Bytes of names that follow a record at most: see [`Record::path_bytes`].
pub const PATH_MAX: usize = 384;
/// Components of a path that are followed at most.
pub const PATH_COMPONENTS: usize = 24;
/// Bytes of one component at most, its NUL included.
pub const COMPONENT_MAX: usize = 128;

/// Sixteen bytes in their order in memory. Words, because the BPF compiler moves an array of bytes byte by byte.
pub type Bytes16 = [u64; 2];

/// One event. All integers are in the machine's byte order; ports are in host order.
///
/// `opener` fields name the task that made the call. An unlisten carries the opener's fields again, as they were
/// stored at the listen (or the bind of UDP), and names the task that ended the socket in the `holder` fields; the
/// record of a connect names who called `connect()`, whoever's context its outcome came in.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When the hook ran: nanoseconds since boot, suspended time included (`CLOCK_BOOTTIME`).
    pub time: u64,
    /// When what ends with this event began: for an unlisten the listen (or the bind of UDP), for a connect the call.
    /// For every other event [`Record::time`].
    pub opened: u64,
    /// Address of the `struct sock`: the key inside the agent. It never leaves the agent. Of an accept, the listener's;
    /// 0 where the backend does not know it.
    pub socket: u64,
    /// The socket's cookie, as `ss -e` shows it; 0 where the kernel gave none.
    pub cookie: u64,
    /// Inode of the socket, as /proc/PID/fd shows it; 0 where the socket has no file. Of an accept, the listener's.
    pub inode: u64,
    /// Id of the opener's cgroup (v2), which is the inode of its directory; 0 where there is none.
    pub cgroup: u64,
    /// Start of the opener's process (`group_leader->start_boottime`): nanoseconds since boot.
    pub start_time: u64,
    /// Inode of the opener's executable; 0 for a kernel thread.
    pub exe_inode: u64,
    /// `FLAG_*`, or-ed.
    pub flags: u32,
    /// Inode of the socket's network namespace.
    pub netns: u32,
    /// Process id of the opener, in the initial pid namespace.
    pub tgid: u32,
    /// Thread id of the opener, in the initial pid namespace.
    pub tid: u32,
    /// User id of the opener, in the initial user namespace.
    pub uid: u32,
    /// 0, or a negative errno. Says nothing while [`FLAG_UNCONFIRMED`] is set.
    pub result: i32,
    /// Backlog that `listen()` asked for, after the kernel's limit.
    pub backlog: u32,
    /// Process id of the task that ends a listener, in the initial pid namespace. Of every other event it says nothing.
    pub holder_tgid: u32,
    /// Device of the opener's executable, as the kernel numbers it (`s_dev`: 12 bits of major, 20 of minor).
    pub exe_device: u32,
    /// `KIND_*`.
    pub kind: u16,
    /// Bytes that follow the record: the names of the opener's executable and of the folders above it, in this order,
    /// each with its NUL. 0 where the path was not taken.
    pub path_bytes: u16,
    /// Address family: 2 (`AF_INET`) or 10 (`AF_INET6`).
    pub family: u16,
    /// IP protocol: 6 for TCP, 17 for UDP.
    pub protocol: u16,
    /// Local port, host order. Of a bind that failed, the port that was asked for; of a connect, 0 where none was
    /// chosen yet.
    pub port: u16,
    /// The other end's port, host order: of a connect its destination, of an accept the client. Of every other event it
    /// says nothing.
    pub peer_port: u16,
    /// Local address: for `AF_INET` the first four bytes, for `AF_INET6` all sixteen, in network order. Of a bind that
    /// failed, the one that was asked for.
    pub address: Bytes16,
    /// The other end's address, in the same form.
    pub peer_address: Bytes16,
    /// Name of the opener's process: its leader's `comm`, NUL-terminated, with anything after the NUL.
    pub comm: Bytes16,
    /// Name of the opener's thread.
    pub thread: Bytes16,
    /// Name of the process that ends a listener. Of every other event it says nothing.
    pub holder_comm: Bytes16,
}

impl Record {
    /// Bytes of a record in the ring.
    pub const SIZE: usize = size_of::<Self>();
}

const _: () = {
    assert!(Record::SIZE == 192);
    assert!(align_of::<Record>() == 8);
    assert!(offset_of!(Record, time) == 0);
    assert!(offset_of!(Record, opened) == 8);
    assert!(offset_of!(Record, socket) == 16);
    assert!(offset_of!(Record, cookie) == 24);
    assert!(offset_of!(Record, inode) == 32);
    assert!(offset_of!(Record, cgroup) == 40);
    assert!(offset_of!(Record, start_time) == 48);
    assert!(offset_of!(Record, exe_inode) == 56);
    assert!(offset_of!(Record, flags) == 64);
    assert!(offset_of!(Record, netns) == 68);
    assert!(offset_of!(Record, tgid) == 72);
    assert!(offset_of!(Record, tid) == 76);
    assert!(offset_of!(Record, uid) == 80);
    assert!(offset_of!(Record, result) == 84);
    assert!(offset_of!(Record, backlog) == 88);
    assert!(offset_of!(Record, holder_tgid) == 92);
    assert!(offset_of!(Record, exe_device) == 96);
    assert!(offset_of!(Record, kind) == 100);
    assert!(offset_of!(Record, path_bytes) == 102);
    assert!(offset_of!(Record, family) == 104);
    assert!(offset_of!(Record, protocol) == 106);
    assert!(offset_of!(Record, port) == 108);
    assert!(offset_of!(Record, peer_port) == 110);
    assert!(offset_of!(Record, address) == 112);
    assert!(offset_of!(Record, peer_address) == 128);
    assert!(offset_of!(Record, comm) == 144);
    assert!(offset_of!(Record, thread) == 160);
    assert!(offset_of!(Record, holder_comm) == 176);
};
