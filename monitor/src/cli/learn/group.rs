//! What was seen, made into expectations: one for each program as one user in one unit, with all its ports.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{
    judge::mark,
    seen::{Owner, Seen},
};
use crate::cli::list::json;

/// What was learned, in an order that stays the same.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Learned {
    /// The hosts that were looked at.
    pub hosts: Vec<String>,
    pub expectations: Vec<Expectation>,
    /// What no expectation was made of.
    pub left_out: Vec<LeftOut>,
}

/// One `[[expect]]`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Expectation {
    pub name: String,
    pub exe: String,
    pub user: Option<String>,
    pub unit: Option<String>,
    /// `host` or `other`.
    pub namespace: &'static str,
    /// Whether a rule or an expectation says that this, or what it would take too, must not be: it is for a person to allow.
    pub unexpected: bool,
    /// Whether it is about ports that the kernel chose, which are others each time.
    pub automatic: bool,
    /// The ports that were seen.
    pub ports: Vec<Port>,
}

/// A port of an expectation, and when it was seen.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    pub protocol: String,
    pub port: u16,
    /// Hosts on which it was seen.
    pub hosts: usize,
    /// How often it was opened; `None` where nothing counted.
    pub times: Option<u64>,
    /// Since when it was there; `None` for not known.
    #[serde(serialize_with = "as_text")]
    pub first: Option<Timestamp>,
    /// Until when; `None` for now.
    #[serde(serialize_with = "as_text")]
    pub last: Option<Timestamp>,
    /// The rule that it is against.
    pub rule: Option<String>,
}

/// A listener that no expectation was made of.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LeftOut {
    pub protocol: String,
    pub port: u16,
    pub process: String,
    pub reason: &'static str,
}

#[expect(clippy::ref_option, reason = "serde hands in a reference to the field")]
fn as_text<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(json::time).serialize(serializer)
}

/// What makes an expectation: whose it is, and whether it is in another namespace, unexpected, and on automatic ports.
type Key = (Owner, bool, bool, bool);

/// Groups what was seen on these hosts. `is_automatic` says whether the kernel hands out a port.
pub fn group(hosts: BTreeSet<String>, mut seen: Vec<Seen>, is_automatic: impl Fn(u16) -> bool) -> Learned {
    mark(&mut seen, &is_automatic);
    let mut left_out = BTreeSet::new();
    let mut groups = BTreeMap::<Key, Vec<&Seen>>::new();
    for seen in &seen {
        match &seen.owner {
            Ok(owner) => {
                let automatic = seen.automatic.unwrap_or_else(|| is_automatic(seen.port));
                let key = (owner.clone(), !seen.host_netns, seen.unexpected.is_some(), automatic);
                groups.entry(key).or_default().push(seen);
            }
            Err(reason) => {
                left_out.insert(LeftOut {
                    protocol: seen.protocol.clone(),
                    port: seen.port,
                    process: seen.process.clone(),
                    reason,
                });
            }
        }
    }
    let mut names = BTreeMap::new();
    let expectations = groups
        .into_iter()
        .map(|((owner, is_other, unexpected, automatic), seen)| Expectation {
            name: name(&owner, &mut names),
            exe: owner.exe,
            user: owner.user,
            unit: owner.unit,
            namespace: if is_other { "other" } else { "host" },
            unexpected,
            automatic,
            ports: ports(&seen),
        });
    Learned {
        expectations: expectations.collect(),
        hosts: hosts.into_iter().collect(),
        left_out: left_out.into_iter().collect(),
    }
}

fn ports(seen: &[&Seen]) -> Vec<Port> {
    let mut ports = BTreeMap::<_, Vec<&Seen>>::new();
    for seen in seen {
        ports.entry((seen.port, &seen.protocol)).or_default().push(seen);
    }
    let ports = ports.into_iter().map(|((port, protocol), seen)| {
        let hosts: BTreeSet<_> = seen.iter().map(|seen| &seen.host).collect();
        let firsts: Option<Vec<_>> = seen.iter().map(|seen| seen.first).collect();
        let lasts: Option<Vec<_>> = seen.iter().map(|seen| seen.last).collect();
        let times: Option<Vec<_>> = seen.iter().map(|seen| seen.times).collect();
        Port {
            protocol: protocol.clone(),
            port,
            hosts: hosts.len(),
            times: times.map(|times| times.iter().sum()),
            first: firsts.and_then(|firsts| firsts.into_iter().min()),
            last: lasts.and_then(|lasts| lasts.into_iter().max()),
            rule: seen
                .iter()
                .find_map(|seen| seen.unexpected.clone())
                .filter(|rule| !rule.is_empty()),
        }
    });
    ports.collect()
}

/// The program's name, as the names of expectations are written; with a number where it is taken.
fn name(owner: &Owner, taken: &mut BTreeMap<String, usize>) -> String {
    let base = owner.exe.rsplit('/').next().unwrap_or_default();
    let mut name = String::new();
    for letter in base.chars().flat_map(char::to_lowercase) {
        if letter.is_ascii_lowercase() || letter.is_ascii_digit() {
            name.push(letter);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = match name.trim_matches('-') {
        "" => "program",
        name => name.get(..NAME_MAX).unwrap_or(name),
    };
    let times = taken.entry(name.to_owned()).or_default();
    *times += 1;
    match *times {
        1 => name.to_owned(),
        times => format!("{name}-{times}"),
    }
}

/// Bytes of a program's name that are kept: there is room for a number then.
const NAME_MAX: usize = 48;
