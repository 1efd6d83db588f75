//! The scenarios there are, and how one is played.

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{accept, bind, connect, listen, process, sock, space, udp, uring};

/// A scenario: its name, the numbers of the traps that it walks into, and how it is played.
pub type Scenario = (&'static str, &'static [u32], fn() -> Result<()>);

/// What a scenario ends with where this kernel cannot play it.
#[derive(Debug)]
pub struct Unavailable(pub String);

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

/// Says the name of each scenario, with the numbers of its traps.
pub fn list() {
    for (name, traps, _) in scenarios() {
        sock::say(&json!({"name": name, "traps": traps}));
    }
}

/// Plays one by its name.
pub fn play(name: &str) -> Result<()> {
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

/// The part of a scenario that another program plays.
pub fn part(name: &str, arguments: &[&str]) -> Result<()> {
    match (name, arguments) {
        ("inherited", [descriptor]) => process::inherited(descriptor),
        ("listen", [port]) => process::listen_once(port),
        ("bind", [port]) => bind::refused_for_want_of_privilege(port),
        _ => bail!("there is no part {name}"),
    }
}
