//! One row of the registry, and the words that it is described with.

use super::format;
use super::table::{Authority, Table, u16_at};
use std::fmt;

/// A transport protocol of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
    /// Stream Control Transmission Protocol.
    Sctp,
    /// Datagram Congestion Control Protocol.
    Dccp,
}

impl Transport {
    /// All transports, in the order of their codes in the table.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Sctp, Self::Dccp];

    /// The name as IANA writes it: `tcp`, `udp`, `sctp` or `dccp`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Dccp => "dccp",
        }
    }

    /// The transport of this name, whatever its case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|transport| transport.name().eq_ignore_ascii_case(name))
    }

    /// The code in the table, which is also the number of the transport's group in the index.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Tcp => 1,
            Self::Udp => 2,
            Self::Sctp => 3,
            Self::Dccp => 4,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The port or the range of ports that a row covers; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// The lowest port.
    pub first: u16,
    /// The highest port, equal to `first` for a single one.
    pub last: u16,
}

impl Ports {
    /// Whether `port` belongs to it.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// What a row says about its ports (RFC 6335, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Registered for a use: every row with a service name, and the few without one ("any private mail system").
    Assigned,
    /// Free to apply for.
    Unassigned,
    /// Held by IANA. Assignments that were withdrawn ("De-registered", "Removed") count here too, as IANA itself has
    /// recorded them since 2025: such a port is neither assigned nor free.
    Reserved,
}

impl Status {
    /// `assigned`, `unassigned` or `reserved`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Unassigned => "unassigned",
            Self::Reserved => "reserved",
        }
    }
}

/// The three ranges that RFC 6335, section 6, divides the port numbers into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RangeClass {
    /// 0–1023.
    System,
    /// 1024–49151, also called user ports.
    Registered,
    /// 49152–65535, also called private or ephemeral ports.
    Dynamic,
}

impl RangeClass {
    /// All classes, lowest first.
    pub const ALL: [Self; 3] = [Self::System, Self::Registered, Self::Dynamic];

    /// The class of a port.
    #[must_use]
    pub const fn of(port: u16) -> Self {
        match port {
            0..=1023 => Self::System,
            1024..=49151 => Self::Registered,
            49152.. => Self::Dynamic,
        }
    }

    /// One word: `system`, `registered` or `dynamic`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Registered => "registered",
            Self::Dynamic => "dynamic",
        }
    }

    /// The name with the other one in use: `registered (user) port`.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::System => "system (well-known) port",
            Self::Registered => "registered (user) port",
            Self::Dynamic => "dynamic (private) port",
        }
    }

    /// The ports of the class.
    #[must_use]
    pub const fn ports(self) -> Ports {
        match self {
            Self::System => Ports { first: 0, last: 1023 },
            Self::Registered => Ports {
                first: 1024,
                last: 49151,
            },
            Self::Dynamic => Ports {
                first: 49152,
                last: 65535,
            },
        }
    }

    /// One sentence: what the class means.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::System => {
                "IANA assigns it by IETF review or IESG approval; Linux asks for CAP_NET_BIND_SERVICE to bind it by default."
            }
            Self::Registered => "IANA assigns it to applicants, also by expert review; any program may bind it.",
            Self::Dynamic => "IANA never assigns it: it is for private and temporary use, and any program may bind it.",
        }
    }
}

/// One row of the registry, read in place: each column is looked up when it is asked for.
///
/// A column that the row leaves empty is `None`.
#[derive(Clone, Copy)]
pub struct Registration<'a> {
    pub(super) table: &'a Table,
    pub(super) row: &'a [u8; format::ROW_LEN],
}

impl<'a> Registration<'a> {
    /// Who says so: IANA, the site, or /etc/services.
    #[must_use]
    pub const fn authority(&self) -> Authority {
        self.table.authority()
    }

    /// The service name. Some do not keep to RFC 6335 (`whois++`, `sql*net`, `EtherNet/IP-1`); case is kept.
    #[must_use]
    pub fn service(&self) -> Option<&'a str> {
        self.column(format::COLUMN_SERVICE)
    }

    /// The port or range; 1,039 rows of 2024 are names without one.
    #[must_use]
    pub fn ports(&self) -> Option<Ports> {
        let form = self.row.get(format::ROW_PORTS)?;
        let ports = Ports {
            first: u16_at(self.row, format::ROW_FIRST)?,
            last: u16_at(self.row, format::ROW_LAST)?,
        };
        (*form != format::PORTS_NONE).then_some(ports)
    }

    /// The transport; `None` means that the row speaks of all of them.
    #[must_use]
    pub fn transport(&self) -> Option<Transport> {
        let code = *self.row.get(format::ROW_TRANSPORT)?;
        Transport::ALL.into_iter().find(|transport| transport.code() == code)
    }

    /// The description; it may hold line breaks.
    #[must_use]
    pub fn description(&self) -> Option<&'a str> {
        self.column(format::COLUMN_DESCRIPTION)
    }

    /// Who it was assigned to, as IANA's list of ids: `[Jon_Postel]`, `[Apple][Microsoft]`.
    #[must_use]
    pub fn assignee(&self) -> Option<&'a str> {
        self.column(format::COLUMN_ASSIGNEE)
    }

    /// Whom to ask, in the form of [`Self::assignee`].
    #[must_use]
    pub fn contact(&self) -> Option<&'a str> {
        self.column(format::COLUMN_CONTACT)
    }

    /// Date of the registration, YYYY-MM-DD or YYYY-MM.
    #[must_use]
    pub fn registered(&self) -> Option<&'a str> {
        self.column(format::COLUMN_REGISTERED)
    }

    /// Date of the last change, YYYY-MM-DD or YYYY-MM.
    #[must_use]
    pub fn modified(&self) -> Option<&'a str> {
        self.column(format::COLUMN_MODIFIED)
    }

    /// Documents that define the service, as a list of ids: `[RFC3501][RFC9051]`.
    #[must_use]
    pub fn reference(&self) -> Option<&'a str> {
        self.column(format::COLUMN_REFERENCE)
    }

    /// DCCP's service code (RFC 4340, section 8.1.2), a decimal number.
    #[must_use]
    pub fn service_code(&self) -> Option<&'a str> {
        self.column(format::COLUMN_SERVICE_CODE)
    }

    /// What IANA was told about use without a registration.
    #[must_use]
    pub fn unauthorized_use(&self) -> Option<&'a str> {
        self.column(format::COLUMN_UNAUTHORIZED_USE)
    }

    /// The same, where it speaks of this port. A row of many ports mostly names one or two of them (`Unauthorized Use Known on
    /// ports 27018 and 27019` of 27018–27344); a cell that names none of its row's ports speaks of all.
    #[must_use]
    pub fn unauthorized_use_of(&self, port: u16) -> Option<&'a str> {
        let (text, ports) = (self.unauthorized_use()?, self.ports()?);
        let number = |word: &str| {
            word.parse::<u16>()
                .ok()
                .filter(|port| (ports.first..=ports.last).contains(port))
        };
        let mut named = text
            .split(|letter: char| !letter.is_ascii_digit() && letter != '-')
            .filter_map(|word| {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                Some((number(first)?, number(last)?))
            })
            .peekable();
        let speaks_of_it = named.peek().is_none() || named.any(|(first, last)| (first..=last).contains(&port));
        speaks_of_it.then_some(text)
    }

    /// The assignment note: up to some 1,500 characters, with line breaks.
    #[must_use]
    pub fn note(&self) -> Option<&'a str> {
        self.column(format::COLUMN_NOTE)
    }

    /// Assigned, unassigned or reserved, from the name and, where there is none, from the description.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.service().is_some() {
            return Status::Assigned;
        }
        let description = self.description().unwrap_or_default();
        if contains_ignoring_case(description, "unassigned") {
            Status::Unassigned
        } else if description.starts_with("any private") {
            Status::Assigned
        } else {
            Status::Reserved
        }
    }

    /// Whether two rows of one registry differ in their transport alone, as most pairs of a tcp and a udp row do.
    #[must_use]
    pub fn differs_in_transport_only(&self, other: &Self) -> bool {
        // The pool holds each string once, so equal strings have equal numbers.
        let but_transport = |row: &[u8; format::ROW_LEN]| {
            let mut row = *row;
            if let Some(code) = row.get_mut(format::ROW_TRANSPORT) {
                *code = 0;
            }
            row
        };
        std::ptr::eq(self.table, other.table) && but_transport(self.row) == but_transport(other.row)
    }

    fn column(&self, column: usize) -> Option<&'a str> {
        let text = self.table.string(u16_at(self.row, format::ROW_STRINGS + 2 * column)?)?;
        (!text.is_empty()).then_some(text)
    }
}

/// The service names of these rows, each once, in their order.
#[must_use]
pub fn service_names<'a>(rows: impl Iterator<Item = Registration<'a>>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for name in rows.filter_map(|row| row.service()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

impl fmt::Debug for Registration<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("service", &self.service())
            .field("ports", &self.ports())
            .field("transport", &self.transport())
            .field("description", &self.description())
            .finish_non_exhaustive()
    }
}

fn contains_ignoring_case(text: &str, word: &str) -> bool {
    text.as_bytes()
        .windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

/// IANA's ids as text: `[Jon_Postel][RFC6335]` is `Jon Postel, RFC6335`. Anything else is left as it is.
#[must_use]
pub fn without_brackets(text: &str) -> String {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner
            .split("][")
            .map(|id| id.replace('_', " "))
            .collect::<Vec<_>>()
            .join(", "),
        None => text.to_owned(),
    }
}
