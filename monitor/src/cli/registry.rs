//! `portreeve registry`: what is in it, which one is in use, and how a newer one takes its place.

mod info;
mod replace;
mod search;
mod update;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Subcommand;

use crate::{config, registry::Registry};

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
    /// Say which registry of ports is in use, and of when it is
    Info(info::Args),
    /// Take a newer registry from a file of IANA's (CSV or XML)
    ///
    /// Fetches nothing: whoever configures this host brings the file. IANA has it at
    /// https://www.iana.org/assignments/service-names-port-numbers/
    Update(update::Args),
}

/// Where the configuration and the host's root are.
#[derive(Clone, Debug, clap::Args)]
struct Places {
    /// Configuration file of the agent, for [registry] and [[service]]; may be given several times
    #[arg(long = "config.file", value_name = "FILE")]
    config_file: Vec<PathBuf>,

    /// Mount point of the host's root
    #[arg(long = "path.rootfs", value_name = "PATH", default_value = "/")]
    rootfs: PathBuf,
}

impl Places {
    fn names(&self) -> Result<config::Names> {
        Ok(config::read_names(&self.config_file)?)
    }
}

/// Does what was asked for.
///
/// # Errors
/// Where the configuration is wrong, the file that is to be taken is none of IANA's, or something cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Search(args) => search::run(args),
        Command::Info(args) => info::run(args),
        Command::Update(args) => update::run(args),
    }
}

/// What a registry is made of.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
struct Made {
    /// The file or crate that the rows come from.
    source: String,
    /// The newest date in the rows.
    date: String,
    /// Of the file that the rows were read from.
    sha256: String,
    records: usize,
}

impl Made {
    fn of(registry: &Registry) -> Self {
        let source = registry.source();
        Self {
            source: format!("{} {}", source.name, source.version).trim_end().to_owned(),
            date: source.date.to_owned(),
            sha256: source.sha256.to_owned(),
            records: registry.records(),
        }
    }
}
