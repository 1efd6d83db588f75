//! What is told of an alert, made from the event that set it off and all that is known of it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Report, sentence};
use crate::{
    event::{Event, Protocol},
    exit::printable,
    policy::{
        Glob, Rule, Severity,
        notice::{ADDRESSES, Notice, SUMMARY, Subject, alertname},
        template::Placeholder,
    },
};

/// Letters of an annotation at most: a receiver's limits are not known, and some notes of the registry are a page.
const LETTERS_MAX: usize = 1_000;

/// Whose alerts they are.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// The name of this host.
    pub instance: String,
    /// `[agent] labels`.
    pub extra: BTreeMap<String, String>,
}

/// The alert of a rule that matched.
pub fn notice(event: &Event, report: &Report, rule: &Rule, severity: Severity, ours: &Labels) -> Notice {
    let value = |place| value(place, event, report, rule, severity, &ours.instance);
    let mut labels = ours.extra.clone();
    labels.extend(rule.labels.clone());
    for (name, value) in [
        ("alertname", alertname(&rule.name)),
        ("rule", rule.name.clone()),
        ("severity", severity.as_str().to_owned()),
        ("instance", ours.instance.clone()),
        ("protocol", event.socket.protocol.as_str().to_owned()),
        ("port", event.subject().port.to_string()),
        ("process", report.label.clone()),
        ("netns", netns(event, report)),
    ] {
        labels.insert(name.to_owned(), value);
    }
    let summary = match &rule.summary {
        Some(template) => template.render(value),
        None => sentence::summary(event, report, &ours.instance),
    };
    let mut annotations = BTreeMap::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            annotations.insert(name.to_owned(), cut(value));
        }
    };
    add(SUMMARY, Some(summary));
    add(
        "description",
        rule.description.as_ref().map(|template| template.render(value)),
    );
    add("runbook_url", rule.runbook.clone());
    add(ADDRESSES, value(Placeholder::Address));
    for place in [
        Placeholder::Pid,
        Placeholder::Exe,
        Placeholder::Uid,
        Placeholder::User,
        Placeholder::Unit,
        Placeholder::Container,
        Placeholder::Package,
        Placeholder::Registrations,
        Placeholder::Peer,
    ] {
        add(place.name(), value(place));
    }
    add("note", notes(report));
    if event.opens_listener() {
        // As it is: what is cut or made printable would be another file.
        annotations.extend(expect(event, report).map(|block| ("expect".to_owned(), block)));
    }
    Notice {
        labels,
        annotations,
        listener: subject(event, report),
    }
}

/// `host`, or the namespace's inode: two containers that have the same port open are two alerts.
fn netns(event: &Event, report: &Report) -> String {
    if report.host_netns {
        "host".to_owned()
    } else {
        event.socket.netns.to_string()
    }
}

/// What stands at a place of a rule's text.
fn value(
    place: Placeholder,
    event: &Event,
    report: &Report,
    rule: &Rule,
    severity: Severity,
    instance: &str,
) -> Option<String> {
    let process = &report.process;
    let opener = event.opener.is_known().then_some(&event.opener);
    let text = match place {
        Placeholder::Process => report.label.clone(),
        Placeholder::User => process.user.clone()?,
        Placeholder::Uid => opener?.uid.to_string(),
        Placeholder::Port => event.subject().port.to_string(),
        Placeholder::Protocol => event.socket.protocol.as_str().to_owned(),
        Placeholder::Address => event.subject().address.to_string(),
        Placeholder::Instance => instance.to_owned(),
        Placeholder::Unit => report.unit()?.to_owned(),
        Placeholder::Container => process.container.as_ref()?.id.clone(),
        Placeholder::Package => process.package.clone()?,
        Placeholder::Registrations => report.names().join(", "),
        Placeholder::Pid => opener?.tgid.to_string(),
        Placeholder::Exe => process.exe.clone()?,
        Placeholder::Rule => rule.name.clone(),
        Placeholder::Severity => severity.as_str().to_owned(),
        Placeholder::Netns => if report.host_netns { "host" } else { "other" }.to_owned(),
        Placeholder::Peer => sentence::endpoint(event.peer?),
    };
    Some(printable(&text))
}

/// The registry's own notes on the port.
fn notes(report: &Report) -> Option<String> {
    let notes = report.registrations.iter().filter_map(|row| {
        let note = row.note().or(row.unauthorized_use())?;
        Some(note.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    let notes: Vec<_> = notes.collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

fn cut(text: String) -> String {
    if text.chars().count() <= LETTERS_MAX {
        return text;
    }
    text.chars().take(LETTERS_MAX).chain(['…']).collect()
}

fn subject(event: &Event, report: &Report) -> Subject {
    let process = &report.process;
    let opener = event.opener.is_known().then_some(&event.opener);
    Subject {
        address: event.subject().address.to_string(),
        host_netns: report.host_netns,
        socket: event.socket.inode,
        pid: opener.map(|opener| opener.tgid),
        comm: opener.map(|opener| opener.comm.clone()),
        exe: process.exe.clone(),
        exe_state: process.exe_state.map(|state| state.as_str().to_owned()),
        uid: opener.map(|opener| opener.uid),
        user: process.user.clone(),
    }
}

#[derive(Serialize)]
struct Expectations {
    expect: [Expectation; 1],
}

/// What would say that this listener is fine.
#[derive(Serialize)]
struct Expectation {
    name: String,
    ports: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exe: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
}

/// A block for the configuration that says "this is fine". None where nothing but the port would be known, since that would
/// allow everybody.
fn expect(event: &Event, report: &Report) -> Option<String> {
    let process = &report.process;
    let exe = process.exe.as_deref().map(Glob::literal)?;
    let protocol = match event.socket.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let name: String = report
        .label
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let block = Expectations {
        expect: [Expectation {
            name: format!("{}-{}", name.trim_matches('-'), event.socket.port),
            ports: vec![format!("{protocol}/{}", event.socket.port)],
            exe: Some(exe),
            user: process.user.clone(),
            // A login's scope is another one tomorrow.
            unit: report
                .unit()
                .filter(|unit| !unit.ends_with(".scope"))
                .map(Glob::literal),
        }],
    };
    toml::to_string(&block).ok()
}

#[cfg(test)]
#[path = "notices_tests.rs"]
mod tests;
