//! `cargo xtask fuzz`: the fuzz targets of monitor/fuzz, with libFuzzer, from the committed corpus on.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::command::run;
use crate::setup::cargo_tools::FUZZ;
use crate::workspace::Workspace;

/// Fuzzes the decoder of the kernel side's records.
#[derive(Args, Debug)]
pub(crate) struct FuzzArgs {
    /// What to fuzz: a file in monitor/fuzz/fuzz_targets.
    #[arg(default_value = "decode")]
    target: String,
    /// How long.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u32,
    /// Keep of the corpus the smallest part that reaches as much, instead of fuzzing.
    #[arg(long)]
    minimise: bool,
}

/// Runs `cargo xtask fuzz`.
///
/// # Errors
/// Where the tool or the target cannot be built, or an input makes the target fail.
pub(crate) fn main(workspace: &Workspace, args: &FuzzArgs) -> Result<()> {
    let cargo_fuzz = FUZZ.ensure(workspace)?;
    let mut command = Command::new(cargo_fuzz);
    command
        .arg("fuzz")
        .arg(if args.minimise { "cmin" } else { "run" })
        .args(["--fuzz-dir", "monitor/fuzz"])
        // What is fuzzed has no unsafe code, and the sanitizers ask for a nightly compiler.
        .args(["--sanitizer", "none"])
        .arg("--target-dir")
        .arg(workspace.target.join("fuzz"))
        .arg(&args.target)
        .current_dir(&workspace.root)
        .env_remove("RUSTFLAGS");
    if !args.minimise {
        // As long as the longest record and a little more.
        command
            .args(["--", "-max_len=1024"])
            .arg(format!("-max_total_time={}", args.seconds));
    }
    run(&mut command)
}
