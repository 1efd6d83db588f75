//! `struct net`: network namespaces.

use super::{Access, field};

/// The namespace's inode number, as /proc/PID/ns/net shows it.
#[inline(always)]
pub fn inode<A: Access>(net: *const u8) -> u32 {
    // SAFETY: an integer, valid for any bytes.
    unsafe { A::field(net, field::NET_INUM) }
}
