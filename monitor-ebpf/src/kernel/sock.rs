//! `struct sock` and what hangs on it.

use core::marker::PhantomData;

use aya_ebpf::{Global, helpers::generated::bpf_get_socket_cookie};
use monitor_common::{
    Bytes16, FLAG_AUTOMATIC, FLAG_KERNEL_SOCKET, FLAG_REUSEPORT, FLAG_V6ONLY, bit_field_byte, bit_field_value,
};

use super::{Access, HAVE_COOKIE, Probed, Typed, at, field, net};

/// `IPPROTO_TCP`.
pub const IPPROTO_TCP: u16 = 6;

/// `SHUTDOWN_MASK` of include/net/sock.h: both directions are shut down.
pub const SHUTDOWN_MASK: u8 = 3;

const AF_INET6: u16 = 10;

/// `SOCK_BINDPORT_LOCK` of include/net/sock.h: the port was asked for by number.
const BINDPORT_LOCK: u32 = 8;

/// A `struct sock` and how it may be read.
pub struct Sock<A> {
    pointer: *const u8,
    access: PhantomData<A>,
}

impl<A: Access> Sock<A> {
    #[inline(always)]
    pub fn new(pointer: *const u8) -> Self {
        Self {
            pointer,
            access: PhantomData,
        }
    }

    #[inline(always)]
    fn field<T: Copy>(&self, offset: &Global<u32>) -> T {
        // SAFETY: used for integers and pointers alone, which are valid for any bytes.
        unsafe { A::read(at(self.pointer, offset)) }
    }

    #[inline(always)]
    fn bits(&self, packed: &Global<u32>) -> u32 {
        let packed = packed.load();
        // SAFETY: a byte.
        let byte: u8 = unsafe { A::read(self.pointer.wrapping_add(bit_field_byte(packed) as usize)) };
        bit_field_value(packed, byte)
    }

    /// The address of the structure itself: the key of maps.
    #[inline(always)]
    pub fn address_of(&self) -> u64 {
        self.pointer as u64
    }

    #[inline(always)]
    pub fn family(&self) -> u16 {
        self.field(&field::SOCK_FAMILY)
    }

    #[inline(always)]
    pub fn protocol(&self) -> u16 {
        self.field(&field::SOCK_PROTOCOL)
    }

    /// `skc_num`: the local port, in host order (the only port that the kernel keeps so).
    #[inline(always)]
    pub fn port(&self) -> u16 {
        self.field(&field::SOCK_PORT)
    }

    /// `inet_sport`: the local port, which outlives `skc_num` when a port is given back. Behind `struct sock`, so
    /// never a typed load.
    #[inline(always)]
    pub fn source_port(&self) -> u16 {
        // SAFETY: an integer; network order.
        u16::from_be(unsafe { Probed::read(at(self.pointer, &field::INET_SPORT)) })
    }

    /// The local address: four bytes for IPv4, sixteen for IPv6, in network order, the rest 0.
    #[inline(always)]
    pub fn local_address(&self, family: u16) -> Bytes16 {
        if family == AF_INET6 {
            // Two loads of eight: a plain load may not be wider.
            let first = at(self.pointer, &field::SOCK_ADDRESS_V6);
            // SAFETY: integers.
            unsafe { [A::read(first), A::read(first.wrapping_add(8))] }
        } else {
            // The first four bytes in memory; BPF here is little-endian.
            [u64::from(self.field::<u32>(&field::SOCK_ADDRESS_V4)), 0]
        }
    }

    /// Inode of the socket's network namespace.
    #[inline(always)]
    pub fn netns(&self) -> u32 {
        net::inode::<A>(self.field(&field::SOCK_NET))
    }

    #[inline(always)]
    pub fn backlog(&self) -> u32 {
        self.field(&field::SOCK_BACKLOG)
    }

    #[inline(always)]
    pub fn interface(&self) -> u32 {
        self.field(&field::SOCK_INTERFACE)
    }

    /// `sk_shutdown`: 0, or 3 once both directions are shut down, as a close does.
    #[inline(always)]
    pub fn shutdown(&self) -> u8 {
        self.field(&field::SOCK_SHUTDOWN)
    }

    /// Inode of the socket (`SOCK_INODE` of include/net/sock.h); 0 where it has no `struct socket`.
    #[inline(always)]
    pub fn inode(&self) -> u64 {
        let socket: *const u8 = self.field(&field::SOCK_SOCKET);
        if socket.is_null() {
            return 0;
        }
        // `struct socket_alloc` is the socket with the inode behind it, so this leaves the typed `struct socket`.
        let inode = at(socket, &field::SOCKET_INODE);
        // SAFETY: an integer.
        unsafe { Probed::read(at(inode, &field::INODE_NUMBER)) }
    }

    /// `FLAG_*` that the socket itself tells.
    #[inline(always)]
    pub fn flags(&self) -> u32 {
        let mut flags = 0;
        if self.bits(&field::SOCK_USERLOCKS) & BINDPORT_LOCK == 0 {
            flags |= FLAG_AUTOMATIC;
        }
        if self.bits(&field::SOCK_V6ONLY) != 0 {
            flags |= FLAG_V6ONLY;
        }
        if self.bits(&field::SOCK_REUSEPORT) != 0 {
            flags |= FLAG_REUSEPORT;
        }
        if self.bits(&field::SOCK_KERNEL) != 0 {
            flags |= FLAG_KERNEL_SOCKET;
        }
        flags
    }

    /// The cookie, if somebody asked for it before; else 0.
    #[inline(always)]
    pub fn stored_cookie(&self) -> u64 {
        self.field(&field::SOCK_COOKIE)
    }
}

impl Sock<Typed> {
    /// The cookie, made by the kernel where there was none.
    #[inline(always)]
    pub fn cookie(&self) -> u64 {
        if HAVE_COOKIE.load() == 0 {
            return self.stored_cookie();
        }
        // SAFETY: the pointer is a `struct sock` to the verifier.
        unsafe { bpf_get_socket_cookie(self.pointer.cast_mut().cast()) }
    }
}
