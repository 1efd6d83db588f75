//! Rows in the layout of [`super::format`].

use super::{ImportError, Row, RowPorts, format, whole};
use std::collections::HashMap;

/// Where the rows come from.
pub(crate) struct Origin<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) date: &'a str,
    /// SHA-256 of the file that they were read from, in hexadecimal digits.
    pub(crate) sha256: &'a str,
}

/// Writes a table.
///
/// # Errors
/// Where there are more rows, strings or bytes than the layout has numbers for.
pub(crate) fn encode(rows: &[Row], origin: &Origin<'_>) -> Result<Vec<u8>, ImportError> {
    let mut pool = Pool::default();
    pool.number("")?;
    let mut row_bytes = Vec::with_capacity(rows.len() * format::ROW_LEN);
    let mut groups: [Vec<(u16, u16, u16)>; format::GROUPS] = Default::default();
    let mut names = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let number =
            u16::try_from(number).map_err(|_| whole("it has more than 65,536 rows, and a table holds no more"))?;
        let (form, first, last) = row.ports.encoded();
        let mut bytes = [0; format::ROW_LEN];
        put(&mut bytes, format::ROW_FIRST, first.to_le_bytes())?;
        put(&mut bytes, format::ROW_LAST, last.to_le_bytes())?;
        put(&mut bytes, format::ROW_TRANSPORT, [row.transport])?;
        put(&mut bytes, format::ROW_PORTS, [form])?;
        for (column, text) in row.columns.iter().enumerate() {
            let string = pool.number(text)?;
            put(&mut bytes, format::ROW_STRINGS + 2 * column, string.to_le_bytes())?;
        }
        row_bytes.extend(bytes);
        if row.ports != RowPorts::None {
            let group = groups.get_mut(usize::from(row.transport));
            group
                .ok_or_else(|| whole("a row has a transport that the layout has no group for"))?
                .push((first, number, last));
        }
        if let Some(service) = row.service() {
            names.push((service.to_ascii_lowercase(), number));
        }
    }
    names.sort();
    groups.iter_mut().for_each(|group| group.sort_unstable());

    let mut table = vec![0; format::HEADER_LEN];
    put(&mut table, 0, format::MAGIC)?;
    put(&mut table, format::HEADER_VERSION, format::VERSION.to_le_bytes())?;
    put(&mut table, format::HEADER_ROWS, count(rows.len())?)?;
    put(&mut table, format::HEADER_NAMES, count(names.len())?)?;
    for (number, group) in groups.iter().enumerate() {
        put(&mut table, format::HEADER_GROUPS + 4 * number, count(group.len())?)?;
        index(group, &mut table)?;
    }
    table.extend(row_bytes);
    for (_, row) in &names {
        table.extend::<[u8; format::NAME_LEN]>(row.to_le_bytes());
    }
    for (at, text) in [
        (format::HEADER_SOURCE, origin.name),
        (format::HEADER_SOURCE_VERSION, origin.version),
        (format::HEADER_SOURCE_DATE, origin.date),
        (format::HEADER_SOURCE_SHA256, origin.sha256),
    ] {
        put(&mut table, at, pool.number(text)?.to_le_bytes())?;
    }
    put(&mut table, format::HEADER_STRINGS, count(pool.ends.len())?)?;
    put(&mut table, format::HEADER_POOL, count(pool.text.len())?)?;
    for end in &pool.ends {
        table.extend::<[u8; format::END_LEN]>(end.to_le_bytes());
    }
    table.extend(pool.text.as_bytes());
    let checksum = format::checksum(table.get(format::HEADER_ROWS..).unwrap_or_default());
    put(&mut table, format::HEADER_CHECKSUM, checksum.to_le_bytes())?;
    Ok(table)
}

/// Writes one group of the index: first port, row and last port of each entry, sorted.
fn index(group: &[(u16, u16, u16)], table: &mut Vec<u8>) -> Result<(), ImportError> {
    // The highest port that the entries so far cover: only where it lies at or above an entry's port can one of them
    // cover that.
    table.reserve(group.len() * format::ENTRY_LEN);
    let mut highest = None;
    for (position, &(first, row, last)) in group.iter().enumerate() {
        let earliest = if highest.is_some_and(|highest| highest >= first) {
            let mut before = group.iter().take(position);
            before
                .position(|&(_, _, other_last)| other_last >= first)
                .unwrap_or(position)
        } else {
            position
        };
        highest = highest.max(Some(last));
        let reach = u16::try_from(position - earliest)
            .map_err(|_| whole("a range of ports in it spans more rows than the index has numbers for"))?;
        for value in [first, last, row, reach] {
            table.extend(value.to_le_bytes());
        }
    }
    Ok(())
}

/// Writes `value` at a byte of a part whose layout has room for it.
fn put<const N: usize>(part: &mut [u8], at: usize, value: [u8; N]) -> Result<(), ImportError> {
    let place = part.get_mut(at..).and_then(|tail| tail.first_chunk_mut());
    *place.ok_or_else(|| whole(format!("the layout has no room for {N} bytes at byte {at}")))? = value;
    Ok(())
}

fn count(number: usize) -> Result<[u8; 4], ImportError> {
    let number = u32::try_from(number).map_err(|_| whole("it is too large for the header of a table"))?;
    Ok(number.to_le_bytes())
}

/// Strings by number, each once.
#[derive(Default)]
struct Pool {
    numbers: HashMap<String, u16>,
    ends: Vec<u32>,
    text: String,
}

impl Pool {
    fn number(&mut self, text: &str) -> Result<u16, ImportError> {
        if let Some(&number) = self.numbers.get(text) {
            return Ok(number);
        }
        let number = u16::try_from(self.ends.len())
            .map_err(|_| whole("it has more than 65,536 distinct texts, and a table holds no more"))?;
        self.text.push_str(text);
        let end = u32::try_from(self.text.len()).map_err(|_| whole("its texts are longer than 4 GiB"))?;
        self.ends.push(end);
        self.numbers.insert(text.to_owned(), number);
        Ok(number)
    }
}
