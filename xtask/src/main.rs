//! `cargo xtask`: everything that builds, checks and tests portreeve, with its own set-up.

#[path = "../../monitor/bpf/lock.rs"]
mod lock;

mod bench;
mod command;
mod console;
mod deploy;
mod dist;
mod ebpf;
mod fuzz;
mod image;
mod kubernetes;
mod metrics;
mod payload;
mod protos;
mod registry;
mod report;
mod run;
mod setup;
mod sources;
mod task;
mod test;
mod test_output;
mod tidy;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let task = task::Task::parse();
    match workspace::Workspace::find().and_then(|workspace| task.perform(&workspace)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
