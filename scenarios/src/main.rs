//! Plays each situation that portreeve must get right, and says what it did: one JSON line for each event that a perfect
//! monitor reports, with the keys of the agent's own lines. A key that is absent is one that the program does not know.
//!
//! `scenarios list` names them; `scenarios play NAME` plays one. A scenario that this kernel cannot play says so in one line.

mod accept;
mod bind;
mod connect;
mod listen;
mod process;
mod raw;
mod sock;
mod space;
mod udp;
mod uring;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::json;

/// A scenario: its name, the numbers of the traps that it walks into, and how it is played.
type Scenario = (&'static str, &'static [u32], fn() -> Result<()>);

/// What a scenario ends with where this kernel cannot play it.
#[derive(Debug)]
struct Unavailable(String);

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    [
        listen::ALL,
        process::ALL,
        space::ALL,
        bind::ALL,
        udp::ALL,
        connect::ALL,
        accept::ALL,
        uring::ALL,
    ]
    .into_iter()
    .flatten()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["list"] => {
            for (name, traps, _) in scenarios() {
                sock::say(&json!({"name": name, "traps": traps}));
            }
            Ok(())
        }
        ["play", name] => play(name),
        // What a scenario starts as another program.
        ["part", name, rest @ ..] => part(name, rest),
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

fn play(name: &str) -> Result<()> {
    let found = scenarios().find(|(known, ..)| *known == name);
    let (_, _, scenario) =
        found.with_context(|| format!("there is no scenario {name}; `scenarios list` names them"))?;
    match scenario() {
        Ok(()) => {}
        Err(error) => match error.downcast_ref::<Unavailable>() {
            Some(reason) => sock::say(&json!({"did": "unavailable", "reason": reason.to_string()})),
            None => return Err(error.context(format!("the scenario {name} went wrong"))),
        },
    }
    sock::say(&json!({"did": "end"}));
    Ok(())
}

fn part(name: &str, arguments: &[&str]) -> Result<()> {
    match (name, arguments) {
        ("inherited", [descriptor]) => process::inherited(descriptor),
        ("listen", [port]) => process::listen_once(port),
        ("bind", [port]) => bind::refused_for_want_of_privilege(port),
        _ => bail!("there is no part {name}"),
    }
}
