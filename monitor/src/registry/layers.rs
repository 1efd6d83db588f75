//! The registry in use: IANA's table, with the names of the site and of /etc/services over it.

use super::registration::{Registration, Status, Transport, service_names};
use super::table::{Source, Table, TableError};
use super::{Authority, EMBEDDED};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// All that gives ports a name. What the site says comes first, then /etc/services, then IANA.
pub struct Registry {
    over: Vec<Table>,
    iana: Table,
}

impl Registry {
    /// The registry that this program was built with, and nothing over it.
    #[must_use]
    pub fn embedded() -> &'static Self {
        &EMBEDDED
    }

    /// The same, to lay names over. It takes no memory of its own: the rows stay where the program has them.
    #[must_use]
    pub fn builtin() -> Self {
        Self::of(EMBEDDED.iana.clone())
    }

    pub(super) const fn of(iana: Table) -> Self {
        Self { over: Vec::new(), iana }
    }

    /// Takes a table of IANA's rows over after checking it as a whole.
    ///
    /// # Errors
    /// [`TableError`] names the first thing that is wrong.
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, TableError> {
        Table::from_bytes(bytes, Authority::Iana).map(Self::of)
    }

    /// The same with these tables over it, the first one foremost.
    #[must_use]
    pub fn with_names(self, over: Vec<Table>) -> Self {
        Self { over, ..self }
    }

    fn tables(&self) -> impl Iterator<Item = &Table> {
        self.over.iter().chain([&self.iana])
    }

    /// All registrations that apply to a port of a transport, singles and ranges: the site's first, then those of
    /// /etc/services, then IANA's, each in their own order.
    ///
    /// Rows that name no transport speak of all of them and are among these: most are blocks without an assignment,
    /// some are services (`vrml-multi-use` on 4200–4299).
    pub fn lookup(&self, transport: Transport, port: u16) -> impl Iterator<Item = Registration<'_>> {
        self.tables().flat_map(move |table| table.lookup(transport, port))
    }

    /// What a port of a transport was registered for, or is known to be used for: [`Registry::lookup`] without the rows that
    /// only say that it is free.
    pub fn registrations(&self, transport: Transport, port: u16) -> impl Iterator<Item = Registration<'_>> {
        self.lookup(transport, port)
            .filter(move |row| row.status() != Status::Unassigned || row.unauthorized_use_of(port).is_some())
    }

    /// The service names of a port of a transport, in the order of [`Registry::lookup`].
    pub fn names(&self, transport: Transport, port: u16) -> impl Iterator<Item = &str> {
        self.lookup(transport, port)
            .filter_map(|registration| registration.service())
    }

    /// All registrations of a port over all transports, and those that name none, in the order of [`Registry::lookup`].
    pub fn by_port(&self, port: u16) -> impl Iterator<Item = Registration<'_>> {
        self.by_range(port, port)
    }

    /// All registrations that cover at least one port from `first` to `last`, in the order of [`Registry::lookup`].
    pub fn by_range(&self, first: u16, last: u16) -> impl Iterator<Item = Registration<'_>> {
        self.tables().flat_map(move |table| table.by_range(first, last))
    }

    /// All registrations of a service name, whatever its case, in the order of [`Registry::lookup`]; those without a port
    /// too.
    pub fn by_name<'a>(&'a self, name: &str) -> impl Iterator<Item = Registration<'a>> + use<'a> {
        let found: Vec<_> = self.over.iter().flat_map(|table| table.by_name(name)).collect();
        found.into_iter().chain(self.iana.by_name(name))
    }

    /// All registrations with a service name; those of each table sorted by name in ASCII lower case.
    pub fn named(&self) -> impl Iterator<Item = Registration<'_>> {
        self.tables().flat_map(Table::named)
    }

    /// Every row, in the order of [`Registry::lookup`].
    pub fn rows(&self) -> impl Iterator<Item = Registration<'_>> {
        self.tables().flat_map(Table::rows)
    }

    /// The number of IANA's rows, with and without a port or a name.
    #[must_use]
    pub fn records(&self) -> usize {
        self.iana.records()
    }

    /// Where IANA's rows come from.
    #[must_use]
    pub fn source(&self) -> Source<'_> {
        self.iana.source()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("over", &self.over)
            .field("iana", &self.iana)
            .finish()
    }
}

/// What a port of a transport is registered for, in a registry that may be exchanged for another one meanwhile: it is looked
/// up when it is asked for.
#[derive(Clone, Debug)]
pub struct Registrations {
    registry: Arc<Registry>,
    transport: Transport,
    port: u16,
}

impl Registrations {
    /// Of this port, in this registry.
    #[must_use]
    pub fn new(registry: &Arc<Registry>, transport: Transport, port: u16) -> Self {
        Self {
            registry: Arc::clone(registry),
            transport,
            port,
        }
    }

    /// The same port in another registry.
    #[must_use]
    pub fn again(&self, registry: &Arc<Registry>) -> Self {
        Self::new(registry, self.transport, self.port)
    }

    /// All of them; see [`Registry::registrations`].
    pub fn iter(&self) -> impl Iterator<Item = Registration<'_>> {
        self.registry.registrations(self.transport, self.port)
    }

    /// The service names, each once, in the order of [`Registry::lookup`].
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        service_names(self.iter())
    }
}
