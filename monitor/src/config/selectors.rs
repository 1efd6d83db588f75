//! What a `[[rule]]` or an `[[expect]]` asks of a socket.

use serde::Deserialize;

use super::{
    document::{Table, any},
    status, watchable,
    wrong::Noted,
};
use crate::{
    event::Protocol,
    policy::{Automatic, Glob, Namespace, Reach, Selector, UserIs},
    registry::{PortSpec, Registry, Subject, Transport},
};

/// A port: a number, or text as on the command line.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "write a port (8080), or a text: \"8000-8010\", \"tcp/8080\" or a service name"
)]
pub(super) enum RawPort {
    Number(i64),
    Text(String),
}

impl RawPort {
    pub(super) fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawProtocol {
    Tcp,
    Udp,
}

impl From<RawProtocol> for Protocol {
    fn from(raw: RawProtocol) -> Self {
        match raw {
            RawProtocol::Tcp => Self::Tcp,
            RawProtocol::Udp => Self::Udp,
        }
    }
}

impl From<RawProtocol> for Transport {
    fn from(raw: RawProtocol) -> Self {
        Protocol::from(raw).into()
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "automatic is \"any\", true or false")]
enum RawAutomatic {
    Only(bool),
    Word(String),
}

/// A word; of users a number will do.
#[derive(Deserialize)]
#[serde(untagged, expecting = "write a text, or a list of texts")]
enum Word {
    Number(i64),
    Text(String),
}

impl Word {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// Whose selector it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Rule,
    Expectation,
}

/// The ports below a key.
pub(super) fn ports(table: &mut Table<'_>, key: &'static str, registry: &Registry) -> Result<Vec<PortSpec>, Noted> {
    let specs = table.list(key, |port: RawPort| watchable(&port.text(), registry))?;
    Ok(specs.unwrap_or_default().into_iter().flatten().collect())
}

/// The selector that a table means. `owner` is what asks, as in `the rule x`.
pub(super) fn selector(table: &mut Table<'_>, of: Of, owner: &str, registry: &Registry) -> Result<Selector, Noted> {
    let ports = ports(table, "ports", registry);
    let named = table.list("names", |name| of_service(name, registry));
    let meanings = match of {
        Of::Rule => table.list("status", |word: String| status::meaning(&word)),
        Of::Expectation => Ok(None),
    };
    let protocols = table.list("protocols", any::<RawProtocol>);
    let scope = table.take("scope", any::<Reach>);
    let namespace = table.take("namespace", any::<Namespace>);
    let automatic = table.take("automatic", automatic);
    let exe = table.one_or_more("exe", |word: Word| path(&word.text()));
    let user = table.one_or_more("user", |word: Word| user(word.text()));
    let unit = table.one_or_more("unit", |word: Word| Glob::parse(&word.text()));
    let container = table.one_or_more("container", |word: Word| Glob::parse(&word.text()));
    if (scope, namespace) == (Ok(Some(Reach::Exposed)), Ok(Some(Namespace::Other))) {
        let text = format!(
            "{owner} can never match: scope = \"exposed\" is about the host's namespace; leave out `namespace`"
        );
        return Err(table.note_at("namespace", text));
    }
    let (mut specs, meanings) = (ports?, meanings?.unwrap_or_default());
    specs.extend(named?.unwrap_or_default().into_iter().flatten());
    let has_ports = !specs.is_empty() || !meanings.is_empty();
    let (ports, names_ports) = status::select(specs, &meanings, registry);
    let protocols = protocols?.map_or_else(
        || vec![Protocol::Tcp, Protocol::Udp],
        |protocols| protocols.into_iter().map(Protocol::from).collect(),
    );
    let selector = Selector {
        names_ports: names_ports && has_ports,
        ports,
        protocols,
        scope: scope?.unwrap_or(Reach::Any),
        namespace: namespace?.unwrap_or(Namespace::Any),
        automatic: automatic?.unwrap_or(Automatic::Any),
        exe: exe?,
        user: user?,
        unit: unit?,
        container: container?,
    };
    // A status that no port has leaves no ports, which would be all of them.
    if !selector.takes_any() || (has_ports && selector.ports.is_empty()) {
        let text = format!("{owner} can never match: its ports, status and protocols leave nothing");
        return Err(table.note(text));
    }
    Ok(selector)
}

fn of_service(name: String, registry: &Registry) -> Result<Vec<PortSpec>, String> {
    if name.contains(',') || matches!(Subject::parse(&name, registry), Ok(Subject::Ports(_))) {
        return Err(format!(
            "`{}` is no name of a service; ports by number, and lists, go to `ports`",
            name.escape_debug()
        ));
    }
    watchable(&name, registry)
}

fn automatic(raw: RawAutomatic) -> Result<Automatic, String> {
    match raw {
        RawAutomatic::Only(automatic) => Ok(Automatic::Only(automatic)),
        RawAutomatic::Word(word) if word == "any" => Ok(Automatic::Any),
        RawAutomatic::Word(word) => Err(format!(
            "automatic is \"any\", true or false, not \"{}\"",
            word.escape_debug()
        )),
    }
}

/// A pattern for whole paths. One that begins with a name matches none, which is easily written.
fn path(text: &str) -> Result<Glob, String> {
    if text.starts_with('/') || text.starts_with("**") {
        return Glob::parse(text);
    }
    Err(format!(
        "`{}` matches no path, which begins with /; write /usr/sbin/sshd, or **/sshd for any folder",
        text.escape_debug()
    ))
}

fn user(text: String) -> Result<UserIs, String> {
    let digits = text.chars().all(|letter| letter.is_ascii_digit());
    match text.parse() {
        Ok(uid) if digits => Ok(UserIs::Uid(uid)),
        Err(_) if !digits && !text.starts_with('-') && !text.contains(char::is_whitespace) => Ok(UserIs::Name(text)),
        _ => Err(format!(
            "`{}` is no user; write a name, or a number from 0 to {}",
            text.escape_debug(),
            u32::MAX
        )),
    }
}
