//! What `cargo xtask bench kernel` runs: calls that are timed one by one, and the tools whose cost they show.
//!
//! A library, so that xtask and the program that it sends into a guest speak of the same things; xtask uses `calls`
//! natively as well. Reading order: `calls` makes and times them, `process` and `bpf` read what /proc says of a tool, `plan` says which tools run beside them and what each
//! must tell, `tool` runs one, on a processor apart from the calls (`processors`), `interleave` runs all in turn with nothing running between.

#![forbid(unsafe_code)]

pub mod bpf;
pub mod calls;
pub mod interleave;
pub mod plan;
pub mod process;
pub mod processors;
pub mod tool;
