//! `portreeve test-alert`: a listener of our own, followed from the hook to the receivers and to the end of its alert.

mod follow;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::fs::fstat;
use serde::Serialize;

use self::follow::{Agent, State, Status, Which};
use super::{
    list::agent::agent_address,
    print::{document, print},
    run::DEFAULT_ADDRESS,
};
use crate::{
    config::{Listen, duration},
    exit::UsageError,
    identity::{Clock, clock},
};

/// The flags of `test-alert`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Port to listen on, at 127.0.0.1: one that a rule is about
    #[arg(long, default_value = "1992", value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// How long to listen once all receivers know: longer than Alertmanager's group_wait, if a person is to be told
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = span)]
    hold: Duration,

    /// How long any step may take
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = span)]
    timeout: Duration,

    /// Where the agent answers
    #[arg(long, value_name = "ADDRESS", default_value_t = Listen::Tcp(DEFAULT_ADDRESS), value_parser = agent_address)]
    agent: Listen,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

fn span(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "write a duration such as 30s or 1m".to_owned())
}

/// What was followed.
#[derive(Serialize)]
struct Followed<'a> {
    host: &'a str,
    port: u16,
    rule: &'a str,
    severity: &'a str,
    steps: &'a [Step],
}

/// One step, and how long after the listener opened, or closed, it was done.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Step {
    /// `hook`, `rule`, `receiver`, `resolved` or `receiver_resolved`.
    step: &'static str,
    receiver: Option<String>,
    milliseconds: f64,
}

impl Step {
    fn new(step: &'static str, receiver: Option<&str>, from: i128, to: i128) -> Self {
        Self {
            step,
            receiver: receiver.map(str::to_owned),
            // The two clocks are one, read at different times: what happened at once may seem to have come first.
            milliseconds: ((to - from).max(0) as f64 / 1e6 * 1e3).round() / 1e3,
        }
    }

    fn text(&self, about: &str) -> String {
        let word = self.step.trim_end_matches("_resolved");
        format!("  {word:<9} {:>9.3} ms  {about}\n", self.milliseconds)
    }
}

/// Nanoseconds since the Unix epoch, by the clock that the agent has.
fn now() -> i128 {
    Clock::read().wall(clock::boot_now())
}

/// Opens the listener, follows it, closes it, and follows that.
///
/// # Errors
/// Where there is no agent, the port is taken, or a step does not come.
pub fn run(args: &Args) -> Result<ExitCode> {
    let agent = Agent::new(args.agent.clone(), args.timeout);
    // Before anything listens: without an agent nobody would see it.
    agent.alerts()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let opened = now();
    let listener = TcpListener::bind(address).map_err(|error| {
        UsageError(format!(
            "--port: cannot listen on {address}: {error}; choose another port that a rule is about"
        ))
    })?;
    let socket = fstat(&listener).context("cannot tell the socket from others")?.st_ino;
    let mut steps = Vec::new();
    let told = |steps: &mut Vec<Step>, step: Step, about: &str| -> Result<()> {
        let text = step.text(about);
        steps.push(step);
        if args.json { Ok(()) } else { print(&text) }
    };
    if !args.json {
        print(&format!("{address} listens, process {}\n", std::process::id()))?;
    }

    let hook = agent.listener(socket)?;
    told(
        &mut steps,
        Step::new("hook", None, opened, hook.time),
        "the kernel side saw it",
    )?;
    hook.can_alert(args.port)?;
    let any = Which {
        socket,
        port: args.port,
        rule: None,
    };
    let mut firing = agent.alert(any, &hook, Status::Firing)?;
    let (rule, severity) = (firing.label("rule"), firing.label("severity"));
    let which = Which {
        rule: Some(&rule),
        ..any
    };
    let about = format!("{rule} ({severity}) fires");
    told(&mut steps, Step::new("rule", None, opened, firing.starts), &about)?;
    let receivers = agent.receivers()?;
    for name in &receivers {
        firing = agent.wait_for_receiver(which, name, Status::Firing)?;
        let at = firing.told(name, Status::Firing).unwrap_or(opened);
        told(
            &mut steps,
            Step::new("receiver", Some(name), opened, at),
            &format!("{name} took it"),
        )?;
    }
    if receivers.is_empty() && !args.json {
        print("  no receiver is configured: the log and the event stream tell it\n")?;
    }
    std::thread::sleep(args.hold);

    drop(listener);
    let closed = now();
    if !args.json {
        print("closed\n")?;
    }
    let State { ends, .. } = agent.alert(which, &hook, Status::Resolved)?;
    told(
        &mut steps,
        Step::new("resolved", None, closed, ends.unwrap_or(closed)),
        &format!("{rule} is over"),
    )?;
    for name in &receivers {
        let state = agent.wait_for_receiver(which, name, Status::Resolved)?;
        let at = state.told(name, Status::Resolved).unwrap_or(closed);
        let about = format!("{name} took that it is over");
        told(
            &mut steps,
            Step::new("receiver_resolved", Some(name), closed, at),
            &about,
        )?;
    }
    if args.json {
        let followed = Followed {
            host: &agent.alerts()?.host,
            port: args.port,
            rule: &rule,
            severity: &severity,
            steps: &steps,
        };
        print(&document(&followed)?)?;
    } else {
        print("ok\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
