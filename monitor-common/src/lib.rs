//! What portreeve's kernel side and its agent share: the record of one event, the settings and counters that lie in
//! BPF maps, and the list of kernel fields whose offsets the agent hands to the kernel side.
//!
//! Everything here crosses from the kernel to user space as plain bytes. So there is no `bool`, no enum, no pointer
//! and no `usize` in a record, no implicit padding, and the size and every offset are asserted at compile time.
#![no_std]

mod counters;
mod fields;
mod filter;
mod record;
mod sizes;

pub use counters::*;
pub use fields::*;
pub use filter::*;
pub use record::*;
pub use sizes::*;
