//! All ways in turns, so that each meets the same machine as the others.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::agent::Agent;
use super::crowd::Standing;
use super::{Command as Asked, Crowd, FIRST_PORT, LOOK, Plan, Said};
use crate::lines::write;
use crate::tool::{last_words, shown};

/// How long an agent that is armed is left alone: it gives memory back once it is quiet.
const SETTLED: Duration = Duration::from_secs(5);

/// What a program may write before it is ended.
const OUTPUT: u64 = 256 << 20;

/// Does what a plan says, and writes what comes of it as JSON lines. A way that cannot be taken is one that is refused.
///
/// # Errors
/// Where a crowd cannot be made, or a line cannot be written.
pub fn run(plan: &Plan, folder: &Path, to: &mut impl Write) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program")?;
    for (index, crowd) in plan.crowds.iter().enumerate() {
        let start = Instant::now();
        let standing = Standing::gather(crowd, &program)?;
        let took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        write(&Said::Up { crowd: index, took_ms }, to)?;
        beside(plan, (index, crowd), folder, to)?;
        drop(standing);
    }
    Ok(())
}

/// A way to learn what listens.
#[derive(Clone, Copy, Debug)]
enum Way<'a> {
    Look(&'a Agent),
    Command(&'a Asked),
}

impl Way<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Look(_) => LOOK,
            Self::Command(command) => &command.name,
        }
    }

    /// What it took, and how many of the crowd's listeners it told.
    fn take(&self, crowd: &Crowd, folder: &Path) -> Result<(Duration, Option<u16>)> {
        match self {
            Self::Look(agent) => {
                let look = agent.look()?;
                let known = look.listeners.map(|known| u16::try_from(known).unwrap_or(u16::MAX));
                Ok((look.took, known.map(|known| known.min(crowd.listeners))))
            }
            Self::Command(command) => {
                let (took, output) = whole(&command.words, folder)?;
                Ok((took, Some(told(&output, &command.before_port, crowd.listeners))))
            }
        }
    }
}

/// Everything that is measured beside one crowd.
fn beside(plan: &Plan, (index, crowd): (usize, &Crowd), folder: &Path, to: &mut impl Write) -> Result<()> {
    let refused = |way: &str, error: &anyhow::Error| Said::Refused {
        crowd: index,
        way: way.to_owned(),
        why: format!("{error:#}"),
    };
    let agent = Agent::start(&plan.agent, folder).and_then(|agent| {
        thread::sleep(SETTLED);
        agent.pause()?;
        Ok(agent)
    });
    if let Err(error) = &agent {
        write(&refused(LOOK, error), to)?;
    }
    let agent = agent.ok();
    let look = agent.as_ref().map(Way::Look);
    let mut ways: Vec<Way<'_>> = look.into_iter().chain(plan.commands.iter().map(Way::Command)).collect();
    for round in 0..plan.rounds {
        let mut left = Vec::with_capacity(ways.len());
        for way in &ways {
            match way.take(crowd, folder) {
                Ok((took, listeners)) => {
                    let took = Said::Took {
                        crowd: index,
                        round,
                        way: way.name().to_owned(),
                        nanoseconds: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
                        listeners,
                    };
                    write(&took, to)?;
                    left.push(*way);
                }
                Err(error) => write(&refused(way.name(), &error), to)?,
            }
        }
        // Back and forth, so that a machine that slowly becomes busier favours nobody.
        left.reverse();
        ways = left;
    }
    if let Some(agent) = &agent {
        match agent.memory() {
            Ok((resident, most_resident)) => write(
                &Said::Agent {
                    crowd: index,
                    backend: agent.backend.clone(),
                    known: agent.known,
                    resident,
                    most_resident,
                },
                to,
            )?,
            Err(error) => write(&refused(LOOK, &error), to)?,
        }
    }
    Ok(())
}

/// The time of a process from before its spawn until its output was read and it had ended, and that output.
fn whole(words: &[String], folder: &Path) -> Result<(Duration, String)> {
    let (program, arguments) = words.split_first().context("a command without a program")?;
    let stderr = folder.join("stderr");
    let file = File::create(&stderr).with_context(|| format!("cannot write {}", stderr.display()))?;
    let mut output = Vec::with_capacity(1 << 20);
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file);
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let read = child
        .stdout
        .take()
        .map(|stdout| stdout.take(OUTPUT).read_to_end(&mut output));
    let status = child.wait().with_context(|| format!("cannot wait for {program}"))?;
    let took = start.elapsed();
    read.context("a command without a pipe")?
        .with_context(|| format!("cannot read what {program} writes"))?;
    if !status.success() {
        let words = last_words(&stderr).unwrap_or_else(|| "it said nothing".to_owned());
        bail!("it ended with {}: {words}", shown(status));
    }
    Ok((took, String::from_utf8_lossy(&output).into_owned()))
}

/// How many of a crowd's ports stand in an output, each counted once, right after what stands before ports there.
fn told(output: &str, before_port: &str, listeners: u16) -> u16 {
    let crowds = FIRST_PORT..FIRST_PORT.saturating_add(listeners);
    let after = output.split(before_port).skip(1);
    let ports: BTreeSet<u16> = after
        .filter_map(|rest| {
            let rest = rest.trim_start();
            let end = rest
                .find(|character: char| !character.is_ascii_digit())
                .unwrap_or(rest.len());
            rest.get(..end)?.parse().ok()
        })
        .filter(|port| crowds.contains(port))
        .collect();
    u16::try_from(ports.len()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{told, whole};

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[test]
    fn each_port_of_the_crowd_counts_once_and_no_other() {
        let ss = "tcp LISTEN 0 128 127.77.0.2:20000 0.0.0.0:*\ntcp LISTEN 0 128 127.77.0.2:20000 0.0.0.0:*\n\
                  tcp LISTEN 0 128 127.77.0.2:20003 0.0.0.0:*\ntcp LISTEN 0 128 127.77.0.2:200011 0.0.0.0:*\n";
        assert_eq!(told(ss, "127.77.0.2:", 3), 1);
        assert_eq!(told(ss, "127.77.0.2:", 4), 2);
        let json = "{\"port\": 20001, \"pid\": 20000}, {\"port\":20002}";
        assert_eq!(told(json, "\"port\":", 3), 2);
        assert_eq!(told("", "\"port\":", 3), 0);
    }

    #[test]
    fn a_program_is_timed_until_it_ends_and_one_that_fails_says_why() {
        let folder = std::env::temp_dir().join(format!("workload-whole-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (took, output) = whole(&shell("echo heard; exec sleep 0.05"), &folder).unwrap();
        assert!(took >= Duration::from_millis(50), "{took:?}");
        assert_eq!(output, "heard\n");
        let error = whole(&shell("echo no such subcommand >&2; exit 2"), &folder).unwrap_err();
        assert_eq!(error.to_string(), "it ended with status 2: no such subcommand");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
