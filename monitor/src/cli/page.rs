//! Pages that people read: lines of at most so many columns, texts wrapped, lists in columns.

use super::terminal;
use crate::registry::{Authority, Grouped, Ports, Transport};

/// Columns of a page where the terminal does not have fewer.
pub const WIDTH: usize = 80;
/// Below this a page is no longer made narrower: the terminal wraps it.
const NARROWEST: usize = 60;

/// Letters in a line below a table at least: what is narrower cuts lines by itself.
const NARROWEST_BELOW: usize = 40;

/// What is said below a table of this width: in lines that fit, or in one where the width is not known.
pub(super) fn below_table(text: &str, width: Option<usize>) -> String {
    match width {
        Some(width) => {
            let mut page = Page::of_width(width.max(NARROWEST_BELOW));
            page.paragraph(0, text);
            page.into_text()
        }
        None => format!("{text}\n"),
    }
}

/// A port or a range: `1992`, `6000–6063`.
pub fn numbers(ports: Ports) -> String {
    if ports.first == ports.last {
        ports.first.to_string()
    } else {
        format!("{}–{}", ports.first, ports.last)
    }
}

/// `tcp,udp`.
pub fn joined(transports: &[Transport]) -> String {
    transports
        .iter()
        .map(|transport| transport.name())
        .collect::<Vec<_>>()
        .join(",")
}

/// The ports and transports of a registration: `1992/tcp,udp`; without a slash where it speaks of all transports.
fn place(entry: &Grouped<'_>) -> String {
    let ports = entry.registration.ports().map(numbers);
    match (ports, entry.transports.as_slice()) {
        (Some(ports), []) => ports,
        (Some(ports), transports) => format!("{ports}/{}", joined(transports)),
        (None, []) => "no port".to_owned(),
        (None, transports) => format!("no port/{}", joined(transports)),
    }
}

/// The widths of the first two columns of a list.
pub struct Widths {
    place: usize,
    name: usize,
}

impl Widths {
    /// Wide enough for all entries, up to a limit that leaves room for a description.
    pub fn of<'a>(entries: impl Iterator<Item = &'a Grouped<'a>> + Clone) -> Self {
        let widest =
            |width: fn(&Grouped<'_>) -> usize, most: usize| entries.clone().map(width).max().unwrap_or(0).min(most);
        Self {
            place: widest(|entry| place(entry).chars().count(), 21),
            name: widest(|entry| entry.registration.service().unwrap_or_default().len(), 16),
        }
    }
}

/// Lines of at most `width` columns.
pub struct Page {
    text: String,
    width: usize,
}

impl Page {
    /// A page as wide as the terminal, 80 columns at most.
    pub fn new() -> Self {
        Self::of_width(terminal::width().unwrap_or(WIDTH).clamp(NARROWEST, WIDTH))
    }

    /// A page of this width.
    pub const fn of_width(width: usize) -> Self {
        Self {
            text: String::new(),
            width,
        }
    }

    /// The text so far.
    pub fn into_text(self) -> String {
        self.text
    }

    /// An empty line.
    pub fn blank(&mut self) {
        self.text.push('\n');
    }

    /// A text, all of it indented.
    pub fn paragraph(&mut self, indent: usize, text: &str) {
        self.hanging(&" ".repeat(indent), indent, text);
    }

    /// Ports, name and description of an entry, in columns.
    pub fn headline(&mut self, entry: &Grouped<'_>, widths: &Widths) {
        let (place, name) = (place(entry), entry.registration.service().unwrap_or("(no name)"));
        let start = format!("  {place:<0$}  {name:<1$}", widths.place, widths.name);
        let indent = 2 + widths.place + 2 + widths.name + 2;
        let description = entry.registration.description().unwrap_or_default();
        // IANA's are the rule, and need no word.
        let whose = match entry.registration.authority() {
            Authority::Iana => "",
            Authority::Site => "(named by this site)",
            Authority::Services => "(named by /etc/services)",
        };
        let text = [description, whose].into_iter().filter(|part| !part.is_empty());
        self.hanging(&start, indent, &text.collect::<Vec<_>>().join(" "));
    }

    /// `text` wrapped beside `start`, all its lines beginning at the column `indent`; on the lines below where `start`
    /// is too long.
    pub fn hanging(&mut self, start: &str, indent: usize, text: &str) {
        let lines = wrap(text, self.width.saturating_sub(indent));
        let room = start.chars().count();
        let mut lines = lines.iter();
        self.text.push_str(start.trim_end());
        if room + usize::from(!start.trim().is_empty()) <= indent
            && let Some(line) = lines.next()
        {
            let written = start.trim_end().chars().count();
            self.text
                .extend(std::iter::repeat_n(' ', indent.saturating_sub(written)));
            self.text.push_str(line);
        }
        self.text.truncate(self.text.trim_end_matches(' ').len());
        self.text.push('\n');
        for line in lines {
            self.text.extend(std::iter::repeat_n(' ', indent));
            self.text.push_str(line);
            self.text.push('\n');
        }
    }
}

/// Splits text at blanks into lines of at most `width` characters; a word that is longer than a line is cut.
///
/// Many notes were wrapped by hand, at any width. Their line breaks stay only where a sentence or a heading ends, or
/// where an item of a list begins.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    let mut sentence_ended = true;
    for written in text.lines().map(str::trim).filter(|written| !written.is_empty()) {
        if used > 0 && (sentence_ended || written.starts_with(['*', '-'])) {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        sentence_ended = written.ends_with(['.', ':']);
        for word in written.split_whitespace() {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            for letter in word.chars() {
                if used == width {
                    lines.push(std::mem::take(&mut line));
                    used = 0;
                }
                line.push(letter);
                used += 1;
            }
        }
    }
    if used > 0 {
        lines.push(line);
    }
    lines
}
