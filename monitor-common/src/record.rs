//! The record of one event, as the kernel side writes it into the ring.

use core::mem::{align_of, offset_of, size_of};

/// A TCP socket started to listen, or the stack refused it.
pub const KIND_LISTEN: u32 = 1;
/// A socket that had been reported as listening stopped.
pub const KIND_UNLISTEN: u32 = 2;
/// A socket was bound, or the stack refused it. Reserved: no hook reports it yet.
pub const KIND_BIND: u32 = 3;
/// A connection was tried, and its outcome is known. Reserved: no hook reports it yet.
pub const KIND_CONNECT: u32 = 4;
/// A connection was taken from a listener's queue. Reserved: no hook reports it yet.
pub const KIND_ACCEPT: u32 = 5;

/// The port was chosen by the kernel: the socket was bound to port 0, or not bound at all.
pub const FLAG_AUTOMATIC: u32 = 1 << 0;
/// IPV6_V6ONLY is set, so an IPv6 socket takes no IPv4 connections.
pub const FLAG_V6ONLY: u32 = 1 << 1;
/// SO_REUSEPORT is set.
pub const FLAG_REUSEPORT: u32 = 1 << 2;
/// The task that called is a kernel thread (`PF_KTHREAD`).
pub const FLAG_KERNEL_THREAD: u32 = 1 << 3;
/// The socket belongs to the kernel (`sk_kern_sock`), whoever's task created it.
pub const FLAG_KERNEL_SOCKET: u32 = 1 << 4;
/// The hook fires before the result is known: [`Record::result`] says nothing, and for an automatic port
/// [`Record::port`] is 0.
pub const FLAG_UNCONFIRMED: u32 = 1 << 5;
/// Set on an unlisten of the tracepoint backend: `sk_shutdown` was 3, so the socket had listened and was closed.
/// Without it the listen had failed, or `shutdown()` ended it.
pub const FLAG_CLOSED: u32 = 1 << 6;

/// Sixteen bytes in their order in memory. Words, because the BPF compiler moves an array of bytes byte by byte.
pub type Bytes16 = [u64; 2];

/// One event. All integers are in the machine's byte order; ports are in host order.
///
/// `opener` fields name the task that called `listen()`. An unlisten carries the opener's fields again, as they were
/// stored at the listen, and names the task that ended the socket in the `holder` fields.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When the hook ran: nanoseconds since boot, suspended time included (`CLOCK_BOOTTIME`).
    pub time: u64,
    /// Address of the `struct sock`: the key inside the agent. It never leaves the agent.
    pub socket: u64,
    /// The socket's cookie, as `ss -e` shows it; 0 where the kernel gave none.
    pub cookie: u64,
    /// Inode of the socket, as /proc/PID/fd shows it; 0 where the socket has no file.
    pub inode: u64,
    /// Id of the opener's cgroup (v2), which is the inode of its directory; 0 where there is none.
    pub cgroup: u64,
    /// Start of the opener's process (`group_leader->start_boottime`): nanoseconds since boot.
    pub start_time: u64,
    /// `KIND_*`.
    pub kind: u32,
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
    /// Index of the interface that the socket is bound to; 0 for none.
    pub interface: u32,
    /// Process id of the task that caused this event, in the initial pid namespace: the opener's own for a listen.
    pub holder_tgid: u32,
    /// Address family: 2 (`AF_INET`) or 10 (`AF_INET6`).
    pub family: u16,
    /// IP protocol: 6 for TCP.
    pub protocol: u16,
    /// Local port, host order.
    pub port: u16,
    /// Keeps the size a multiple of 8 without implicit padding. Always 0.
    pub reserved: u16,
    /// Local address: for `AF_INET` the first four bytes, for `AF_INET6` all sixteen, in network order.
    pub address: Bytes16,
    /// Name of the opener's process: its leader's `comm`, NUL-terminated, with anything after the NUL.
    pub comm: Bytes16,
    /// Name of the opener's thread.
    pub thread: Bytes16,
    /// Name of the process that caused this event: the opener's own for a listen.
    pub holder_comm: Bytes16,
}

impl Record {
    /// Bytes of a record in the ring.
    pub const SIZE: usize = size_of::<Self>();
}

const _: () = {
    assert!(Record::SIZE == 160);
    assert!(align_of::<Record>() == 8);
    assert!(offset_of!(Record, time) == 0);
    assert!(offset_of!(Record, socket) == 8);
    assert!(offset_of!(Record, cookie) == 16);
    assert!(offset_of!(Record, inode) == 24);
    assert!(offset_of!(Record, cgroup) == 32);
    assert!(offset_of!(Record, start_time) == 40);
    assert!(offset_of!(Record, kind) == 48);
    assert!(offset_of!(Record, flags) == 52);
    assert!(offset_of!(Record, netns) == 56);
    assert!(offset_of!(Record, tgid) == 60);
    assert!(offset_of!(Record, tid) == 64);
    assert!(offset_of!(Record, uid) == 68);
    assert!(offset_of!(Record, result) == 72);
    assert!(offset_of!(Record, backlog) == 76);
    assert!(offset_of!(Record, interface) == 80);
    assert!(offset_of!(Record, holder_tgid) == 84);
    assert!(offset_of!(Record, family) == 88);
    assert!(offset_of!(Record, protocol) == 90);
    assert!(offset_of!(Record, port) == 92);
    assert!(offset_of!(Record, reserved) == 94);
    assert!(offset_of!(Record, address) == 96);
    assert!(offset_of!(Record, comm) == 112);
    assert!(offset_of!(Record, thread) == 128);
    assert!(offset_of!(Record, holder_comm) == 144);
};
