//! The query of a URL, where it is not the agent that reads it.

use crate::output::{
    listing::{number, once, shown, unknown},
    recent::KEPT,
};

/// Events that are told at once where nobody says how many.
const USUAL: usize = 100;

/// Which events are asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Events {
    /// Those after the one with this id.
    pub(super) after: Option<String>,
    /// At most so many.
    pub(super) limit: usize,
}

impl Events {
    /// Reads the query.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, String> {
        let mut events = Self {
            after: None,
            limit: USUAL,
        };
        let mut given = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "after" | "limit" if value.is_empty() => {}
                "after" => {
                    once(&mut given, "after")?;
                    events.after = Some(id(value.into_owned())?);
                }
                "limit" => {
                    once(&mut given, "limit")?;
                    events.limit = number("limit", &value)?.min(KEPT);
                }
                _ => return Err(unknown(&name, &["after", "limit"])),
            }
        }
        Ok(events)
    }
}

/// An event's id: the boot's, and the event's number in it. It may be one of another boot.
fn id(text: String) -> Result<String, String> {
    let is_id = text
        .rsplit_once('-')
        .is_some_and(|(boot, number)| !boot.is_empty() && number.parse::<u64>().is_ok());
    if is_id {
        return Ok(text);
    }
    let text = shown(&text);
    Err(format!(
        "after: `{text}` is no event's id; write the `id` of an event, or `last` of an answer"
    ))
}

/// For what takes no parameters.
pub(super) fn none(query: Option<&str>) -> Result<(), String> {
    let first = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).next();
    first.map_or(Ok(()), |(name, _)| {
        Err(format!("`{}` is no parameter here: this takes none", shown(&name)))
    })
}

/// A port in a path.
pub(super) fn port(text: &str) -> Result<u16, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| is_number && *port > 0);
    port.ok_or_else(|| format!("`{}` is no port; write a number from 1 to 65535", shown(text)))
}
