//! IANA's CSV.

use super::{ImportError, Row, counted, format, whole};

/// The columns of IANA's CSV, in its order.
pub(crate) const HEADER: [&str; 12] = [
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

/// Reads the rows.
pub(super) fn rows(csv: &[u8]) -> Result<Vec<Row>, ImportError> {
    let cut = cut(csv);
    // Lengths and encoding are checked row by row, so that each error has the same form and the right line.
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(csv);
    let (mut rows, mut record) = (Vec::new(), csv::ByteRecord::new());
    let mut header_seen = false;
    while reader
        .read_byte_record(&mut record)
        .map_err(|error| whole(format!("cannot read the CSV: {error}")))?
    {
        let is_last = usize::try_from(reader.position().byte()).is_ok_and(|end| end >= csv.len());
        let row = match std::str::from_utf8(record.as_slice()) {
            Ok(_) if header_seen => row(&record).map(Some),
            Ok(_) if !record.iter().eq(HEADER.map(str::as_bytes)) => return Err(no_header(&record)),
            Ok(_) => Ok(None),
            Err(_) => Err("it is not UTF-8".to_owned()),
        };
        header_seen = true;
        // What is wrong with a row that was cut is the cut.
        match (row, cut) {
            (_, Some(cut)) if is_last => return Err(at(csv, &record, cut.to_owned())),
            (Ok(row), _) => rows.extend(row),
            (Err(reason), _) => return Err(at(csv, &record, reason)),
        }
    }
    if header_seen {
        Ok(rows)
    } else {
        Err(whole("the CSV is empty"))
    }
}

fn at(csv: &[u8], record: &csv::ByteRecord, reason: String) -> ImportError {
    ImportError {
        line: Some(line_of(csv, record.position())),
        reason,
    }
}

fn no_header(record: &csv::ByteRecord) -> ImportError {
    let cells: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
    let start: String = cells.join(",").chars().take(60).collect();
    whole(format!(
        "it is neither IANA's CSV, whose first columns are {}, nor its XML: it begins with `{}`",
        HEADER.get(..3).unwrap_or_default().join(", "),
        start.escape_debug()
    ))
}

/// What is wrong with a file that ends within a row: IANA's ends with a line break, and a quote that opens closes.
fn cut(csv: &[u8]) -> Option<&'static str> {
    let quotes = csv.iter().filter(|byte| **byte == b'"').count();
    if !quotes.is_multiple_of(2) {
        Some("a quote opens in it that never closes: the file was cut or damaged")
    } else if !csv.ends_with(b"\n") {
        Some("the file does not end with a line break: it was cut")
    } else {
        None
    }
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

fn row(record: &csv::ByteRecord) -> Result<Row, String> {
    let cells: Vec<&str> = record
        .iter()
        .map(|cell| std::str::from_utf8(cell).map_err(|_| "it is not UTF-8".to_owned()))
        .collect::<Result<_, _>>()?;
    let &[service, ports, transport, ref others @ ..] = cells.as_slice() else {
        return Err(too_few(cells.len()));
    };
    let &[
        description,
        assignee,
        contact,
        registered,
        modified,
        reference,
        service_code,
        unauthorized_use,
        note,
    ] = others
    else {
        return Err(too_few(cells.len()));
    };
    let cells = [
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
    ];
    Row::new(ports, transport, &cells)
}

fn too_few(columns: usize) -> String {
    format!("it has {} instead of {}", counted(columns, "column"), HEADER.len())
}
