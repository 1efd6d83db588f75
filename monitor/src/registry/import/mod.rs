//! IANA's files become a table: bytes in, rows, bytes out, or an error that names the line.
//!
//! `cargo xtask registry` makes the embedded table with this, and `portreeve registry update` a newer one. xtask must not
//! depend on the crate `monitor` and takes these files by their path, so they use nothing but each other and
//! [`super::format`].

mod addresses;
mod csv;
mod encode;
mod xml;

pub(crate) use addresses::without_addresses;
pub(crate) use encode::{Origin, encode};

use super::format;
use std::fmt;

/// A registry with fewer rows than this was cut: IANA's has had more since 2012, and rows are hardly ever removed.
pub(crate) const FEWEST_ROWS: usize = 12_000;

/// One row of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) ports: RowPorts,
    /// Number in [`format::TRANSPORTS`].
    pub(crate) transport: u8,
    /// The string columns in the order of [`format`].
    pub(crate) columns: [String; format::COLUMNS],
}

/// The ports of a row, as they are written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowPorts {
    None,
    Single(u16),
    Range(u16, u16),
}

/// Why a file is not IANA's registry, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImportError {
    /// The line of the row that cannot be read, from 1; none where the file as a whole is wrong.
    pub(crate) line: Option<usize>,
    pub(crate) reason: String,
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "cannot read the row at line {line}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for ImportError {}

/// The error of a whole file.
fn whole(reason: impl Into<String>) -> ImportError {
    ImportError {
        line: None,
        reason: reason.into(),
    }
}

/// Reads IANA's CSV or XML, whichever it is. E-mail addresses in it are left out of the rows.
///
/// # Errors
/// Where it is neither, was cut, or has a row that is not understood: a row is never left out.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Row>, ImportError> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(whole("the file is empty")),
        Some(b'<') => xml::rows(text),
        Some(_) => csv::rows(text),
    }
}

/// Checks what every registry of IANA's has, so that no other table and no part of one takes its place.
///
/// # Errors
/// One sentence.
pub(crate) fn plausible(rows: &[Row]) -> Result<(), ImportError> {
    if rows.len() < FEWEST_ROWS {
        return Err(whole(format!(
            "it has {}, and IANA's registry has had more than {FEWEST_ROWS} for years: it was cut",
            counted(rows.len(), "row")
        )));
    }
    let names = |port: u16, transport: &str| -> Vec<&str> {
        let there = rows.iter().filter(|row| {
            row.ports == RowPorts::Single(port)
                && format::TRANSPORTS.get(usize::from(row.transport)) == Some(&transport)
        });
        there.filter_map(Row::service).collect()
    };
    if !names(22, "tcp").contains(&"ssh") {
        return Err(whole("22/tcp is not ssh in it, so it is not IANA's registry"));
    }
    let of_1992 = names(1992, "tcp");
    if of_1992.len() != 2 {
        return Err(whole(format!(
            "1992/tcp has {} in it instead of two (stun-p3 and ipsendmsg), so it is not IANA's registry",
            counted(of_1992.len(), "name")
        )));
    }
    Ok(())
}

/// `1 name`, `2 names`.
fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// The newest full date of all rows: IANA's CSV has no date of its own, and each change of it dates a row.
pub(crate) fn newest_date(rows: &[Row]) -> &str {
    let dates = rows
        .iter()
        .flat_map(|row| [format::COLUMN_REGISTERED, format::COLUMN_MODIFIED].map(|column| row.columns.get(column)));
    dates
        .flatten()
        .filter(|date| date.len() == "YYYY-MM-DD".len())
        .max()
        .map_or("", String::as_str)
}

impl Row {
    /// Checks the cells as IANA writes them and makes a row of them; each text stands beside its column in [`format`].
    ///
    /// # Errors
    /// One sentence on the first cell that is not understood.
    pub(crate) fn new(ports: &str, transport: &str, cells: &[(usize, &str)]) -> Result<Self, String> {
        let transport = (0_u8..)
            .zip(format::TRANSPORTS)
            .find_map(|(code, name)| (name == transport).then_some(code))
            .ok_or_else(|| format!("the transport `{transport}` is not known"))?;
        let mut columns: [String; format::COLUMNS] = Default::default();
        for (column, text) in cells {
            if let Some(cell) = columns.get_mut(*column) {
                without_addresses(text).as_ref().clone_into(cell);
            }
        }
        let cell = |column: usize| columns.get(column).map_or("", String::as_str);
        for date in [cell(format::COLUMN_REGISTERED), cell(format::COLUMN_MODIFIED)] {
            if !is_date(date) {
                return Err(format!("the date `{date}` is neither YYYY-MM-DD nor YYYY-MM"));
            }
        }
        let service_code = cell(format::COLUMN_SERVICE_CODE);
        if !service_code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("the service code `{service_code}` is not a number"));
        }
        let ports = RowPorts::read(ports)?;
        if ports == RowPorts::None && cell(format::COLUMN_SERVICE).is_empty() {
            return Err("it has neither a name nor a port".to_owned());
        }
        Ok(Self {
            ports,
            transport,
            columns,
        })
    }

    fn service(&self) -> Option<&str> {
        let service = self.columns.get(format::COLUMN_SERVICE)?;
        (!service.is_empty()).then_some(service)
    }
}

impl RowPorts {
    /// A port, a range, or nothing. What could not be written again as it stands is refused.
    fn read(text: &str) -> Result<Self, String> {
        let ports = match text.split_once('-') {
            None if text.is_empty() => Some(Self::None),
            None => text.parse().ok().map(Self::Single),
            Some((first, last)) => first
                .parse()
                .ok()
                .zip(last.parse().ok())
                .map(|(first, last)| Self::Range(first, last)),
        };
        let ports = ports.ok_or_else(|| format!("`{text}` is neither a port nor a range of ports"))?;
        let (_, first, last) = ports.encoded();
        if first > last {
            return Err(format!("the range `{text}` ends before it begins"));
        }
        if ports.to_string() != text {
            return Err(format!("`{text}` is not how IANA writes ports"));
        }
        Ok(ports)
    }

    /// The form in the table, the first and the last port.
    const fn encoded(self) -> (u8, u16, u16) {
        match self {
            Self::None => (format::PORTS_NONE, 0, 0),
            Self::Single(port) => (format::PORTS_SINGLE, port, port),
            Self::Range(first, last) => (format::PORTS_RANGE, first, last),
        }
    }
}

impl fmt::Display for RowPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Single(port) => write!(f, "{port}"),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

fn is_date(text: &str) -> bool {
    let number = |part: &str, digits, least: u16, most| {
        part.len() == digits
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && part.parse().is_ok_and(|number: u16| least <= number && number <= most)
    };
    let mut parts = text.split('-');
    text.is_empty()
        || (parts.next().is_some_and(|year| number(year, 4, 1969, 2999))
            && parts.next().is_some_and(|month| number(month, 2, 1, 12))
            && parts.next().is_none_or(|day| number(day, 2, 1, 31))
            && parts.next().is_none())
}

#[cfg(test)]
mod tests;
