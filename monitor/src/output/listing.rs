//! Which listeners are asked for, in which order, and how many of them.

use std::{borrow::Cow, cmp::Ordering, net::IpAddr};

use super::{Report, pattern::matches};
use crate::{
    event::{Event, Holder},
    exit::printable,
    policy::{Verdict, covers},
    registry::{PortSpec, Registry},
};

/// A listener: the event that opened it, what became known of it, and who holds it now.
pub type Item<'a> = (&'a Event, &'a Report, &'a [Holder]);

/// What was asked for. Each kind of filter narrows the rest, several of one kind add up.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    ports: Vec<PortSpec>,
    words: Vec<String>,
    protocols: Vec<String>,
    names: Vec<String>,
    processes: Vec<String>,
    users: Vec<String>,
    units: Vec<String>,
    containers: Vec<String>,
    scopes: Vec<String>,
    verdicts: Vec<String>,
    netns: Vec<Netns>,
    sort: Sort,
    descending: bool,
    offset: usize,
    limit: Option<usize>,
}

/// Network namespaces, as they are asked for.
#[derive(Clone, Copy, Debug)]
enum Netns {
    Host,
    Other,
    Inode(u32),
}

/// What the order goes by; the rest goes by port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sort {
    #[default]
    Port,
    Protocol,
    Registration,
    Process,
    User,
    Unit,
    Container,
    Scope,
    Since,
    Verdict,
}

const SORTS: [(&str, Sort); 10] = [
    ("port", Sort::Port),
    ("protocol", Sort::Protocol),
    ("registration", Sort::Registration),
    ("process", Sort::Process),
    ("user", Sort::User),
    ("unit", Sort::Unit),
    ("container", Sort::Container),
    ("scope", Sort::Scope),
    ("since", Sort::Since),
    ("verdict", Sort::Verdict),
];

/// What a query may have in it.
pub(super) const PARAMETERS: [&str; 14] = [
    "port",
    "text",
    "protocol",
    "name",
    "process",
    "user",
    "unit",
    "container",
    "scope",
    "verdict",
    "netns",
    "sort",
    "offset",
    "limit",
];

/// Part of what was selected, and how much there is.
#[derive(Debug)]
pub struct Page<'a> {
    /// The listeners, in order.
    pub items: Vec<Item<'a>>,
    /// All listeners of the host.
    pub total: usize,
    /// Those that were selected.
    pub matched: usize,
    /// How many of these come before.
    pub offset: usize,
}

/// The parameters that say one thing; of the others several values can be asked for.
const SINGLE: [&str; 3] = ["sort", "offset", "limit"];

/// Takes a parameter that may be given once.
pub(super) fn once(given: &mut Vec<&'static str>, name: &'static str) -> Result<(), String> {
    if given.contains(&name) {
        return Err(format!("{name}: it is given more than once; leave one of them out"));
    }
    given.push(name);
    Ok(())
}

impl Selection {
    /// Reads the query of a URL. Ports may be numbers, ranges, and service names of this registry.
    ///
    /// # Errors
    /// One sentence on the first parameter that makes no sense.
    pub fn parse(query: &str, registry: &Registry) -> Result<Self, String> {
        let mut selection = Self::default();
        let mut given = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            // A form sends the fields that nobody filled in, too.
            if value.is_empty() && PARAMETERS.contains(&&*name) {
                continue;
            }
            if let Some(single) = SINGLE.iter().find(|single| **single == name) {
                once(&mut given, single)?;
            }
            selection.take(&name, &value, registry)?;
        }
        Ok(selection)
    }

    fn take(&mut self, name: &str, value: &str, registry: &Registry) -> Result<(), String> {
        let words = |known: &[&str]| words(name, value, known);
        match name {
            "port" => {
                let specs = PortSpec::parse_list(value, registry).map_err(|error| format!("port: {error}"))?;
                self.ports.extend(specs);
            }
            "text" => self.words.extend(value.split_whitespace().map(str::to_lowercase)),
            "protocol" => self.protocols.extend(words(&["tcp", "udp"])?),
            "scope" => self.scopes.extend(words(&["wildcard", "loopback", "address"])?),
            "verdict" => self.verdicts.extend(words(&["expected", "unexpected", "unruled"])?),
            "name" => self.names.push(value.to_lowercase()),
            "process" => self.processes.push(value.to_lowercase()),
            "user" => self.users.push(value.to_owned()),
            "unit" => self.units.push(value.to_lowercase()),
            "container" => self.containers.push(value.to_lowercase()),
            "netns" => self.netns.push(netns(value)?),
            "sort" => {
                let (word, descending) = value.strip_prefix('-').map_or((value, false), |word| (word, true));
                let known = SORTS.iter().find(|(known, _)| *known == word);
                let Some((_, sort)) = known else {
                    let known = SORTS.map(|(name, _)| name).join(", ");
                    let word = shown(word);
                    return Err(format!(
                        "sort: `{word}` is no order; write one of {known}, with - before it for the reverse"
                    ));
                };
                (self.sort, self.descending) = (*sort, descending);
            }
            "offset" => self.offset = number(name, value)?,
            "limit" => self.limit = Some(number(name, value)?),
            _ => return Err(unknown(name, &PARAMETERS)),
        }
        Ok(())
    }

    /// Puts those that are asked for in order, and takes the part that is asked for.
    #[must_use]
    pub fn page<'a>(&self, all: impl Iterator<Item = Item<'a>>) -> Page<'a> {
        let mut total = 0;
        let mut items: Vec<Item<'a>> = all.inspect(|_| total += 1).filter(|item| self.shows(item)).collect();
        items.sort_by(|one, other| self.order(one, other));
        let matched = items.len();
        let items = items
            .into_iter()
            .skip(self.offset)
            .take(self.limit.unwrap_or(usize::MAX))
            .collect();
        Page {
            items,
            total,
            matched,
            offset: self.offset,
        }
    }

    fn shows(&self, item: &Item<'_>) -> bool {
        let (event, report, _) = item;
        let socket = &event.socket;
        let process = || process_words(item);
        self.words.iter().all(|word| mentions(item, word))
            && any(&self.ports, |spec| covers(spec, socket.protocol, socket.port))
            && any(&self.protocols, |word| word == socket.protocol.as_str())
            && any(&self.scopes, |word| word == event.scope().as_str())
            && any(&self.verdicts, |word| word == report.verdict.as_str())
            && any(&self.netns, |netns| match netns {
                Netns::Host => report.host_netns,
                Netns::Other => !report.host_netns,
                Netns::Inode(inode) => *inode == socket.netns,
            })
            && any(&self.names, |name| {
                let registered = report.names();
                is_one(name, registered.into_iter().chain(process()))
            })
            && any(&self.processes, |name| is_one(name, process()))
            && any(&self.users, |user| {
                event.opener.is_known()
                    && (report.process.user.as_ref() == Some(user) || event.opener.uid.to_string() == *user)
            })
            && any(&self.units, |unit| is_one(unit, unit_words(report)))
            && any(&self.containers, |asked| is_one(asked, container_words(report)))
    }

    fn order(&self, one: &Item<'_>, other: &Item<'_>) -> Ordering {
        let first = match self.sort {
            Sort::Port => Ordering::Equal,
            Sort::Since => one.0.time.cmp(&other.0.time),
            Sort::Verdict => urgency(one.1.verdict).cmp(&urgency(other.1.verdict)),
            Sort::Protocol => one.0.socket.protocol.as_str().cmp(other.0.socket.protocol.as_str()),
            Sort::Registration | Sort::Process | Sort::User | Sort::Unit | Sort::Container | Sort::Scope => {
                let by = |sort| {
                    let (one, other) = (word(sort, one), word(sort, other));
                    // Those without one come last.
                    (one.is_empty(), one).cmp(&(other.is_empty(), other))
                };
                match self.sort {
                    // What runs in no unit of its own mostly runs in a container.
                    Sort::Unit => by(Sort::Unit).then_with(|| by(Sort::Container)),
                    sort => by(sort),
                }
            }
        };
        let rest = || place(one.0).cmp(&place(other.0));
        if self.descending {
            match self.sort {
                Sort::Port => rest().reverse(),
                _ => first.reverse().then_with(rest),
            }
        } else {
            first.then_with(rest)
        }
    }
}

/// The word that an order goes by; none where there is none.
fn word<'a>(sort: Sort, (event, report, _): &Item<'a>) -> Cow<'a, str> {
    match sort {
        Sort::Registration => report.names().join(",").into(),
        Sort::Process => report.label.as_str().into(),
        Sort::User => match &report.process.user {
            Some(user) => user.as_str().into(),
            None if event.opener.is_known() => event.opener.uid.to_string().into(),
            None => "".into(),
        },
        Sort::Unit => report.unit().unwrap_or_default().into(),
        Sort::Container => {
            let container = report.process.container.as_ref();
            container.map_or("", |container| container.id.as_str()).into()
        }
        Sort::Scope => event.scope().as_str().into(),
        Sort::Port | Sort::Protocol | Sort::Since | Sort::Verdict => "".into(),
    }
}

/// What the process of a listener is called, and who holds the socket.
fn process_words<'a>((event, report, holders): &Item<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    let own = [report.label.as_str(), event.opener.comm.as_str()];
    let exe = report.process.exe.as_deref();
    own.into_iter()
        .chain(exe)
        .chain(holders.iter().map(|holder| holder.comm.as_str()))
}

/// The unit, and the service of a socket unit.
fn unit_words(report: &Report) -> impl Iterator<Item = &str> {
    let service = report.socket_unit.as_ref().map(|socket| socket.service.as_str());
    report.unit().into_iter().chain(service)
}

/// What a container is called.
fn container_words(report: &Report) -> impl Iterator<Item = &str> {
    let container = report.process.container.iter();
    container.flat_map(|container| {
        let pod = container.pod.iter();
        let names = pod.flat_map(|pod| [pod.name.as_str(), pod.namespace.as_str()]);
        [container.runtime.as_str(), container.id.as_str()]
            .into_iter()
            .chain(names)
            .chain(container.image.as_deref())
    })
}

/// Whether a word stands anywhere in what people see of a listener. A port begins with it: 22 is not in 8022.
fn mentions(item: &Item<'_>, word: &str) -> bool {
    let (event, report, _) = item;
    let socket = &event.socket;
    let user = report.process.user.as_deref();
    let others = report.process.package.as_deref().into_iter().chain(user);
    let registered = report.names();
    let words = registered
        .into_iter()
        .chain(process_words(item))
        .chain(unit_words(report));
    socket.port.to_string().starts_with(word)
        || is_one(word, words.chain(container_words(report)).chain(others))
        || socket.address.to_string().contains(word)
}

/// What is unexpected comes first.
fn urgency(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Unexpected => 0,
        Verdict::Unruled => 1,
        Verdict::Expected => 2,
    }
}

/// No two sockets have the same, so that pages neither repeat nor leave out one.
fn place(event: &Event) -> (u16, &'static str, IpAddr, u32, u64, u64) {
    let socket = &event.socket;
    let protocol = socket.protocol.as_str();
    (
        socket.port,
        protocol,
        socket.address,
        socket.netns,
        socket.inode,
        event.time,
    )
}

/// Whether one of them holds; where nothing was asked for, everything is wanted.
fn any<T>(asked: &[T], holds: impl Fn(&T) -> bool) -> bool {
    asked.is_empty() || asked.iter().any(holds)
}

fn is_one<'a>(asked: &str, mut names: impl Iterator<Item = &'a str>) -> bool {
    names.any(|name| matches(asked, &name.to_lowercase()))
}

/// Words separated by commas, all of them known.
fn words(name: &str, value: &str, known: &[&str]) -> Result<Vec<String>, String> {
    let words = value.split(',').filter(|word| !word.is_empty()).map(|word| {
        known
            .contains(&word)
            .then(|| word.to_owned())
            .ok_or_else(|| format!("{name}: `{}` is none of {}", shown(word), known.join(", ")))
    });
    words.collect()
}

fn netns(value: &str) -> Result<Netns, String> {
    match value {
        "host" => Ok(Netns::Host),
        "other" => Ok(Netns::Other),
        number => number.parse().map(Netns::Inode).map_err(|_| {
            let word = shown(value);
            format!("netns: `{word}` is no namespace; write host, other or an inode such as 4026531840")
        }),
    }
}

/// A number that counts something.
///
/// # Errors
/// One sentence.
pub(super) fn number(name: &str, value: &str) -> Result<usize, String> {
    let number = value.parse::<u32>().ok().and_then(|number| number.try_into().ok());
    number.ok_or_else(|| format!("{name}: `{}` is no number from 0 on", shown(value)))
}

/// The sentence on a parameter that there is not.
pub(super) fn unknown(name: &str, known: &[&str]) -> String {
    format!("`{}` is no parameter here; there are {}", shown(name), known.join(", "))
}

/// What somebody sent, so that it can be repeated to them.
pub(super) fn shown(text: &str) -> String {
    const SHOWN: usize = 64;
    let cut: String = text.chars().take(SHOWN).collect();
    printable(&cut)
}

#[cfg(test)]
mod tests;
