//! portreeve: what listens on every port of a Linux host.

pub mod cli;
pub mod exit;
pub mod registry;
