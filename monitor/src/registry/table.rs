//! The table itself: bytes in the layout of [`super::format`], read where they lie.
//!
//! Nothing is parsed at start and a look-up allocates nothing. Each read is checked, so a table that lies about itself
//! gives fewer answers, never a panic.

use super::format::{self, ENTRY_LEN, GROUPS, NAME_LEN, ROW_LEN};
use super::registration::{Registration, Transport};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

// Named in full, since xtask takes this file by its path.
#[path = "table/validate.rs"]
mod validate;

/// Rows of services and ports, all from one place.
#[derive(Clone)]
pub struct Table {
    bytes: Cow<'static, [u8]>,
    layout: Layout,
    authority: Authority,
}

/// Who says what a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Authority {
    /// The site's configuration: `[[service]]`.
    Site,
    /// The host's /etc/services.
    Services,
    /// IANA's registry.
    Iana,
}

impl Authority {
    /// In a word, as events and documents have it: `site`, `services` or `iana`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Services => "services",
            Self::Iana => "iana",
        }
    }
}

/// Where the rows of a registry come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// The name of the source, such as the crate that carries IANA's CSV.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The newest date in the rows, YYYY-MM-DD: IANA's own date of the data.
    pub date: &'a str,
    /// SHA-256 of the file that the rows were read from, in hexadecimal digits; empty where it is not known.
    pub sha256: &'a str,
}

/// Why bytes are not a table that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// Shorter than a header.
    NoHeader,
    /// Not a registry table.
    Magic,
    /// A layout that this program does not know.
    Version(u32),
    /// The parts that the header announces do not add up to the length.
    Length,
    /// The checksum does not fit the content.
    Checksum,
    /// A part that contradicts another one, by its name in [`super::format`].
    Inconsistent(&'static str),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader => write!(
                f,
                "the registry table is shorter than its header of {} bytes",
                format::HEADER_LEN
            ),
            Self::Magic => f.write_str("the file is not a portreeve registry table"),
            Self::Version(version) => write!(
                f,
                "the registry table has layout version {version}, this program reads version {}",
                format::VERSION
            ),
            Self::Length => f.write_str("the registry table is not as long as its header says: it was cut or extended"),
            Self::Checksum => f.write_str("the registry table is damaged: its checksum does not fit its content"),
            Self::Inconsistent(part) => write!(f, "the registry table is inconsistent in its {part}"),
        }
    }
}

impl std::error::Error for TableError {}

/// Where each part of a table begins and ends, in bytes; from the header alone.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Begin of each group of the index, then the end of the last one, where the rows begin.
    groups: [usize; GROUPS + 1],
    names: usize,
    ends: usize,
    pool: usize,
    end: usize,
}

impl Layout {
    /// Reads the header, and checks that it is one of ours and that the parts fill the table exactly.
    ///
    /// `const`, so that the embedded table is laid out by the compiler.
    pub(super) const fn read(bytes: &[u8]) -> Result<Self, TableError> {
        let Some(magic) = bytes.first_chunk::<8>() else {
            return Err(TableError::NoHeader);
        };
        if u64::from_le_bytes(*magic) != u64::from_le_bytes(format::MAGIC) {
            return Err(TableError::Magic);
        }
        match u32_at(bytes, format::HEADER_VERSION) {
            Some(format::VERSION) if bytes.len() >= format::HEADER_LEN => {}
            Some(version) if version != format::VERSION => return Err(TableError::Version(version)),
            _ => return Err(TableError::NoHeader),
        }
        let index = Some(format::HEADER_LEN);
        let tcp = part_end(index, bytes, format::HEADER_GROUPS, ENTRY_LEN);
        let udp = part_end(tcp, bytes, format::HEADER_GROUPS + 4, ENTRY_LEN);
        let sctp = part_end(udp, bytes, format::HEADER_GROUPS + 8, ENTRY_LEN);
        let dccp = part_end(sctp, bytes, format::HEADER_GROUPS + 12, ENTRY_LEN);
        let rows = part_end(dccp, bytes, format::HEADER_GROUPS + 16, ENTRY_LEN);
        let (Some(tcp), Some(udp), Some(sctp), Some(dccp), Some(rows)) = (tcp, udp, sctp, dccp, rows) else {
            return Err(TableError::Length);
        };
        let groups = [format::HEADER_LEN, tcp, udp, sctp, dccp, rows];
        let names = part_end(Some(rows), bytes, format::HEADER_ROWS, ROW_LEN);
        let ends = part_end(names, bytes, format::HEADER_NAMES, NAME_LEN);
        let pool = part_end(ends, bytes, format::HEADER_STRINGS, format::END_LEN);
        let end = part_end(pool, bytes, format::HEADER_POOL, 1);
        match (names, ends, pool, end) {
            (Some(names), Some(ends), Some(pool), Some(end)) if end == bytes.len() => Ok(Self {
                groups,
                names,
                ends,
                pool,
                end,
            }),
            _ => Err(TableError::Length),
        }
    }

    const fn rows(&self) -> usize {
        let [.., rows] = self.groups;
        rows
    }
}

impl Table {
    /// IANA's rows in bytes whose header was read already, with nothing else checked.
    pub(super) const fn laid_out(bytes: &'static [u8], layout: Layout) -> Self {
        Self {
            bytes: Cow::Borrowed(bytes),
            layout,
            authority: Authority::Iana,
        }
    }

    /// Takes a table over after checking it as a whole: header, lengths, checksum, and every number that points
    /// elsewhere.
    ///
    /// # Errors
    /// [`TableError`] names the first thing that is wrong.
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>, authority: Authority) -> Result<Self, TableError> {
        let bytes = bytes.into();
        let layout = Layout::read(&bytes)?;
        let table = Self {
            bytes,
            layout,
            authority,
        };
        table.validate()?;
        Ok(table)
    }

    /// Who says what the rows say.
    #[must_use]
    pub const fn authority(&self) -> Authority {
        self.authority
    }

    /// All registrations that apply to a port of a transport, singles and ranges, in the registry's order.
    ///
    /// Rows that name no transport speak of all of them and are among these: most are blocks without an assignment,
    /// some are services (`vrml-multi-use` on 4200–4299).
    pub fn lookup(&self, transport: Transport, port: u16) -> impl Iterator<Item = Registration<'_>> {
        Covering {
            table: self,
            first: port,
            groups: [self.window(0, port, port), self.window(transport.code(), port, port)],
        }
    }

    /// All registrations that cover at least one port from `first` to `last`, in the registry's order.
    pub fn by_range(&self, first: u16, last: u16) -> impl Iterator<Item = Registration<'_>> {
        let groups = [0, 1, 2, 3, 4].map(|group| self.window(group, first, last));
        Covering {
            table: self,
            first,
            groups,
        }
    }

    /// All registrations of a service name, whatever its case, in the registry's order; those without a port too.
    pub fn by_name<'a>(&'a self, name: &str) -> impl Iterator<Item = Registration<'a>> + use<'a> {
        let rows = self.name_order();
        let order = |row: &[u8; NAME_LEN]| match self.registration(u16::from_le_bytes(*row)).and_then(|it| it.service())
        {
            Some(service) => compare_ignoring_case(service, name),
            None => Ordering::Less,
        };
        let start = rows.partition_point(|row| order(row).is_lt());
        let end = rows.partition_point(|row| order(row).is_le());
        rows.get(start..end)
            .unwrap_or_default()
            .iter()
            .filter_map(|row| self.registration(u16::from_le_bytes(*row)))
    }

    /// All registrations with a service name, sorted by name in ASCII lower case.
    pub fn named(&self) -> impl Iterator<Item = Registration<'_>> {
        self.name_order()
            .iter()
            .filter_map(|row| self.registration(u16::from_le_bytes(*row)))
    }

    /// Every row, in the registry's order.
    pub fn rows(&self) -> impl Iterator<Item = Registration<'_>> {
        self.row_slice().iter().map(|row| Registration { table: self, row })
    }

    /// The number of rows, with and without a port or a name.
    #[must_use]
    pub fn records(&self) -> usize {
        self.row_slice().len()
    }

    /// Where the rows come from.
    #[must_use]
    pub fn source(&self) -> Source<'_> {
        let text = |at| {
            u16_at(&self.bytes, at)
                .and_then(|number| self.string(number))
                .unwrap_or_default()
        };
        Source {
            name: text(format::HEADER_SOURCE),
            version: text(format::HEADER_SOURCE_VERSION),
            date: text(format::HEADER_SOURCE_DATE),
            sha256: text(format::HEADER_SOURCE_SHA256),
        }
    }

    /// A string by its number.
    pub(super) fn string(&self, number: u16) -> Option<&str> {
        let number = usize::from(number);
        let (ends, _) = self
            .bytes
            .get(self.layout.ends..self.layout.pool)?
            .as_chunks::<{ format::END_LEN }>();
        let offset = |end: &[u8; 4]| usize::try_from(u32::from_le_bytes(*end)).ok();
        let end = offset(ends.get(number)?)?;
        let start = match number.checked_sub(1) {
            Some(before) => offset(ends.get(before)?)?,
            None => 0,
        };
        let pool = self.bytes.get(self.layout.pool..self.layout.end)?;
        std::str::from_utf8(pool.get(start..end)?).ok()
    }

    fn registration(&self, row: u16) -> Option<Registration<'_>> {
        self.row_slice()
            .get(usize::from(row))
            .map(|row| Registration { table: self, row })
    }

    fn row_slice(&self) -> &[[u8; ROW_LEN]] {
        self.bytes
            .get(self.layout.rows()..self.layout.names)
            .unwrap_or_default()
            .as_chunks()
            .0
    }

    fn name_order(&self) -> &[[u8; NAME_LEN]] {
        self.bytes
            .get(self.layout.names..self.layout.ends)
            .unwrap_or_default()
            .as_chunks()
            .0
    }

    fn group(&self, group: u8) -> &[[u8; ENTRY_LEN]] {
        let group = usize::from(group);
        let bounds = (self.layout.groups.get(group), self.layout.groups.get(group + 1));
        let (Some(&start), Some(&end)) = bounds else { return &[] };
        self.bytes.get(start..end).unwrap_or_default().as_chunks().0
    }

    /// The stretch of a group in which every entry lies that covers a port from `first` to `last`; others may be
    /// among them.
    fn window(&self, group: u8, first: u16, last: u16) -> &[[u8; ENTRY_LEN]] {
        let entries = self.group(group);
        let after = entries.partition_point(|entry| Entry::read(entry).first <= first);
        let end = if first == last {
            after
        } else {
            entries.partition_point(|entry| Entry::read(entry).first <= last)
        };
        let start = match after
            .checked_sub(1)
            .and_then(|nearest| Some((nearest, entries.get(nearest)?)))
        {
            Some((nearest, entry)) => nearest.saturating_sub(usize::from(Entry::read(entry).reach)),
            None => 0,
        };
        entries.get(start..end).unwrap_or_default()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("records", &self.records())
            .field("source", &self.source())
            .finish()
    }
}

/// An entry of the index.
struct Entry {
    first: u16,
    last: u16,
    row: u16,
    reach: u16,
}

impl Entry {
    fn read(entry: &[u8; ENTRY_LEN]) -> Self {
        let [f0, f1, l0, l1, r0, r1, b0, b1] = *entry;
        Self {
            first: u16::from_le_bytes([f0, f1]),
            last: u16::from_le_bytes([l0, l1]),
            row: u16::from_le_bytes([r0, r1]),
            reach: u16::from_le_bytes([b0, b1]),
        }
    }
}

/// Merges stretches of several groups in the order of their rows, and leaves out what ends below `first`.
struct Covering<'a, const N: usize> {
    table: &'a Table,
    first: u16,
    groups: [&'a [[u8; ENTRY_LEN]]; N],
}

impl<'a, const N: usize> Iterator for Covering<'a, N> {
    type Item = Registration<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut lowest: Option<(u16, &mut &'a [[u8; ENTRY_LEN]])> = None;
            for group in &mut self.groups {
                while let Some((_, rest)) = group
                    .split_first()
                    .filter(|(entry, _)| Entry::read(entry).last < self.first)
                {
                    *group = rest;
                }
                if let Some(row) = group.first().map(|entry| Entry::read(entry).row)
                    && lowest.as_ref().is_none_or(|(low, _)| row < *low)
                {
                    lowest = Some((row, group));
                }
            }
            let (row, group) = lowest?;
            *group = group.get(1..).unwrap_or_default();
            if let Some(registration) = self.table.registration(row) {
                return Some(registration);
            }
        }
    }
}

/// The order of the names in a table: by ASCII lower case.
fn compare_ignoring_case(one: &str, other: &str) -> Ordering {
    one.bytes()
        .map(|byte| byte.to_ascii_lowercase())
        .cmp(other.bytes().map(|byte| byte.to_ascii_lowercase()))
}

/// The end of a part that begins at `start` and holds as many items of `size` bytes as the header says at `count_at`.
const fn part_end(start: Option<usize>, bytes: &[u8], count_at: usize, size: usize) -> Option<usize> {
    match (start, u32_at(bytes, count_at)) {
        (Some(start), Some(count)) => match (count as usize).checked_mul(size) {
            Some(length) => start.checked_add(length),
            None => None,
        },
        _ => None,
    }
}

const fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    match bytes.split_at_checked(at) {
        Some((_, tail)) => match tail.first_chunk::<4>() {
            Some(chunk) => Some(u32::from_le_bytes(*chunk)),
            None => None,
        },
        None => None,
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}
