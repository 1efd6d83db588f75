//! What `cargo xtask bench snapshot` runs: crowds of processes with open files and listeners, and in turns the ways to learn
//! what listens there.
//!
//! Reading order: `crowd` makes the processes, `agent` runs the agent and reads what a look took, `rounds` does all in turns.

pub mod agent;
pub mod crowd;
pub mod rounds;

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// Where the listeners of a crowd are: an address of the loopback interface, and ports from this one on, below those that
/// the kernel gives by itself.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 2);
/// The first port.
pub const FIRST_PORT: u16 = 20_000;

/// Everything that one run does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// One after the other.
    pub crowds: Vec<Crowd>,
    /// How often each way is taken, in turns with the others.
    pub rounds: u32,
    /// The agent, program and arguments, without its configuration and address.
    pub agent: Vec<String>,
    /// The ways beside the agent's own look.
    pub commands: Vec<Command>,
}

/// Processes that hold files open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crowd {
    /// How many.
    pub processes: u32,
    /// Open files of each.
    pub files: u32,
    /// Listeners in all of them together, dealt evenly; they count as open files.
    pub listeners: u16,
}

impl Crowd {
    /// The name in tables.
    pub fn name(&self) -> String {
        let Self {
            processes,
            files,
            listeners,
        } = self;
        format!("{processes} processes × {files} files, {listeners} listeners")
    }

    /// The first port and the number of listeners of one process.
    fn share(&self, process: u32) -> (u16, u16) {
        let before = |process: u32| {
            let dealt = u64::from(self.listeners) * u64::from(process) / u64::from(self.processes.max(1));
            u16::try_from(dealt).unwrap_or(u16::MAX)
        };
        let (from, to) = (before(process), before(process.saturating_add(1)));
        (FIRST_PORT.saturating_add(from), to - from)
    }
}

/// A program that says what listens, and ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Command {
    /// Program and arguments.
    pub words: Vec<String>,
    /// The name in tables.
    pub name: String,
    /// What stands right before a listener's port in its output.
    pub before_port: String,
}

/// The way of an agent that is there already: it looks by itself.
pub const LOOK: &str = "a look of the running agent";

/// What one run says, a JSON line each, in the order of time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// A crowd is there.
    Up {
        /// Its place in the plan.
        crowd: usize,
        /// What it took, in milliseconds.
        took_ms: u64,
    },
    /// A way was taken.
    Took {
        /// The crowd.
        crowd: usize,
        /// From 0.
        round: u32,
        /// [`LOOK`], or a command's name.
        way: String,
        /// What it took, in nanoseconds.
        nanoseconds: u64,
        /// How many of the crowd's listeners it told, where that can be counted.
        listeners: Option<u16>,
    },
    /// A way could not be taken, and is not tried again with this crowd.
    Refused {
        /// The crowd.
        crowd: usize,
        /// The way.
        way: String,
        /// What came in between.
        why: String,
    },
    /// The agent after the last round.
    Agent {
        /// The crowd.
        crowd: usize,
        /// How it is attached.
        backend: String,
        /// Listeners of the whole machine that it knew once it was armed.
        known: u64,
        /// Resident memory, in bytes.
        resident: u64,
        /// The most that it was, in bytes.
        most_resident: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::{Crowd, FIRST_PORT};

    #[test]
    fn listeners_are_dealt_evenly_each_port_once() {
        for (processes, listeners) in [(1_000, 200), (10, 10_000), (3, 4), (7, 0)] {
            let crowd = Crowd {
                processes,
                files: 50,
                listeners,
            };
            let shares: Vec<(u16, u16)> = (0..processes).map(|process| crowd.share(process)).collect();
            let mut next = FIRST_PORT;
            for (first, count) in &shares {
                assert_eq!(*first, next);
                next += count;
            }
            assert_eq!(next, FIRST_PORT + listeners);
            let counts = || shares.iter().map(|(_, count)| *count);
            assert!(counts().max().unwrap() - counts().min().unwrap() <= 1);
        }
    }
}
