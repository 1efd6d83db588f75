//! The history as people read it: a table, the newest first, and a line below it.

use jiff::{Timestamp, tz::TimeZone};

use super::{Entry, Listing};
use crate::{
    cli::{
        list::{
            columns::{Cell, Kind, Leaves, Room, Table},
            text::paint_of,
        },
        page::below_table,
        terminal::Paint,
    },
    exit::printable,
    history::End,
    output::Origin,
};

const fn column(title: &'static str, usual: usize, floor: usize, leaves: Leaves) -> Kind {
    Kind {
        title,
        usual,
        floor,
        leaves,
    }
}

const PORT: Kind = column("PORT", 9, 9, Leaves::Never);
const PROCESS: Kind = column("PROCESS", 12, 8, Leaves::Never);
const USER: Kind = column("USER", 8, 5, Leaves::Early(2));
const UNIT: Kind = column("UNIT/CONTAINER", 14, 10, Leaves::Early(1));
const NETNS: Kind = column("NETNS", 5, 5, Leaves::Early(3));
const FROM: Kind = column("FROM", 12, 12, Leaves::Late(0));
const UNTIL: Kind = column("UNTIL", 12, 12, Leaves::Never);
const TIMES: Kind = column("TIMES", 5, 5, Leaves::Early(4));
const VERDICT: Kind = column("VERDICT", 10, 10, Leaves::Early(0));

/// The table, in lines of so many columns where a width is given, and the line below it.
pub(super) fn render(listing: &Listing, width: Option<usize>, color: bool) -> String {
    let room = width.map_or(Room::Endless, Room::Columns);
    let mut text = String::new();
    if !listing.entries.is_empty() {
        text = table(listing).render(room, color);
        text.push('\n');
    }
    let below = summary(listing);
    text.push_str(&below_table(&below, width));
    text
}

fn table(listing: &Listing) -> Table {
    let entries = &listing.entries;
    let mut table = Table::default();
    let mut add = |kind, cell: &dyn Fn(&Entry) -> Cell| table.push(kind, entries.iter().map(cell).collect());
    add(PORT, &|entry| {
        let row = &entry.newest;
        Cell::new(row.port.to_string(), format!("/{}", row.protocol), Paint::Plain)
    });
    add(PROCESS, &|entry| word(&entry.newest.process));
    add(USER, &|entry| word(&user(entry)));
    add(UNIT, &|entry| word(&place(entry)));
    if entries.iter().any(|entry| !entry.newest.host_netns) {
        add(NETNS, &|entry| {
            Cell::new(if entry.newest.host_netns { "host" } else { "other" }, "", Paint::Plain)
        });
    }
    add(FROM, &|entry| Cell::new(from(entry, listing.time), "", Paint::Plain));
    add(UNTIL, &|entry| match until(entry, listing.time) {
        Some(until) => Cell::new(until, "", Paint::Plain),
        None => Cell::new("open", "", Paint::Bold),
    });
    add(TIMES, &|entry| match entry.times {
        1 => Cell::default(),
        times => Cell::new(format!("×{times}"), "", Paint::Plain),
    });
    add(VERDICT, &|entry| {
        let verdict = entry.newest.verdict;
        Cell::new(verdict.as_str(), "", paint_of(verdict))
    });
    table
}

/// What strangers may have written, or `-` where there is nothing.
fn word(text: &str) -> Cell {
    if text.is_empty() {
        Cell::new("-", "", Paint::Dim)
    } else {
        Cell::new(printable(text), "", Paint::Plain)
    }
}

fn user(entry: &Entry) -> String {
    let row = &entry.newest;
    let number = || row.uid.map(|uid| uid.to_string()).unwrap_or_default();
    row.user.clone().unwrap_or_else(number)
}

/// The pod, the container with its id as container tools shorten it, else the unit.
fn place(entry: &Entry) -> String {
    const SHORT: usize = 12;
    let row = &entry.newest;
    if let Some(pod) = &row.pod {
        return pod.clone();
    }
    match row.container.as_ref().and_then(|container| container.split_once(':')) {
        Some((runtime, id)) => format!("{runtime}:{}", id.get(..SHORT).unwrap_or(id)),
        None => row.unit.clone().unwrap_or_default(),
    }
}

/// When the first one opened; `<` where it listened before that time already.
fn from(entry: &Entry, now: Timestamp) -> String {
    let (first, origin) = entry.first;
    let mark = if origin == Origin::Event { "" } else { "<" };
    format!("{mark}{}", short(first, now))
}

/// When the last one ended; `>` where it ended at some time after that. `None` where one listens.
fn until(entry: &Entry, now: Timestamp) -> Option<String> {
    let (closed, end) = entry.closed?;
    let mark = if end == End::Unwatched { ">" } else { "" };
    Some(format!("{mark}{}", short(closed, now)))
}

/// A moment as short as it can be told from others: the time of today, the day of this year, the date. In UTC.
fn short(nanoseconds: i64, now: Timestamp) -> String {
    let utc = |time: Timestamp| time.to_zoned(TimeZone::UTC);
    let Ok(time) = Timestamp::from_nanosecond(nanoseconds.into()) else {
        return "?".to_owned();
    };
    let (time, now) = (utc(time), utc(now));
    let form = if time.date() == now.date() {
        "%H:%M:%S"
    } else if time.year() == now.year() {
        "%m-%d %H:%M"
    } else {
        "%Y-%m-%d"
    };
    time.strftime(form).to_string()
}

/// What there is, what the marks mean, and what is left out.
fn summary(listing: &Listing) -> String {
    let entries = &listing.entries;
    let listeners: usize = entries.iter().map(|entry| entry.times).sum();
    let open: usize = entries.iter().map(|entry| entry.open).sum();
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut parts = vec![match listeners {
        0 => "no listeners that the history knows of".to_owned(),
        _ => format!("{}, {open} open; times are UTC", counted(listeners, "listener")),
    }];
    if entries.iter().any(|entry| entry.first.1 != Origin::Event) {
        parts.push("< listened before that time already".to_owned());
    }
    if entries
        .iter()
        .any(|entry| entry.closed.is_some_and(|(_, end)| end == End::Unwatched))
    {
        parts.push("> ended while nobody watched, after that time".to_owned());
    }
    if listing.left_out > 0 {
        parts.push(format!(
            "{} on automatic ports left out (--all shows them)",
            counted(listing.left_out, "listener")
        ));
    }
    parts.join("; ")
}

/// What to say of listeners of the past in a sentence; `None` where the only one listens still.
pub(in crate::cli) fn sentence(entry: &Entry) -> Option<String> {
    let row = &entry.newest;
    let times = match (entry.times, entry.open) {
        (1, 1) => return None,
        (1, _) => String::new(),
        (times, _) => format!("{times} times, "),
    };
    let unit = match place(entry) {
        place if place.is_empty() => String::new(),
        place => format!(", {place}"),
    };
    let user = match user(entry) {
        user if user.is_empty() => String::new(),
        user => format!(", user {user}"),
    };
    let (first, origin) = entry.first;
    let begin = if origin == Origin::Event { "from" } else { "from before" };
    let end = match entry.closed {
        None => "on, one of them still".to_owned(),
        Some((closed, End::Unwatched)) => {
            format!("to some time after {}, when nobody watched", whole(closed))
        }
        Some((closed, _)) => format!("to {}", whole(closed)),
    };
    Some(format!(
        "{} {} by {}{}{}: {times}{begin} {} {end}",
        row.protocol,
        row.port,
        printable(&row.process),
        printable(&user),
        printable(&unit),
        whole(first)
    ))
}

fn whole(nanoseconds: i64) -> String {
    let time = Timestamp::from_nanosecond(nanoseconds.into());
    time.map_or_else(|_| "?".to_owned(), |time| format!("{time:.0}"))
}
