//! The explanation as an operator reads it: 80 columns, notes wrapped.

use super::{Entry, Explanation};
use crate::registry::{Authority, Ports, Registration, Status, Subject};

/// Columns of a terminal that nobody has widened.
const WIDTH: usize = 80;
/// Where the text beside a label begins.
const DETAIL_INDENT: usize = 24;

pub(super) fn render(explanation: &Explanation<'_>) -> String {
    let mut page = Page::default();
    page.paragraph(0, &title(explanation));
    for class in &explanation.classes {
        // The title names the class of ports that all lie in one.
        let name = if explanation.classes.len() == 1 {
            String::new()
        } else {
            format!("{}: ", class_title(*class))
        };
        page.paragraph(2, &format!("{name}{}", class.meaning()));
    }
    let widths = Widths::of(explanation.registrations.iter());
    for entry in explanation
        .registrations
        .iter()
        .filter(|entry| Explanation::is_assigned(entry))
    {
        page.blank();
        page.headline(entry, &widths);
        details(&mut page, &entry.registration);
    }
    for entry in explanation
        .registrations
        .iter()
        .filter(|entry| !Explanation::is_assigned(entry))
    {
        page.blank();
        page.paragraph(2, &without_assignment(entry));
        details(&mut page, &entry.registration);
    }
    if explanation.registrations.is_empty() {
        page.blank();
        page.paragraph(2, "Not registered: IANA's registry has no row for it.");
    }
    for (family, heading) in [(true, "Nearby, of the same family"), (false, "Nearby")] {
        let entries = || {
            explanation
                .neighbours
                .iter()
                .filter(|it| it.family == family)
                .map(|it| &it.entry)
        };
        let widths = Widths::of(entries());
        if entries().next().is_some() {
            page.blank();
            page.paragraph(0, heading);
        }
        for entry in entries() {
            page.headline(entry, &widths);
        }
    }
    let source = &explanation.source;
    page.blank();
    page.paragraph(
        0,
        &format!(
            "Source: IANA's registry of {} ({}), {} records.",
            source.date,
            format!("{} {}", source.name, source.version).trim_end(),
            explanation.records
        ),
    );
    page.text
}

fn title(explanation: &Explanation<'_>) -> String {
    let class = match explanation.classes.as_slice() {
        [class] => format!(": {}", class_title(*class)),
        _ => String::new(),
    };
    let ports = explanation.ports.map(|ports| {
        let plural = if ports.first == ports.last { "" } else { "s" };
        format!("ort{plural} {}", numbers(ports))
    });
    match (explanation.subject, ports) {
        (Subject::Ports(spec), Some(ports)) => {
            let transport = spec
                .transport
                .map(|transport| format!("/{transport}"))
                .unwrap_or_default();
            format!("P{ports}{transport}{class}")
        }
        (Subject::Name { .. }, Some(ports)) => format!("{} is registered on p{ports}{class}", explanation.query),
        (_, None)
            if explanation
                .registrations
                .iter()
                .all(|entry| entry.registration.ports().is_none()) =>
        {
            format!("{} is registered without a port", explanation.query)
        }
        (_, None) => format!("{} is registered on several ports{class}", explanation.query),
    }
}

fn class_title(class: crate::registry::RangeClass) -> String {
    format!("{}, {}", class.title(), numbers(class.ports()))
}

fn without_assignment(entry: &Entry<'_>) -> String {
    let registration = &entry.registration;
    let ports = registration.ports().map(numbers).unwrap_or_default();
    let transports = match entry.transports.as_slice() {
        [] => String::new(),
        some => format!("/{}", joined(some)),
    };
    let description = registration.description().unwrap_or_default();
    let is_range = registration.ports().is_some_and(|ports| ports.first != ports.last);
    match registration.status() {
        Status::Unassigned if is_range && description.eq_ignore_ascii_case("unassigned") => {
            format!("Not assigned: IANA lists the block {ports}{transports} as unassigned.")
        }
        Status::Unassigned => format!("Not assigned: IANA lists {ports}{transports} as \"{description}\"."),
        _ if description == "Reserved" => format!("Reserved by IANA: {ports}{transports}."),
        _ => format!("Reserved: IANA lists {ports}{transports} as \"{description}\"."),
    }
}

/// What a row says beyond name, ports and description; that most old rows say nothing is worth a line too.
fn details(page: &mut Page, registration: &Registration<'_>) {
    let (assignee, contact) = (registration.assignee(), registration.contact());
    let people = if assignee.is_some() && assignee == contact {
        [("assignee and contact", assignee.map(ids)), ("contact", None)]
    } else {
        [("assignee", assignee.map(ids)), ("contact", contact.map(ids))]
    };
    let own = |text: Option<&str>| text.map(str::to_owned);
    let lines = [
        ("note", own(registration.note())),
        ("unauthorized use", own(registration.unauthorized_use())),
    ]
    .into_iter()
    .chain(people)
    .chain([
        ("registered", own(registration.registered())),
        ("modified", own(registration.modified())),
        ("reference", registration.reference().map(ids)),
        ("service code", own(registration.service_code())),
    ]);
    let mut silent = true;
    for (label, text) in lines {
        if let Some(text) = text {
            silent = false;
            page.hanging(&format!("      {label}"), DETAIL_INDENT + 4, &text);
        }
    }
    if silent && registration.status() == Status::Assigned && registration.authority() == Authority::Iana {
        page.paragraph(6, "(no assignee, date, reference or note on record)");
    }
}

/// IANA's ids as text: `[Jon_Postel][RFC6335]` is `Jon Postel, RFC6335`. Anything else is left as it is.
fn ids(text: &str) -> String {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner
            .split("][")
            .map(|id| id.replace('_', " "))
            .collect::<Vec<_>>()
            .join(", "),
        None => text.to_owned(),
    }
}

fn numbers(ports: Ports) -> String {
    if ports.first == ports.last {
        ports.first.to_string()
    } else {
        format!("{}–{}", ports.first, ports.last)
    }
}

fn joined(transports: &[crate::registry::Transport]) -> String {
    transports
        .iter()
        .map(|transport| transport.name())
        .collect::<Vec<_>>()
        .join(",")
}

/// The ports and transports of an entry: `1992/tcp,udp`; without a slash where it speaks of all transports.
fn place(entry: &Entry<'_>) -> String {
    let ports = entry.registration.ports().map(numbers);
    match (ports, entry.transports.as_slice()) {
        (Some(ports), []) => ports,
        (Some(ports), transports) => format!("{ports}/{}", joined(transports)),
        (None, []) => "no port".to_owned(),
        (None, transports) => format!("no port/{}", joined(transports)),
    }
}

/// The widths of the first two columns of a list.
struct Widths {
    place: usize,
    name: usize,
}

impl Widths {
    /// Wide enough for all entries, up to a limit that leaves room for a description.
    fn of<'a>(entries: impl Iterator<Item = &'a Entry<'a>> + Clone) -> Self {
        let widest =
            |width: fn(&Entry<'_>) -> usize, most: usize| entries.clone().map(width).max().unwrap_or(0).min(most);
        Self {
            place: widest(|entry| place(entry).chars().count(), 21),
            name: widest(|entry| entry.registration.service().unwrap_or_default().len(), 16),
        }
    }
}

/// Lines of at most [`WIDTH`] columns.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn paragraph(&mut self, indent: usize, text: &str) {
        self.hanging(&" ".repeat(indent), indent, text);
    }

    /// Ports, name and description of an entry, in columns.
    fn headline(&mut self, entry: &Entry<'_>, widths: &Widths) {
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
    fn hanging(&mut self, start: &str, indent: usize, text: &str) {
        let lines = wrap(text, WIDTH.saturating_sub(indent));
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
