//! What `cargo xtask bench kernel` runs: calls that are timed one by one, and the tools whose cost they show. And what
//! `cargo xtask bench snapshot` runs: crowds of processes, and the ways to learn what listens there.
//!
//! A library, so that xtask and the program that it sends into a guest speak of the same things; xtask uses `calls`
//! natively as well. Reading order: `calls` makes and times them, `process` and `bpf` read what /proc says of a tool, `plan`
//! says which tools run beside them and what each must tell, `tool` runs one, on a processor apart from the calls
//! (`processors`), `interleave` runs all in turn with nothing running between. `snapshot` stands by itself. `scrape` reads the
//! agent's metrics, `lines` carries what was measured out of a guest, and `cli` is the program.

#![forbid(unsafe_code)]

pub mod bpf;
pub mod calls;
pub mod cli;
pub mod interleave;
pub mod lines;
pub mod plan;
pub mod process;
pub mod processors;
pub mod scrape;
pub mod snapshot;
pub mod tool;
