//! The same listener again and again is one line.

use std::{collections::HashMap, net::IpAddr};

use super::{End, read::Row};
use crate::{event::Protocol, output::Origin};

/// Listeners of one program on one port.
#[derive(Debug)]
pub struct Entry {
    /// The one that opened last.
    pub newest: Row,
    /// Their addresses, each once.
    pub addresses: Vec<IpAddr>,
    /// How many there were.
    pub times: usize,
    /// How many of them listen.
    pub open: usize,
    /// When the first one opened, and how that is known.
    pub first: (i64, Origin),
    /// The last end, and how it is known; `None` where one listens.
    pub closed: Option<(i64, End)>,
}

impl Entry {
    fn of(row: Row) -> Self {
        Self {
            addresses: vec![row.address],
            times: 1,
            open: usize::from(row.closed.is_none()),
            first: (row.opened, row.origin),
            closed: row.closed,
            newest: row,
        }
    }

    /// Adds one that opened before.
    fn add(&mut self, row: &Row) {
        if !self.addresses.contains(&row.address) {
            self.addresses.push(row.address);
        }
        self.times += 1;
        self.open += usize::from(row.closed.is_none());
        self.first = (row.opened, row.origin);
        self.closed = match (self.closed, row.closed) {
            (Some(ours), Some(theirs)) => Some(if theirs.0 > ours.0 { theirs } else { ours }),
            _ => None,
        };
    }
}

/// What makes two listeners the same.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    protocol: Protocol,
    port: u16,
    process: String,
    exe: Option<String>,
    user: (Option<u32>, Option<String>),
    place: [Option<String>; 2],
    netns: u32,
}

impl Key {
    fn of(row: &Row) -> Self {
        Self {
            protocol: row.protocol,
            port: row.port,
            process: row.process.clone(),
            exe: row.exe.clone(),
            user: (row.uid, row.user.clone()),
            place: [row.unit.clone(), row.container.clone()],
            netns: row.netns,
        }
    }
}

/// The rows, which begin with the one that opened last, in lines that begin likewise; with `each` one a row.
#[must_use]
pub fn grouped(rows: Vec<Row>, each: bool) -> Vec<Entry> {
    if each {
        return rows.into_iter().map(Entry::of).collect();
    }
    let mut entries: Vec<Entry> = Vec::new();
    let mut known: HashMap<Key, usize> = HashMap::new();
    for row in rows {
        let next = entries.len();
        let index = *known.entry(Key::of(&row)).or_insert(next);
        match entries.get_mut(index) {
            Some(entry) => entry.add(&row),
            None => entries.push(Entry::of(row)),
        }
    }
    entries
}
