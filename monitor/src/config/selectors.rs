//! What a `[[rule]]` or an `[[expect]]` asks of a socket.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use toml::Spanned;

use super::{
    file::{RawPort, RawProtocol},
    status, watchable,
};
use crate::{
    event::Protocol,
    exit::ConfigError,
    policy::{Automatic, Glob, Namespace, Reach, Selector, UserIs},
    registry::{PortSpec, Registry, Subject},
};

/// Makes an error on what begins at a byte of the file.
pub(super) type At<'a> = dyn Fn(usize, &str) -> ConfigError + 'a;

/// The keys that rules and expectations have in common.
pub(super) struct Asked {
    pub(super) ports: Vec<Spanned<RawPort>>,
    pub(super) names: Vec<Spanned<String>>,
    pub(super) status: Vec<Spanned<String>>,
    pub(super) protocols: Option<Vec<RawProtocol>>,
    pub(super) scope: Option<Spanned<Reach>>,
    pub(super) namespace: Option<Spanned<Namespace>>,
    pub(super) automatic: Option<Spanned<RawAutomatic>>,
    pub(super) exe: Option<Words>,
    pub(super) user: Option<Words>,
    pub(super) unit: Option<Words>,
    pub(super) container: Option<Words>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "automatic is \"any\", true or false")]
pub(super) enum RawAutomatic {
    Only(bool),
    Word(String),
}

/// One word, or a list of them.
pub(super) struct Words {
    start: usize,
    words: Vec<Spanned<Word>>,
}

/// A word; of users a number will do.
#[derive(Deserialize)]
#[serde(untagged, expecting = "write a text, or a list of texts")]
pub(super) enum Word {
    Number(i64),
    Text(String),
}

impl Word {
    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole: Spanned<OneOrMany> = Spanned::deserialize(deserializer)?;
        let span = whole.span();
        Ok(Self {
            start: span.start,
            words: match whole.into_inner() {
                OneOrMany::One(word) => vec![Spanned::new(span, word)],
                OneOrMany::Many(words) => words,
            },
        })
    }
}

enum OneOrMany {
    One(Word),
    Many(Vec<Spanned<Word>>),
}

/// Not an untagged enum, in which the places of what is in the list would be lost.
impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of texts")
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(OneOrMany::One(Word::Number(number)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OneOrMany::One(Word::Text(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = items.next_element()? {
                    words.push(word);
                }
                Ok(OneOrMany::Many(words))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// The ports that are written.
pub(super) fn ports(raw: &[Spanned<RawPort>], registry: &Registry, at: &At<'_>) -> Result<Vec<PortSpec>, ConfigError> {
    let mut specs = Vec::new();
    for port in raw {
        let text = match port.as_ref() {
            RawPort::Number(number) => number.to_string(),
            RawPort::Text(text) => text.clone(),
        };
        specs.extend(watchable(&text, registry).map_err(|error| at(port.span().start, &error))?);
    }
    Ok(specs)
}

impl Asked {
    /// The selector that is meant. `owner` is what asks, as in `the rule x`, and begins at `start`.
    pub(super) fn selector(
        self,
        owner: &str,
        start: usize,
        registry: &Registry,
        at: &At<'_>,
    ) -> Result<Selector, ConfigError> {
        let mut specs = ports(&self.ports, registry, at)?;
        for name in &self.names {
            let text = name.as_ref();
            if text.contains(',') || matches!(Subject::parse(text, registry), Ok(Subject::Ports(_))) {
                let text = format!(
                    "`{}` is no name of a service; ports by number, and lists, go to `ports`",
                    text.escape_debug()
                );
                return Err(at(name.span().start, &text));
            }
            specs.extend(watchable(text, registry).map_err(|error| at(name.span().start, &error))?);
        }
        let meanings = self
            .status
            .iter()
            .map(|word| status::meaning(word.as_ref()).map_err(|error| at(word.span().start, &error)));
        let meanings = meanings.collect::<Result<Vec<_>, _>>()?;
        let has_ports = !specs.is_empty() || !meanings.is_empty();
        let (ports, names_ports) = status::select(specs, &meanings, registry);
        let selector = Selector {
            names_ports: names_ports && has_ports,
            ports,
            protocols: protocols(self.protocols),
            automatic: automatic(self.automatic.as_ref(), at)?,
            exe: paths(self.exe.as_ref(), at)?,
            user: users(self.user.as_ref(), at)?,
            unit: globs(self.unit.as_ref(), at)?,
            container: globs(self.container.as_ref(), at)?,
            scope: self.scope.as_ref().map_or(Reach::Any, |scope| *scope.as_ref()),
            namespace: self
                .namespace
                .as_ref()
                .map_or(Namespace::Any, |namespace| *namespace.as_ref()),
        };
        if let (Reach::Exposed, Namespace::Other, Some(namespace)) =
            (selector.scope, selector.namespace, &self.namespace)
        {
            let text = format!(
                "{owner} can never match: scope = \"exposed\" is about the host's namespace; leave out `namespace`"
            );
            return Err(at(namespace.span().start, &text));
        }
        // A status that no port has leaves no ports, which would be all of them.
        if !selector.takes_any() || (has_ports && selector.ports.is_empty()) {
            let text = format!("{owner} can never match: its ports, status and protocols leave nothing");
            return Err(at(start, &text));
        }
        Ok(selector)
    }
}

fn protocols(raw: Option<Vec<RawProtocol>>) -> Vec<Protocol> {
    let Some(raw) = raw else {
        return vec![Protocol::Tcp, Protocol::Udp];
    };
    let protocols = raw.into_iter().map(|protocol| match protocol {
        RawProtocol::Tcp => Protocol::Tcp,
        RawProtocol::Udp => Protocol::Udp,
    });
    protocols.collect()
}

fn automatic(raw: Option<&Spanned<RawAutomatic>>, at: &At<'_>) -> Result<Automatic, ConfigError> {
    match raw.map(|raw| (raw.as_ref(), raw.span())) {
        None => Ok(Automatic::Any),
        Some((RawAutomatic::Only(automatic), _)) => Ok(Automatic::Only(*automatic)),
        Some((RawAutomatic::Word(word), _)) if word == "any" => Ok(Automatic::Any),
        Some((RawAutomatic::Word(word), span)) => Err(at(
            span.start,
            &format!("automatic is \"any\", true or false, not \"{}\"", word.escape_debug()),
        )),
    }
}

/// The words of a key; nothing where it is left out.
fn words<'a>(raw: Option<&'a Words>, at: &At<'_>) -> Result<&'a [Spanned<Word>], ConfigError> {
    match raw {
        None => Ok(&[]),
        Some(raw) if raw.words.is_empty() => Err(at(
            raw.start,
            "this list is empty; leave the key out where anything will do",
        )),
        Some(raw) => Ok(&raw.words),
    }
}

fn globs(raw: Option<&Words>, at: &At<'_>) -> Result<Vec<Glob>, ConfigError> {
    let glob = |word: &Spanned<Word>| Glob::parse(&word.as_ref().text()).map_err(|error| at(word.span().start, &error));
    words(raw, at)?.iter().map(glob).collect()
}

/// Patterns for whole paths. One that begins with a name matches none, which is easily written.
fn paths(raw: Option<&Words>, at: &At<'_>) -> Result<Vec<Glob>, ConfigError> {
    for word in raw.into_iter().flat_map(|words| &words.words) {
        let text = word.as_ref().text();
        if !text.starts_with('/') && !text.starts_with("**") {
            let text = format!(
                "`{}` matches no path, which begins with /; write /usr/sbin/sshd, or **/sshd for any folder",
                text.escape_debug()
            );
            return Err(at(word.span().start, &text));
        }
    }
    globs(raw, at)
}

fn users(raw: Option<&Words>, at: &At<'_>) -> Result<Vec<UserIs>, ConfigError> {
    let user = |word: &Spanned<Word>| {
        let text = word.as_ref().text();
        let digits = text.chars().all(|letter| letter.is_ascii_digit());
        match text.parse() {
            Ok(uid) if digits => Ok(UserIs::Uid(uid)),
            Err(_) if !digits && !text.starts_with('-') && !text.contains(char::is_whitespace) => {
                Ok(UserIs::Name(text))
            }
            _ => Err(at(
                word.span().start,
                &format!(
                    "`{}` is no user; write a name, or a number from 0 to {}",
                    text.escape_debug(),
                    u32::MAX
                ),
            )),
        }
    };
    words(raw, at)?.iter().map(user).collect()
}
