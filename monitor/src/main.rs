//! The binary: it hands the command line to the library, and maps errors to the exit codes of the contract.

use std::{io::Write, process::ExitCode};

use clap::{Parser, error::ErrorKind};
use portreeve::{cli::Cli, exit};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version were asked for; help is also given where nothing was.
        Err(error) if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return match error.print() {
                Ok(()) => ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::OK }),
                Err(error) => fail(&anyhow::Error::from(error).context("cannot write to stdout")),
            };
        }
        Err(error) => return fail(&exit::UsageError(exit::sentence_of(&error.to_string())).into()),
    };
    match cli.run() {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

/// Says what is wrong. Where stderr cannot be written either, the exit code is all that is left to say it.
fn fail(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(
        std::io::stderr(),
        "portreeve: {}",
        exit::printable(&format!("{error:#}"))
    );
    ExitCode::from(exit::code_of(error))
}
