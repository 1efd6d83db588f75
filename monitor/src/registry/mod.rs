//! IANA's Service Name and Transport Protocol Port Number Registry: what every port was registered for.
//!
//! The whole registry is embedded: every row and all twelve columns, as one table that is read in place
//! ([`format`] describes its layout, `cargo xtask registry` writes it). The rows come from IANA's CSV, whose content
//! IANA releases under CC0, as carried by the crate `port-desc`. A newer table, made by [`import`] from a file of IANA's,
//! can take its place, and names of the site's own can lie over it ([`overlay`]). This module does no I/O and reads no clock.

mod defaults;
mod format;
pub mod free;
mod grouped;
pub(crate) mod import;
mod layers;
pub mod meaning;
mod nearest;
pub(crate) mod overlay;
mod ports;
mod programs;
mod registration;
pub mod search;
mod table;

pub use defaults::Default as KnownDefault;
pub use grouped::{Grouped, grouped};
pub use layers::{Registrations, Registry};
pub use meaning::{Dormancy, Meaning};
pub use ports::{PortSpec, PortSpecError, Subject};
pub use programs::name_matches;
pub use registration::{Ports, RangeClass, Registration, Status, Transport, service_names, without_brackets};
pub use table::{Authority, Source, Table, TableError};

static TABLE: &[u8] = include_bytes!("../../data/registry.bin");

// The header is read by the compiler: a table of another layout does not build. The rest is checked by the tests.
static EMBEDDED: Registry = Registry::of(match table::Layout::read(TABLE) {
    Ok(layout) => Table::laid_out(TABLE, layout),
    Err(_) => panic!("monitor/data/registry.bin has another layout than this source: run `cargo xtask registry`"),
});

/// Whether bytes begin like a table, sound or not; nothing at all counts too.
pub(crate) fn is_table(bytes: &[u8]) -> bool {
    bytes.is_empty() || bytes.starts_with(&format::MAGIC)
}

#[cfg(test)]
pub(crate) use format::checksum;
#[cfg(test)]
mod tests;
