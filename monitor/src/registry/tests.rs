//! The embedded registry against what IANA's rows of 2024-06-12 say, and tables that are damaged.

use super::format;
use super::*;

fn registry() -> &'static Registry {
    Registry::embedded()
}

/// All columns of a row: service, ports, transport, description, assignee, contact, registered, modified, reference,
/// service code, unauthorized use, note; empty for none.
fn columns(row: &Registration<'_>) -> [String; 12] {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    [
        text(row.service()),
        row.ports()
            .map(|ports| format!("{}-{}", ports.first, ports.last))
            .unwrap_or_default(),
        text(row.transport().map(Transport::name)),
        text(row.description()),
        text(row.assignee()),
        text(row.contact()),
        text(row.registered()),
        text(row.modified()),
        text(row.reference()),
        text(row.service_code()),
        text(row.unauthorized_use()),
        text(row.note()),
    ]
}

fn names(transport: Transport, port: u16) -> Vec<&'static str> {
    registry().names(transport, port).collect()
}

#[test]
fn the_embedded_table_is_sound_and_says_where_it_comes_from() {
    let copy = Registry::from_bytes(TABLE).unwrap();
    assert_eq!(copy.records(), 14_447);
    assert_eq!(registry().records(), 14_447);
    assert_eq!(
        registry().source(),
        Source {
            name: "port-desc",
            version: "0.1.1",
            date: "2024-06-12",
            sha256: "a86d10128fad2451b1a19e1924c94d21c5843535d9730bf5240f7eab78c5ec4b",
        }
    );
}

#[test]
fn ports_1990_to_1994_have_all_their_registrations_with_all_columns() {
    let note = "This entry records an unassigned but widespread use";
    let person = "[Bob_Kummerfeld]";
    let expected = [
        [
            "stun-p1",
            "1990-1990",
            "",
            "cisco STUN Priority 1 port",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
        ],
        [
            "stun-p2",
            "1991-1991",
            "",
            "cisco STUN Priority 2 port",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
        ],
        [
            "stun-p3",
            "1992-1992",
            "",
            "cisco STUN Priority 3 port",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
        ],
        [
            "ipsendmsg",
            "1992-1992",
            "",
            "IPsendmsg",
            person,
            person,
            "",
            "",
            "",
            "",
            "",
            note,
        ],
        [
            "snmp-tcp-port",
            "1993-1993",
            "",
            "cisco SNMP TCP port",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
        ],
        [
            "stun-port",
            "1994-1994",
            "",
            "cisco serial tunnel port",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
        ],
    ];
    for transport in [Transport::Tcp, Transport::Udp] {
        let rows: Vec<_> = (1990..=1994)
            .flat_map(|port| registry().lookup(transport, port))
            .collect();
        let found: Vec<_> = rows.iter().map(columns).collect();
        let expected = expected.map(|mut row| {
            row[2] = transport.name();
            row.map(str::to_owned)
        });
        assert_eq!(found, expected);
        assert!(rows.iter().all(|row| row.status() == Status::Assigned));
    }
    assert_eq!(registry().by_port(1992).count(), 4);
    assert_eq!(registry().by_range(1990, 1994).count(), 12);
    assert_eq!(registry().lookup(Transport::Sctp, 1992).count(), 0);
}

#[test]
fn names_of_a_port_stand_in_the_registrys_order() {
    assert_eq!(names(Transport::Tcp, 1992), ["stun-p3", "ipsendmsg"]);
    assert_eq!(names(Transport::Tcp, 80), ["http", "www", "www-http"]);
    assert_eq!(names(Transport::Sctp, 80), ["http"]);
    assert_eq!(names(Transport::Udp, 3478), ["stun", "turn", "stun-behavior"]);
    assert_eq!(names(Transport::Tcp, 22), ["ssh"]);
}

#[test]
fn a_range_is_found_from_each_of_its_ports_and_from_no_other() {
    for port in 6000..=6063 {
        assert_eq!(names(Transport::Tcp, port), ["x11"], "port {port}");
    }
    assert_eq!(names(Transport::Tcp, 5999), ["cvsup"]);
    assert!(!names(Transport::Tcp, 6064).contains(&"x11"));
    let row = registry().lookup(Transport::Udp, 6005).next().unwrap();
    assert_eq!(
        row.ports(),
        Some(Ports {
            first: 6000,
            last: 6063
        })
    );
    assert_eq!(row.unauthorized_use(), Some("Known Unauthorized Use on port 6003"));
}

#[test]
fn a_row_without_a_transport_speaks_of_every_transport() {
    for transport in Transport::ALL {
        assert_eq!(names(transport, 4250), ["vrml-multi-use"]);
        let free = registry().lookup(transport, 19_992).next().unwrap();
        assert_eq!((free.transport(), free.status()), (None, Status::Unassigned));
        assert_eq!(
            free.ports(),
            Some(Ports {
                first: 19_791,
                last: 19_997
            })
        );
    }
    assert_eq!(names(Transport::Tcp, 19_992), [""; 0]);
}

#[test]
fn every_port_of_the_index_gives_what_a_walk_over_all_rows_gives() {
    let rows: Vec<_> = registry().rows().collect();
    let covering = |port: u16, transport: Option<Transport>| {
        rows.iter().filter(move |row| {
            row.ports().is_some_and(|ports| ports.contains(port))
                && transport.is_none_or(|transport| row.transport().is_none_or(|own| own == transport))
        })
    };
    // A stride that is prime to the ranges' lengths, and the stretches where ranges and singles lie close.
    for port in (0..=65_535)
        .step_by(37)
        .chain(3300..3400)
        .chain(5990..6070)
        .chain(27_000..27_020)
    {
        let same = |found: &Registration<'_>, expected: &Registration<'_>| std::ptr::eq(found.row, expected.row);
        for transport in Transport::ALL {
            let found = registry().lookup(transport, port);
            assert!(
                found.eq_by_row(covering(port, Some(transport)), same),
                "{port}/{transport}"
            );
        }
        assert!(registry().by_port(port).eq_by_row(covering(port, None), same), "{port}");
    }
}

/// `Iterator::eq_by`, which is not stable yet.
trait EqByRow<'a>: Iterator<Item = Registration<'a>> + Sized {
    fn eq_by_row<'b>(
        mut self,
        mut other: impl Iterator<Item = &'b Registration<'a>>,
        same: impl Fn(&Registration<'a>, &Registration<'a>) -> bool,
    ) -> bool
    where
        'a: 'b,
    {
        loop {
            match (self.next(), other.next()) {
                (None, None) => return true,
                (Some(found), Some(expected)) if same(&found, expected) => {}
                _ => return false,
            }
        }
    }
}
impl<'a, I: Iterator<Item = Registration<'a>>> EqByRow<'a> for I {}

#[test]
fn the_lowest_and_the_highest_port_are_looked_up_like_any_other() {
    let zero: Vec<_> = registry().lookup(Transport::Tcp, 0).collect();
    assert_eq!(zero.len(), 1);
    assert_eq!((zero[0].service(), zero[0].status()), (None, Status::Reserved));
    assert_eq!(zero[0].ports(), Some(Ports { first: 0, last: 0 }));
    assert_eq!(registry().by_port(65_535).count(), 0);
    assert_eq!(registry().by_range(0, 65_535).count(), 14_447 - 1_039);
}

#[test]
fn nameless_rows_are_unassigned_reserved_or_assigned_by_their_description() {
    let status = |transport, port| registry().lookup(transport, port).next().unwrap().status();
    assert_eq!(status(Transport::Tcp, 4), Status::Unassigned);
    assert_eq!(status(Transport::Tcp, 114), Status::Unassigned); // "unassigned", in lower case
    assert_eq!(status(Transport::Tcp, 2825), Status::Unassigned); // "(unassigned) Possibly assigned"
    assert_eq!(status(Transport::Tcp, 1109), Status::Reserved); // "Reserved - IANA"
    assert_eq!(status(Transport::Tcp, 585), Status::Reserved); // "De-registered"
    assert_eq!(status(Transport::Tcp, 24), Status::Assigned); // "any private mail system"
    // A name is an assignment, whatever its description says.
    let named = registry()
        .by_name("stun-behaviors")
        .find(|row| row.transport() == Some(Transport::Udp))
        .unwrap();
    assert!(named.description().unwrap().starts_with("Reserved"));
    assert_eq!(named.status(), Status::Assigned);
}

#[test]
fn a_name_is_found_whatever_its_case_with_plus_and_slash_and_without_a_port() {
    let ports = |name: &str| -> Vec<_> {
        registry()
            .by_name(name)
            .map(|row| row.ports().map(|ports| ports.first))
            .collect()
    };
    assert_eq!(ports("STUN-P3"), [Some(1992), Some(1992)]);
    assert_eq!(ports("whois++"), [Some(63), Some(63)]);
    assert_eq!(ports("cl/1"), [Some(172), Some(172)]);
    assert_eq!(ports("argus"), [None]);
    assert_eq!(ports("http-alt"), [591, 591, 8008, 8008, 8080, 8080].map(Some));
    assert_eq!(ports("stun-p"), []);
    assert_eq!(ports(""), []);
    assert_eq!(
        registry().by_name("xsip-network").next().unwrap().service(),
        Some("XSIP-network")
    );
}

#[test]
fn every_name_finds_itself() {
    for row in registry().rows().filter(|row| row.service().is_some()) {
        let service = row.service().unwrap();
        assert!(
            registry()
                .by_name(service)
                .any(|found| std::ptr::eq(found.row, row.row)),
            "{service}"
        );
    }
}

#[test]
fn text_outside_ascii_and_partial_dates_are_kept() {
    let row = registry().by_name("genstat").next().unwrap();
    assert!(columns(&row).iter().any(|text| !text.is_ascii()), "{:?}", columns(&row));
    let outside = registry()
        .rows()
        .filter(|row| columns(row).iter().any(|text| !text.is_ascii()))
        .count();
    assert_eq!(outside, 23);
    let months = registry()
        .rows()
        .flat_map(|row| [row.registered(), row.modified()])
        .flatten();
    assert_eq!(months.filter(|date| date.len() == "YYYY-MM".len()).count(), 2_620);
    assert_eq!(
        registry().rows().filter(|row| row.unauthorized_use().is_some()).count(),
        111
    );
    let code = registry().lookup(Transport::Dccp, 9).next().unwrap().service_code();
    assert_eq!(code, Some("1145656131"));
}

#[test]
fn the_nearest_name_is_few_edits_away_or_none() {
    for (typed, expected) in [
        ("stunp3", Some("stun-p3")),
        ("stun-3p", Some("stun-p3")), // swapped
        ("STUN-P33", Some("stun-p3")),
        ("ssj", Some("ssh")), // begins alike, lowest port
        ("htpp", Some("http")),
        ("ipsendmesg", Some("ipsendmsg")),
        ("rdis", Some("redis")), // begins and ends alike
        ("RDIS", Some("redis")),
        ("sshd", Some("ssh")),
        ("ssh.service", Some("ssh")),
        ("sshd.service", Some("ssh")),
        ("xyzzyqwerty", None),
        ("", None),
    ] {
        assert_eq!(registry().nearest_name(typed), expected, "{typed}");
    }
    assert_eq!(registry().nearest_name(&"a".repeat(10_000)), None);
}

#[test]
fn range_classes_meet_without_a_gap() {
    for (port, class) in [
        (0, RangeClass::System),
        (1023, RangeClass::System),
        (1024, RangeClass::Registered),
        (1992, RangeClass::Registered),
        (49_151, RangeClass::Registered),
        (49_152, RangeClass::Dynamic),
        (65_535, RangeClass::Dynamic),
    ] {
        assert_eq!(RangeClass::of(port), class, "port {port}");
        assert!(class.ports().contains(port));
    }
}

#[test]
fn a_table_cut_anywhere_is_an_error() {
    for length in 0..format::HEADER_LEN + format::ENTRY_LEN {
        assert!(
            Registry::from_bytes(TABLE[..length].to_vec()).is_err(),
            "cut to {length}"
        );
    }
    assert_eq!(Registry::from_bytes(Vec::new()).unwrap_err(), TableError::NoHeader);
    assert_eq!(
        Registry::from_bytes(TABLE[..20].to_vec()).unwrap_err(),
        TableError::NoHeader
    );
    for length in (format::HEADER_LEN..TABLE.len()).step_by(7919).chain([TABLE.len() - 1]) {
        assert_eq!(
            Registry::from_bytes(&TABLE[..length]).unwrap_err(),
            TableError::Length,
            "cut to {length}"
        );
    }
    let mut longer = TABLE.to_vec();
    longer.push(0);
    assert_eq!(Registry::from_bytes(longer).unwrap_err(), TableError::Length);
}

#[test]
fn a_table_with_one_changed_byte_is_an_error() {
    for at in (0..format::HEADER_LEN).chain((format::HEADER_LEN..TABLE.len()).step_by(99_991)) {
        let mut damaged = TABLE.to_vec();
        damaged[at] ^= 0x40;
        assert!(Registry::from_bytes(damaged).is_err(), "byte {at}");
    }
}

#[test]
fn magic_and_version_of_another_table_are_named() {
    let mut other = TABLE.to_vec();
    other[0] = b'?';
    assert_eq!(Registry::from_bytes(other).unwrap_err(), TableError::Magic);
    let mut newer = TABLE.to_vec();
    newer[format::HEADER_VERSION] = 2;
    let error = Registry::from_bytes(newer).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the registry table has layout version 2, this program reads version 1"
    );
}

/// A table whose checksum fits, but whose bytes at `at` were changed on purpose.
fn forged(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut table = TABLE.to_vec();
    table[at..at + bytes.len()].copy_from_slice(bytes);
    let checksum = checksum(&table[format::HEADER_ROWS..]);
    table[format::HEADER_CHECKSUM..format::HEADER_ROWS].copy_from_slice(&checksum.to_le_bytes());
    table
}

#[test]
fn a_forged_table_that_contradicts_itself_is_refused_by_its_part() {
    let header = |at: usize| u32::from_le_bytes(TABLE[at..at + 4].try_into().unwrap()) as usize;
    let entries: usize = (0..format::GROUPS)
        .map(|group| header(format::HEADER_GROUPS + 4 * group))
        .sum();
    let rows = format::HEADER_LEN + entries * format::ENTRY_LEN;
    let names = rows + header(format::HEADER_ROWS) * format::ROW_LEN;
    let ends = names + header(format::HEADER_NAMES) * format::NAME_LEN;
    let pool = ends + header(format::HEADER_STRINGS) * format::END_LEN;
    for (at, bytes, part) in [
        (format::HEADER_LEN + 4, &[0xff, 0xff][..], "index"),
        (format::HEADER_LEN + 6, &[9, 0][..], "index"),
        (rows + format::ROW_TRANSPORT, &[9][..], "rows"),
        (rows + format::ROW_PORTS, &[7][..], "rows"),
        (rows + format::ROW_LAST, &[1, 0][..], "rows"),
        (rows + format::ROW_STRINGS, &[0xff, 0xff][..], "rows"),
        (names, &[0xff, 0xff][..], "names"),
        (ends, &[1, 0, 0, 0][..], "strings"),
        (ends + 4, &[0xff, 0xff, 0xff, 0xff][..], "strings"),
        (pool, &[0xff][..], "strings"),
    ] {
        let error = Registry::from_bytes(forged(at, bytes)).unwrap_err();
        assert_eq!(error, TableError::Inconsistent(part), "byte {at}");
    }
    // And a header whose counts leave the table no room at all.
    for at in [
        format::HEADER_ROWS,
        format::HEADER_STRINGS,
        format::HEADER_POOL,
        format::HEADER_NAMES,
        format::HEADER_GROUPS,
    ] {
        assert_eq!(
            Registry::from_bytes(forged(at, &[0xff; 4])).unwrap_err(),
            TableError::Length
        );
    }
}

#[test]
fn a_table_that_was_never_validated_gives_fewer_answers_and_no_panic() {
    // Bytes of the index, the rows and the pool turned over, read as the embedded table is: by its header alone.
    for stride in [3, 7, 11, 101] {
        let mut table = TABLE.to_vec();
        table[format::HEADER_LEN..]
            .iter_mut()
            .step_by(stride)
            .for_each(|byte| *byte = !*byte);
        let table: &'static [u8] = table.leak();
        let registry = Registry::of(Table::laid_out(table, table::Layout::read(table).unwrap()));
        for port in (0..=65_535).step_by(257) {
            let answers: Vec<_> = registry.by_port(port).map(|row| columns(&row)).collect();
            assert!(answers.len() <= registry.records());
        }
        assert!(registry.by_name("ssh").count() <= registry.records());
        assert!(registry.nearest_name("ssj").is_none_or(|name| name.len() <= 40));
    }
}

#[test]
fn no_column_of_any_row_holds_an_email_address() {
    for row in registry().rows() {
        for text in columns(&row) {
            assert_eq!(import::without_addresses(&text), text);
            assert!(!text.contains("mailto:"), "{text}");
        }
    }
}

#[test]
fn every_registration_of_the_embedded_table_is_ianas() {
    assert!(registry().rows().all(|row| row.authority() == Authority::Iana));
}
