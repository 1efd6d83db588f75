//! The ways to learn what listens that are programs of their own.

use std::path::PathBuf;

use anyhow::{Context, Result};
use workload::snapshot::{ADDRESS, Command};

use crate::command::find_program;
use crate::setup::apt::{self, Package};
use crate::workspace::Workspace;

/// The agent's own, cold.
pub(super) const LIST: &str = "portreeve list --json";

/// The peer that is to be beaten.
pub(super) const PEER: &str = "ss -Hltunp";

/// Others, for comparison: the first does not say who holds a socket.
const OTHERS: [&str; 2] = ["ss -Hltun", "lsof -i -nP"];

/// Where the peers' programs lie on this machine.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    ss: PathBuf,
    lsof: PathBuf,
}

/// The peers, installed where they are missing.
///
/// # Errors
/// One sentence with what to install.
pub(super) fn peers(workspace: &Workspace) -> Result<Peers> {
    apt::ensure(
        workspace,
        &[Package::new("iproute2", "ss"), Package::new("lsof", "lsof")],
        "comparing the agent's looks with its peers'",
    )?;
    let find = |name: &str| find_program(name).with_context(|| format!("cannot find {name} on PATH"));
    Ok(Peers {
        ss: find("ss")?,
        lsof: find("lsof")?,
    })
}

impl Peers {
    /// Their programs.
    pub(super) fn programs(&self) -> [&PathBuf; 2] {
        [&self.ss, &self.lsof]
    }

    /// All ways, with the agent at this path.
    pub(super) fn commands(&self, agent: &str) -> Vec<Command> {
        let name = |name: &str| match name {
            "ss" => self.ss.display().to_string(),
            "lsof" => self.lsof.display().to_string(),
            _ => agent.to_owned(),
        };
        let all = [LIST, PEER].into_iter().chain(OTHERS);
        all.map(|line| {
            let mut words = line.split(' ');
            let program = words.next().map(name);
            Command {
                words: program.into_iter().chain(words.map(str::to_owned)).collect(),
                name: line.to_owned(),
                before_port: if line == LIST {
                    "\"port\":".to_owned()
                } else {
                    format!("{ADDRESS}:")
                },
            }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::Peers;

    #[test]
    fn each_way_is_a_program_with_its_arguments() {
        let peers = Peers {
            ss: PathBuf::from("/usr/bin/ss"),
            lsof: PathBuf::from("/usr/bin/lsof"),
        };
        let commands = peers.commands("/payload/portreeve");
        let words: Vec<String> = commands.iter().map(|command| command.words.join(" ")).collect();
        assert_eq!(
            words,
            [
                "/payload/portreeve list --json",
                "/usr/bin/ss -Hltunp",
                "/usr/bin/ss -Hltun",
                "/usr/bin/lsof -i -nP"
            ]
        );
    }
}
