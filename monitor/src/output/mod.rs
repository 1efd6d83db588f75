//! What people and machines are told: JSON lines, the log, metrics, HTTP, and alerts that are sent.

pub mod alert_states;
pub mod alertmanager;
pub mod documents;
pub mod events;
pub mod http;
pub mod journal;
pub mod listing;
pub mod log;
pub mod metrics;
pub mod notices;
pub mod notify;
pub mod pattern;
pub mod port;
pub mod recent;
pub mod report;
pub mod sentence;
pub mod status;
pub mod webhook;
pub mod writer;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
pub(crate) mod schema;
#[cfg(test)]
mod scrape;

pub use report::{Origin, Report};
