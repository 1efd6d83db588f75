//! portreeve's agent: it knows what listens on every port of a Linux host, names each owner, and says so the moment
//! that changes.
//!
//! The modules stand in the order of the data: the kernel side reports ([`kernel`]), records become [`event`]s, the
//! [`inventory`] says what they change (with [`snapshot`] where an event does not know its own result), [`identity`]
//! names the process, [`registry`] the port, [`policy`] judges, [`output`] tells,
//! [`history`] remembers. [`agent`] wires them, and [`confinement`] gives up what is not needed.

pub mod agent;
pub mod cli;
pub mod config;
pub mod confinement;
pub mod event;
pub mod exit;
pub mod history;
pub mod identity;
pub mod inventory;
pub mod kernel;
pub mod output;
pub mod policy;
pub mod registry;
pub mod snapshot;
