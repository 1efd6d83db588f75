//! `[[rule]]`, as it is written and as it is meant.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{
    duration,
    file::{RawPort, RawProtocol},
    status,
};
use crate::{
    event::Protocol,
    exit::ConfigError,
    policy::{Automatic, KEEP_FIRING_FOR, On, RESERVED_LABELS, Reach, Rule, Severity, Template, WATCHED, covers},
    registry::{PortSpec, Registry},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    name: Spanned<String>,
    #[serde(default)]
    ports: Vec<Spanned<RawPort>>,
    #[serde(default)]
    status: Vec<Spanned<String>>,
    protocols: Option<Vec<RawProtocol>>,
    on: Option<Vec<On>>,
    scope: Option<Reach>,
    automatic: Option<Spanned<RawAutomatic>>,
    severity: Severity,
    automatic_severity: Option<Severity>,
    #[serde(rename = "for")]
    for_: Option<Spanned<String>>,
    keep_firing_for: Option<Spanned<String>>,
    summary: Option<Spanned<String>>,
    description: Option<Spanned<String>>,
    runbook_url: Option<Spanned<String>>,
    #[serde(default)]
    labels: BTreeMap<Spanned<String>, Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawAutomatic {
    Only(bool),
    Word(String),
}

/// Makes an error on what begins at a byte of the file.
type At<'a> = dyn Fn(usize, &str) -> ConfigError + 'a;

/// Reads ports as they are written.
type PortsOf<'a> = dyn Fn(&[Spanned<RawPort>]) -> Result<Vec<PortSpec>, ConfigError> + 'a;

/// The rule that is meant, beside those that are there already.
pub(super) fn rule(
    spanned: Spanned<RawRule>,
    others: &[Rule],
    ports: &PortsOf<'_>,
    registry: &Registry,
    at: &At<'_>,
) -> Result<Rule, ConfigError> {
    let start = spanned.span().start;
    let rule = spanned.into_inner();
    let name = rule.name.as_ref();
    let lower = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(lower) {
        let text = format!("`{name}` is no name for a rule: use a-z, 0-9 and -, like dormant-port");
        return Err(at(rule.name.span().start, &text));
    }
    if name == WATCHED {
        let text = format!("`{WATCHED}` is the rule of --watch and [watch]; choose another name");
        return Err(at(rule.name.span().start, &text));
    }
    if others.iter().any(|other| other.name == *name) {
        return Err(at(rule.name.span().start, &format!("there is a rule `{name}` already")));
    }
    if rule.ports.is_empty() && rule.status.is_empty() {
        return Err(at(
            start,
            &format!("the rule `{name}` names neither ports nor a status, so it can never match"),
        ));
    }
    let meanings = rule
        .status
        .iter()
        .map(|word| status::meaning(word.as_ref()).map_err(|error| at(word.span().start, &error)));
    let meanings = meanings.collect::<Result<Vec<_>, _>>()?;
    let automatic = match rule.automatic.as_ref().map(|raw| (raw.as_ref(), raw.span())) {
        None => Automatic::Any,
        Some((RawAutomatic::Only(automatic), _)) => Automatic::Only(*automatic),
        Some((RawAutomatic::Word(word), _)) if word == "any" => Automatic::Any,
        Some((RawAutomatic::Word(word), span)) => {
            return Err(at(
                span.start,
                &format!("automatic is \"any\", true or false, not \"{word}\""),
            ));
        }
    };
    let duration = |raw: &Option<Spanned<String>>| match raw {
        None => Ok(None),
        Some(raw) => duration::parse(raw.as_ref()).map(Some).ok_or_else(|| {
            let text = format!("`{}` is no duration; write 15m, 90s or 1h30m", raw.as_ref());
            at(raw.span().start, &text)
        }),
    };
    let template = |raw: &Option<Spanned<String>>| match raw {
        None => Ok(None),
        Some(raw) => Template::parse(raw.as_ref())
            .map(Some)
            .map_err(|error| at(raw.span().start, &error)),
    };
    let protocols = match rule.protocols {
        None => vec![Protocol::Tcp, Protocol::Udp],
        Some(protocols) => protocols
            .into_iter()
            .map(|protocol| match protocol {
                RawProtocol::Tcp => Protocol::Tcp,
                RawProtocol::Udp => Protocol::Udp,
            })
            .collect(),
    };
    let on = rule.on.unwrap_or_else(|| vec![On::Listen]);
    let (ports, names_ports) = status::select(ports(&rule.ports)?, &meanings, registry);
    let can_match = ports
        .iter()
        .any(|spec| protocols.iter().any(|protocol| covers(spec, *protocol, spec.first)));
    if !can_match || on.is_empty() {
        let text = format!("the rule `{name}` can never match: its ports, status, protocols and `on` leave nothing");
        return Err(at(start, &text));
    }
    Ok(Rule {
        ports,
        names_ports,
        protocols,
        on,
        scope: rule.scope.unwrap_or(Reach::Any),
        automatic,
        severity: rule.severity,
        automatic_severity: rule.automatic_severity,
        for_: duration(&rule.for_)?.unwrap_or_default(),
        keep_firing_for: duration(&rule.keep_firing_for)?.unwrap_or(KEEP_FIRING_FOR),
        summary: template(&rule.summary)?,
        description: template(&rule.description)?,
        runbook: rule.runbook_url.map(|raw| runbook(raw, at)).transpose()?,
        labels: labels(rule.labels, at)?,
        name: rule.name.into_inner(),
    })
}

fn runbook(raw: Spanned<String>, at: &At<'_>) -> Result<String, ConfigError> {
    let parsed: Option<hyper::Uri> = raw.as_ref().parse().ok();
    let is_url = parsed.is_some_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    });
    if is_url {
        return Ok(raw.into_inner());
    }
    let text = format!(
        "`{}` is no URL; write one that begins with https:// or http://",
        raw.as_ref().escape_debug()
    );
    Err(at(raw.span().start, &text))
}

/// Labels as Prometheus takes them. Names that begin with two underscores are its own.
pub(super) fn labels(
    raw: BTreeMap<Spanned<String>, Spanned<String>>,
    at: &At<'_>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut labels = BTreeMap::new();
    for (name, value) in raw {
        let (text, start) = (name.as_ref(), name.span().start);
        let is_name = text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
            && text
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            && !text.starts_with("__");
        if !is_name {
            let text = format!(
                "`{}` is no name for a label: use a-z, A-Z, 0-9 and _, like team",
                text.escape_debug()
            );
            return Err(at(start, &text));
        }
        if RESERVED_LABELS.contains(&text.as_str()) {
            let text = format!("each alert has the label `{text}` already; choose another name");
            return Err(at(start, &text));
        }
        if value.as_ref().contains(char::is_control) {
            let text = format!("the value of the label `{text}` has control characters in it");
            return Err(at(value.span().start, &text));
        }
        labels.insert(name.into_inner(), value.into_inner());
    }
    Ok(labels)
}
