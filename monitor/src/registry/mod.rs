//! IANA's Service Name and Transport Protocol Port Number Registry: what every port was registered for.
//!
//! The whole registry is embedded: every row and all twelve columns, as one table that is read in place
//! ([`format`] describes its layout, `cargo xtask registry` writes it). The rows come from IANA's CSV, whose content
//! IANA releases under CC0, as carried by the crate `port-desc`. This module does no I/O and reads no clock.

mod defaults;
mod format;
pub mod free;
mod grouped;
pub mod meaning;
mod nearest;
mod ports;
mod programs;
mod registration;
pub mod search;
mod table;

pub use defaults::Default as KnownDefault;
pub use grouped::{Grouped, grouped};
pub use meaning::{Dormancy, Meaning};
pub use ports::{PortSpec, PortSpecError, Subject};
pub use programs::name_matches;
pub use registration::{Ports, RangeClass, Registration, Status, Transport, service_names};
pub use table::{Registry, Source, TableError};

static TABLE: &[u8] = include_bytes!("../../data/registry.bin");

// The header is read by the compiler: a table of another layout does not build. The rest is checked by the tests.
static EMBEDDED: Registry = match table::Layout::read(TABLE) {
    Ok(layout) => Registry::laid_out(TABLE, layout),
    Err(_) => panic!("monitor/data/registry.bin has another layout than this source: run `cargo xtask registry`"),
};

impl Registry {
    /// The registry that this program was built with.
    #[must_use]
    pub fn embedded() -> &'static Self {
        &EMBEDDED
    }
}

#[cfg(test)]
mod tests;
