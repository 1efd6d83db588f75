//! `cargo xtask registry`: makes the agent's embedded registry from IANA's CSV.
//!
//! The CSV lies in the crate `port-desc`, which cargo fetches and Cargo.lock pins by checksum; nothing of its code is
//! used. Out come `monitor/data/registry.bin`, in the layout that [`format`] describes and shares with the agent, and
//! `monitor/data/registry.lock`, which says in text what it was made from, so that a change of the table can be
//! reviewed. Both depend on the CSV alone: the same rows give the same bytes.

#[path = "../../monitor/src/registry/format.rs"]
mod format;

// The agent's own reader proves that nothing is lost on the way. xtask must not depend on the crate `monitor`.
#[cfg(test)]
#[path = "../../monitor/src/registry/registration.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the test reads rows back and needs a part of it"
)]
mod registration;
#[cfg(test)]
#[path = "../../monitor/src/registry/table.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the test reads rows back and needs a part of it"
)]
mod table;

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crate that carries the CSV, and where it does.
const CRATE: &str = "port-desc";
const CSV_IN_CRATE: &str = "assets/service-names-port-numbers.csv";

/// The columns of IANA's CSV, in its order.
const HEADER: [&str; 12] = [
    "Service Name",
    "Port Number",
    "Transport Protocol",
    "Description",
    "Assignee",
    "Contact",
    "Registration Date",
    "Modification Date",
    "Reference",
    "Service Code",
    "Unauthorized Use Reported",
    "Assignment Notes",
];

/// A registry with fewer rows than this was cut: IANA's has had more since 2012, and rows are hardly ever removed.
const FEWEST_ROWS: usize = 12_000;

/// One row of the CSV.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    ports: Ports,
    /// Number in [`format::TRANSPORTS`].
    transport: u8,
    /// The string columns in the order of [`format`].
    columns: [String; format::COLUMNS],
}

/// The ports of a row, as they are written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ports {
    None,
    Single(u16),
    Range(u16, u16),
}

impl Ports {
    /// The form in the table, the first and the last port.
    const fn encoded(self) -> (u8, u16, u16) {
        match self {
            Self::None => (format::PORTS_NONE, 0, 0),
            Self::Single(port) => (format::PORTS_SINGLE, port, port),
            Self::Range(first, last) => (format::PORTS_RANGE, first, last),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Single(port) => write!(f, "{port}"),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

/// Where the rows come from.
struct Origin<'a> {
    name: &'a str,
    version: &'a str,
    date: &'a str,
}

/// Writes `monitor/data/` below the workspace's `root`, or with `check` compares it with what would be written.
///
/// # Errors
/// A CSV that cannot be found, a row that cannot be read (with its line), or, with `check`, data that differ.
pub(crate) fn generate(root: &Path, check: bool) -> anyhow::Result<()> {
    let (version, folder) = locate(root)?;
    let csv_path = folder.join(CSV_IN_CRATE);
    let csv = std::fs::read(&csv_path).with_context(|| format!("cannot read {}", csv_path.display()))?;
    let rows = read_rows(&csv).with_context(|| format!("cannot use {CSV_IN_CRATE} of {CRATE} {version}"))?;
    ensure!(
        rows.len() >= FEWEST_ROWS,
        "{CSV_IN_CRATE} of {CRATE} {version} has {} rows, fewer than the {FEWEST_ROWS} that IANA's registry has had for years: it was cut",
        rows.len()
    );
    let origin = Origin {
        name: CRATE,
        version: &version,
        date: newest_date(&rows),
    };
    let table = encode(&rows, &origin)?;
    let lock = describe(&rows, &origin, &csv, &table)?;
    let data = root.join("monitor/data");
    for (name, content) in [("registry.bin", table.as_slice()), ("registry.lock", lock.as_bytes())] {
        if check {
            compare(&data.join(name), content)
                .with_context(|| format!("monitor/data/{name} is not what {CRATE} {version} gives"))?;
        } else {
            std::fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
            let path = data.join(name);
            std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    println!(
        "registry: {} rows of {} from {CRATE} {version}, {} bytes{}",
        rows.len(),
        origin.date,
        table.len(),
        if check { ", as committed" } else { "" }
    );
    Ok(())
}

/// An error where a committed file is not `content`, with what to do about it.
fn compare(committed: &Path, content: &[u8]) -> anyhow::Result<()> {
    let found = std::fs::read(committed).with_context(|| format!("cannot read {}", committed.display()))?;
    ensure!(found == content, "run `cargo xtask registry` and commit monitor/data");
    Ok(())
}

/// Version and folder of the crate that carries the CSV, as Cargo.lock pins it.
fn locate(root: &Path) -> anyhow::Result<(String, PathBuf)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata to find the registry's CSV")?;
    ensure!(
        output.status.success(),
        "cargo metadata cannot say where {CRATE} lies: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cannot read what cargo metadata printed")?;
    let package = metadata
        .get("packages")
        .and_then(|packages| packages.as_array())
        .and_then(|packages| {
            packages
                .iter()
                .find(|package| package.get("name").is_some_and(|name| name == CRATE))
        })
        .with_context(|| format!("the workspace does not depend on {CRATE}, which carries the registry's CSV"))?;
    let text = |key: &str| {
        let value = package.get(key).and_then(|value| value.as_str());
        value.with_context(|| format!("cargo metadata does not say the {key} of {CRATE}"))
    };
    let manifest = Path::new(text("manifest_path")?);
    let folder = manifest
        .parent()
        .with_context(|| format!("{} has no folder", manifest.display()))?;
    Ok((text("version")?.to_owned(), folder.to_owned()))
}

/// Reads IANA's CSV; a row that is not understood is an error with its line, never left out.
fn read_rows(csv: &[u8]) -> anyhow::Result<Vec<Row>> {
    // Lengths and encoding are checked row by row, so that each error has the same form and the right line.
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(csv);
    let mut rows = Vec::new();
    let mut header_seen = false;
    for record in reader.byte_records() {
        let record = record.context("cannot read the CSV")?;
        let position = record.position().cloned();
        let line = || line_of(csv, position.as_ref());
        let record = csv::StringRecord::from_byte_record(record)
            .ok()
            .with_context(|| format!("cannot read the row at line {}: it is not UTF-8", line()))?;
        if header_seen {
            rows.push(read_row(&record).with_context(|| format!("cannot read the row at line {}", line()))?);
        } else {
            ensure!(
                record.iter().eq(HEADER),
                "the CSV's header is not IANA's: {}",
                record.as_slice()
            );
            header_seen = true;
        }
    }
    ensure!(header_seen, "the CSV is empty");
    Ok(rows)
}

/// The line that a record begins on, from 1. The csv crate's own number is one too low after a row that ends in CRLF,
/// as IANA's do: there a record begins before the LF.
fn line_of(csv: &[u8], position: Option<&csv::Position>) -> usize {
    let start = position
        .and_then(|position| usize::try_from(position.byte()).ok())
        .unwrap_or_default();
    let (before, rest) = csv.split_at_checked(start).unwrap_or((csv, &[]));
    let line_feeds = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    let skipped = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    1 + line_feeds(before) + line_feeds(rest.get(..skipped).unwrap_or_default())
}

fn read_row(record: &csv::StringRecord) -> anyhow::Result<Row> {
    let cells: Vec<&str> = record.iter().collect();
    let &[
        service,
        ports,
        transport,
        description,
        assignee,
        contact,
        registered,
        modified,
        reference,
        service_code,
        unauthorized_use,
        note,
    ] = cells.as_slice()
    else {
        bail!("it has {} columns instead of {}", cells.len(), HEADER.len());
    };
    let transport = (0_u8..)
        .zip(format::TRANSPORTS)
        .find_map(|(code, name)| (name == transport).then_some(code))
        .with_context(|| format!("the transport `{transport}` is not known"))?;
    for date in [registered, modified] {
        ensure!(is_date(date), "the date `{date}` is neither YYYY-MM-DD nor YYYY-MM");
    }
    ensure!(
        service_code.bytes().all(|byte| byte.is_ascii_digit()),
        "the service code `{service_code}` is not a number"
    );
    let ports = read_ports(ports)?;
    ensure!(
        ports != Ports::None || !service.is_empty(),
        "it has neither a name nor a port"
    );
    let mut columns: [String; format::COLUMNS] = Default::default();
    for (column, text) in [
        (format::COLUMN_SERVICE, service),
        (format::COLUMN_DESCRIPTION, description),
        (format::COLUMN_ASSIGNEE, assignee),
        (format::COLUMN_CONTACT, contact),
        (format::COLUMN_REGISTERED, registered),
        (format::COLUMN_MODIFIED, modified),
        (format::COLUMN_REFERENCE, reference),
        (format::COLUMN_SERVICE_CODE, service_code),
        (format::COLUMN_UNAUTHORIZED_USE, unauthorized_use),
        (format::COLUMN_NOTE, note),
    ] {
        text.clone_into(
            columns
                .get_mut(column)
                .with_context(|| format!("the layout has no column {column}"))?,
        );
    }
    Ok(Row {
        ports,
        transport,
        columns,
    })
}

/// A port, a range, or nothing. What could not be written again as it stands is refused.
fn read_ports(text: &str) -> anyhow::Result<Ports> {
    let ports = match text.split_once('-') {
        None if text.is_empty() => Some(Ports::None),
        None => text.parse().ok().map(Ports::Single),
        Some((first, last)) => first
            .parse()
            .ok()
            .zip(last.parse().ok())
            .map(|(first, last)| Ports::Range(first, last)),
    };
    let ports = ports.with_context(|| format!("`{text}` is neither a port nor a range of ports"))?;
    let (_, first, last) = ports.encoded();
    ensure!(first <= last, "the range `{text}` ends before it begins");
    ensure!(ports.to_string() == text, "`{text}` is not how IANA writes ports");
    Ok(ports)
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

/// The newest full date of all rows: IANA gives the file no date of its own, and each change of it dates a row.
fn newest_date(rows: &[Row]) -> &str {
    rows.iter()
        .flat_map(|row| {
            [
                row.columns.get(format::COLUMN_REGISTERED),
                row.columns.get(format::COLUMN_MODIFIED),
            ]
        })
        .flatten()
        .filter(|date| date.len() == 10)
        .max()
        .map_or("", String::as_str)
}

/// Writes rows in the layout of [`format`].
fn encode(rows: &[Row], origin: &Origin<'_>) -> anyhow::Result<Vec<u8>> {
    let mut pool = Pool::default();
    pool.number("")?;
    let mut row_bytes = Vec::with_capacity(rows.len() * format::ROW_LEN);
    let mut groups: [Vec<(u16, u16, u16)>; format::GROUPS] = Default::default();
    let mut names = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let number = u16::try_from(number).context("the table holds 65,536 rows at most; widen the row numbers")?;
        let (form, first, last) = row.ports.encoded();
        let mut bytes = [0; format::ROW_LEN];
        put(&mut bytes, format::ROW_FIRST, first.to_le_bytes())?;
        put(&mut bytes, format::ROW_LAST, last.to_le_bytes())?;
        put(&mut bytes, format::ROW_TRANSPORT, [row.transport])?;
        put(&mut bytes, format::ROW_PORTS, [form])?;
        for (column, text) in row.columns.iter().enumerate() {
            put(
                &mut bytes,
                format::ROW_STRINGS + 2 * column,
                pool.number(text)?.to_le_bytes(),
            )?;
        }
        row_bytes.extend(bytes);
        if row.ports != Ports::None {
            let group = groups
                .get_mut(usize::from(row.transport))
                .context("a row has a transport that has no group")?;
            group.push((first, number, last));
        }
        let service = row.columns.get(format::COLUMN_SERVICE).map_or("", String::as_str);
        if !service.is_empty() {
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
        for (position, &(first, row, last)) in group.iter().enumerate() {
            let mut before = group.iter().take(position);
            let earliest = before
                .position(|&(_, _, other_last)| other_last >= first)
                .unwrap_or(position);
            let reach = u16::try_from(position - earliest).context("a range spans too many rows for the index")?;
            let mut entry = [0; format::ENTRY_LEN];
            for (field, value) in [first, last, row, reach].into_iter().enumerate() {
                put(&mut entry, 2 * field, value.to_le_bytes())?;
            }
            table.extend(entry);
        }
    }
    table.extend(row_bytes);
    for (_, row) in &names {
        table.extend::<[u8; format::NAME_LEN]>(row.to_le_bytes());
    }
    put(
        &mut table,
        format::HEADER_SOURCE,
        pool.number(origin.name)?.to_le_bytes(),
    )?;
    put(
        &mut table,
        format::HEADER_SOURCE_VERSION,
        pool.number(origin.version)?.to_le_bytes(),
    )?;
    put(
        &mut table,
        format::HEADER_SOURCE_DATE,
        pool.number(origin.date)?.to_le_bytes(),
    )?;
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

/// Writes `value` at a byte of a part whose layout has room for it.
fn put<const N: usize>(part: &mut [u8], at: usize, value: [u8; N]) -> anyhow::Result<()> {
    let place = part.get_mut(at..).and_then(|tail| tail.first_chunk_mut());
    *place.with_context(|| format!("the layout has no room for {N} bytes at byte {at}"))? = value;
    Ok(())
}

fn count(number: usize) -> anyhow::Result<[u8; 4]> {
    Ok(u32::try_from(number)
        .context("the table is too large for its header")?
        .to_le_bytes())
}

/// Strings by number, each once.
#[derive(Default)]
struct Pool {
    numbers: HashMap<String, u16>,
    ends: Vec<u32>,
    text: String,
}

impl Pool {
    fn number(&mut self, text: &str) -> anyhow::Result<u16> {
        if let Some(&number) = self.numbers.get(text) {
            return Ok(number);
        }
        let number = u16::try_from(self.ends.len())
            .context("the table holds 65,536 distinct strings at most; widen the string numbers")?;
        self.text.push_str(text);
        self.ends
            .push(u32::try_from(self.text.len()).context("the pool of strings is larger than 4 GiB")?);
        self.numbers.insert(text.to_owned(), number);
        Ok(number)
    }
}

/// The text beside the table: what it was made from.
fn describe(rows: &[Row], origin: &Origin<'_>, csv: &[u8], table: &[u8]) -> anyhow::Result<String> {
    let mut lock = String::from(
        "# Made by `cargo xtask registry`, checked by `cargo xtask registry --check`. Do not edit.\n\
         # The content is IANA's Service Name and Transport Protocol Port Number Registry (CC0).\n",
    );
    writeln!(lock, "source = \"{} {}\"", origin.name, origin.version)?;
    writeln!(lock, "csv_sha256 = \"{}\"", hex(&Sha256::digest(csv)))?;
    writeln!(lock, "date = \"{}\"", origin.date)?;
    writeln!(lock, "rows = {}", rows.len())?;
    writeln!(lock, "table_sha256 = \"{}\"", hex(&Sha256::digest(table)))?;
    writeln!(lock, "table_bytes = {}", table.len())?;
    Ok(lock)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
