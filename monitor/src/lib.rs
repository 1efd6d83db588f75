//! portreeve's agent: it knows what listens on every port of a Linux host, names each owner, and says so the moment
//! that changes.
//!
//! The modules stand in the order of the data: a kernel hook reports ([`kernel`]).

pub mod exit;
pub mod kernel;
