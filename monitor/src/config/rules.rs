//! `[[rule]]` and `[[expect]]`, as they are written and as they are meant.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use toml::Spanned;

use super::{
    duration,
    file::{RawPort, RawProtocol},
    selectors::{Asked, At, RawAutomatic, Words},
};
use crate::{
    event::Protocol,
    exit::{ConfigError, Place},
    policy::{
        Automatic, Expect, KEEP_FIRING_FOR, Namespace, On, RESERVED_LABELS, Reach, Rule, Selector, Severity, Template,
        UNEXPECTED, WATCHED,
    },
    registry::Registry,
};

/// Letters of a name at most.
const NAME_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    name: Spanned<String>,
    #[serde(default)]
    ports: Vec<Spanned<RawPort>>,
    #[serde(default)]
    names: Vec<Spanned<String>>,
    #[serde(default)]
    status: Vec<Spanned<String>>,
    protocols: Option<Vec<RawProtocol>>,
    on: Option<Vec<On>>,
    scope: Option<Spanned<Reach>>,
    namespace: Option<Spanned<Namespace>>,
    automatic: Option<Spanned<RawAutomatic>>,
    exe: Option<Words>,
    user: Option<Words>,
    unit: Option<Words>,
    container: Option<Words>,
    severity: Severity,
    automatic_severity: Option<Spanned<Severity>>,
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
#[serde(deny_unknown_fields)]
pub(super) struct RawExpect {
    name: Option<Spanned<String>>,
    #[serde(default)]
    ports: Vec<Spanned<RawPort>>,
    #[serde(default)]
    names: Vec<Spanned<String>>,
    protocols: Option<Vec<RawProtocol>>,
    scope: Option<Spanned<Reach>>,
    namespace: Option<Spanned<Namespace>>,
    automatic: Option<Spanned<RawAutomatic>>,
    exe: Option<Words>,
    user: Option<Words>,
    unit: Option<Words>,
    container: Option<Words>,
}

/// A rule or an expectation, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) place: Option<Place>,
    pub(super) value: T,
}

/// The rule that is meant, beside those that are there already.
pub(super) fn rule(
    spanned: Spanned<RawRule>,
    others: &[Placed<Rule>],
    registry: &Registry,
    at: &At<'_>,
) -> Result<Placed<Rule>, ConfigError> {
    let start = spanned.span().start;
    let raw = spanned.into_inner();
    let (name, name_start) = (raw.name.as_ref(), raw.name.span().start);
    let lower = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(lower) {
        let text = format!(
            "`{}` is no name for a rule: use a-z, 0-9 and -, like dormant-port",
            name.escape_debug()
        );
        return Err(at(name_start, &text));
    }
    if name == WATCHED {
        let text = format!("`{WATCHED}` is the rule of --watch and [watch]; choose another name");
        return Err(at(name_start, &text));
    }
    if let Some(other) = others.iter().find(|other| other.value.name == *name) {
        return Err(at(name_start, &already(&format!("a rule `{name}`"), other)));
    }
    let asked = Asked {
        ports: raw.ports,
        names: raw.names,
        status: raw.status,
        protocols: raw.protocols,
        scope: raw.scope,
        namespace: raw.namespace,
        automatic: raw.automatic,
        exe: raw.exe,
        user: raw.user,
        unit: raw.unit,
        container: raw.container,
    };
    let selector = asked.selector(&format!("the rule `{name}`"), start, registry, at)?;
    let on = raw.on.unwrap_or_else(|| vec![On::Listen]);
    if let Some(problem) = never(name, &selector, &on) {
        return Err(at(start, &problem));
    }
    if let (Some(severity), Automatic::Only(false)) = (&raw.automatic_severity, selector.automatic) {
        let text = "automatic_severity is of no use beside automatic = false; leave one of them out";
        return Err(at(severity.span().start, text));
    }
    let for_ = time(raw.for_.as_ref(), at)?.unwrap_or_default();
    if let (Some(raw), false, false) = (&raw.for_, for_.is_zero(), on.contains(&On::Listen)) {
        let text = "`for` is about what lasts, and a rule that is not on listen has nothing that does; leave it out";
        return Err(at(raw.span().start, text));
    }
    let rule = Rule {
        selector,
        on,
        severity: raw.severity,
        automatic_severity: raw.automatic_severity.map(Spanned::into_inner),
        for_,
        keep_firing_for: time(raw.keep_firing_for.as_ref(), at)?.unwrap_or(KEEP_FIRING_FOR),
        summary: template(raw.summary.as_ref(), at)?,
        description: template(raw.description.as_ref(), at)?,
        runbook: raw.runbook_url.map(|raw| runbook(raw, at)).transpose()?,
        labels: labels(raw.labels, at)?,
        name: raw.name.into_inner(),
    };
    let named_as = |other: &Placed<Rule>| Rule {
        name: other.value.name.clone(),
        ..rule.clone()
    };
    if let Some(other) = others.iter().find(|other| other.value == named_as(other)) {
        let text = format!(
            "but for its name this is the rule `{}`{}; leave one of them out",
            other.value.name,
            of(other)
        );
        return Err(at(start, &text));
    }
    Ok(placed(rule, start, at))
}

/// The expectation that is meant, beside those that are there already.
pub(super) fn expect(
    spanned: Spanned<RawExpect>,
    others: &[Placed<Expect>],
    registry: &Registry,
    at: &At<'_>,
) -> Result<Placed<Expect>, ConfigError> {
    let start = spanned.span().start;
    let raw = spanned.into_inner();
    if let Some(name) = &raw.name {
        let (text, start) = (name.as_ref(), name.span().start);
        let usual = |letter: char| letter.is_ascii_alphanumeric() || "-_.@".contains(letter);
        if text.is_empty() || text.len() > NAME_MAX || !text.chars().all(usual) {
            let text = format!(
                "`{}` is no name for an expectation: use letters, digits and - _ . @, like sshd",
                text.escape_debug()
            );
            return Err(at(start, &text));
        }
        if let Some(other) = others.iter().find(|other| other.value.name == *text) {
            return Err(at(start, &already(&format!("an expectation `{text}`"), other)));
        }
    }
    let asked = Asked {
        ports: raw.ports,
        names: raw.names,
        status: Vec::new(),
        protocols: raw.protocols,
        scope: raw.scope,
        namespace: raw.namespace,
        automatic: raw.automatic,
        exe: raw.exe,
        user: raw.user,
        unit: raw.unit,
        container: raw.container,
    };
    let selector = asked.selector("this expectation", start, registry, at)?;
    if selector.ports.is_empty() && !selector.narrows() {
        let text = "this expectation takes every listener; name ports, exe, user, unit, container, scope or namespace";
        return Err(at(start, text));
    }
    if let Some(other) = others.iter().find(|other| other.value.selector == selector) {
        let text = format!(
            "this is the expectation `{}`{} again; leave one of them out",
            other.value.name,
            of(other)
        );
        return Err(at(start, &text));
    }
    let name = raw
        .name
        .map_or_else(|| free_name(&selector, others), Spanned::into_inner);
    Ok(placed(Expect { name, selector }, start, at))
}

/// What is wrong with rules that an expectation hides whole: nobody would ever hear of them.
pub(super) fn hidden(rules: &[Placed<Rule>], expects: &[Placed<Expect>]) -> ConfigError {
    let spoken_of = |rule: &Rule| {
        rule.on
            .iter()
            .all(|on| matches!(on, On::Listen | On::Bind | On::BindFailed))
    };
    let mut wrong = Vec::new();
    for expect in expects {
        // The rule on what is unexpected takes what is left.
        let of_all = rules
            .iter()
            .filter(|rule| rule.value.name != UNEXPECTED && spoken_of(&rule.value));
        for rule in of_all.filter(|rule| expect.value.selector.takes_all_of(&rule.value.selector)) {
            wrong.push(crate::exit::Problem {
                place: expect.place.clone(),
                sentence: format!(
                    "the expectation `{}` takes all that the rule `{}`{} is about, so that it can never fire; narrow the \
                     expectation (exe, user, unit), or leave out the rule",
                    expect.value.name,
                    rule.value.name,
                    of(rule)
                ),
            });
        }
    }
    ConfigError(wrong)
}

fn placed<T>(value: T, start: usize, at: &At<'_>) -> Placed<T> {
    let place = at(start, "").0.pop().and_then(|problem| problem.place);
    Placed { place, value }
}

/// ` (p.toml line 3 column 1)`.
fn of<T>(other: &Placed<T>) -> String {
    other
        .place
        .as_ref()
        .map(|place| format!(" ({place})"))
        .unwrap_or_default()
}

fn already<T>(what: &str, other: &Placed<T>) -> String {
    format!("there is {what} already{}", of(other))
}

/// Why a rule can never match.
fn never(name: &str, selector: &Selector, on: &[On]) -> Option<String> {
    let begin = format!("the rule `{name}` can never match");
    if on.is_empty() {
        return Some(format!("{begin}: `on` is empty; leave it out for listen"));
    }
    if name == UNEXPECTED {
        let listens = on.contains(&On::Listen);
        return (!listens).then(|| format!("{begin}: it is about listeners; leave out `on`"));
    }
    if selector.ports.is_empty() && !selector.narrows() {
        return Some(format!(
            "the rule `{name}` names neither ports nor a status, nor anything else that tells one listener from another"
        ));
    }
    if !selector.names_ports && on.iter().any(|on| *on != On::Listen) {
        return Some(format!(
            "{begin} but listens: binds, connects and accepts are reported of named ports alone; give it `ports`"
        ));
    }
    let tcp = Selector {
        protocols: vec![Protocol::Tcp],
        ..selector.clone()
    };
    let has_tcp = selector.protocols.contains(&Protocol::Tcp) && tcp.takes_any();
    if !has_tcp && on.iter().all(|on| matches!(on, On::Bind | On::Accept)) {
        return Some(format!(
            "{begin}: UDP accepts nothing, and what it binds is a listener; write on = [\"listen\"]"
        ));
    }
    None
}

/// A name that no other expectation has.
fn free_name(selector: &Selector, others: &[Placed<Expect>]) -> String {
    let name = Expect::name_of(selector);
    let is_taken = |name: &str| others.iter().any(|other| other.value.name == name);
    let mut number = 1;
    let mut free = name.clone();
    while is_taken(&free) {
        number += 1;
        free = format!("{name}-{number}");
    }
    free
}

fn time(raw: Option<&Spanned<String>>, at: &At<'_>) -> Result<Option<Duration>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    duration::parse(raw.as_ref()).map(Some).ok_or_else(|| {
        let text = format!(
            "`{}` is no duration; write 15m, 90s or 1h30m",
            raw.as_ref().escape_debug()
        );
        at(raw.span().start, &text)
    })
}

fn template(raw: Option<&Spanned<String>>, at: &At<'_>) -> Result<Option<Template>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    Template::parse(raw.as_ref())
        .map(Some)
        .map_err(|error| at(raw.span().start, &error))
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
