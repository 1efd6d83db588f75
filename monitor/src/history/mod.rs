//! What listened when, and whose it was: the listeners of the past, in one SQLite file that is bounded by age and size.
//!
//! A [`Span`] is one listener, from its listen to its end. The event path hands spans to the [`Recorder`] and never waits:
//! `queue` has a bound, and `writer` takes it on a thread of its own, a second at a time. `store` is the file and its
//! statements, `schema` its shape, and `trouble` what can be wrong with it; nothing of that reaches the event path but counts.
//! [`read`] reads it, for commands and for the API, also while an agent writes; `group` makes one entry of a listener that comes again
//! and again.

mod group;
mod queue;
pub mod read;
mod recorder;
mod schema;
mod span;
mod store;
mod trouble;
mod writer;

#[cfg(test)]
mod tests;

pub use group::{Entry, grouped};
pub use recorder::{Recorder, Tally};
pub use span::{End, Span};
pub use trouble::KINDS;
