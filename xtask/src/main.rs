//! `cargo xtask`: everything that builds, checks and tests portreeve, with its own set-up.

#[path = "../../monitor/bpf/lock.rs"]
mod lock;

mod command;
mod ebpf;
mod setup;
mod sources;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

use crate::workspace::Workspace;

/// Builds, checks and tests portreeve.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    Ebpf(ebpf::EbpfArgs),
}

fn main() -> ExitCode {
    let task = Task::parse();
    let done = Workspace::find().and_then(|workspace| match &task {
        Task::Ebpf(args) => ebpf::main(&workspace, args),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
