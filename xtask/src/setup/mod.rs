//! What a fresh machine lacks: found out, said, and installed or fetched where that is possible.

pub(crate) mod apt;
pub(crate) mod bpf_toolchain;
