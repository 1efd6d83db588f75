//! Which tools run in turn, and what each must tell.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::calls::{Kind, Made, Round};

/// Everything that one run does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// How often each tool is started and measured.
    pub repetitions: u32,
    /// Rounds of each call, each time.
    pub rounds: u32,
    /// Calls of a round.
    pub calls: u32,
    /// The port that tools are told to look at.
    pub named: u16,
    /// A port that nobody names.
    pub other: u16,
    /// The tools.
    pub tools: Vec<Tool>,
}

impl Plan {
    /// The number of a port.
    pub fn port(&self, port: Port) -> u16 {
        match port {
            Port::Named => self.named,
            Port::Other => self.other,
        }
    }
}

/// One of the two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Port {
    /// The one that tools are told to look at.
    Named,
    /// The one that nobody names.
    Other,
}

impl Port {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Named, Self::Other];

    /// The word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Other => "other",
        }
    }
}

/// One tool as it is started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tool {
    /// The name in tables; no two are the same.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// What its standard error must hold before it can see, where it says so.
    pub says: Option<String>,
    /// What it sees, and is measured on.
    pub sights: Vec<Sight>,
}

/// A kind of call, and the line that a tool writes of one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sight {
    /// The call.
    pub kind: Kind,
    /// What a line about one call holds; see [`is_about`].
    pub line: Vec<String>,
    /// Ports whose calls it must tell. On the others it is measured, and its silence is no loss.
    pub tells: Vec<Port>,
    /// Whether it is only ready once it has told a call of this kind.
    pub probed: bool,
}

/// Whether a line holds all parts, `{address}` and `{port}` in them replaced. Runs of spaces count as one, and the line
/// begins and ends with one, so that a part can ask for a whole word.
pub fn is_about(line: &str, parts: &[String], address: Ipv4Addr, port: u16) -> bool {
    let mut spaced = String::with_capacity(line.len() + 2);
    spaced.push(' ');
    for word in line.split_ascii_whitespace() {
        spaced.push_str(word);
        spaced.push(' ');
    }
    let (address, port) = (address.to_string(), port.to_string());
    parts
        .iter()
        .all(|part| spaced.contains(&part.replace("{address}", &address).replace("{port}", &port)))
}

/// What one turn gave: a tool's, or that of no tool. One JSON line each, in the order of time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Turn {
    /// The tool; none for the same calls with nothing beside them.
    pub tool: Option<String>,
    /// From 0.
    pub repetition: u32,
    /// Why the tool did not run.
    pub refusal: Option<String>,
    /// The times.
    pub cells: Vec<Cell>,
    /// What the tool cost beside the calls.
    pub cost: Option<Cost>,
    /// What it told.
    pub told: Vec<Told>,
}

/// The times of one call on one port.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// The call.
    pub kind: Kind,
    /// The port.
    pub port: Port,
    /// The rounds, in order.
    pub rounds: Vec<Round>,
}

/// What a tool cost, besides what its hooks cost the calls.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Cost {
    /// From its start until it told what it was asked for, in milliseconds.
    pub ready_ms: u64,
    /// CPU time while the calls were made, in user space and in the kernel, in milliseconds.
    pub cpu_ms: u64,
    /// Calls on both ports meanwhile.
    pub calls: u64,
    /// Resident memory at the end, in bytes.
    pub resident: u64,
    /// The most that it was, in bytes.
    pub most_resident: u64,
    /// Memory of its maps in the kernel, in bytes.
    pub maps: u64,
}

/// How many of the calls that a tool must tell it did tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The call.
    pub kind: Kind,
    /// The port.
    pub port: Port,
    /// Calls that were made.
    pub made: u64,
    /// Lines about them.
    pub lines: u64,
}

/// Calls that were made on each port.
pub type MadeOn = [(Port, Made); 2];

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::is_about;

    const ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;

    fn about(line: &str, parts: &[&str]) -> bool {
        let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        is_about(line, &parts, ADDRESS, 1992)
    }

    #[test]
    fn columns_are_found_whatever_their_width() {
        let line = "4711    workload         0     1      1992    127.0.0.1\n";
        assert!(about(line, &[" {port} {address} "]));
        assert!(!about(line, &[" {port} ::1 "]));
    }

    #[test]
    fn a_longer_word_is_not_the_word() {
        assert!(!about("19920 127.0.0.1", &[" {port} "]));
        assert!(!about("1992 127.0.0.11", &["{port} {address} "]));
    }

    #[test]
    fn all_parts_must_be_there() {
        let line = r#"{"event":"listen","address":"127.0.0.1","port":1992,"peer":null}"#;
        let at = r#""address":"{address}","port":{port},"#;
        assert!(about(line, &[r#""event":"listen""#, at]));
        assert!(!about(line, &[r#""event":"unlisten""#, at]));
    }
}
