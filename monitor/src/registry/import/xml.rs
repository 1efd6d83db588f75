//! IANA's XML, read into the rows that IANA's CSV has.
//!
//! The root is `<registry id="service-names-port-numbers">`; each row is a `<record date= updated=>` with, in any order and
//! all optional, `<name>`, `<number>`, `<protocol>`, `<description>`, `<assignee>`, `<sc>` (the service code),
//! `<unauthorized>`, `<note>`, and an `<xref type= data=>` for each person and document. People stand below `<people>` with
//! names and addresses; of those the id in a record is all that is taken, as in the CSV.

use super::{ImportError, Row, format, whole};
use roxmltree::{Document, Node, ParsingOptions};

const ID: &str = "service-names-port-numbers";
const NAMESPACE: &str = "http://www.iana.org/assignments";

/// Elements, attributes and texts at most: IANA's has some 300,000.
const NODES_MAX: u32 = 2_000_000;

/// Reads the rows.
pub(super) fn rows(xml: &[u8]) -> Result<Vec<Row>, ImportError> {
    let text = std::str::from_utf8(xml).map_err(|_| whole("the XML is not UTF-8"))?;
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: NODES_MAX,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text, options)
        .map_err(|error| whole(format!("the XML is not whole, or not XML at all: {error}")))?;
    let root = document.root_element();
    if !is(&root, "registry") || root.attribute("id") != Some(ID) {
        return Err(whole(format!(
            "the XML is not IANA's registry of ports: its root is not <registry xmlns=\"{NAMESPACE}\" id=\"{ID}\">"
        )));
    }
    let records = root.descendants().filter(|node| is(node, "record"));
    records
        .map(|record| {
            row(&record).map_err(|reason| ImportError {
                line: Some(line(&document, &record)),
                reason,
            })
        })
        .collect()
}

fn line(document: &Document<'_>, record: &Node<'_, '_>) -> usize {
    usize::try_from(document.text_pos_at(record.range().start).row).unwrap_or_default()
}

fn row(record: &Node<'_, '_>) -> Result<Row, String> {
    let only = |name: &str| -> Result<String, String> {
        let mut found = record.children().filter(|child| is(child, name));
        let text = found.next().map(|child| written(&child)).unwrap_or_default();
        match found.next() {
            Some(_) => Err(format!("it has two <{name}>")),
            None => Ok(text),
        }
    };
    let references = |node: &Node<'_, '_>, of_people: bool| -> Result<String, String> {
        let own = node.children().filter(|child| is(child, "xref"));
        let wanted = own.filter(|xref| (xref.attribute("type") == Some("person")) == of_people);
        wanted.map(|xref| reference(&xref)).collect()
    };
    let people = references(record, true)?;
    let assignee = match record.children().find(|child| is(child, "assignee")) {
        Some(assignee) => references(&assignee, true)?,
        // One who stands alone is both.
        None => people.clone(),
    };
    // Notes are rarely several; the CSV has them one below the other.
    let notes: Vec<_> = record
        .children()
        .filter(|child| is(child, "note"))
        .map(|note| written(&note))
        .collect();
    Row::new(
        &only("number")?,
        &only("protocol")?,
        &[
            (format::COLUMN_SERVICE, &only("name")?),
            (format::COLUMN_DESCRIPTION, &only("description")?),
            (format::COLUMN_ASSIGNEE, &assignee),
            (format::COLUMN_CONTACT, &people),
            (format::COLUMN_REGISTERED, record.attribute("date").unwrap_or_default()),
            (format::COLUMN_MODIFIED, record.attribute("updated").unwrap_or_default()),
            (format::COLUMN_REFERENCE, &references(record, false)?),
            (format::COLUMN_SERVICE_CODE, &only("sc")?),
            (format::COLUMN_UNAUTHORIZED_USE, &only("unauthorized")?),
            (format::COLUMN_NOTE, &notes.join("\n")),
        ],
    )
}

/// A reference as the CSV writes it: `[Jon_Postel]`, `[RFC4251]`, `[RFC9260, Section 15.1]`, `[https://…]`.
fn reference(xref: &Node<'_, '_>) -> Result<String, String> {
    let own = written(xref);
    let data = xref.attribute("data").unwrap_or_default().trim();
    let text = match (own.as_str(), xref.attribute("type")) {
        ("", Some("rfc")) => data.to_ascii_uppercase(),
        ("", _) => data.to_owned(),
        (own, _) => own.to_owned(),
    };
    if text.is_empty() {
        return Err("an <xref> in it refers to nothing".to_owned());
    }
    Ok(format!("[{text}]"))
}

/// The text of an element, with its references as the CSV writes them. A `<br/>` is nothing: a line break follows it.
fn written(element: &Node<'_, '_>) -> String {
    let mut text = String::new();
    for node in element.descendants().skip(1) {
        let parent = node.parent().filter(|parent| parent != element);
        if parent.is_some_and(|parent| is(&parent, "xref")) {
            continue;
        }
        if is(&node, "xref") {
            text.push_str(&reference(&node).unwrap_or_default());
        } else if node.is_text() {
            text.push_str(node.text().unwrap_or_default());
        }
    }
    text.trim().to_owned()
}

fn is(node: &Node<'_, '_>, name: &str) -> bool {
    node.tag_name().name() == name && node.is_element() && node.tag_name().namespace() == Some(NAMESPACE)
}
