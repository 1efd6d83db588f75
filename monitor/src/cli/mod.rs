//! The command line: one file a subcommand.

mod check;
mod completions;
mod doctor;
#[cfg(test)]
mod documented;
mod explain;
mod history;
mod learn;
mod list;
mod man;
mod page;
mod print;
mod registry;
mod run;
mod suggest;
mod terminal;
mod test_alert;
mod watch;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::kernel::ask_files_and_dns;

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
    /// Write the `[[expect]]` entries of a configuration, from what listens now
    ///
    /// Read them before you use them: what they allow is told no more. The order stays the same, so that the difference
    /// between two runs reads well.
    Learn(learn::Args),
    /// Say what the registry knows of a port, a range or a service name
    Explain(explain::Args),
    /// Show what listened, from when to when, and how often
    ///
    /// Reads what the agent keeps ([history]), whether it runs or not.
    History(history::Args),
    /// Name ports that are good to pick on this host, each with its reason
    Suggest(suggest::Args),
    /// Search the registry of ports, say which one is in use, and take a newer one
    Registry(registry::Args),
    /// Check configuration files, and say all that is wrong with them
    ///
    /// The files are taken together, each with the conf.d/*.toml beside it, as `portreeve run --config.file` takes them.
    /// Exits with 78 where something is wrong.
    Check(check::Args),
    /// Open a listener, and follow its alert from the kernel to the receivers and to its end
    ///
    /// It asks the agent that runs here. The rule that matches need not be one of a test: by default the port is 1992, which the
    /// built-in rule is about.
    TestAlert(test_alert::Args),
    /// Say what this kernel offers, what is not seen, and what is in the way
    Doctor(doctor::Args),
    /// Print the completions of a shell
    ///
    /// For bash: portreeve completions bash > /etc/bash_completion.d/portreeve. The packages bring those of bash, zsh and fish.
    Completions(completions::Args),
    /// Print the manual page, or write the pages of all commands into a directory
    Man(man::Args),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(&self) -> Result<ExitCode> {
        ask_files_and_dns();
        match &self.command {
            Command::Run(args) => run::run(args),
            Command::List(args) => list::run(args),
            Command::Watch(args) => watch::run(args),
            Command::Learn(args) => learn::run(args),
            Command::Explain(args) => explain::run(args),
            Command::History(args) => history::run(args),
            Command::Suggest(args) => suggest::run(args),
            Command::Registry(args) => registry::run(args),
            Command::Check(args) => check::run(args),
            Command::TestAlert(args) => test_alert::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Completions(args) => completions::run(args),
            Command::Man(args) => man::run(args),
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
