//! Receivers: who is told of alerts, each by a thread of its own, so that neither events nor other receivers wait for one.

pub mod client;
pub mod endpoint;
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
    outbox::{Kept, Outbox, Outgoing, Style},
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
    exit::ConfigError,
    identity::Clock,
    policy::{
        Severity,
        alerts::{Alert, AlertKey},
        notice::Notice,
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
}

struct Receiver {
    name: String,
    /// Whether what it accepts counts as delivered: what is written down here is not, as little as the log is.
    is_remote: bool,
    postbox: Arc<Postbox>,
    thread: JoinHandle<()>,
}

impl Wanted {
    /// The names of all of them, as metrics have them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let remote = self.alertmanagers.iter().chain(&self.webhooks);
        let journal = self.journal.as_ref().map(|_| JOURNAL);
        remote.map(|endpoint| endpoint.name.as_str()).chain(journal)
    }

    /// Starts them. `host` is this host's name, and `page` the URL of the agent's own page.
    ///
    /// # Errors
    /// Where a file that is needed cannot be read, or there is no thread to be had.
    pub fn start(&self, host: &str, page: &str, metrics: &Arc<Mutex<Metrics>>) -> Result<Receivers> {
        let mut receivers = Receivers {
            all: Vec::new(),
            metrics: Arc::clone(metrics),
        };
        for endpoint in &self.alertmanagers {
            let deliver = Alertmanager::new(client(endpoint)?, page.to_owned());
            receivers.add(&endpoint.name, true, alertmanager::STYLE, deliver)?;
        }
        for endpoint in &self.webhooks {
            let deliver = Webhook::new(client(endpoint)?, host.to_owned());
            receivers.add(&endpoint.name, true, webhook::STYLE, deliver)?;
        }
        if let Some(path) = &self.journal {
            receivers.add(JOURNAL, false, journal::STYLE, Journal::new(path.clone()))?;
        }
        Ok(receivers)
    }
}

fn client(endpoint: &Endpoint) -> Result<Client, ConfigError> {
    Client::new(endpoint.clone()).map_err(|error| ConfigError::from(format!("{}: {error}", endpoint.name)))
}

impl Receivers {
    fn add(&mut self, name: &str, is_remote: bool, style: Style, deliver: impl Deliver + 'static) -> Result<()> {
        let postbox = Arc::new(Postbox::new(Outbox::new(style)));
        let (at, who, metrics) = (Arc::clone(&postbox), name.to_owned(), Arc::clone(&self.metrics));
        let thread = thread::Builder::new()
            .name("notify".to_owned())
            .spawn(move || {
                worker::run(&who, &at, deliver, Pauses::USUAL, |sent, alerts| {
                    let result = match sent {
                        Sent::Ok => "ok",
                        Sent::Error => "error",
                    };
                    lock(&metrics).notified(&who, result, alerts);
                });
            })
            .with_context(|| format!("cannot start the thread that tells {name}"))?;
        self.all.push(Receiver {
            name: name.to_owned(),
            is_remote,
            postbox,
            thread,
        });
        Ok(())
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
    pub fn end(&self, alert: &Alert, now: u64) {
        for receiver in &self.all {
            let is_kept = receiver
                .postbox
                .with(|outbox| outbox.end(&alert.key, alert.severity, now));
            if !is_kept {
                lock(&self.metrics).notified(&receiver.name, "dropped", 1);
            }
        }
    }

    /// A worse one took the place of an alert.
    pub fn supersede(&self, alert: &Alert, now: u64) {
        for receiver in &self.all {
            receiver
                .postbox
                .with(|outbox| outbox.supersede(&alert.key, alert.severity, now));
        }
    }

    /// More is known of an alert that fires.
    pub fn update(&self, key: &AlertKey, severity: Severity, notice: &Arc<Notice>) {
        for receiver in &self.all {
            receiver.postbox.read(|outbox| outbox.update(key, severity, notice));
        }
    }

    /// The alerts that were accepted since this was last asked, and when. The lengths of the queues go to the metrics.
    pub fn look(&self, now: u64) -> Vec<(AlertKey, Severity, u64)> {
        let mut all = Vec::new();
        for receiver in &self.all {
            let (accepted, waiting) = receiver
                .postbox
                .read(|outbox| (outbox.take_accepted(), outbox.waiting(now)));
            lock(&self.metrics).notifications_wait(&receiver.name, waiting);
            if receiver.is_remote {
                all.extend(accepted);
            }
        }
        all
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
        ended: Option<u64>,
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

/// What a receiver knows of an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Known {
    /// When it accepted it as firing: nanoseconds since boot.
    pub accepted: Option<u64>,
}

/// An alert as receivers know it. Its time is read from the clock once, here, and is the same in whatever is sent of it.
pub fn outgoing(alert: &Alert, clock: Clock) -> Outgoing {
    Outgoing {
        key: alert.key.clone(),
        severity: alert.severity,
        notice: Arc::clone(&alert.notice),
        starts_at: alertmanager::wall(clock, alert.fired),
    }
}
