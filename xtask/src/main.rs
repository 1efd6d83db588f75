//! `cargo xtask registry [--check]`.

mod registry;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let check = std::env::args().any(|argument| argument == "--check");
    if let Err(error) = registry::generate(root, check) {
        eprintln!("xtask: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
