//! The filter: which events of which ports the kernel side reports.

/// Ports there are; the filter has one byte for each, indexed by the port in host order.
pub const PORTS: usize = 65_536;

/// Report listens on this port.
pub const WATCH_LISTEN: u8 = 1 << 0;
/// Report binds to this port.
pub const WATCH_BIND: u8 = 1 << 1;
/// Report connects to this port.
pub const WATCH_CONNECT: u8 = 1 << 2;
/// Report accepts on this port.
pub const WATCH_ACCEPT: u8 = 1 << 3;
