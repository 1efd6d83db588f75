//! What people and machines are told: JSON lines, the log, metrics, HTTP, and alerts that are sent.

pub mod alert_states;
pub mod alertmanager;
pub mod events;
pub mod http;
pub mod journal;
pub mod log;
pub mod metrics;
pub mod notices;
pub mod notify;
pub mod report;
pub mod sentence;
pub mod webhook;
pub mod writer;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod scrape;

pub use report::{Origin, Report};
