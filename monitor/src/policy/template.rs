//! Texts with places in braces, `{process}`, that an alert fills: the summary and the description of a rule.

use std::fmt;

/// What a place in a text stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The process, as labels name it.
    Process,
    /// The user's name.
    User,
    /// The user's number.
    Uid,
    /// The port.
    Port,
    /// `tcp` or `udp`.
    Protocol,
    /// The address: where it listens, or what was connected to.
    Address,
    /// The host's name.
    Instance,
    /// The systemd unit.
    Unit,
    /// The container's id.
    Container,
    /// The Debian package of the executable.
    Package,
    /// The names registered for the port, with commas between.
    Registrations,
    /// The process id.
    Pid,
    /// The executable's path.
    Exe,
    /// The rule's name.
    Rule,
    /// The severity.
    Severity,
    /// The network namespace: `host` or `other`.
    Netns,
    /// The other end of a connection, `ADDRESS:PORT`.
    Peer,
}

impl Placeholder {
    /// All of them, in the order in which documents have them.
    pub const ALL: [Self; 17] = [
        Self::Process,
        Self::User,
        Self::Uid,
        Self::Port,
        Self::Protocol,
        Self::Address,
        Self::Instance,
        Self::Unit,
        Self::Container,
        Self::Package,
        Self::Registrations,
        Self::Pid,
        Self::Exe,
        Self::Rule,
        Self::Severity,
        Self::Netns,
        Self::Peer,
    ];

    /// The name between braces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::User => "user",
            Self::Uid => "uid",
            Self::Port => "port",
            Self::Protocol => "protocol",
            Self::Address => "address",
            Self::Instance => "instance",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::Package => "package",
            Self::Registrations => "registrations",
            Self::Pid => "pid",
            Self::Exe => "exe",
            Self::Rule => "rule",
            Self::Severity => "severity",
            Self::Netns => "netns",
            Self::Peer => "peer",
        }
    }
}

/// A text whose places are known to be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Placeholder),
}

/// What stands where nothing is known.
const UNKNOWN: &str = "-";

impl Template {
    /// Reads a text. `{{` and `}}` are braces.
    ///
    /// # Errors
    /// One sentence on each place that is not understood, at least one.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let (mut parts, mut literal) = (Vec::new(), String::new());
        let mut mistakes = Vec::new();
        let mut rest = text;
        while let Some(position) = rest.find(['{', '}']) {
            let (before, behind) = rest.split_at(position);
            literal.push_str(before);
            if let Some(after) = behind.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = behind.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else if let Some(inside) = behind.strip_prefix('{') {
                let named = inside.split_once('}').filter(|(name, _)| !name.contains('{'));
                let Some((name, after)) = named else {
                    mistakes.push("a `{` has no `}`; write `{{` for a brace".to_owned());
                    rest = inside;
                    continue;
                };
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                match placeholder(name) {
                    Ok(place) => parts.push(Part::Place(place)),
                    Err(mistake) => mistakes.push(mistake),
                }
                rest = after;
            } else {
                mistakes.push("a `}` has no `{` before it; write `}}` for a brace".to_owned());
                rest = behind.strip_prefix('}').unwrap_or_default();
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        if mistakes.is_empty() {
            Ok(Self { parts })
        } else {
            Err(mistakes)
        }
    }

    /// The text with each place filled; `-` stands where `value` knows nothing.
    pub fn render(&self, value: impl Fn(Placeholder) -> Option<String>) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Place(place) => match value(*place) {
                    Some(value) if !value.is_empty() => text.push_str(&value),
                    _ => text.push_str(UNKNOWN),
                },
            }
        }
        text
    }
}

/// The text as [`Template::parse`] takes it.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(literal) => f.write_str(&literal.replace('{', "{{").replace('}', "}}")),
            Part::Place(place) => write!(f, "{{{}}}", place.name()),
        })
    }
}

fn placeholder(name: &str) -> Result<Placeholder, String> {
    let known = Placeholder::ALL.into_iter().find(|known| known.name() == name);
    known.ok_or_else(|| {
        let names: Vec<_> = Placeholder::ALL.iter().map(|known| known.name()).collect();
        let distances = names.iter().map(|known| (strsim::osa_distance(name, known), known));
        match distances.min().filter(|(distance, _)| *distance <= 2) {
            Some((_, nearest)) => format!("`{{{name}}}` stands for nothing; did you mean `{{{nearest}}}`?"),
            None => format!("`{{{name}}}` stands for nothing; there are {}", names.join(", ")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str) -> String {
        let template = Template::parse(text).unwrap();
        assert_eq!(Template::parse(&template.to_string()), Ok(template.clone()), "{text}");
        template.render(|place| match place {
            Placeholder::Process => Some("nc".to_owned()),
            Placeholder::Port => Some("1992".to_owned()),
            Placeholder::User => Some(String::new()),
            // A value that looks like a place is text: nobody fills it again.
            Placeholder::Exe => Some("{rule}".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn places_are_filled_once_and_double_braces_are_braces() {
        for (text, expected) in [
            ("", ""),
            ("plain é", "plain é"),
            ("{process} opened {port}", "nc opened 1992"),
            ("{{{process}}} {{}}", "{nc} {}"),
            ("{user} {unit} {exe}", "- - {rule}"),
        ] {
            assert_eq!(render(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_said_with_what_to_write() {
        for (text, expected) in [
            ("{proces}", "`{proces}` stands for nothing; did you mean `{process}`?"),
            (
                "{weather}",
                "`{weather}` stands for nothing; there are process, user, uid",
            ),
            ("{}", "`{}` stands for nothing"),
            ("{ port }", "`{ port }` stands for nothing; did you mean `{port}`?"),
            ("{port", "a `{` has no `}`; write `{{` for a brace"),
            ("{a{port}", "a `{` has no `}`"),
            ("port}", "a `}` has no `{` before it; write `}}` for a brace"),
        ] {
            let mistakes = Template::parse(text).unwrap_err();
            let [mistake] = mistakes.as_slice() else {
                panic!("{text}: {mistakes:?}")
            };
            assert!(mistake.starts_with(expected), "{text}: {mistake}");
        }
        let all = Template::parse("{proces} x {").unwrap_err();
        assert_eq!(
            all,
            [
                "`{proces}` stands for nothing; did you mean `{process}`?",
                "a `{` has no `}`; write `{{` for a brace"
            ]
        );
    }
}
