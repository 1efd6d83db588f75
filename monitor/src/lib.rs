//! portreeve's agent.

pub mod identity;
pub mod snapshot;
