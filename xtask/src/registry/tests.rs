use super::*;

const GOOD_ROW: &str = "ssh,22,tcp,Secure Shell,[A],[B],2001-02,2002-03-04,[RFC4251],,,\r\n";

fn with_header(rows: &str) -> Vec<u8> {
    format!("{}\r\n{rows}", HEADER.join(",")).into_bytes()
}

fn error_of(rows: &str) -> String {
    format!("{:#}", read_rows(&with_header(rows)).unwrap_err())
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn iana_csv() -> Vec<u8> {
    let (_, folder) = locate(repository()).unwrap();
    std::fs::read(folder.join(CSV_IN_CRATE)).unwrap()
}

/// A CSV's rows as text, read without any of the generator's own code.
fn cells(csv: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(true).from_reader(csv);
    reader
        .records()
        .map(|record| record.unwrap().iter().map(str::to_owned).collect())
        .collect()
}

/// A table's rows as the cells that IANA would write, read with the agent's own code.
fn cells_of_table(table: Vec<u8>) -> Vec<Vec<String>> {
    let registry = table::Registry::from_bytes(table).unwrap();
    let rows = registry.rows().map(|row| {
        let ports = match (row.ports(), row.row[format::ROW_PORTS]) {
            (None, _) => String::new(),
            (Some(ports), format::PORTS_SINGLE) => ports.first.to_string(),
            (Some(ports), _) => format!("{}-{}", ports.first, ports.last),
        };
        let transport = row.transport().map_or("", registration::Transport::name);
        [
            row.service(),
            Some(ports.as_str()),
            Some(transport),
            row.description(),
            row.assignee(),
            row.contact(),
            row.registered(),
            row.modified(),
            row.reference(),
            row.service_code(),
            row.unauthorized_use(),
            row.note(),
        ]
        .map(|cell| cell.unwrap_or_default().to_owned())
        .to_vec()
    });
    rows.collect()
}

#[test]
fn every_cell_of_ianas_csv_comes_back_out_of_the_table() {
    let csv = iana_csv();
    let rows = read_rows(&csv).unwrap();
    let table = encode(
        &rows,
        &Origin {
            name: CRATE,
            version: "0",
            date: newest_date(&rows),
        },
    )
    .unwrap();
    let (expected, found) = (cells(&csv), cells_of_table(table));
    assert_eq!(expected.len(), 14_447);
    assert_eq!(found.len(), expected.len());
    for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "row {number}");
    }
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let rows = read_rows(&iana_csv()).unwrap();
    let table = || {
        encode(
            &rows,
            &Origin {
                name: CRATE,
                version: "0",
                date: "",
            },
        )
        .unwrap()
    };
    assert!(table() == table());
}

#[test]
fn the_committed_table_is_what_the_crate_gives() {
    generate(repository(), true).unwrap();
}

#[test]
fn a_committed_file_that_differs_in_one_byte_or_is_gone_is_refused() {
    let path = std::env::temp_dir().join(format!("portreeve-registry-{}", std::process::id()));
    let gone = format!("{:#}", compare(&path, b"table").unwrap_err());
    std::fs::write(&path, b"tablf").unwrap();
    let differs = format!("{:#}", compare(&path, b"table").unwrap_err());
    let same = compare(&path, b"tablf");
    std::fs::remove_file(&path).unwrap();
    assert!(gone.starts_with("cannot read "), "{gone}");
    assert_eq!(differs, "run `cargo xtask registry` and commit monitor/data");
    same.unwrap();
}

#[test]
fn a_row_is_read_with_its_partial_and_full_dates() {
    let rows = read_rows(&with_header(GOOD_ROW)).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].ports, Ports::Single(22));
    assert_eq!(format::TRANSPORTS[usize::from(rows[0].transport)], "tcp");
    assert_eq!(rows[0].columns[format::COLUMN_REGISTERED], "2001-02");
    assert_eq!(newest_date(&rows), "2002-03-04");
}

#[test]
fn line_breaks_and_commas_in_quotes_belong_to_their_cell() {
    let rows = read_rows(&with_header(
        "a,1,tcp,\"one,\n  two\",,,,,,,,\"x\ny\"\r\nb,2,udp,,,,,,,,,\r\n",
    ))
    .unwrap();
    assert_eq!(rows[0].columns[format::COLUMN_DESCRIPTION], "one,\n  two");
    assert_eq!(rows[0].columns[format::COLUMN_NOTE], "x\ny");
    assert_eq!(rows[1].columns[format::COLUMN_SERVICE], "b");
}

#[test]
fn a_row_that_cannot_be_read_is_an_error_with_its_line() {
    for (row, reason) in [
        ("x,70000,tcp,,,,,,,,,", "`70000` is neither a port nor a range of ports"),
        ("x,1-,tcp,,,,,,,,,", "`1-` is neither a port nor a range of ports"),
        ("x,9-3,tcp,,,,,,,,,", "the range `9-3` ends before it begins"),
        ("x,0080,tcp,,,,,,,,,", "`0080` is not how IANA writes ports"),
        ("x,80,quic,,,,,,,,,", "the transport `quic` is not known"),
        (
            "x,80,tcp,,,,2001-13,,,,,",
            "the date `2001-13` is neither YYYY-MM-DD nor YYYY-MM",
        ),
        (
            "x,80,tcp,,,,,12 May,,,,",
            "the date `12 May` is neither YYYY-MM-DD nor YYYY-MM",
        ),
        ("x,80,dccp,,,,,,,LTP,,", "the service code `LTP` is not a number"),
        (",,tcp,,,,,,,,,", "it has neither a name nor a port"),
    ] {
        assert_eq!(
            error_of(&format!("{GOOD_ROW}{row}\r\n")),
            format!("cannot read the row at line 3: {reason}")
        );
    }
}

#[test]
fn the_line_of_an_error_counts_the_lines_inside_quotes() {
    let error = error_of("a,1,tcp,,,,,,,,,\"x\ny\nz\"\r\nb,80,quic,,,,,,,,,\r\n");
    assert_eq!(
        error,
        "cannot read the row at line 5: the transport `quic` is not known"
    );
}

#[test]
fn a_row_with_a_column_too_few_is_an_error_with_its_line() {
    let error = error_of(&format!("{GOOD_ROW}x,80,tcp,,,,,,,,\r\n"));
    assert_eq!(error, "cannot read the row at line 3: it has 11 columns instead of 12");
}

#[test]
fn text_that_is_not_utf8_is_an_error_with_its_line() {
    let mut csv = with_header(GOOD_ROW);
    csv.extend(b"x,80,tcp,caf\xe9,,,,,,,,\r\n");
    let error = format!("{:#}", read_rows(&csv).unwrap_err());
    assert_eq!(error, "cannot read the row at line 3: it is not UTF-8");
}

#[test]
fn another_header_is_refused() {
    let error = format!("{:#}", read_rows(b"Service Name,Port\r\nssh,22\r\n").unwrap_err());
    assert!(error.starts_with("the CSV's header is not IANA's"), "{error}");
}
