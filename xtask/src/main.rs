//! `cargo xtask`: everything that builds, checks and tests portreeve, with its own set-up.

#[path = "../../monitor/bpf/lock.rs"]
mod lock;

mod command;
mod console;
mod ebpf;
mod payload;
// MERGE: mod registry;
mod report;
mod run;
mod setup;
mod sources;
mod test;
mod test_output;
mod tidy;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

use crate::workspace::Workspace;

/// Builds, checks and tests portreeve. Each task does its own set-up: as root it installs what is missing.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    Run(run::RunArgs),
    Test(test::TestArgs),
    Ebpf(ebpf::EbpfArgs),
    Vm(vm::VmArgs),
    // MERGE: /// Makes monitor/data from the registry's own table, or checks that it is what that gives.
    // MERGE: Registry { #[arg(long)] check: bool },
    /// Checks the walls between the parts of portreeve.
    Tidy,
}

fn main() -> ExitCode {
    let task = Task::parse();
    let done = Workspace::find().and_then(|workspace| match &task {
        Task::Run(args) => run::main(&workspace, args).map(|()| true),
        Task::Test(args) => test::main(&workspace, args),
        Task::Ebpf(args) => ebpf::main(&workspace, args).map(|()| true),
        Task::Vm(args) => vm::main(&workspace, args),
        // MERGE: Task::Registry { check } => registry::generate(&workspace.root, *check).map(|()| true),
        Task::Tidy => tidy::check(&workspace).map(|()| true),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
