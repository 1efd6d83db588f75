//! What the agent says of the listener and its alert.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    cli::list::agent::get,
    config::Listen,
    output::http::{ALERTS, LISTENERS},
    policy::Verdict,
};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks the agent.
pub(super) struct Agent {
    address: Listen,
    timeout: Duration,
}

/// The alert that is followed.
#[derive(Clone, Copy)]
pub(super) struct Which<'a> {
    /// The socket that set it off.
    pub(super) socket: u64,
    pub(super) port: u16,
    /// The rule; `None` where any will do.
    pub(super) rule: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Firing,
    Resolved,
}

/// The listener, as the agent has it.
pub(super) struct Listener {
    /// When the kernel side saw it: nanoseconds since the Unix epoch, as all times here.
    pub(super) time: i128,
    verdict: String,
}

impl Listener {
    /// Whether an alert can come of it. No rule takes what is not unexpected, so there is nothing to wait for.
    ///
    /// # Errors
    /// One sentence, where none can.
    pub(super) fn can_alert(&self, port: u16) -> Result<()> {
        let way_out = match self.verdict.as_str() {
            verdict if verdict == Verdict::Unruled.as_str() => "choose a --port that a rule is about",
            verdict if verdict == Verdict::Expected.as_str() => {
                "choose a --port that a rule is about and that no [[expect]] takes"
            }
            _ => return Ok(()),
        };
        bail!(
            "no alert: the agent saw {port}/tcp on 127.0.0.1 and finds it {}; {way_out}",
            self.verdict
        )
    }
}

/// An alert, as the agent has it.
pub(super) struct State {
    labels: BTreeMap<String, String>,
    pub(super) starts: i128,
    pub(super) ends: Option<i128>,
    receivers: Vec<Receiver>,
}

impl State {
    pub(super) fn label(&self, name: &str) -> String {
        self.labels.get(name).cloned().unwrap_or_default()
    }

    /// When a receiver accepted it, as that.
    pub(super) fn told(&self, name: &str, status: Status) -> Option<i128> {
        let receiver = self.receivers.iter().find(|receiver| receiver.name == name)?;
        let time = match status {
            Status::Firing => &receiver.firing,
            Status::Resolved => &receiver.resolved,
        };
        nanoseconds(time.as_deref()?)
    }
}

#[derive(Deserialize)]
pub(super) struct Alerts {
    pub(super) host: String,
    receivers: Vec<String>,
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    status: String,
    labels: BTreeMap<String, String>,
    listener: Subject,
    starts_at: String,
    ends_at: Option<String>,
    receivers: Vec<Receiver>,
}

#[derive(Deserialize)]
struct Subject {
    socket: u64,
}

#[derive(Deserialize)]
struct Receiver {
    name: String,
    firing: Option<String>,
    resolved: Option<String>,
}

#[derive(Deserialize)]
struct Listeners {
    listeners: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    socket: u64,
    time: String,
    verdict: String,
}

/// Whether there was no answer in time.
fn is_slow(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn nanoseconds(time: &str) -> Option<i128> {
    Some(time.parse::<Timestamp>().ok()?.as_nanosecond())
}

impl Agent {
    pub(super) fn new(address: Listen, timeout: Duration) -> Self {
        Self { address, timeout }
    }

    fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let address = &self.address;
        let end = Instant::now() + self.timeout;
        // One that has just started takes a moment.
        let answer = loop {
            match get(address, path) {
                Err(error) if is_slow(&error) && Instant::now() < end => {}
                answer => break answer,
            }
        };
        match answer {
            Ok(body) => match serde_json::from_slice(&body) {
                Ok(answer) => Ok(answer),
                Err(_) => {
                    bail!(
                        "what answers at {address} is no agent of this version, or one that shows this on loopback, over TLS or with a password alone"
                    )
                }
            },
            Err(error) => bail!(
                "no agent answers at {address}: {error}; start it with `portreeve run`, or say where with --agent"
            ),
        }
    }

    pub(super) fn alerts(&self) -> Result<Alerts> {
        self.ask(ALERTS)
    }

    /// The names of all receivers.
    pub(super) fn receivers(&self) -> Result<Vec<String>> {
        Ok(self.alerts()?.receivers)
    }

    /// Asks again and again; `None` where it did not come in time.
    fn wait_for<T>(&self, mut look: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        let end = Instant::now() + self.timeout;
        loop {
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            thread::sleep(PAUSE);
        }
    }

    /// Waits until the agent has the listener.
    pub(super) fn listener(&self, socket: u64) -> Result<Listener> {
        let found = self.wait_for(|| {
            let Listeners { listeners } = self.ask(LISTENERS)?;
            let found = listeners.into_iter().find(|listed| listed.socket == socket);
            Ok(found.and_then(|listed| {
                Some(Listener {
                    time: nanoseconds(&listed.time)?,
                    verdict: listed.verdict,
                })
            }))
        })?;
        match found {
            Some(listener) => Ok(listener),
            None => bail!(
                "the agent did not see the listener within {:?}: is it another host's or another namespace's? `portreeve doctor` \
                 says what is not seen here",
                self.timeout
            ),
        }
    }

    fn state(&self, which: Which<'_>, statuses: &[&str]) -> Result<Option<State>> {
        let alerts = self.alerts()?.alerts;
        let found = alerts.into_iter().rfind(|alert| {
            let is_rule = |rule| alert.labels.get("rule").is_some_and(|found| found == rule);
            alert.listener.socket == which.socket
                && which.rule.is_none_or(is_rule)
                && statuses.contains(&alert.status.as_str())
        });
        Ok(found.and_then(|alert| {
            Some(State {
                starts: nanoseconds(&alert.starts_at)?,
                ends: alert.ends_at.as_deref().and_then(nanoseconds),
                labels: alert.labels,
                receivers: alert.receivers,
            })
        }))
    }

    /// Waits until the alert of the socket is that.
    pub(super) fn alert(&self, which: Which<'_>, listener: &Listener, status: Status) -> Result<State> {
        let statuses: &[_] = match status {
            Status::Firing => &["firing", "resolved"],
            Status::Resolved => &["resolved"],
        };
        if let Some(state) = self.wait_for(|| self.state(which, statuses))? {
            return Ok(state);
        }
        let (timeout, port) = (self.timeout, which.port);
        if status == Status::Resolved {
            bail!("the alert still fires {timeout:?} after its listener closed: does another one listen on {port}?");
        }
        if self.state(which, &["pending"])?.is_some() {
            bail!(
                "the alert is still pending after {timeout:?}: its rule has a `for`, or fires too many; give a longer --timeout"
            );
        }
        bail!(
            "no alert: the agent saw {port}/tcp on 127.0.0.1 and finds it {}; choose a --port that a rule is about, and see that no \
             alert of this port fires already (`portreeve list`)",
            listener.verdict
        )
    }

    /// Waits until a receiver accepted the alert as that.
    pub(super) fn wait_for_receiver(&self, which: Which<'_>, name: &str, status: Status) -> Result<State> {
        let found = self.wait_for(|| {
            let state = self.state(which, &["firing", "resolved"])?;
            Ok(state.filter(|state| state.told(name, status).is_some()))
        })?;
        match found {
            Some(state) => Ok(state),
            None => bail!(
                "{name} did not take {} within {:?}: the agent's log says why",
                match status {
                    Status::Firing => "the alert",
                    Status::Resolved => "that it is over",
                },
                self.timeout
            ),
        }
    }
}
