//! `portreeve completions`: what a shell needs to complete portreeve's command line.

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::{Cli, print::print};

/// The flags of `completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    print(&script(args.shell)).map(|()| ExitCode::SUCCESS)
}

/// The script for a shell. It goes through memory: what writes it panics where stdout is closed.
fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "portreeve", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Write},
        process::{Command, Stdio},
    };

    use clap::ValueEnum;

    use super::*;

    /// Each reads a script from stdin and runs nothing of it.
    const READERS: [(Shell, &[&str]); 3] = [
        (Shell::Bash, &["bash", "-n"]),
        (Shell::Zsh, &["zsh", "-n"]),
        (Shell::Fish, &["fish", "--no-execute"]),
    ];

    #[test]
    fn each_script_names_each_command_and_a_flag_with_a_dot() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
            assert!(script.contains("config.file"), "{shell}");
        }
    }

    #[test]
    fn each_shell_that_is_here_can_read_its_script() {
        for (shell, reader) in READERS {
            let mut command = Command::new(reader[0]);
            command.args(&reader[1..]).stdin(Stdio::piped()).stderr(Stdio::piped());
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    eprintln!("not run: no {shell} here");
                    continue;
                }
                Err(error) => panic!("{shell}: {error}"),
            };
            // It is dropped, so that the shell sees its end.
            child.stdin.take().unwrap().write_all(script(shell).as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{shell}: {said}");
        }
    }
}
