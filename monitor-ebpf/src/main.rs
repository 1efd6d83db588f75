//! portreeve's kernel side: the entry points of the backends. Each only knows how its kind of program is handed the
//! arguments; what happens then stands once, in [`hooks`].
//!
//! One object carries the programs of all backends. Each is loaded on demand and fails alone, so a kernel that knows
//! no BTF trampolines still takes the tracepoint.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod atomic;
mod emit;
mod filter;
mod hooks;
mod kernel;
mod maps;

use core::ptr;

use aya_ebpf::{
    bindings::seq_file,
    macros::{btf_tracepoint, fentry, fexit, kprobe, kretprobe},
    programs::{BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use emit::Slot;
use hooks::{Version, accept, bind, call, connect, listen, snapshot};
use kernel::{Probed, Typed};
use monitor_common::{
    CALL_BIND4, CALL_BIND6, CALL_CONNECT4, CALL_CONNECT6, CALL_LISTEN, CALL_UDP_CONNECT4, CALL_UDP_CONNECT6,
};

// Backend `fexit`: BTF trampolines. The return value stands behind the arguments, and a branch on a global would not
// keep the verifier from checking both reads: so there is one program for each prototype, and the agent picks by the
// number of arguments in the kernel's BTF.

/// match-proto:v5.10:net/ipv4/inet_connection_sock.c:int inet_csk_listen_start(struct sock *sk, int backlog)
#[fexit(function = "inet_csk_listen_start")]
fn listen_start_with_backlog(ctx: FExitContext) -> u32 {
    listen::returned::<Typed, _>(&ctx, ctx.arg(0), ctx.arg(2))
}

/// match-proto:v6.1:net/ipv4/inet_connection_sock.c:int inet_csk_listen_start(struct sock *sk)
#[fexit(function = "inet_csk_listen_start")]
fn listen_start(ctx: FExitContext) -> u32 {
    listen::returned::<Typed, _>(&ctx, ctx.arg(0), ctx.arg(1))
}

/// match-proto:v5.10:net/ipv4/inet_connection_sock.c:void inet_csk_listen_stop(struct sock *sk)
///
/// At entry: nothing that the exit knows is asked for, and an entry program costs its caller less.
#[fentry(function = "inet_csk_listen_stop")]
fn listen_stop(ctx: FEntryContext) -> u32 {
    listen::stopped(ctx.arg(0))
}

/// match-proto:v5.10:net/ipv4/af_inet.c:int __inet_bind(struct sock *sk, struct sockaddr *uaddr, int addr_len, u32 flags)
/// match-proto:v6.19:net/ipv4/af_inet.c:int __inet_bind(struct sock *sk, struct sockaddr_unsized *uaddr, int addr_len, u32 flags)
#[fexit(function = "__inet_bind")]
fn bind4(ctx: FExitContext) -> u32 {
    bind::returned::<Typed>(Slot::Bind4, ctx.arg(0), ctx.arg(1), ctx.arg(4))
}

/// match-proto:v5.10:net/ipv6/af_inet6.c:int __inet6_bind(struct sock *sk, struct sockaddr *uaddr, int addr_len, u32 flags)
/// match-proto:v6.19:net/ipv6/af_inet6.c:int __inet6_bind(struct sock *sk, struct sockaddr_unsized *uaddr, int addr_len, u32 flags)
#[fexit(function = "__inet6_bind")]
fn bind6(ctx: FExitContext) -> u32 {
    bind::returned::<Typed>(Slot::Bind6, ctx.arg(0), ctx.arg(1), ctx.arg(4))
}

/// match-proto:v5.10:net/ipv4/tcp_ipv4.c:int tcp_v4_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)
/// match-proto:v6.19:net/ipv4/tcp_ipv4.c:int tcp_v4_connect(struct sock *sk, struct sockaddr_unsized *uaddr, int addr_len)
#[fexit(function = "tcp_v4_connect")]
fn connect4(ctx: FExitContext) -> u32 {
    connect::returned::<Typed>(Slot::Connect4, ctx.arg(0), ctx.arg(1), ctx.arg(3), Version::V4)
}

/// match-proto:v5.10:net/ipv6/tcp_ipv6.c:int tcp_v6_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)
/// match-proto:v6.19:net/ipv6/tcp_ipv6.c:int tcp_v6_connect(struct sock *sk, struct sockaddr_unsized *uaddr, int addr_len)
#[fexit(function = "tcp_v6_connect")]
fn connect6(ctx: FExitContext) -> u32 {
    connect::returned::<Typed>(Slot::Connect6, ctx.arg(0), ctx.arg(1), ctx.arg(3), Version::V6)
}

/// match-proto:v5.10:net/ipv4/inet_connection_sock.c:struct sock *inet_csk_accept(struct sock *sk, int flags, int *err, bool kern)
#[fexit(function = "inet_csk_accept")]
fn accept_with_flags(ctx: FExitContext) -> u32 {
    accept::returned::<Typed>(ctx.arg(0), ctx.arg(4))
}

/// match-proto:v6.12:net/ipv4/inet_connection_sock.c:struct sock *inet_csk_accept(struct sock *sk, struct proto_accept_arg *arg)
#[fexit(function = "inet_csk_accept")]
fn accept_with_arg(ctx: FExitContext) -> u32 {
    accept::returned::<Typed>(ctx.arg(0), ctx.arg(2))
}

/// match-proto:v5.10:net/ipv4/udp.c:void udp_lib_unhash(struct sock *sk)
#[fentry(function = "udp_lib_unhash")]
fn udp_unhash(ctx: FEntryContext) -> u32 {
    bind::udp_closed(ctx.arg(0))
}

/// match-proto:v5.10:net/ipv4/datagram.c:int __ip4_datagram_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)
/// match-proto:v6.19:net/ipv4/datagram.c:int __ip4_datagram_connect(struct sock *sk, struct sockaddr_unsized *uaddr, int addr_len)
#[fexit(function = "__ip4_datagram_connect")]
fn udp_connect4(ctx: FExitContext) -> u32 {
    connect::udp_returned::<Typed>(Slot::UdpConnect4, ctx.arg(0), ctx.arg(1), ctx.arg(3), Version::V4)
}

/// match-proto:v5.10:net/ipv6/datagram.c:int __ip6_datagram_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)
/// match-proto:v6.19:net/ipv6/datagram.c:int __ip6_datagram_connect(struct sock *sk, struct sockaddr_unsized *uaddr, int addr_len)
#[fexit(function = "__ip6_datagram_connect")]
fn udp_connect6(ctx: FExitContext) -> u32 {
    connect::udp_returned::<Typed>(Slot::UdpConnect6, ctx.arg(0), ctx.arg(1), ctx.arg(3), Version::V6)
}

// Backend `kprobe`: a program at the entry keeps the arguments, one at the return has the result. Arguments are read by
// position, so a function is hooked whatever follows the ones that are known.

/// match-proto:v5.10:net/ipv4/inet_connection_sock.c:int inet_csk_listen_start(struct sock *sk, int backlog)
#[kprobe(function = "inet_csk_listen_start")]
fn listen_entry(ctx: ProbeContext) -> u32 {
    let Some(sk) = ctx.arg(0) else { return 0 };
    call::entered::<CALL_LISTEN>(sk, ptr::null());
    0
}

/// The other end of `listen_entry`.
#[kretprobe(function = "inet_csk_listen_start")]
fn listen_return(ctx: RetProbeContext) -> u32 {
    let Some(call) = call::returned::<CALL_LISTEN>() else {
        return 0;
    };
    listen::returned::<Probed, _>(&ctx, call.sock as *const u8, ctx.ret())
}

/// Where the compiler left no `inet_csk_listen_start` to hook. This one is called for a second `listen()` too, which
/// changes the backlog of a listener and is no event.
///
/// match-proto:v5.10:net/ipv4/af_inet.c:__inet_listen_sk absent
/// match-proto:v6.12:net/ipv4/af_inet.c:int __inet_listen_sk(struct sock *sk, int backlog)
#[kprobe(function = "__inet_listen_sk")]
fn inet_listen_entry(ctx: ProbeContext) -> u32 {
    let Some(sk) = ctx.arg(0) else { return 0 };
    call::entered_if::<CALL_LISTEN>(!listen::is_listening(sk), sk, ptr::null());
    0
}

/// match-proto:v5.10:net/ipv4/inet_connection_sock.c:void inet_csk_listen_stop(struct sock *sk)
#[kprobe(function = "inet_csk_listen_stop")]
fn listen_stop_entry(ctx: ProbeContext) -> u32 {
    ctx.arg(0).map_or(0, listen::stopped)
}

/// match-proto:v5.10:net/ipv4/af_inet.c:int __inet_bind(struct sock *sk, struct sockaddr *uaddr, int addr_len, u32 flags)
/// match-proto:v6.19:net/ipv4/af_inet.c:int __inet_bind(struct sock *sk, struct sockaddr_unsized *uaddr, int addr_len, u32 flags)
#[kprobe(function = "__inet_bind")]
fn bind4_entry(ctx: ProbeContext) -> u32 {
    let (Some(sk), Some(address)) = (ctx.arg(0), ctx.arg(1)) else {
        return 0;
    };
    call::entered_if::<CALL_BIND4>(bind::is_awaited::<Probed>(sk, address), sk, address);
    0
}

/// The other end of `bind4_entry`.
#[kretprobe(function = "__inet_bind")]
fn bind4_return(ctx: RetProbeContext) -> u32 {
    let Some(call) = call::returned::<CALL_BIND4>() else {
        return 0;
    };
    bind::returned::<Probed>(
        Slot::Bind4,
        call.sock as *const u8,
        call.address as *const u8,
        ctx.ret(),
    )
}

/// match-proto:v5.10:net/ipv6/af_inet6.c:int __inet6_bind(struct sock *sk, struct sockaddr *uaddr, int addr_len, u32 flags)
/// match-proto:v6.19:net/ipv6/af_inet6.c:int __inet6_bind(struct sock *sk, struct sockaddr_unsized *uaddr, int addr_len, u32 flags)
#[kprobe(function = "__inet6_bind")]
fn bind6_entry(ctx: ProbeContext) -> u32 {
    let (Some(sk), Some(address)) = (ctx.arg(0), ctx.arg(1)) else {
        return 0;
    };
    call::entered_if::<CALL_BIND6>(bind::is_awaited::<Probed>(sk, address), sk, address);
    0
}

/// The other end of `bind6_entry`.
#[kretprobe(function = "__inet6_bind")]
fn bind6_return(ctx: RetProbeContext) -> u32 {
    let Some(call) = call::returned::<CALL_BIND6>() else {
        return 0;
    };
    bind::returned::<Probed>(
        Slot::Bind6,
        call.sock as *const u8,
        call.address as *const u8,
        ctx.ret(),
    )
}

/// match-proto:v5.10:net/ipv4/tcp_ipv4.c:int tcp_v4_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)
/// match-proto:v6.19:net/ipv4/tcp_ipv4.c:int tcp_v4_connect(struct sock *sk, struct sockaddr_unsized *uaddr, int addr_len)
#[kprobe(function = "tcp_v4_connect")]
fn connect4_entry(ctx: ProbeContext) -> u32 {
    let (Some(sk), Some(address)) = (ctx.arg(0), ctx.arg(1)) else {
        return 0;
    };
    call::entered_if::<CALL_CONNECT4>(connect::is_awaited(address), sk, address);
    0
}

/// The other end of `connect4_entry`.
#[kretprobe(function = "tcp_v4_connect")]
fn connect4_return(ctx: RetProbeContext) -> u32 {
    let Some(call) = call::returned::<CALL_CONNECT4>() else {
        return 0;
    };
    let (sk, address) = (call.sock as *const u8, call.address as *const u8);
    connect::returned::<Probed>(Slot::Connect4, sk, address, ctx.ret(), Version::V4)
}

/// match-proto:v5.10:net/ipv6/tcp_ipv6.c:int tcp_v6_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)
/// match-proto:v6.19:net/ipv6/tcp_ipv6.c:int tcp_v6_connect(struct sock *sk, struct sockaddr_unsized *uaddr, int addr_len)
#[kprobe(function = "tcp_v6_connect")]
fn connect6_entry(ctx: ProbeContext) -> u32 {
    let (Some(sk), Some(address)) = (ctx.arg(0), ctx.arg(1)) else {
        return 0;
    };
    call::entered_if::<CALL_CONNECT6>(connect::is_awaited(address), sk, address);
    0
}

/// The other end of `connect6_entry`.
#[kretprobe(function = "tcp_v6_connect")]
fn connect6_return(ctx: RetProbeContext) -> u32 {
    let Some(call) = call::returned::<CALL_CONNECT6>() else {
        return 0;
    };
    let (sk, address) = (call.sock as *const u8, call.address as *const u8);
    connect::returned::<Probed>(Slot::Connect6, sk, address, ctx.ret(), Version::V6)
}

/// match-proto:v5.10:net/ipv4/inet_connection_sock.c:struct sock *inet_csk_accept(struct sock *sk, int flags, int *err, bool kern)
#[kprobe(function = "inet_csk_accept")]
fn accept_entry(ctx: ProbeContext) -> u32 {
    ctx.arg(0).map_or(0, accept::entered)
}

/// match-proto:v5.10:security/security.c:void security_sock_graft(struct sock *sk, struct socket *parent)
#[kprobe(function = "security_sock_graft")]
fn sock_graft_entry(ctx: ProbeContext) -> u32 {
    ctx.arg(0).map_or(0, accept::grafted)
}

/// match-proto:v5.10:net/ipv4/udp.c:void udp_lib_unhash(struct sock *sk)
#[kprobe(function = "udp_lib_unhash")]
fn udp_unhash_entry(ctx: ProbeContext) -> u32 {
    ctx.arg(0).map_or(0, bind::udp_closed)
}

/// match-proto:v5.10:net/ipv4/datagram.c:int __ip4_datagram_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)
/// match-proto:v6.19:net/ipv4/datagram.c:int __ip4_datagram_connect(struct sock *sk, struct sockaddr_unsized *uaddr, int addr_len)
#[kprobe(function = "__ip4_datagram_connect")]
fn udp_connect4_entry(ctx: ProbeContext) -> u32 {
    let (Some(sk), Some(address)) = (ctx.arg(0), ctx.arg(1)) else {
        return 0;
    };
    call::entered_if::<CALL_UDP_CONNECT4>(connect::is_udp_awaited::<Probed>(sk, address), sk, address);
    0
}

/// The other end of `udp_connect4_entry`.
#[kretprobe(function = "__ip4_datagram_connect")]
fn udp_connect4_return(ctx: RetProbeContext) -> u32 {
    let Some(call) = call::returned::<CALL_UDP_CONNECT4>() else {
        return 0;
    };
    let (sk, address) = (call.sock as *const u8, call.address as *const u8);
    connect::udp_returned::<Probed>(Slot::UdpConnect4, sk, address, ctx.ret(), Version::V4)
}

/// match-proto:v5.10:net/ipv6/datagram.c:int __ip6_datagram_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)
/// match-proto:v6.19:net/ipv6/datagram.c:int __ip6_datagram_connect(struct sock *sk, struct sockaddr_unsized *uaddr, int addr_len)
#[kprobe(function = "__ip6_datagram_connect")]
fn udp_connect6_entry(ctx: ProbeContext) -> u32 {
    let (Some(sk), Some(address)) = (ctx.arg(0), ctx.arg(1)) else {
        return 0;
    };
    call::entered_if::<CALL_UDP_CONNECT6>(connect::is_udp_awaited::<Probed>(sk, address), sk, address);
    0
}

/// The other end of `udp_connect6_entry`.
#[kretprobe(function = "__ip6_datagram_connect")]
fn udp_connect6_return(ctx: RetProbeContext) -> u32 {
    let Some(call) = call::returned::<CALL_UDP_CONNECT6>() else {
        return 0;
    };
    let (sk, address) = (call.sock as *const u8, call.address as *const u8);
    connect::udp_returned::<Probed>(Slot::UdpConnect6, sk, address, ctx.ret(), Version::V6)
}

// The raw tracepoint: the outcome of connects on every backend, and all there is for kernels that offer neither
// trampolines nor kprobes. Its arguments come with their types, so that what they point to is read by plain loads.

/// match-proto:v5.10:include/trace/events/sock.h:inet_sock_set_state(const struct sock *, const int, const int)
#[btf_tracepoint(function = "inet_sock_set_state")]
fn connect_outcome(ctx: BtfTracePointContext) -> i32 {
    if connect::is_end(ctx.arg(1), ctx.arg(2)) {
        outcome(ctx.arg(0), ctx.arg(2));
    }
    0
}

/// Where the functions that connect cannot be hooked.
///
/// match-proto:v5.10:include/trace/events/sock.h:inet_sock_set_state(const struct sock *, const int, const int)
#[btf_tracepoint(function = "inet_sock_set_state")]
fn connect_state(ctx: BtfTracePointContext) -> i32 {
    let (sk, old, new) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    connect::began::<Typed>(sk, new);
    if connect::is_end(old, new) {
        outcome(sk, new);
    }
    0
}

/// The backend `tracepoint`.
///
/// match-proto:v5.10:include/trace/events/sock.h:inet_sock_set_state(const struct sock *, const int, const int)
#[btf_tracepoint(function = "inet_sock_set_state")]
fn set_state(ctx: BtfTracePointContext) -> i32 {
    let (sk, old, new) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    listen::changed::<Typed, _>(&ctx, sk, old, new);
    connect::began::<Typed>(sk, new);
    if connect::is_end(old, new) {
        outcome(sk, new);
    }
    0
}

/// A function of its own: a program saves what registers it uses whenever it runs, and most changes of a state are none that
/// is told of.
#[inline(never)]
fn outcome(sk: *const u8, new: u32) {
    connect::ended::<Typed>(sk, new);
}

// The snapshot.

/// What the iterator over open files hands in: `struct bpf_iter__task_file` of kernel/bpf/task_iter.c.
#[repr(C)]
struct OpenFile {
    meta: *const Meta,
    task: *const u8,
    descriptor: u32,
    file: *const u8,
}

/// `struct bpf_iter_meta` of include/linux/bpf.h, its beginning.
#[repr(C)]
struct Meta {
    seq: *mut seq_file,
}

/// Every descriptor of every process, once; at the end once without any.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn open_files(ctx: *const OpenFile) -> i32 {
    // SAFETY: the context, field by field as the verifier has it.
    unsafe {
        let task = ptr::read_volatile(&raw const (*ctx).task);
        let file = ptr::read_volatile(&raw const (*ctx).file);
        if !task.is_null() && !file.is_null() {
            let meta = ptr::read_volatile(&raw const (*ctx).meta);
            snapshot::descriptor(ptr::read_volatile(&raw const (*meta).seq), task, file);
        }
    }
    0
}

/// Never reached: the kernel side has no code that panics, and the verifier would refuse it.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers that read kernel memory are GPL-only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
