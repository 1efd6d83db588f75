//! Sizes of the maps, and times that both sides keep.

/// Sockets that the map of reported listeners holds, of those whose place another one has. One more is still reported, its
/// end is not: that is counted as [`crate::LOST_LISTENERS`], and a reconcile repairs it.
pub const LISTENERS_MAX: u32 = 16_384;

/// UDP sockets that the map of bound ones holds. One more is reported where its port is named; else it is shed, and
/// counted as [`crate::LOST_UDP`].
pub const UDP_MAX: u32 = 8_192;

/// A UDP socket on a port that nothing names counts as a listener once it has been bound and unconnected for so long:
/// nanoseconds. Resolvers bind a random port for each query.
pub const UDP_COUNTS_AFTER: u64 = 2_000_000_000;

/// Connections that may wait for their outcome in the map, of those whose place another one has. The one that has waited
/// longest makes room for one more.
pub const CONNECTS_MAX: u32 = 8_192;

/// Calls that may be under way at a time where a hook needs two programs, one at entry and one at return.
pub const CALLS_MAX: u32 = 4_096;

/// Bytes of the ring: 4,854 records without a path, some 4,000 with one. A power of two.
pub const RING_BYTES: u32 = 1 << 20;

/// How often the agent looks at the ring by itself while it is attentive: nanoseconds.
pub const ATTENTION_PERIOD: u64 = 250_000;

/// For how long it stays so after a record: nanoseconds.
pub const ATTENTION_SPAN: u64 = 2_000_000;
