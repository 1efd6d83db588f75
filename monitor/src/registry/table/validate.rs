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
        if !self.strings_are_sound(ends) {
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
        let mut before = "";
        for row in self.name_order() {
            match self
                .registration(u16::from_le_bytes(*row))
                .and_then(|row| row.service())
            {
                Some(service) if compare_ignoring_case(before, service).is_le() => before = service,
                _ => return Err(TableError::Inconsistent("names")),
            }
        }
        Ok(())
    }

    /// Whether each string ends at or behind the one before it and between two letters, and the first one is empty.
    fn strings_are_sound(&self, ends: &[[u8; format::END_LEN]]) -> bool {
        let pool = self.bytes.get(self.layout.pool..self.layout.end).unwrap_or_default();
        let Ok(pool) = std::str::from_utf8(pool) else {
            return false;
        };
        let mut before = 0;
        let in_order = ends.iter().all(|end| {
            let end = usize::try_from(u32::from_le_bytes(*end)).unwrap_or(usize::MAX);
            let is_sound = before <= end && pool.is_char_boundary(end);
            before = end;
            is_sound
        });
        in_order && ends.first() == Some(&[0; format::END_LEN])
    }
}
