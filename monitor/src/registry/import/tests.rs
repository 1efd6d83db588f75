//! Files that are right, odd and wrong. That the whole of IANA's CSV comes back out of the table is tested in xtask, which
//! has the CSV.

use super::csv::HEADER;
use super::*;

const GOOD_ROW: &str = "ssh,22,tcp,Secure Shell,[A],[B],2001-02,2002-03-04,[RFC4251],,,\r\n";

fn with_header(rows: &str) -> Vec<u8> {
    format!("{}\r\n{rows}", HEADER.join(",")).into_bytes()
}

fn error_of(rows: &str) -> String {
    read(&with_header(rows)).unwrap_err().to_string()
}

#[test]
fn a_row_is_read_with_its_partial_and_full_dates() {
    let rows = read(&with_header(GOOD_ROW)).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].ports, RowPorts::Single(22));
    assert_eq!(format::TRANSPORTS[usize::from(rows[0].transport)], "tcp");
    assert_eq!(rows[0].columns[format::COLUMN_REGISTERED], "2001-02");
    assert_eq!(newest_date(&rows), "2002-03-04");
}

#[test]
fn line_breaks_and_commas_in_quotes_belong_to_their_cell() {
    let rows = read(&with_header(
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
    let error = error_of(&format!("{GOOD_ROW}x\r\n"));
    assert_eq!(error, "cannot read the row at line 3: it has 1 column instead of 12");
}

#[test]
fn text_that_is_not_utf8_is_an_error_with_its_line() {
    let mut csv = with_header(GOOD_ROW);
    csv.extend(b"x,80,tcp,caf\xe9,,,,,,,,\r\n");
    let error = read(&csv).unwrap_err().to_string();
    assert_eq!(error, "cannot read the row at line 3: it is not UTF-8");
}

#[test]
fn another_header_is_refused() {
    let error = read(b"Service Name,Port\r\nssh,22\r\n").unwrap_err().to_string();
    assert_eq!(
        error,
        "it is neither IANA's CSV, whose first columns are Service Name, Port Number, Transport Protocol, nor its XML: \
         it begins with `Service Name,Port`"
    );
}

/// The same seven rows as IANA would publish them, in both forms.
const XML: &str = include_str!("sample.xml");
const CSV: &str = include_str!("sample.csv");

#[test]
fn the_xml_gives_the_rows_that_the_csv_gives() {
    let of_xml = read(XML.as_bytes()).unwrap();
    let of_csv = read(CSV.as_bytes()).unwrap();
    assert_eq!(of_xml.len(), 7);
    assert_eq!(of_xml, of_csv);
}

#[test]
fn of_people_in_the_xml_the_ids_alone_are_taken() {
    for row in read(XML.as_bytes()).unwrap() {
        for cell in row.columns {
            assert!(!cell.contains("example.org") || cell.contains("https://"), "{cell}");
            assert!(!cell.contains("mailto") && !cell.contains("Ada Example"), "{cell}");
        }
    }
}

#[test]
fn a_row_of_the_xml_that_cannot_be_read_is_an_error_with_its_line() {
    for (right, wrong, reason) in [
        (
            "<number>25</number>",
            "<number>70000</number>",
            "line 21: `70000` is neither a port nor a range of ports",
        ),
        (
            "<protocol>udp</protocol>",
            "<protocol>quic</protocol>",
            "line 21: the transport `quic` is not known",
        ),
        (
            "date=\"2005-08\"",
            "date=\"August\"",
            "line 21: the date `August` is neither YYYY-MM-DD nor YYYY-MM",
        ),
        (
            "<name>beta</name>",
            "<name>beta</name><name>b</name>",
            "line 21: it has two <name>",
        ),
        (
            "<xref type=\"rfc\" data=\"rfc5321\"/>",
            "<xref type=\"rfc\"/>",
            "line 21: an <xref> in it refers to nothing",
        ),
    ] {
        assert!(XML.contains(right), "{right}");
        let error = read(XML.replacen(right, wrong, 1).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read the row at {reason}"));
    }
}

#[test]
fn an_xml_that_is_cut_anywhere_is_refused() {
    for length in (1..XML.trim_end().len()).step_by(7) {
        assert!(read(&XML.as_bytes()[..length]).is_err(), "cut to {length}");
    }
}

#[test]
fn another_xml_and_one_with_a_dtd_are_refused() {
    let other = XML.replace("id=\"service-names-port-numbers\"", "id=\"protocol-numbers\"");
    let error = read(other.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("the XML is not IANA's registry of ports"), "{error}");
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]>\n<registry>&a;</registry>";
    let error = read(bomb.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("DTD"), "{error}");
}

#[test]
fn a_csv_that_is_cut_within_a_row_is_refused_with_the_line_of_that_row() {
    let csv = with_header(&format!(
        "{GOOD_ROW}a,1,tcp,\"one,\n  two\",,,,,,,,\"x\ny\"\r\n{GOOD_ROW}"
    ));
    let header = with_header("").len();
    let whole_rows: Vec<_> = [
        0,
        GOOD_ROW.len(),
        csv.len() - header - GOOD_ROW.len(),
        csv.len() - header,
    ]
    .map(|end| header + end)
    .to_vec();
    for length in 1..=csv.len() {
        assert_eq!(
            read(&csv[..length]).is_ok(),
            whole_rows.contains(&length),
            "cut to {length}"
        );
    }
    let error = read(&csv[..csv.len() - 3]).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot read the row at line 6: the file does not end with a line break: it was cut"
    );
    let error = read(&csv[..header + GOOD_ROW.len() + 12]).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot read the row at line 3: a quote opens in it that never closes: the file was cut or damaged"
    );
}

#[test]
fn a_file_that_is_whole_and_none_of_ianas_is_not_plausible() {
    let rows = |text: &str| read(&with_header(text)).unwrap();
    let error = plausible(&rows(GOOD_ROW)).unwrap_err().to_string();
    assert!(
        error.starts_with("it has 1 row, and IANA's registry has had"),
        "{error}"
    );
    let many = |rest: &str| {
        let fill: String = (0..FEWEST_ROWS).map(|n| format!("n{n},,,,,,,,,,,\r\n")).collect();
        plausible(&rows(&format!("{fill}{rest}"))).map_err(|error| error.to_string())
    };
    let two = "stun-p3,1992,tcp,,,,,,,,,\r\nipsendmsg,1992,tcp,,,,,,,,,\r\n";
    assert_eq!(many(&format!("{GOOD_ROW}{two}")), Ok(()));
    assert!(many(two).unwrap_err().starts_with("22/tcp is not ssh"));
    assert!(many(GOOD_ROW).unwrap_err().starts_with("1992/tcp has 0 names"));
}
