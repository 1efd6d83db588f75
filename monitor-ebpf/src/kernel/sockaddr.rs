//! `struct sockaddr`: what a caller asked for. The kernel has copied it from user space when the hooks run. Each
//! kernel has its own type for it in the prototypes, and IPv6's is longer than that says: so never a typed load.

use monitor_common::Bytes16;

use super::{
    Access, Probed, host_order,
    sock::{AF_INET, AF_INET6},
};

/// An address that a caller handed in.
pub struct SockAddr(pub *const u8);

impl SockAddr {
    /// The port, in host order: at the same place for both families.
    #[inline(always)]
    pub fn port(&self) -> u16 {
        // SAFETY: an integer; network order.
        host_order(unsafe { Probed::read(self.0.wrapping_add(2)) })
    }

    /// Family and address. What is neither IPv4 nor IPv6 (the kernel takes AF_UNSPEC for IPv4, here and there) is told
    /// as IPv4.
    #[inline(always)]
    pub fn address(&self) -> (u16, Bytes16) {
        // SAFETY: integers.
        unsafe {
            let family: u16 = Probed::read(self.0);
            if family == AF_INET6 {
                (AF_INET6, Probed::read(self.0.wrapping_add(8)))
            } else {
                let address: u32 = Probed::read(self.0.wrapping_add(4));
                (AF_INET, [u64::from(address), 0])
            }
        }
    }
}
