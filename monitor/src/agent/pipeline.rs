//! The stages in a row: decode, confirm, inventory, identity, registry, policy, outputs.

mod alerting;
mod answers;
mod history;
mod looks;
mod outputs;
mod reconfigure;
mod selftest;

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result};

use super::{
    decode, host_netns,
    processes::Processes,
    seconds,
    selftest::SelfTest,
    state::{State, Stored},
};
use crate::{
    config::Settings,
    event::{Event, Kind, Outcome, Protocol, Source},
    history::{End, Recorder},
    identity::{Clock, Identity, clock},
    inventory::{
        Change, Inventory, Listener,
        pending::{Look, Pending},
        reconcile::Reconcile,
    },
    kernel::{BoundUdp, CountersReader, HookMisses, HookTimes, RawRecord},
    output::{
        Origin, Report,
        events::Lines,
        http::lock,
        metrics::{ListenerSeries, Metrics},
        notices::Labels,
        notify::Receivers,
        recent::Recent,
        report::process_label,
        writer::Writer,
    },
    policy::{
        Facts, Policy,
        alerts::{Alert, Alerts, Held},
    },
    registry::{Registrations, Registry, name_matches},
    snapshot::{Answer, Confirmer, Query},
};

/// How often the clock is read again: ticks of the caller, which come once a second.
const CLOCK_TICKS: u64 = 60;

/// What is kept with a listener.
#[derive(Clone, Debug)]
struct Known {
    report: Report,
    series: Option<Arc<ListenerSeries>>,
}

pub(super) struct Pipeline {
    registry: Arc<Registry>,
    policy: Policy,
    metrics: Arc<Mutex<Metrics>>,
    counters: CountersReader,
    bound_udp: BoundUdp,
    misses: HookMisses,
    /// Where the kernel's statistics are asked for.
    times: Option<HookTimes>,
    lines: Lines,
    writer: Option<Writer>,
    /// What was told, for readers of the API.
    recent: Arc<Recent>,
    clock: Clock,
    ticks: u64,
    /// Records that came so far.
    events: u64,
    /// Labels of all alerts.
    ours: Labels,
    host_netns: Option<u32>,
    /// The agent's own process id, as the kernel side sees it.
    own: u32,
    /// The file that it executes, as the kernel side sees it: device and inode.
    program: Option<(u32, u64)>,
    processes: Processes,
    pending: Pending,
    confirmer: Confirmer,
    inventory: Inventory<Known>,
    alerts: Alerts,
    receivers: Receivers,
    /// The alerts that ended last, the newest at the end, and when: nanoseconds since boot.
    ended: VecDeque<(Alert, u64)>,
    /// Alerts that were held back since that was last said, by rule.
    held_back: BTreeMap<String, Held>,
    /// What was said of them since an alert of the rule fired.
    held_unsaid: BTreeMap<String, String>,
    /// Alerts of another boot, whose ends receivers are still to be told.
    before: Vec<Stored>,
    state: State,
    history: Recorder,
    /// The file that it is in; `None` where none is kept.
    history_file: Option<PathBuf>,
    /// The id of this boot.
    boot: String,
    /// When the agent started: nanoseconds since boot.
    started: u64,
    selftest: SelfTest,
    reconcile: Reconcile,
    /// Whether the end of a UDP socket is seen as it comes.
    sees_udp: bool,
    /// Namespaces that the last look could not look into.
    unseen_namespaces: Vec<String>,
    /// Ticks between two looks.
    look_every: u64,
    /// When the first look was merged: nanoseconds since boot.
    first_look: Option<u64>,
    /// What was lost since the last tick, by edge.
    losses: BTreeMap<&'static str, u64>,
}

impl Pipeline {
    pub(super) fn new(
        settings: &Settings,
        registry: Arc<Registry>,
        metrics: Arc<Mutex<Metrics>>,
        recent: Arc<Recent>,
        (counters, bound_udp): (CountersReader, BoundUdp),
        writer: Option<Writer>,
        receivers: Receivers,
    ) -> Result<Self> {
        let boot =
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot tell this boot from others")?;
        let boot = boot.trim().to_owned();
        let history = Recorder::start(&settings.history, boot.clone());
        let history_file = history.is_kept().then(|| settings.history.path.clone());
        let state = State::new(&settings.state, settings.state_asked, boot.clone());
        Ok(Self {
            registry,
            policy: settings.policy.clone(),
            metrics,
            counters,
            bound_udp,
            misses: HookMisses::default(),
            times: None,
            lines: Lines::new(settings.instance.clone(), recent.run().to_owned()),
            writer,
            recent,
            clock: Clock::read(),
            ticks: 0,
            events: 0,
            ours: Labels {
                instance: settings.instance.clone(),
                extra: settings.labels.clone(),
            },
            host_netns: host_netns(&settings.paths.procfs),
            own: std::process::id(),
            program: None,
            processes: Processes::new(Identity::new(&settings.paths).with_privacy(settings.privacy)),
            pending: Pending::default(),
            confirmer: Confirmer::new(&settings.paths),
            inventory: Inventory::default(),
            alerts: Alerts::default(),
            receivers,
            ended: VecDeque::new(),
            held_back: BTreeMap::new(),
            held_unsaid: BTreeMap::new(),
            before: Vec::new(),
            state,
            history,
            history_file,
            boot,
            started: clock::boot_now(),
            selftest: SelfTest::default(),
            reconcile: Reconcile::default(),
            sees_udp: false,
            unseen_namespaces: Vec::new(),
            look_every: settings.reconcile.as_secs().max(1),
            first_look: None,
            losses: BTreeMap::new(),
        })
    }

    /// Takes what tells which runs the kernel left out and what the hooks cost, and whether the ends of UDP sockets are seen.
    pub(super) fn armed(&mut self, misses: HookMisses, times: Option<HookTimes>, sees_udp: bool) {
        self.misses = misses;
        self.times = times;
        self.sees_udp = sees_udp;
        // Not before: an agent that cannot start must not speak for one that could.
        self.restore_alerts();
    }

    /// Takes records of the ring, and looks for what they leave open.
    pub(super) fn take(&mut self, records: &mut Vec<RawRecord>) {
        for record in records.drain(..) {
            self.events += 1;
            self.record(&record);
        }
        self.look();
    }

    fn record(&mut self, record: &RawRecord) {
        let Some(event) = decode(record.bytes()) else {
            self.lose("decode", 1);
            return;
        };
        match (event.kind, event.outcome) {
            (Kind::Listen, Outcome::Unconfirmed) => {
                let pushed = self.pending.hold(event, clock::boot_now());
                if let Some(event) = pushed {
                    self.lose("pending", 1);
                    self.settled(event);
                }
            }
            (Kind::Unlisten, _) => {
                if let Some(listen) = self.pending.ended(&event) {
                    let failed = matches!(listen.outcome, Outcome::Failed(_));
                    self.settled(listen);
                    if failed {
                        // It never listened, so nothing ended.
                        return;
                    }
                }
                self.settled(event);
            }
            _ => self.settled(event),
        }
    }

    /// Gives back room that a burst of events took.
    pub(super) fn shrink(&mut self) {
        self.inventory.shrink();
        self.pending.shrink();
        self.alerts.shrink();
    }

    /// How many records came so far.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// When [`Pipeline::look`] has something to do next.
    pub(super) fn next_look(&self) -> Option<u64> {
        self.pending.next_look()
    }

    /// Looks for the listens that wait for their result.
    pub(super) fn look(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let due: Vec<_> = self
            .pending
            .due(clock::boot_now())
            .map(|event| {
                let query = Query {
                    netns: event.socket.netns,
                    inode: event.socket.inode,
                    tid: event.opener.tid,
                    port: event.socket.port,
                };
                (event.socket.key, query)
            })
            .collect();
        if due.is_empty() {
            return;
        }
        let queries: Vec<_> = due.iter().map(|(_, query)| *query).collect();
        let answers = self.confirmer.look(&queries);
        let now = clock::boot_now();
        for ((key, _), answer) in due.into_iter().zip(answers) {
            let look = match answer {
                Answer::Listening(socket) => Look::Listening {
                    port: socket.port,
                    cookie: socket.cookie.unwrap_or(0),
                },
                Answer::NotListening => Look::NotListening,
                Answer::Unknown(reason) => {
                    ::log::debug!("cannot confirm a listen: {reason}");
                    Look::Unseen
                }
            };
            if let Some(event) = self.pending.looked(key, look, now) {
                self.settled(event);
            }
        }
    }

    /// Takes an event whose outcome is as known as it will be.
    fn settled(&mut self, event: Event) {
        if event.kind == Kind::Unlisten {
            self.reconcile.saw_end(&event);
        }
        if self.is_selftest(&event) {
            return;
        }
        lock(&self.metrics).arrived(event.kind);
        match self.inventory.apply(event) {
            Change::Opened { event, replaced } => {
                self.replaced(replaced, event.time);
                self.opened(*event);
            }
            // A look was ahead of the event.
            Change::Known(_) => {}
            Change::Failed(event) | Change::Happened(event) => {
                let report = self.describe(&event);
                lock(&self.metrics).happened(&event, &report);
                self.tell(&event, &report);
                // A listen that failed is over, and left nothing that an alert could be about.
                if report.findings.iter().any(|finding| finding.span) {
                    self.alert(&event, &report);
                }
            }
            Change::Closed {
                event,
                listener,
                replaced,
            } => {
                self.replaced(replaced, event.time);
                match listener {
                    Some(listener) => self.closed(*event, *listener),
                    None => self.closed_unknown(*event),
                }
            }
            Change::Ignored(kind) => ::log::debug!("an event of the kind {kind:?} is left alone"),
        }
    }

    /// A listener that was told ended.
    fn closed(&mut self, event: Event, listener: Listener<Known>) {
        self.forget(&listener);
        self.remember_end(&listener, event.time, End::Seen);
        // What was confirmed of the listen holds for its end: the port of an automatic one, the cookie.
        let socket = listener.opened.socket;
        let report = Report {
            origin: Origin::Event,
            ..listener.known.report
        };
        self.tell(&Event { socket, ..event }, &report);
    }

    /// One ended whose begin was not told, or found the inventory full.
    fn closed_unknown(&mut self, end: Event) {
        let full = self.inventory.is_full();
        if end.late && !full {
            // It counts, and it ended before the look that would have found it.
            self.settled(begin_of(&end));
        } else {
            let report = self.describe(&end);
            // Of a begin that was lost what no rule speaks of is told by its end alone: a burst that loses records is no time to tell
            // more.
            if full || end.had_listened() == Some(false) || report.findings.is_empty() {
                // An alert may have seen it all the same.
                self.alerts.closed(end.socket.key);
                self.tell(&end, &report);
                return;
            }
            self.opened(Event {
                source: Source::End,
                outcome: end.had_listened().map_or(Outcome::Unconfirmed, |_| Outcome::Succeeded),
                ..begin_of(&end)
            });
        }
        if let Some(listener) = self.inventory.take(&end.socket) {
            self.closed(end, listener);
        }
    }

    fn opened(&mut self, event: Event) {
        let report = Report {
            origin: self.origin_of(&event),
            ..self.describe(&event)
        };
        // One that finds the inventory full is told, but its end could not be matched: so no gauge may count it.
        let full = self.inventory.is_full();
        let series = {
            let mut metrics = lock(&self.metrics);
            if !event.is_found() {
                metrics.happened(&event, &report);
            }
            let opened = seconds(self.clock, event.time);
            if full {
                None
            } else {
                metrics.opened(&event, &report, &self.registry, opened)
            }
        };
        // Whoever reads the line may look at the metrics next: they are ahead of it.
        self.tell(&event, &report);
        self.remember(&event, &report);
        self.alert(&event, &report);
        if full {
            self.lose("inventory", 1);
        } else {
            self.inventory.keep(Listener::new(event, Known { report, series }));
        }
    }

    /// Takes a listener out of metrics and alerts.
    fn forget(&mut self, listener: &Listener<Known>) {
        lock(&self.metrics).closed(&listener.opened, listener.known.series.as_deref());
        self.alerts.closed(listener.opened.socket.key);
    }

    /// Identity, registry and policy.
    fn describe(&mut self, event: &Event) -> Report {
        let process = if event.opener.is_known() {
            self.processes.of(&event.opener, event.cgroup, clock::boot_now())
        } else {
            Arc::default()
        };
        let is_listener = matches!(event.kind, Kind::Listen | Kind::Unlisten) || event.opens_listener();
        let registrations = Registrations::new(&self.registry, event.socket.protocol.into(), event.subject().port);
        let host_netns = self.host_netns == Some(event.socket.netns);
        let socket_unit = is_listener
            .then(|| self.processes.socket_unit(event, &process))
            .flatten();
        let facts = Facts::of_event(event, &process, socket_unit.as_ref(), host_netns);
        let judged = self.policy.judge(&facts, event.opener.tgid == self.own);
        let label = process_label(event, &process);
        let name_matches = (is_listener && event.opener.is_known())
            .then(|| name_matches(registrations.iter(), &label))
            .flatten();
        Report {
            process,
            socket_unit,
            registrations,
            name_matches,
            verdict: judged.verdict,
            findings: judged.findings,
            label,
            host_netns,
            origin: Origin::Event,
        }
    }

    /// Once a second: alerts that are over, and what was lost meanwhile. `overflowed` records found the queue full.
    pub(super) fn tick(&mut self, overflowed: u64) {
        if overflowed > 0 {
            self.lose("queue", overflowed);
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(CLOCK_TICKS) {
            self.clock = Clock::read();
        }
        if self.ticks.is_multiple_of(self.look_every) {
            self.reconcile.regular();
        }
        let now = clock::boot_now();
        lock(&self.metrics).tick(now / 1_000_000_000, &self.registry);
        self.tick_alerts(now);
        self.count_history();
        self.count_losses(now);
        self.bound_for_long(now);
    }

    /// Gives up the history, so that it can finish. Nothing is put into it from then on.
    pub(super) fn part_with_history(&mut self) -> Recorder {
        std::mem::take(&mut self.history)
    }

    /// Writes down which alerts fire, and gives up what writes, so that it can finish.
    pub(super) fn finish(mut self) -> Option<Writer> {
        self.note_accepted(clock::boot_now());
        self.keep_alerts();
        self.writer
    }

    /// Who is told of alerts.
    pub(super) fn receivers(&self) -> &Receivers {
        &self.receivers
    }
}

/// The listen, or the bind of UDP, that an end speaks of.
fn begin_of(end: &Event) -> Event {
    Event {
        kind: match end.socket.protocol {
            Protocol::Tcp => Kind::Listen,
            Protocol::Udp => Kind::Bind,
        },
        time: end.opened,
        holder: (end.opener.tgid, end.opener.comm.clone()),
        connected: false,
        ..end.clone()
    }
}
