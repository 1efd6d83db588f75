//! What a fresh machine lacks: found out, said, and installed or fetched where that is possible.

pub(crate) mod amtool;
pub(crate) mod apt;
pub(crate) mod bpf_toolchain;
pub(crate) mod buildah;
pub(crate) mod cargo_tools;
pub(crate) mod debian;
pub(crate) mod guest_tools;
pub(crate) mod kernels;
pub(crate) mod kubernetes;
pub(crate) mod node;
pub(crate) mod programs;
pub(crate) mod promtool;
pub(crate) mod rsyslog;
pub(crate) mod rust_components;
