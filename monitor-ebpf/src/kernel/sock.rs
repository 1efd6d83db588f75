//! `struct sock` and what hangs on it.

use core::{marker::PhantomData, ptr};

use monitor_common::{Bytes16, FLAG_AUTOMATIC, FLAG_KERNEL_SOCKET, FLAG_MPTCP, FLAG_REUSEPORT, FLAG_V6ONLY};

use super::{
    Access, Probed, Typed,
    field::{self, Field},
    flag, host_order, net, one_bit,
};

/// `IPPROTO_TCP`.
pub const IPPROTO_TCP: u16 = 6;
/// `IPPROTO_UDP`.
pub const IPPROTO_UDP: u16 = 17;
/// `IPPROTO_MPTCP`.
pub const IPPROTO_MPTCP: u16 = 262;

/// `SHUTDOWN_MASK` of include/net/sock.h: both directions are shut down.
const SHUTDOWN_MASK: u8 = 3;

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;

/// `SOCK_BINDPORT_LOCK` of include/net/sock.h: the port was asked for by number.
const BINDPORT_LOCK: u64 = 8;

/// What is read of a socket field by field, or of a part of it that was read at once.
pub trait Fields {
    /// The value of a field: an integer or a pointer, which any bytes are.
    fn field<T: Copy, const INDEX: i32>(&self, field: Field<INDEX>) -> T;

    /// The values of two bit fields of one structure, most often of one byte.
    #[inline(always)]
    fn two_bits<const ONE: i32, const OTHER: i32>(&self, one: Field<ONE>, other: Field<OTHER>) -> (u64, u64) {
        let byte = self.field(one);
        let other_byte = if other.lies_in_byte_of(one) {
            byte
        } else {
            self.field(other)
        };
        (one.bits(byte), other.bits(other_byte))
    }

    #[inline(always)]
    fn family(&self) -> u16 {
        self.field(field::SOCK_FAMILY)
    }

    /// `skc_num`: the local port, in host order (the only port that the kernel keeps so).
    #[inline(always)]
    fn port(&self) -> u16 {
        self.field(field::SOCK_PORT)
    }

    /// The port of the other end, in host order; 0 where there is none.
    #[inline(always)]
    fn peer_port(&self) -> u16 {
        host_order(self.field(field::SOCK_PEER_PORT))
    }
}

/// A `struct sock` and how it may be read.
pub struct Sock<A> {
    pointer: *const u8,
    access: PhantomData<A>,
}

impl<A: Access> Fields for Sock<A> {
    #[inline(always)]
    fn field<T: Copy, const INDEX: i32>(&self, field: Field<INDEX>) -> T {
        // SAFETY: used for integers and pointers alone, which are valid for any bytes.
        unsafe { A::field(self.pointer, field) }
    }
}

impl<A: Access> Sock<A> {
    #[inline(always)]
    pub fn new(pointer: *const u8) -> Self {
        Self {
            pointer,
            access: PhantomData,
        }
    }

    /// The address of the structure itself: the key of maps.
    #[inline(always)]
    pub fn address_of(&self) -> u64 {
        self.pointer as u64
    }

    #[inline(always)]
    pub fn protocol(&self) -> u16 {
        self.field(field::SOCK_PROTOCOL)
    }

    /// `skc_state`: one of `TCP_*` of include/net/tcp_states.h.
    #[inline(always)]
    pub fn state(&self) -> u8 {
        self.field(field::SOCK_STATE)
    }

    /// `inet_sport`: the local port, which outlives `skc_num` when a port is given back. Behind `struct sock`, so
    /// never a typed load.
    #[inline(always)]
    pub fn source_port(&self) -> u16 {
        // SAFETY: an integer; network order.
        host_order(unsafe { Probed::field(self.pointer, field::INET_SPORT) })
    }

    /// `packets_out` of the `struct tcp_sock` that it is: packets that were sent and have no answer.
    #[inline(always)]
    pub fn packets_out(&self) -> u32 {
        // SAFETY: an integer.
        unsafe { Probed::field(self.pointer, field::TCP_PACKETS_OUT) }
    }

    /// `sk_err`: a positive errno, or 0.
    #[inline(always)]
    pub fn error(&self) -> i32 {
        self.field(field::SOCK_ERROR)
    }

    #[inline(always)]
    pub fn backlog(&self) -> u32 {
        self.field(field::SOCK_BACKLOG)
    }

    /// Whether it has ever listened: `SOCK_RCU_FREE` is set when the kernel enters a TCP socket among those that listen, and stays.
    #[inline(always)]
    pub fn has_listened(&self) -> bool {
        field::SOCK_LISTENED.bits(self.field(field::SOCK_LISTENED)) != 0
    }

    /// Whether both directions are shut down, as a close does first.
    #[inline(always)]
    pub fn is_shut_down(&self) -> bool {
        self.field::<u8, _>(field::SOCK_SHUTDOWN) == SHUTDOWN_MASK
    }

    /// The same, also where it is the first subflow of an MPTCP socket: a close then shuts that one down.
    #[inline(always)]
    pub fn is_closed(&self) -> bool {
        if self.is_shut_down() {
            return true;
        }
        let socket: *const u8 = self.field(field::SOCK_SOCKET);
        // SAFETY: a pointer; null reads as null.
        let owner = Self::new(unsafe { A::field(socket, field::SOCKET_SK) });
        owner.protocol() == IPPROTO_MPTCP && owner.is_shut_down()
    }

    /// Inode of the socket (`SOCK_INODE` of include/net/sock.h), and `FLAG_MPTCP` where its file belongs to an MPTCP
    /// socket, whose first subflow this is; 0 and 0 where it has no `struct socket`.
    #[inline(always)]
    pub fn file(&self) -> (u64, u32) {
        let socket: *const u8 = self.field(field::SOCK_SOCKET);
        if socket.is_null() {
            return (0, 0);
        }
        // SAFETY: pointers.
        let (owner, file): (*const u8, *const u8) = unsafe {
            let file = if A::PLAIN {
                A::field(socket, field::SOCKET_FILE)
            } else {
                ptr::null()
            };
            (A::field(socket, field::SOCKET_SK), file)
        };
        // SAFETY: a pointer, and an integer.
        let inode = unsafe {
            if file.is_null() {
                // `struct socket_alloc` is the socket with the inode behind it, so this leaves the typed `struct socket`.
                Probed::field(field::SOCKET_INODE.at(socket), field::INODE_NUMBER)
            } else {
                A::field(A::field(file, field::FILE_INODE), field::INODE_NUMBER)
            }
        };
        let mut flags = 0;
        if owner as u64 != self.address_of() && !owner.is_null() {
            let owner = Self::new(owner);
            if owner.protocol() == IPPROTO_MPTCP {
                flags = FLAG_MPTCP;
            }
        }
        (inode, flags)
    }

    /// Of an MPTCP socket, the `struct sock` of its first subflow.
    #[inline(always)]
    pub fn first_subflow(&self) -> *const u8 {
        // SAFETY: a pointer.
        unsafe { Probed::field(self.pointer, field::MPTCP_FIRST) }
    }

    /// `FLAG_AUTOMATIC` and `FLAG_KERNEL_SOCKET`.
    #[inline(always)]
    pub fn flags(&self) -> u32 {
        let (locks, kernel) = self.two_bits(field::SOCK_USERLOCKS, field::SOCK_KERNEL);
        flag(locks ^ BINDPORT_LOCK, BINDPORT_LOCK, FLAG_AUTOMATIC) | one_bit(kernel, FLAG_KERNEL_SOCKET)
    }

    /// The fields of its `struct sock_common`.
    #[inline(always)]
    pub fn common(&self) -> Common<A> {
        Common {
            block: A::block(self.pointer),
        }
    }
}

/// A socket's `struct sock_common`, as it is now.
pub struct Common<A: Access> {
    block: A::Block,
}

impl<A: Access> Fields for Common<A> {
    #[inline(always)]
    fn field<T: Copy, const INDEX: i32>(&self, field: Field<INDEX>) -> T {
        // SAFETY: used for integers and pointers alone, which are valid for any bytes.
        unsafe { field.load(A::bytes(&self.block)) }
    }
}

impl<A: Access> Common<A> {
    /// The local address: four bytes for IPv4, sixteen for IPv6, in network order, the rest 0.
    #[inline(always)]
    pub fn local_address(&self, family: u16) -> Bytes16 {
        self.address(family, field::SOCK_ADDRESS_V4, field::SOCK_ADDRESS_V6)
    }

    /// The address of the other end, in the same form.
    #[inline(always)]
    pub fn peer_address(&self, family: u16) -> Bytes16 {
        self.address(family, field::SOCK_PEER_V4, field::SOCK_PEER_V6)
    }

    #[inline(always)]
    fn address<const V4: i32, const V6: i32>(&self, family: u16, v4: Field<V4>, v6: Field<V6>) -> Bytes16 {
        if family == AF_INET6 {
            // SAFETY: integers.
            unsafe { Typed::sixteen(v6.at(A::bytes(&self.block))) }
        } else {
            // The first four bytes in memory; BPF here is little-endian.
            [u64::from(self.field::<u32, V4>(v4)), 0]
        }
    }

    /// Inode of the socket's network namespace.
    #[inline(always)]
    pub fn netns(&self) -> u32 {
        net::inode::<A>(self.field(field::SOCK_NET))
    }

    /// `FLAG_V6ONLY` and `FLAG_REUSEPORT`.
    #[inline(always)]
    pub fn flags(&self) -> u32 {
        let (only, reuse) = self.two_bits(field::SOCK_V6ONLY, field::SOCK_REUSEPORT);
        one_bit(only, FLAG_V6ONLY) | one_bit(reuse, FLAG_REUSEPORT)
    }

    /// The cookie; 0 where nobody has asked the kernel for it yet. To ask would cost more than to read all the rest.
    #[inline(always)]
    pub fn cookie(&self) -> u64 {
        self.field(field::SOCK_COOKIE)
    }
}
