//! The explanation as an operator reads it: 80 columns, notes wrapped.

use super::Explanation;
use crate::cli::page::{Page, Widths, joined, numbers};
use crate::registry::{Authority, Dormancy, Grouped, Registration, Status, Subject, without_brackets};

/// Where the text beside a label begins.
const DETAIL_INDENT: usize = 24;

pub(super) fn render(explanation: &Explanation<'_>, mut page: Page) -> String {
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
    page.into_text()
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

fn without_assignment(entry: &Grouped<'_>) -> String {
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
        [
            ("assignee and contact", assignee.map(without_brackets)),
            ("contact", None),
        ]
    } else {
        [
            ("assignee", assignee.map(without_brackets)),
            ("contact", contact.map(without_brackets)),
        ]
    };
    let own = |text: Option<&str>| text.map(str::to_owned);
    // The registry itself does not say it, so it does not count as what is on record.
    if let Some(dormancy) = Dormancy::of(registration) {
        page.hanging("      dormant", DETAIL_INDENT + 4, dormancy.reason);
    }
    let lines = [
        ("note", own(registration.note())),
        ("unauthorized use", own(registration.unauthorized_use())),
    ]
    .into_iter()
    .chain(people)
    .chain([
        ("registered", own(registration.registered())),
        ("modified", own(registration.modified())),
        ("reference", registration.reference().map(without_brackets)),
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
