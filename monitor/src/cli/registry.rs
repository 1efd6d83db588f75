//! `portreeve registry`: the port registry itself.

mod search;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// The flags of `registry`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find services by words in their names and descriptions, slips forgiven
    Search(search::Args),
}

/// Does what was asked for.
///
/// # Errors
/// Those of the subcommand.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Search(args) => search::run(args),
    }
}
