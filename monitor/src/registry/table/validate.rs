//! Whether a table as a whole is what its header says, and each number in it points somewhere.

use super::super::format::{self, ENTRY_LEN, GROUPS, ROW_LEN};
use super::super::registration::{Registration, Transport};
use super::{Entry, Table, TableError, compare_ignoring_case};

impl Table {
    pub(super) fn validate(&self) -> Result<(), TableError> {
        let stored = self
            .bytes
            .get(format::HEADER_CHECKSUM..)
            .and_then(|tail| tail.first_chunk::<8>());
        let content = self.bytes.get(format::HEADER_ROWS..).unwrap_or_default();
        if stored.map(|stored| u64::from_le_bytes(*stored)) != Some(format::checksum(content)) {
            return Err(TableError::Checksum);
        }
        let ends = self
            .bytes
            .get(self.layout.ends..self.layout.pool)
            .unwrap_or_default()
            .as_chunks::<4>()
            .0;
        let readable = |number: usize| u16::try_from(number).ok().and_then(|number| self.string(number));
        if !(0..ends.len()).all(|number| readable(number).is_some()) || readable(0) != Some("") {
            return Err(TableError::Inconsistent("strings"));
        }
        let strings_exist = |row: &[u8; ROW_LEN]| {
            let (_, columns) = row.split_at(format::ROW_STRINGS);
            columns
                .as_chunks::<2>()
                .0
                .iter()
                .all(|number| usize::from(u16::from_le_bytes(*number)) < ends.len())
        };
        let row_is_sound = |row: &Registration<'_>| {
            strings_exist(row.row)
                && row
                    .row
                    .get(format::ROW_TRANSPORT)
                    .is_some_and(|code| usize::from(*code) < GROUPS)
                && match (row.row.get(format::ROW_PORTS), row.ports()) {
                    (Some(&format::PORTS_NONE), None) => true,
                    (Some(&format::PORTS_SINGLE), Some(ports)) => ports.first == ports.last,
                    (Some(&format::PORTS_RANGE), Some(ports)) => ports.first <= ports.last,
                    _ => false,
                }
        };
        if !self.rows().all(|row| row_is_sound(&row)) {
            return Err(TableError::Inconsistent("rows"));
        }
        for (group, code) in (0..GROUPS).zip(0_u8..) {
            let entries = self.group(code);
            let transport = format::TRANSPORTS
                .get(group)
                .and_then(|name| Transport::from_name(name));
            let sorted = entries.is_sorted_by_key(|entry| (Entry::read(entry).first, Entry::read(entry).row));
            let sound = |(position, entry): (usize, &[u8; ENTRY_LEN])| {
                let entry = Entry::read(entry);
                usize::from(entry.reach) <= position
                    && self.registration(entry.row).is_some_and(|row| {
                        row.transport() == transport
                            && row
                                .ports()
                                .is_some_and(|ports| (ports.first, ports.last) == (entry.first, entry.last))
                    })
            };
            if !sorted || !entries.iter().enumerate().all(sound) {
                return Err(TableError::Inconsistent("index"));
            }
        }
        let services = || self.named().map(|row| row.service().unwrap_or_default());
        let sorted = services()
            .zip(services().skip(1))
            .all(|(one, next)| compare_ignoring_case(one, next).is_le());
        if !sorted || services().any(str::is_empty) || services().count() != self.name_order().len() {
            return Err(TableError::Inconsistent("names"));
        }
        Ok(())
    }
}
