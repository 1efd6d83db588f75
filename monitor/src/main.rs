//! The binary: it hands the command line to the library, and maps errors to the exit codes of the contract.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use portreeve::{cli::Cli, exit};

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            // Where stderr cannot be written either, the exit code is all that is left to say it.
            let _ = writeln!(
                std::io::stderr(),
                "portreeve: {}",
                exit::printable(&format!("{error:#}"))
            );
            ExitCode::from(exit::code_of(&error))
        }
    }
}
