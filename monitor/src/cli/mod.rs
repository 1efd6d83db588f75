//! The command line: one file a subcommand.

mod doctor;
mod explain;
mod print;
mod run;

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
    /// Say what the registry knows of a port, a range or a service name
    Explain(explain::Args),
    /// Say what this kernel offers, what is not seen, and what is in the way
    Doctor(doctor::Args),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(&self) -> Result<ExitCode> {
        match &self.command {
            Command::Run(args) => run::run(args),
            Command::Explain(args) => explain::run(args),
            Command::Doctor(args) => doctor::run(args),
        }
    }
}
