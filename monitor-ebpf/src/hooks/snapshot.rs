//! What is open already: the kernel goes through every descriptor of every process, and each that is a listener is told, to
//! whoever reads the iterator's file. A listener that no hook saw is kept as if one had, so that its end will be reported.

use aya_ebpf::{bindings::seq_file, helpers::generated::bpf_seq_write};
use monitor_common::{FLAG_EXISTING, FLAG_LATE, KIND_BIND, KIND_LISTEN, Record, WATCH_BIND};

use super::{Seen, bind, describe_socket, listeners, name_opener, state};
use crate::{
    emit::{Draft, Paper, Slot},
    filter,
    kernel::{
        Access, Probed, Typed,
        executable::Executable,
        field,
        sock::{Fields, IPPROTO_MPTCP, IPPROTO_TCP, IPPROTO_UDP, Sock},
        task::Task,
    },
};

/// `SOCKFS_MAGIC` of include/uapi/linux/magic.h.
const SOCKFS_MAGIC: u64 = 0x534f_434b;

/// `S_IFMT` and `S_IFSOCK` of include/uapi/linux/stat.h.
const FILE_TYPE: u16 = 0o170_000;
const IS_SOCKET: u16 = 0o140_000;

/// A descriptor of a process: whether it is a listener, and who has it.
#[inline(always)]
pub fn descriptor(seq: *mut seq_file, task: *const u8, file: *const u8) {
    // SAFETY: a pointer that the verifier follows.
    let inode: *const u8 = unsafe { Typed::field(file, field::FILE_INODE) };
    // First what the most files are told apart by, since there are fifty of them for each socket.
    // SAFETY: an integer.
    let mode: u16 = unsafe { Typed::field(inode, field::INODE_MODE) };
    if mode & FILE_TYPE != IS_SOCKET {
        return;
    }
    // A name in the file system is of the same type (O_PATH), and has no socket beside it.
    // SAFETY: a pointer that the verifier follows, and an integer.
    let magic: u64 = unsafe {
        let superblock: *const u8 = Typed::field(inode, field::INODE_SUPER);
        Typed::field(superblock, field::SUPER_MAGIC)
    };
    if magic != SOCKFS_MAGIC {
        return;
    }
    // `struct socket_alloc` is the socket with the inode behind it.
    let socket = field::SOCKET_INODE.owner(crate::kernel::number(inode) as *const u8);
    // SAFETY: a pointer.
    let sk: *const u8 = unsafe { Probed::field(socket, field::SOCKET_SK) };
    let mut sock = Sock::<Probed>::new(sk);
    let mut protocol = sock.protocol();
    if protocol == IPPROTO_MPTCP {
        // The first subflow is the one that listens, and that hooks see.
        sock = Sock::new(sock.first_subflow());
        protocol = sock.protocol();
    }
    let kind = match (protocol, u32::from(sock.state())) {
        (IPPROTO_TCP, state::LISTEN) => KIND_LISTEN,
        // Bound, and without a peer.
        (IPPROTO_UDP, state::CLOSE) if sock.port() != 0 => KIND_BIND,
        _ => return,
    };
    let Some(mut draft) = Draft::of(Slot::OpenFiles) else {
        return;
    };
    let paper: &mut Paper = &mut draft;
    let common = sock.common();
    let seen = Seen {
        sock: &sock,
        protocol,
        port: common.port(),
        common: &common,
    };
    let flags = describe_socket(&mut paper.record, kind, &seen);
    let executable: Executable = name_opener(&mut paper.record, flags, &Task::<Typed>::new(task));
    let record = &mut paper.record;
    record.result = 0;
    record.flags |= FLAG_EXISTING;
    if kind == KIND_BIND && !filter::passes(record.port, WATCH_BIND) {
        // It counts once it has been there for a while, as one whose bind was seen.
        record.flags |= FLAG_LATE;
    }
    remember(kind, record);
    let length = if executable.is_none() {
        Record::SIZE
    } else {
        paper.write_path(&executable)
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a record and its names are some hundred bytes"
    )]
    let length = length as u32;
    // SAFETY: the paper is a record with its names. What does not fit is asked for again by the kernel.
    unsafe { bpf_seq_write(seq, core::ptr::from_ref::<Paper>(paper).cast(), length) };
}

/// Keeps a listener that no hook has seen.
#[inline(always)]
fn remember(kind: u16, record: &Record) {
    if kind == KIND_LISTEN {
        listeners::remember(record);
    } else {
        bind::remember(record);
    }
}
