//! Plays each situation that portreeve must get right, and says what it did: one JSON line for each event that a perfect
//! monitor reports, with the keys of the agent's own lines. A key that is absent is one that the program does not know.
//!
//! `scenarios list` names them; `scenarios play NAME` plays one. A scenario that this kernel cannot play says so in one line.

mod accept;
mod bind;
mod connect;
mod listen;
mod netlink;
mod play;
mod process;
mod raw;
mod sock;
mod space;
mod udp;
mod uring;

use std::process::ExitCode;

use play::{Scenario, Unavailable};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["list"] => {
            play::list();
            Ok(())
        }
        ["play", name] => play::play(name),
        // What a scenario starts as another program.
        ["part", name, rest @ ..] => play::part(name, rest),
        _ => {
            eprintln!("usage: scenarios list | scenarios play NAME");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
