//! The layout of a table: of `monitor/data/registry.bin`, which `cargo xtask registry` writes and the agent embeds, and of
//! what `portreeve registry update` writes.
//!
//! This file is compiled into xtask as well, so that every number of the format stands once. All integers are little-endian.
//!
//! ```text
//! header    64 bytes, see HEADER_*
//! index     one entry of 8 bytes a row with a port: first port, last port, row number, reach (u16 each).
//!           Five groups one after another (rows without transport, tcp, udp, sctp, dccp), each sorted by first port,
//!           then row number. `reach` is how many entries back the earliest entry of the group lies that still covers
//!           this entry's first port: a look-up finds the last entry that starts at or below its port, goes `reach`
//!           back, and reads on from there. Ranges are thus found without walking the group.
//! rows      26 bytes each, in the registry's own order, see ROW_*; strings are numbers into the pool
//! names     one u16 for each row with a service name: its row number, sorted by the name in ASCII lower case, then row
//! ends      one u32 for each string: where it ends in the pool; it begins where the one before it ends
//! pool      UTF-8; each distinct string once, in order of first use; string 0 is the empty one and means "none"
//! ```
//!
//! Row and string numbers are u16, so a table holds at most 65,535 of each; the registry of 2026 has 14,499 rows and
//! about 21,400 distinct strings, and grows by some fifty rows a year.

/// The first eight bytes of a table.
pub(crate) const MAGIC: [u8; 8] = *b"PORTREEV";
/// Raised with each change of the layout; a reader takes this one only.
pub(crate) const VERSION: u32 = 1;

/// Length of the header in bytes.
pub(crate) const HEADER_LEN: usize = 64;
/// u32: [`VERSION`].
pub(crate) const HEADER_VERSION: usize = 8;
/// u64: [`checksum`] of every byte from [`HEADER_ROWS`] to the end of the table.
pub(crate) const HEADER_CHECKSUM: usize = 12;
/// u32: number of rows.
pub(crate) const HEADER_ROWS: usize = 20;
/// u32: number of strings.
pub(crate) const HEADER_STRINGS: usize = 24;
/// u32: length of the pool in bytes.
pub(crate) const HEADER_POOL: usize = 28;
/// u32: number of rows with a service name.
pub(crate) const HEADER_NAMES: usize = 32;
/// Five u32: number of index entries in each group, in the order of the transport codes.
pub(crate) const HEADER_GROUPS: usize = 36;
/// u16, string: where the rows come from, such as the name of a crate.
pub(crate) const HEADER_SOURCE: usize = 56;
/// u16, string: the version of that source.
pub(crate) const HEADER_SOURCE_VERSION: usize = 58;
/// u16, string: date of the rows, YYYY-MM-DD.
pub(crate) const HEADER_SOURCE_DATE: usize = 60;
/// u16, string: SHA-256 of the file that the rows were read from, in hexadecimal digits; the empty string where it is not known.
pub(crate) const HEADER_SOURCE_SHA256: usize = 62;

/// Length of an index entry: first port, last port, row, reach.
pub(crate) const ENTRY_LEN: usize = 8;
/// Length of a string's end.
pub(crate) const END_LEN: usize = 4;
/// Length of an entry of the name order.
pub(crate) const NAME_LEN: usize = 2;

/// Length of a row in bytes.
pub(crate) const ROW_LEN: usize = 26;
/// u16: first port; 0 where the row has none.
pub(crate) const ROW_FIRST: usize = 0;
/// u16: last port, equal to the first for a single port.
pub(crate) const ROW_LAST: usize = 2;
/// u8: transport code.
pub(crate) const ROW_TRANSPORT: usize = 4;
/// u8: how the row writes its ports, one of the constants `PORTS_*`.
pub(crate) const ROW_PORTS: usize = 5;
/// Ten u16: the string columns, in the order of the constants `COLUMN_*`.
pub(crate) const ROW_STRINGS: usize = 6;

/// The row has no port (port 0 is one).
pub(crate) const PORTS_NONE: u8 = 0;
/// One port: `1992`.
pub(crate) const PORTS_SINGLE: u8 = 1;
/// A range: `6000-6063`, and once, in the registry of 2024, `4748-4748`.
pub(crate) const PORTS_RANGE: u8 = 2;

/// Service Name.
pub(crate) const COLUMN_SERVICE: usize = 0;
/// Description.
pub(crate) const COLUMN_DESCRIPTION: usize = 1;
/// Assignee.
pub(crate) const COLUMN_ASSIGNEE: usize = 2;
/// Contact.
pub(crate) const COLUMN_CONTACT: usize = 3;
/// Registration Date.
pub(crate) const COLUMN_REGISTERED: usize = 4;
/// Modification Date.
pub(crate) const COLUMN_MODIFIED: usize = 5;
/// Reference.
pub(crate) const COLUMN_REFERENCE: usize = 6;
/// Service Code.
pub(crate) const COLUMN_SERVICE_CODE: usize = 7;
/// Unauthorized Use Reported.
pub(crate) const COLUMN_UNAUTHORIZED_USE: usize = 8;
/// Assignment Notes.
pub(crate) const COLUMN_NOTE: usize = 9;
/// Number of string columns.
pub(crate) const COLUMNS: usize = 10;

/// Transports by code, as IANA writes them; code 0 is a row that names none.
pub(crate) const TRANSPORTS: [&str; GROUPS] = ["", "tcp", "udp", "sctp", "dccp"];
/// Number of groups in the index: one a transport code.
pub(crate) const GROUPS: usize = 5;

/// FNV-1a, 64 bits, over words of eight bytes, little-endian, the last one filled up with zeros: each command that reads a
/// table from a file waits for this. It finds damage and proves no origin.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    for (byte, rest) in last.iter_mut().zip(rest) {
        *byte = *rest;
    }
    words.iter().chain([&last]).fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x0100_0000_01b3)
    })
}

const _: () = assert!(HEADER_SOURCE_SHA256 + 2 == HEADER_LEN);
const _: () = assert!(ROW_STRINGS + 2 * COLUMNS == ROW_LEN);
