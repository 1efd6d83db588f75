//! Which listeners are asked for: those on some ports, those of some services, those of some programs.

use anyhow::Result;

use crate::{
    event::Protocol,
    exit::UsageError,
    history::read::{Query, Row},
    output::report::process_name,
    registry::{PortSpec, Registry, Transport},
};

/// What stands on the command line.
#[derive(Debug, Default)]
pub(super) struct Asked {
    ports: Vec<(Option<Protocol>, u16, u16)>,
    programs: Vec<String>,
    /// Names that no service has, each with the sentence that says so: if no program has it either, it is a slip.
    strangers: Vec<(String, String)>,
}

impl Asked {
    /// Reads ports, ranges and names, also several with commas between them.
    ///
    /// # Errors
    /// Where one is no port, and cannot be a name.
    pub(super) fn new(words: &[String], registry: &Registry) -> Result<Self> {
        let mut asked = Self::default();
        for word in words {
            for item in word.split(',').map(str::trim) {
                if item.is_empty() {
                    let text = format!("`{word}` names nothing in one place; write ports, services or programs there");
                    return Err(UsageError(text).into());
                }
                asked.add(item, registry)?;
            }
        }
        Ok(asked)
    }

    fn add(&mut self, item: &str, registry: &Registry) -> Result<()> {
        let before = self.ports.len();
        match PortSpec::parse_list(item, registry) {
            Ok(specs) => self.ports.extend(specs.iter().filter_map(kept)),
            Err(error) if may_be_program(item) => self.strangers.push((item.to_owned(), error.to_string())),
            Err(error) => return Err(UsageError(error.to_string()).into()),
        }
        if may_be_program(item) {
            self.programs.push(process_name(None, item));
        } else if self.ports.len() == before {
            let text = format!("`{item}` is neither TCP nor UDP, and nothing else is kept");
            return Err(UsageError(text).into());
        }
        Ok(())
    }

    /// Whether nothing is named.
    pub(super) fn is_for_all(&self) -> bool {
        self.ports.is_empty() && self.programs.is_empty()
    }

    /// What to read of the history.
    pub(super) fn query(&self, since: Option<i64>, until: Option<i64>) -> Query {
        Query {
            ports: self.ports.clone(),
            programs: self.programs.clone(),
            since,
            until,
            limit: None,
        }
    }

    /// Looks for each name that no service has among the programs, at any time.
    ///
    /// # Errors
    /// Where there is none, or the history cannot be read.
    pub(super) fn check(&self, read: impl Fn(&Query) -> Result<Vec<Row>>) -> Result<()> {
        for (name, no_service) in &self.strangers {
            let query = Query {
                programs: vec![process_name(None, name)],
                ..Query::default()
            };
            if read(&query)?.is_empty() {
                return Err(UsageError(format!("the history has no program `{name}`, and {no_service}")).into());
            }
        }
        Ok(())
    }
}

/// The ports of a specification, where the history can have any.
fn kept(spec: &PortSpec) -> Option<(Option<Protocol>, u16, u16)> {
    let protocol = match spec.transport {
        None => None,
        Some(Transport::Tcp) => Some(Protocol::Tcp),
        Some(Transport::Udp) => Some(Protocol::Udp),
        Some(_) => return None,
    };
    Some((protocol, spec.first, spec.last))
}

/// Whether a word can be the name of a program, or a pattern of such names: it has more to it than ports have.
fn may_be_program(item: &str) -> bool {
    let is_of_ports = |letter: char| letter.is_ascii_digit() || "-,".contains(letter);
    !item.contains('/') && !item.chars().all(is_of_ports)
}
