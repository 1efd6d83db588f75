use super::*;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn iana_csv() -> Vec<u8> {
    let (_, folder) = locate(repository()).unwrap();
    std::fs::read(folder.join(CSV_IN_CRATE)).unwrap()
}

/// A CSV's rows as text, read without any of the generator's own code, but for the addresses that are left out of it. The
/// second number is how many cells have one.
fn cells(csv: &[u8]) -> (Vec<Vec<String>>, usize) {
    let mut reader = csv::ReaderBuilder::new().has_headers(true).from_reader(csv);
    let mut left_out = 0;
    let mut cell = |cell: &str| {
        let kept = import::without_addresses(cell);
        left_out += usize::from(kept != cell);
        kept.into_owned()
    };
    let rows = reader
        .records()
        .map(|record| record.unwrap().iter().map(&mut cell).collect())
        .collect();
    (rows, left_out)
}

/// A table's rows as the cells that IANA would write, read with the agent's own code.
fn cells_of_table(table: Vec<u8>) -> Vec<Vec<String>> {
    let registry = table::Table::from_bytes(table, table::Authority::Iana).unwrap();
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
    proves_the_round_trip(&csv, 14_447);
}

/// The file is not in the repository: `PORTREEVE_IANA_CSV` names one, with its number of rows, `FILE:14499`.
#[test]
fn every_cell_of_another_csv_comes_back_out_of_the_table() {
    let Ok(other) = std::env::var("PORTREEVE_IANA_CSV") else {
        println!("not run: PORTREEVE_IANA_CSV names no other CSV");
        return;
    };
    let (file, rows) = other.rsplit_once(':').unwrap();
    proves_the_round_trip(&std::fs::read(file).unwrap(), rows.parse().unwrap());
}

fn proves_the_round_trip(csv: &[u8], number: usize) {
    let rows = import::read(csv).unwrap();
    let table = encode(
        &rows,
        &Origin {
            name: CRATE,
            version: "0",
            date: newest_date(&rows),
            sha256: "",
        },
    )
    .unwrap();
    let ((expected, left_out), found) = (cells(csv), cells_of_table(table));
    assert_eq!(expected.len(), number);
    // Two notes and two references.
    assert_eq!(left_out, 4);
    assert_eq!(found.len(), expected.len());
    for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "row {number}");
    }
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let rows = import::read(&iana_csv()).unwrap();
    let table = || {
        encode(
            &rows,
            &Origin {
                name: CRATE,
                version: "0",
                date: "",
                sha256: "",
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
