//! The table that people read, and the line below it.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;

use super::{
    columns::{Cell, Table},
    row::{Listing, Owner, Row, Unseen, What},
};
use crate::{
    cli::terminal::{self, Paint},
    exit::printable,
    identity::{Container, ExeState, Pod},
    policy::Verdict,
};

/// How the table is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Columns that a line may have; `None` where nothing is cut.
    pub width: Option<usize>,
    pub color: bool,
    /// Each socket on a line of its own, uncut, and with more columns.
    pub wide: bool,
}

/// The table of the rows, which are in their order, and the line below it.
pub fn render(listing: &Listing, options: &Options) -> String {
    let lines = lines(&listing.rows, options.wide);
    let mut text = String::new();
    if !lines.is_empty() {
        let width = options.width.filter(|_| !options.wide);
        text = table(&lines, listing, options.wide).render(width, options.color);
        text.push('\n');
    }
    text.push_str(&summary(listing));
    text.push('\n');
    text
}

/// Sockets of one service, which differ in their family alone or share an address (SO_REUSEPORT).
struct Line<'a> {
    row: &'a Row,
    addresses: Vec<IpAddr>,
    sockets: usize,
    since: Option<Timestamp>,
}

impl<'a> Line<'a> {
    fn of(row: &'a Row) -> Self {
        Self {
            row,
            addresses: vec![row.address],
            sockets: 1,
            since: row.since,
        }
    }

    fn takes(&self, row: &Row) -> bool {
        let same = |row: &Row| (row.protocol, row.netns, row.scope, row.verdict, row.rule.clone());
        let whose = |row: &Row| (row.process().map(|process| process.pid), row.user().uid);
        let alike = match (&self.row.owner, &row.owner) {
            (Owner::Process(_), Owner::Process(_)) => true,
            (ours, theirs) => ours == theirs,
        };
        let one_a_family = self
            .addresses
            .iter()
            .all(|address| *address == row.address || address.is_ipv4() != row.address.is_ipv4());
        alike && one_a_family && same(self.row) == same(row) && whose(self.row) == whose(row)
    }

    fn add(&mut self, row: &Row) {
        self.sockets += 1;
        self.since = [self.since, row.since].into_iter().flatten().min();
        if !self.addresses.contains(&row.address) {
            self.addresses.push(row.address);
        }
    }
}

fn lines(rows: &[Row], each: bool) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for row in rows {
        let mut beside = lines.iter_mut().rev().take_while(|line| line.row.port == row.port);
        match beside.find(|line| !each && line.takes(row)) {
            Some(line) => line.add(row),
            None => lines.push(Line::of(row)),
        }
    }
    lines
}

fn table(lines: &[Line<'_>], listing: &Listing, wide: bool) -> Table {
    let mut table = Table::default();
    // A row at a time: what a cell is made of, whatever the column.
    let mut add = |title, least, rank, cell: &dyn Fn(&Line<'_>) -> Cell| {
        table.push(title, least, rank, lines.iter().map(cell).collect());
    };
    let several = lines
        .iter()
        .zip(lines.iter().skip(1))
        .any(|(one, next)| one.row.netns != next.row.netns);
    add("PROTO", 5, 9, &|line| plain(line.row.protocol.as_str()));
    add("ADDRESS:PORT", 15, 6, &address);
    add("SCOPE", 4, 3, &|line| scope(line.row, wide));
    add("SERVICE", 9, 1, &|line| service(line.row, wide));
    add("PROCESS", 12, 5, &|line| process(line.row, wide));
    add("USER", 5, 4, &|line| word(&line.row.user().word()));
    add("UNIT/CONTAINER", 8, 0, &|line| word(&place_of(line.row, wide)));
    add("SINCE", 5, 7, &|line| word(&since(line.since, listing.time, wide)));
    if several || wide {
        add("NETNS", 5, 2, &|line| {
            let row = line.row;
            if row.host_netns {
                plain("host")
            } else {
                plain(&row.netns.to_string())
            }
        });
    }
    add("VERDICT", 10, 8, &|line| verdict(line.row, wide));
    if wide {
        add("PACKAGE", 1, 0, &|line| {
            word(line.row.package.as_deref().unwrap_or_default())
        });
        add("EXECUTABLE", 1, 0, &|line| {
            let process = line.row.process();
            let exe = process.and_then(|process| process.exe.as_deref()).unwrap_or_default();
            word(&match process.and_then(|process| process.exe_state) {
                Some(ExeState::Deleted) => format!("{exe} (deleted)"),
                Some(ExeState::Memfd) => format!("{exe} (memory alone)"),
                Some(ExeState::File) | None => exe.to_owned(),
            })
        });
    }
    table
}

fn plain(text: &str) -> Cell {
    Cell::new(text, "", Paint::Plain)
}

/// A text that strangers may have written, or `-` where there is none.
fn word(text: &str) -> Cell {
    if text.is_empty() || text == "-" {
        Cell::new("-", "", Paint::Dim)
    } else {
        plain(&printable(text))
    }
}

fn address(line: &Line<'_>) -> Cell {
    let addresses: Vec<_> = line
        .addresses
        .iter()
        .map(|address| match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        })
        .collect();
    let port = line.row.port;
    let tail = if line.sockets > addresses.len() {
        format!(":{port} ×{}", line.sockets)
    } else {
        format!(":{port}")
    };
    Cell::new(addresses.join(","), tail, Paint::Plain)
}

fn scope(row: &Row, wide: bool) -> Cell {
    let also = if wide && row.dual_stack == Some(true) {
        " (ipv4 too)"
    } else {
        ""
    };
    plain(&format!("{}{also}", row.scope.as_str()))
}

/// The names of the port; in the wide table with a mark where the process is none that serves them.
fn service(row: &Row, wide: bool) -> Cell {
    let names = row.services().join(",");
    if wide && row.name_matches == Some(false) {
        Cell::new(printable(&names), " (not this process)", Paint::Doubt)
    } else {
        word(&names)
    }
}

fn process(row: &Row, wide: bool) -> Cell {
    match &row.owner {
        Owner::Process(process) if wide => {
            let others = row.holders.iter().filter(|holder| holder.pid != process.pid);
            let others = others.map(|holder| format!(",{}[{}]", holder.comm, holder.pid));
            let all: String = std::iter::once(row.process_word()).chain(others).collect();
            plain(&printable(&all))
        }
        Owner::Process(process) => {
            let more = match row.holders.len() {
                0 | 1 => String::new(),
                holders => format!(" +{}", holders - 1),
            };
            let tail = format!("[{}]{more}", process.pid);
            Cell::new(printable(&process.name()), tail, Paint::Plain)
        }
        Owner::Nobody => Cell::new("(none)", "", Paint::Plain),
        Owner::Hidden => Cell::new("?", "", Paint::Doubt),
    }
}

/// The pod, the container, else the unit.
fn place_of(row: &Row, wide: bool) -> String {
    /// As container tools shorten an id.
    const SHORT: usize = 12;
    match &row.container {
        Some(Container {
            pod: Some(Pod { name, namespace }),
            ..
        }) => format!("{namespace}/{name}"),
        Some(Container { runtime, id, .. }) => {
            let short = id.get(..SHORT).filter(|_| !wide).unwrap_or(id);
            format!("{}:{short}", runtime.as_str())
        }
        None => match (&row.unit, &row.service) {
            (Some(unit), Some(service)) if wide => format!("{unit} > {service}"),
            (unit, _) => unit.clone().unwrap_or_default(),
        },
    }
}

/// How long ago; in the wide table the moment.
fn since(since: Option<Timestamp>, now: Timestamp, wide: bool) -> String {
    let Some(since) = since else {
        return String::new();
    };
    if wide {
        return format!("{since:.0}");
    }
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The verdict, painted.
fn verdict(row: &Row, wide: bool) -> Cell {
    let rule = match &row.rule {
        Some(rule) if wide => format!(" ({rule})"),
        _ => String::new(),
    };
    Cell::new(format!("{}{rule}", row.verdict.as_str()), "", paint_of(row.verdict))
}

/// The colour of a verdict.
pub fn paint_of(verdict: Verdict) -> Paint {
    match verdict {
        Verdict::Unexpected => Paint::Alarm,
        Verdict::Expected => Paint::Fine,
        Verdict::Unruled => Paint::Plain,
    }
}

/// What was found, what was left out, and what could not be seen, in one line.
pub fn summary(listing: &Listing) -> String {
    let unexpected = listing.rows.iter().filter(|row| row.verdict == Verdict::Unexpected);
    let mut parts = vec![match (listing.rows.len(), unexpected.count()) {
        (0, _) => "no listeners".to_owned(),
        (all, 0) => format!("{}, none unexpected", counted(all, "listener")),
        (all, unexpected) => format!("{}, {unexpected} unexpected", counted(all, "listener")),
    }];
    if listing.left_out > 0 {
        parts.push(format!(
            "{} on automatic ports left out (--all shows them)",
            counted(listing.left_out, "UDP socket")
        ));
    }
    parts.extend(unseen(&listing.unseen));
    parts.join("; ")
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// What could not be seen, as parts of a sentence; namespaces with one reason together.
pub fn unseen(unseen: &[Unseen]) -> Vec<String> {
    let mut namespaces: BTreeMap<&str, usize> = BTreeMap::new();
    let mut parts = Vec::new();
    for part in unseen {
        let reason = printable(&part.reason);
        match (part.what, part.listeners) {
            (What::Namespace, _) => *namespaces.entry(&part.reason).or_default() += 1,
            (What::Processes, Some(1)) => parts.push(format!("the process of 1 listener is not shown: {reason}")),
            (What::Processes, Some(listeners)) => {
                parts.push(format!(
                    "the processes of {listeners} listeners are not shown: {reason}"
                ));
            }
            (What::Processes, None) => parts.push(format!("some processes are not shown: {reason}")),
        }
    }
    parts.extend(namespaces.into_iter().map(|(reason, count)| {
        let reason = printable(reason);
        format!(
            "{} could not be looked into: {reason}",
            counted(count, "network namespace")
        )
    }));
    parts
}

/// The columns of `watch`, with how wide each is: what is wider pushes the rest of its line on, since nobody knows what is still
/// to come.
const COLUMNS: [(&str, usize); 9] = [
    ("TIME", 9),
    ("PROTO", 5),
    ("ADDRESS:PORT", 21),
    ("SCOPE", 8),
    ("SERVICE", 17),
    ("PROCESS", 20),
    ("USER", 8),
    ("UNIT/CONTAINER", 20),
    ("NETNS", 10),
];

/// The head of the columns of `watch`.
pub fn head() -> String {
    let cells = COLUMNS.map(|(title, _)| title.to_owned());
    format!("  {}VERDICT\n", padded(&cells))
}

/// A row as `watch` shows it, painted: when it was found, in UTC, and the columns of the table.
pub fn one_line(row: &Row, now: Timestamp, color: bool) -> String {
    let or_none = |text: String| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            printable(&text)
        }
    };
    let place = row.place();
    let netns = if row.host_netns {
        "host".to_owned()
    } else {
        row.netns.to_string()
    };
    let cells = [
        now.strftime("%H:%M:%SZ").to_string(),
        row.protocol.as_str().to_owned(),
        place
            .split_once(' ')
            .map_or(place.clone(), |(_, place)| place.to_owned()),
        row.scope.as_str().to_owned(),
        or_none(row.services().join(",")),
        or_none(row.process_word()),
        or_none(row.user().word()),
        or_none(place_of(row, false)),
        netns,
    ];
    let verdict = paint_of(row.verdict).on(row.verdict.as_str(), color);
    format!("{}{verdict}", padded(&cells))
}

fn padded(cells: &[String; 9]) -> String {
    let padded = cells.iter().zip(COLUMNS).map(|(cell, (_, width))| {
        let missing = width.saturating_sub(terminal::columns(cell));
        format!("{cell}{}  ", " ".repeat(missing))
    });
    padded.collect()
}
