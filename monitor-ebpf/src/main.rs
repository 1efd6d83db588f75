//! portreeve's kernel side: the entry points of the backends. Each only knows how its kind of program is handed the
//! arguments; what happens then stands once, in [`hooks`].
//!
//! One object carries the programs of all backends. Each is loaded on demand and fails alone, so a kernel that knows
//! no BTF trampolines still takes the tracepoint.
#![no_std]
#![no_main]

mod emit;
mod filter;
mod hooks;
mod kernel;
mod maps;

use aya_ebpf::{
    macros::{fentry, fexit, raw_tracepoint},
    programs::{FEntryContext, FExitContext, RawTracePointContext},
};

// Backend `fexit`: BTF trampolines. The return value stands behind the arguments, and a branch on a global would not
// keep the verifier from checking both reads: so there is one program for each prototype, and the agent picks by the
// number of arguments in the kernel's BTF.

/// match-proto:v5.10:net/ipv4/inet_connection_sock.c:int inet_csk_listen_start(struct sock *sk, int backlog)
#[fexit(function = "inet_csk_listen_start")]
fn listen_start_with_backlog(ctx: FExitContext) -> u32 {
    hooks::listen::returned(&ctx, ctx.arg(0), ctx.arg(2))
}

/// match-proto:v6.1:net/ipv4/inet_connection_sock.c:int inet_csk_listen_start(struct sock *sk)
#[fexit(function = "inet_csk_listen_start")]
fn listen_start(ctx: FExitContext) -> u32 {
    hooks::listen::returned(&ctx, ctx.arg(0), ctx.arg(1))
}

/// match-proto:v5.10:net/ipv4/inet_connection_sock.c:void inet_csk_listen_stop(struct sock *sk)
///
/// At entry: nothing that the exit knows is asked for, and an entry program costs its caller less.
#[fentry(function = "inet_csk_listen_stop")]
fn listen_stop(ctx: FEntryContext) -> u32 {
    hooks::listen::stopped(&ctx, ctx.arg(0))
}

// Backend `tracepoint`, for kernels that offer neither trampolines nor kprobes.

/// match-proto:v5.10:include/trace/events/sock.h:inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn set_state(ctx: RawTracePointContext) -> i32 {
    hooks::listen::changed(&ctx, ctx.arg(0), ctx.arg(1), ctx.arg(2))
}

// Backend `kprobe`: its entry points go here, and call the same functions of `hooks`.

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
