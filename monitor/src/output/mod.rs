//! What people and machines are told: JSON lines, the log, metrics, HTTP.

pub mod events;
pub mod http;
pub mod log;
pub mod metrics;
pub mod report;
pub mod sentence;
pub mod writer;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod scrape;

pub use report::{Origin, Report};
