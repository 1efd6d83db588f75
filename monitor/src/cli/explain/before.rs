//! Who listened there before, where the agent keeps a history.

use crate::{
    cli::{
        history::{Entry, grouped, read, text::sentence},
        page::Page,
    },
    config::History,
    event::Protocol,
    history::read::{Query, Unreadable},
    output::documents::Listened,
    registry::{Ports, Transport},
};

/// Lines that are shown.
const SHOWN: usize = 10;

/// What the history says of some ports.
pub(super) enum Before {
    /// There is none.
    Unkept,
    /// It cannot be read, and why.
    Unread(String),
    /// What listened, the newest first.
    Read(Vec<Entry>),
}

impl Before {
    /// Reads it.
    pub(super) fn look(history: &History, ports: Ports, transport: Option<Transport>) -> Self {
        let protocol = match transport {
            None => None,
            Some(Transport::Tcp) => Some(Protocol::Tcp),
            Some(Transport::Udp) => Some(Protocol::Udp),
            Some(_) => return Self::Unkept,
        };
        let query = Query {
            ports: vec![(protocol, ports.first, ports.last)],
            ..Query::default()
        };
        match read(&history.path, &query) {
            Ok(rows) => Self::Read(grouped(rows, false)),
            Err(Unreadable::Absent(_)) => Self::Unkept,
            Err(error) => Self::Unread(error.to_string()),
        }
    }

    /// What listened, as `history --json` writes it.
    pub(super) fn listened(&self) -> Option<Vec<Listened<'_>>> {
        match self {
            Self::Read(entries) => Some(entries.iter().map(Listened::from).collect()),
            Self::Unkept | Self::Unread(_) => None,
        }
    }

    /// Adds it to a page. That there is no history is not worth a line.
    pub(super) fn write(&self, page: &mut Page) {
        let entries = match self {
            Self::Unkept => return,
            Self::Unread(reason) => {
                page.blank();
                page.paragraph(0, &format!("Before: {reason}"));
                return;
            }
            Self::Read(entries) => entries,
        };
        let sentences: Vec<_> = entries.iter().filter_map(sentence).collect();
        if sentences.is_empty() {
            return;
        }
        page.blank();
        page.paragraph(0, "Listened on this host before:");
        for sentence in sentences.iter().take(SHOWN) {
            page.hanging("", 2, sentence);
        }
        if let Some(more) = sentences.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            page.paragraph(2, &format!("and {more} more: portreeve history"));
        }
    }
}
