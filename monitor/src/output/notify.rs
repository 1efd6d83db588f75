//! Receivers: who is told of alerts, each by a thread of its own, so that neither events nor other receivers wait for one.

pub mod client;
pub mod endpoint;
mod failure;
pub mod outbox;
#[cfg(test)]
mod servers;
pub mod worker;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};

use self::{
    client::Client,
    endpoint::Endpoint,
    outbox::{Accepted, Ended, Kept, Outbox, Outgoing, Style, Times},
    worker::{Deliver, Pauses, Postbox, Sent},
};
use super::{
    alertmanager::{self, Alertmanager},
    http::lock,
    journal::{self, Journal},
    metrics::Metrics,
    webhook::{self, Webhook},
};
use crate::{
    confinement::{self, Part},
    exit::ConfigError,
    identity::Clock,
    policy::{
        Severity,
        alerts::{Alert, AlertKey},
        notice::{Notice, Over},
    },
};

/// Name of the journal in metrics and in the log.
const JOURNAL: &str = "journal";

/// Who is to be told.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The Alertmanagers: each gets all.
    pub alertmanagers: Vec<Endpoint>,
    /// The webhooks.
    pub webhooks: Vec<Endpoint>,
    /// The socket of the journal.
    pub journal: Option<PathBuf>,
}

/// Who is told.
pub struct Receivers {
    all: Vec<Receiver>,
    metrics: Arc<Mutex<Metrics>>,
    /// This host's name.
    host: String,
    /// The URL of the agent's own page, where people can reach it.
    page: Option<String>,
}

/// One of those who are told, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Alertmanager(Endpoint),
    Webhook(Endpoint),
    Journal(PathBuf),
}

impl Target {
    fn name(&self) -> &str {
        match self {
            Self::Alertmanager(endpoint) | Self::Webhook(endpoint) => &endpoint.name,
            Self::Journal(_) => JOURNAL,
        }
    }
}

struct Receiver {
    target: Target,
    name: String,
    /// Whether what it accepts counts as delivered: what is written down here is not, as little as the log is.
    is_remote: bool,
    postbox: Arc<Postbox>,
    thread: JoinHandle<()>,
}

impl Wanted {
    /// What cannot be read of the files that they need, a sentence each: it may be another host that is to have them.
    pub fn unreadable(&self) -> Vec<String> {
        let endpoints = self.alertmanagers.iter().chain(&self.webhooks);
        let problems = endpoints.flat_map(|endpoint| {
            let wrong = [Client::new(endpoint.clone()).err(), endpoint.credentials.header().err()];
            wrong
                .into_iter()
                .flatten()
                .map(|problem| format!("{}: {problem}", endpoint.name))
        });
        problems.collect()
    }

    /// The names of all of them, as metrics have them.
    #[cfg(test)]
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.targets().map(|target| target.name().to_owned())
    }

    fn targets(&self) -> impl Iterator<Item = Target> {
        let alertmanagers = self.alertmanagers.iter().cloned().map(Target::Alertmanager);
        let webhooks = self.webhooks.iter().cloned().map(Target::Webhook);
        let journal = self.journal.iter().cloned().map(Target::Journal);
        alertmanagers.chain(webhooks).chain(journal)
    }

    /// Starts them. `host` is this host's name, and `page` the URL of the agent's own page, where people can reach it.
    ///
    /// # Errors
    /// Where a file that is needed cannot be read, or there is no thread to be had.
    pub fn start(&self, host: &str, page: Option<String>, metrics: &Arc<Mutex<Metrics>>) -> Result<Receivers> {
        let mut receivers = Receivers {
            all: Vec::new(),
            metrics: Arc::clone(metrics),
            host: host.to_owned(),
            page,
        };
        for target in self.targets() {
            let receiver = receivers.receiver(target)?;
            receivers.all.push(receiver);
        }
        Ok(receivers)
    }
}

fn client(endpoint: &Endpoint) -> Result<Client, ConfigError> {
    Client::new(endpoint.clone()).map_err(|error| ConfigError::from(format!("{}: {error}", endpoint.name)))
}

impl Receivers {
    fn receiver(&self, target: Target) -> Result<Receiver> {
        let receiver = match &target {
            Target::Alertmanager(endpoint) => {
                let deliver = Alertmanager::new(client(endpoint)?, self.page.clone());
                self.begin(target, true, alertmanager::STYLE, deliver)
            }
            Target::Webhook(endpoint) => {
                let deliver = Webhook::new(client(endpoint)?, self.host.clone());
                self.begin(target, true, webhook::STYLE, deliver)
            }
            Target::Journal(path) => {
                let deliver = Journal::new(path.clone());
                self.begin(target, false, journal::STYLE, deliver)
            }
        }?;
        lock(&self.metrics).receiver(&receiver.name);
        Ok(receiver)
    }

    fn begin(
        &self,
        target: Target,
        is_remote: bool,
        style: Style,
        deliver: impl Deliver + 'static,
    ) -> Result<Receiver> {
        let name = target.name().to_owned();
        let postbox = Arc::new(Postbox::new(Outbox::new(style)));
        let (at, who, metrics) = (Arc::clone(&postbox), name.clone(), Arc::clone(&self.metrics));
        let thread = thread::Builder::new()
            .name("notify".to_owned())
            .spawn(move || {
                confinement::give_up_files_too(Part::Receivers, []);
                worker::run(&who, &at, deliver, Pauses::USUAL, |sent, alerts| {
                    let result = match sent {
                        Sent::Ok => "ok",
                        Sent::Error => "error",
                    };
                    lock(&metrics).notified(&who, result, alerts);
                });
            })
            .with_context(|| format!("cannot start the thread that tells {name}"))?;
        Ok(Receiver {
            target,
            name,
            is_remote,
            postbox,
            thread,
        })
    }

    /// Starts those who are to be told from now on and are new. Who is told stays as it was until [`Receivers::commit`]. Those whose
    /// name is new are then told of what fires.
    ///
    /// # Errors
    /// Where a file that is needed cannot be read, or there is no thread to be had.
    pub fn exchange(&self, wanted: &Wanted) -> Result<Exchange> {
        let is_there = |target: &Target| self.all.iter().any(|receiver| receiver.target == *target);
        // Those that stay read their files for each message: what is wrong with one is better said now.
        for endpoint in wanted.alertmanagers.iter().chain(&wanted.webhooks) {
            client::check_authorities(endpoint)
                .map_err(|error| ConfigError::from(format!("{}: {error}", endpoint.name)))?;
        }
        let new: Vec<_> = wanted.targets().filter(|target| !is_there(target)).collect();
        let mut started = Vec::new();
        for target in new {
            match self.receiver(target) {
                Ok(receiver) => started.push(receiver),
                Err(error) => {
                    started.iter().for_each(|receiver| self.end_receiver(receiver));
                    return Err(error);
                }
            }
        }
        Ok(Exchange {
            started,
            wanted: wanted.targets().collect(),
        })
    }

    /// Has an exchange not happen.
    pub fn give_up(&self, exchange: &Exchange) {
        exchange.started.iter().for_each(|receiver| self.end_receiver(receiver));
    }

    /// Has an exchange happen: those who are new are told of what fires.
    pub fn commit<'a>(&mut self, exchange: Exchange, firing: impl Iterator<Item = &'a Alert>, clock: Clock) {
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.all)
            .into_iter()
            .partition(|receiver| exchange.wanted.contains(&receiver.target));
        self.all = kept;
        // To who has the same name at another URL, or with another password, the alerts are the same.
        for receiver in &exchange.started {
            if let Some(before) = gone.iter().find(|before| before.name == receiver.name) {
                let known = before.postbox.read(Outbox::hand_over);
                receiver.postbox.with(|outbox| *outbox = known);
            }
        }
        for alert in firing {
            let outgoing = outgoing(alert, clock);
            for receiver in &exchange.started {
                let (outgoing, keep) = (outgoing.clone(), alert.keep());
                receiver.postbox.with(|outbox| outbox.fire(outgoing, keep));
            }
        }
        self.all.extend(exchange.started);
        for receiver in &gone {
            self.end_receiver(receiver);
        }
    }

    /// Has a receiver end, and its series with it where no other one has the name.
    fn end_receiver(&self, receiver: &Receiver) {
        receiver.postbox.stop();
        if !self.all.iter().any(|other| other.name == receiver.name) {
            lock(&self.metrics).no_receiver(&receiver.name);
        }
    }

    /// Whether an alert counts as delivered once one of these accepted it, and not when it is written to the log.
    pub fn are_remote(&self) -> bool {
        self.all.iter().any(|receiver| receiver.is_remote)
    }

    /// An alert fires.
    pub fn fire(&self, alert: &Alert, clock: Clock) {
        let outgoing = outgoing(alert, clock);
        for receiver in &self.all {
            receiver
                .postbox
                .with(|outbox| outbox.fire(outgoing.clone(), alert.keep()));
        }
    }

    /// An alert is over.
    pub fn end(&self, alert: &Alert, why: Over, now: u64) {
        let ended = Ended { at: now, why };
        for receiver in &self.all {
            let is_kept = receiver
                .postbox
                .with(|outbox| outbox.end(&alert.key, alert.severity, ended));
            if !is_kept {
                lock(&self.metrics).notified(&receiver.name, "dropped", 1);
            }
        }
    }

    /// An alert is over at once: a worse one took its place, or nobody wants to know of it any more.
    pub fn supersede(&self, alert: &Alert, why: Over, now: u64) {
        let ended = Ended { at: now, why };
        for receiver in &self.all {
            receiver
                .postbox
                .with(|outbox| outbox.supersede(&alert.key, alert.severity, ended));
        }
    }

    /// More is known of an alert that fires.
    pub fn update(&self, key: &AlertKey, severity: Severity, notice: &Arc<Notice>) {
        for receiver in &self.all {
            receiver.postbox.read(|outbox| outbox.update(key, severity, notice));
        }
    }

    /// What was delivered since this was last asked: what is written down here is not. The lengths of the queues go to the
    /// metrics.
    pub fn look(&self, now: u64) -> Vec<Accepted> {
        let mut all = Vec::new();
        for receiver in &self.all {
            let (accepted, waiting) = receiver
                .postbox
                .read(|outbox| (outbox.take_accepted(), outbox.waiting(now)));
            lock(&self.metrics).notifications_wait(&receiver.name, waiting);
            all.extend(accepted.into_iter().filter(|_| receiver.is_remote));
        }
        all
    }

    /// What each of them accepted of an alert that fired then, by name; those that accepted nothing are left out.
    pub fn told(&self, alert: &Alert) -> Vec<(String, Times)> {
        let told = self.all.iter().filter_map(|receiver| {
            let times = receiver
                .postbox
                .read(|outbox| outbox.told(&alert.key, alert.severity, alert.fired));
            Some((receiver.name.clone(), times?))
        });
        told.collect()
    }

    /// The names of all of them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|receiver| receiver.name.as_str())
    }

    /// What each of them knows, by name, to be kept on disk.
    pub fn kept(&self) -> BTreeMap<String, Vec<Kept>> {
        let of = |receiver: &Receiver| receiver.postbox.read(|outbox| outbox.kept().collect());
        self.all
            .iter()
            .map(|receiver| (receiver.name.clone(), of(receiver)))
            .collect()
    }

    /// Takes over an alert of before. `known` says by name what receivers know of it: one that ended is told to nobody else.
    pub fn restore(
        &self,
        alert: &Outgoing,
        keep: Duration,
        ended: Option<Ended>,
        known: &BTreeMap<String, Known>,
        now: u64,
    ) {
        for receiver in &self.all {
            let of = known.get(&receiver.name);
            if ended.is_some() && of.is_none() {
                continue;
            }
            let kept = Kept {
                alert: alert.clone(),
                keep,
                accepted: of.and_then(|known| known.accepted),
                ended,
            };
            receiver.postbox.with(|outbox| outbox.restore(kept, now));
        }
    }

    /// A number that grows with each change of what is to be kept on disk.
    pub fn changes(&self) -> u64 {
        let changes = |receiver: &Receiver| receiver.postbox.read(|outbox| outbox.changes());
        self.all.iter().map(changes).sum()
    }

    /// Has each try what is due now, and end.
    pub fn stop(&self) {
        for receiver in &self.all {
            receiver.postbox.stop();
        }
    }

    /// Whether all threads have ended.
    pub fn have_ended(&self) -> bool {
        self.all.iter().all(|receiver| receiver.thread.is_finished())
    }
}

/// Receivers that are to take the place of others.
pub struct Exchange {
    started: Vec<Receiver>,
    wanted: Vec<Target>,
}

/// What a receiver knows of an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Known {
    /// When it accepted it as firing: nanoseconds since boot.
    pub accepted: Option<u64>,
}

/// An alert as receivers know it. Its time is read from the clock once, here, and is the same in whatever is sent of it.
pub fn outgoing(alert: &Alert, clock: Clock) -> Outgoing {
    Outgoing {
        key: AlertKey::clone(&alert.key),
        severity: alert.severity,
        notice: Arc::clone(&alert.notice),
        fired: alert.fired,
        starts_at: alertmanager::wall(clock, alert.fired),
    }
}

#[cfg(test)]
#[path = "notify/exchange_tests.rs"]
mod exchange_tests;
