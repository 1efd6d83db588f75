//! The table that people read, and the line below it.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;

use super::{
    columns::{Cell, Kind, Layout, Leaves, Room, Table},
    row::{Listing, Owner, Row, Unseen, What},
};
use crate::{
    cli::{page::below_table, terminal::Paint},
    exit::printable,
    identity::{Container, ExeState, Pod},
    policy::Verdict,
};

/// A width that is never cut.
const WHOLE: usize = usize::MAX;

const fn column(title: &'static str, usual: usize, floor: usize, leaves: Leaves) -> Kind {
    Kind {
        title,
        usual,
        floor,
        leaves,
    }
}

// `watch` takes the usual width of each, since nobody knows what is still to come.
const PROTO: Kind = column("PROTO", 5, 5, Leaves::Late(0));
// The floor holds any port behind a `…`.
const ADDRESS: Kind = column("ADDRESS:PORT", 21, 7, Leaves::Never);
const SCOPE: Kind = column("SCOPE", 8, 8, Leaves::Early(4));
const SERVICE: Kind = column("SERVICE", 17, 9, Leaves::Early(5));
const PROCESS: Kind = column("PROCESS", 20, 8, Leaves::Late(1));
const USER: Kind = column("USER", 8, 5, Leaves::Early(6));
const UNIT: Kind = column("UNIT/CONTAINER", 20, 14, Leaves::Early(0));
const SINCE: Kind = column("SINCE", 5, 5, Leaves::Early(1));
// As many as the number of a namespace may have: a part of it says nothing.
const NETNS: Kind = column("NETNS", 10, 10, Leaves::Early(3));
const VERDICT: Kind = column("VERDICT", 10, 10, Leaves::Never);
// Those who ask for the wide table want these.
const PACKAGE: Kind = column("PACKAGE", WHOLE, WHOLE, Leaves::Early(7));
const EXECUTABLE: Kind = column("EXECUTABLE", WHOLE, WHOLE, Leaves::Early(8));
/// When `watch` saw it.
const TIME: Kind = column("TIME", 9, 9, Leaves::Early(2));

/// How the table is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Columns that a line may have; `None` where nothing has to fit.
    pub width: Option<usize>,
    pub color: bool,
    /// Each socket on a line of its own, uncut, and with more columns.
    pub wide: bool,
}

/// The table of the rows, which are in their order, and the line below it.
pub fn render(listing: &Listing, options: &Options) -> String {
    let lines = lines(&listing.rows, options.wide);
    let (mut text, below) = (String::new(), summary(listing));
    if !lines.is_empty() {
        let room = match options.width {
            Some(width) if !options.wide => Room::Columns(width),
            // Uncut is what was asked for: the terminal wraps it.
            _ => Room::Endless,
        };
        text = table(&lines, listing, options.wide).render(room, options.color);
        text.push('\n');
    }
    text.push_str(&below_table(&below, options.width));
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
    let mut add = |kind, cell: &dyn Fn(&Line<'_>) -> Cell| {
        table.push(kind, lines.iter().map(cell).collect());
    };
    let several = lines
        .iter()
        .zip(lines.iter().skip(1))
        .any(|(one, next)| one.row.netns != next.row.netns);
    add(PROTO, &|line| plain(line.row.protocol.as_str()));
    add(ADDRESS, &address);
    add(SCOPE, &|line| scope(line.row, wide));
    add(SERVICE, &|line| service(line.row, wide));
    add(PROCESS, &|line| process(line.row, wide));
    add(USER, &|line| word(&line.row.user().word()));
    add(UNIT, &|line| word(&place_of(line.row, wide)));
    add(SINCE, &|line| word(&since(line.since, listing.time, wide)));
    if several || wide {
        add(NETNS, &|line| netns(line.row));
    }
    add(VERDICT, &|line| verdict(line.row, wide));
    if wide {
        add(PACKAGE, &|line| word(line.row.package.as_deref().unwrap_or_default()));
        add(EXECUTABLE, &|line| {
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
    let cell = Cell::new(addresses.join(","), format!(":{port}"), Paint::Plain);
    if line.sockets > addresses.len() {
        cell.noted(format!(" ×{}", line.sockets))
    } else {
        cell
    }
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
            let pid = format!("[{}]", process.pid);
            Cell::new(printable(&process.name()), pid, Paint::Plain).noted(more)
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

fn netns(row: &Row) -> Cell {
    if row.host_netns {
        plain("host")
    } else {
        plain(&row.netns.to_string())
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

/// The lines of `watch`: its columns have their widths before anything is found. What is wider takes from what the line can
/// spare.
#[derive(Clone, Debug)]
pub struct Lines {
    layout: Layout,
    color: bool,
}

impl Lines {
    const COLUMNS: [Kind; 10] = [
        TIME, PROTO, ADDRESS, SCOPE, SERVICE, PROCESS, USER, UNIT, NETNS, VERDICT,
    ];

    /// Lines of at most `width` columns, where that is given, without the sign before each.
    pub fn new(width: Option<usize>, color: bool) -> Self {
        let room = width.map_or(Room::Endless, Room::Columns);
        Self {
            layout: Layout::of_kinds(&Self::COLUMNS.map(|kind| (kind, kind.usual)), room),
            color,
        }
    }

    /// The head of the columns.
    pub fn head(&self) -> String {
        let titles = Self::COLUMNS.iter().map(|kind| plain(kind.title));
        self.layout.line(titles, false)
    }

    /// A row, painted: when it was found, in UTC, and the columns of the table.
    pub fn of(&self, row: &Row, now: Timestamp) -> String {
        let cells = [
            plain(&now.strftime("%H:%M:%SZ").to_string()),
            plain(row.protocol.as_str()),
            address(&Line::of(row)),
            scope(row, false),
            service(row, false),
            process(row, false),
            word(&row.user().word()),
            word(&place_of(row, false)),
            netns(row),
            verdict(row, false),
        ];
        self.layout.line(cells.into_iter(), self.color)
    }
}
