//! Names that do not come from IANA: the site's own, and those of /etc/services.
//!
//! They become a table of the same layout, so whoever looks a port up does not see the difference but by
//! [`Authority`].

use super::import::{ImportError, Origin, Row, encode};
use super::{Authority, Ports, Table, Transport, format};
use std::str::FromStr;

/// Bytes that a name may have; IANA's longest has 36.
const NAME_MAX: usize = 40;

/// A service that somebody else than IANA names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The name, see [`is_name`].
    pub name: String,
    /// The ports.
    pub ports: Vec<Ports>,
    /// The transports.
    pub transports: Vec<Transport>,
    /// What it is; empty for nothing said.
    pub description: String,
}

impl Service {
    /// The first port and transport that both have, where both have one name.
    pub(crate) fn conflict(&self, other: &Self) -> Option<(u16, Transport)> {
        if !self.name.eq_ignore_ascii_case(&other.name) {
            return None;
        }
        let transport = self.transports.iter().find(|one| other.transports.contains(one))?;
        let shared = self.ports.iter().find_map(|ports| {
            let of_other = other
                .ports
                .iter()
                .find(|them| ports.first <= them.last && them.first <= ports.last)?;
            Some(ports.first.max(of_other.first))
        })?;
        Some((shared, *transport))
    }
}

/// Whether a text is a name for a service: letters, digits, `-`, `_`, `.` and `+`, at least one of them a letter, so that no
/// name looks like a port, a transport or a list.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    text.len() <= NAME_MAX && text.bytes().all(fits) && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Makes a table of services, in their order.
///
/// # Errors
/// Where they are more than a table holds.
pub(crate) fn table(services: &[Service], authority: Authority) -> Result<Table, ImportError> {
    let mut rows = Vec::new();
    for service in services {
        for ports in &service.ports {
            for transport in &service.transports {
                rows.push(row(service, *ports, *transport)?);
            }
        }
    }
    let origin = Origin {
        name: authority.as_str(),
        version: "",
        date: "",
        sha256: "",
    };
    Table::from_bytes(encode(&rows, &origin)?, authority).map_err(|error| fault(error.to_string()))
}

fn row(service: &Service, Ports { first, last }: Ports, transport: Transport) -> Result<Row, ImportError> {
    let ports = if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    };
    let cells = [
        (format::COLUMN_SERVICE, service.name.as_str()),
        (format::COLUMN_DESCRIPTION, service.description.as_str()),
    ];
    Row::new(&ports, transport.name(), &cells).map_err(fault)
}

fn fault(reason: String) -> ImportError {
    ImportError { line: None, reason }
}

/// What a file in the form of services(5) names: `name port/protocol aliases # comment`, one a line. The numbers of the
/// lines that are not understood, from 1, come with it: other programs pass over them as well.
#[must_use]
pub(crate) fn read_services(text: &str) -> (Vec<Service>, Vec<usize>) {
    let (mut services, mut not_understood) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let (entry, comment) = line.split_once('#').unwrap_or((line, ""));
        if entry.trim().is_empty() {
            continue;
        }
        match read_line(entry, comment.trim()) {
            Some(named) => services.extend(named),
            None => not_understood.push(number),
        }
    }
    (services, not_understood)
}

fn read_line(entry: &str, comment: &str) -> Option<Vec<Service>> {
    let mut words = entry.split_whitespace();
    let (name, place) = (words.next()?, words.next()?);
    let (port, transport) = place.split_once('/')?;
    let port = u16::from_str(port).ok()?;
    let transport = Transport::from_name(transport)?;
    let names: Vec<_> = [name].into_iter().chain(words).collect();
    names.iter().all(|name| is_name(name)).then(|| {
        let service = |name: &&str| Service {
            name: (*name).to_owned(),
            ports: vec![Ports {
                first: port,
                last: port,
            }],
            transports: vec![transport],
            description: comment.chars().filter(|letter| !letter.is_control()).collect(),
        };
        names.iter().map(service).collect()
    })
}

#[cfg(test)]
mod tests;
