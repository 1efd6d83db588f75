//! The command line: one file a subcommand.

mod check;
mod doctor;
#[cfg(test)]
mod documented;
mod explain;
mod list;
mod page;
mod print;
mod registry;
mod run;
mod suggest;
mod terminal;
mod watch;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Knows what listens on this host, and says so the moment that changes.
#[derive(Debug, Parser)]
#[command(name = "portreeve", version, arg_required_else_help = true, term_width = 80)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent: report listeners, serve metrics
    Run(run::Args),
    /// Show what listens now, whose it is, and what the rules say of it
    List(list::Args),
    /// Show what begins and ends to listen, by looking again each second
    ///
    /// Works without the agent and without BPF. What listens only between two looks is not seen: `portreeve run
    /// --events=json` sees that too.
    Watch(watch::Args),
    /// Say what the registry knows of a port, a range or a service name
    Explain(explain::Args),
    /// Name ports that are good to pick on this host, each with its reason
    Suggest(suggest::Args),
    /// Search the registry of ports, say which one is in use, and take a newer one
    Registry(registry::Args),
    /// Check configuration files, and say all that is wrong with them
    ///
    /// The files are taken together, each with the conf.d/*.toml beside it, as `portreeve run --config.file` takes them.
    /// Exits with 78 where something is wrong.
    Check(check::Args),
    /// Say what this kernel offers, what is not seen, and what is in the way
    Doctor(doctor::Args),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(&self) -> Result<ExitCode> {
        match &self.command {
            Command::Run(args) => run::run(args),
            Command::List(args) => list::run(args),
            Command::Watch(args) => watch::run(args),
            Command::Explain(args) => explain::run(args),
            Command::Suggest(args) => suggest::run(args),
            Command::Registry(args) => registry::run(args),
            Command::Check(args) => check::run(args),
            Command::Doctor(args) => doctor::run(args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_and_flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
