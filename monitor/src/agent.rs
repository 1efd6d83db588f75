//! The wiring: from the probe to the outputs, until somebody says stop.

mod blind;
mod ending;
mod looks;
mod pipeline;
mod processes;
mod reload;
mod selftest;
mod serving;
mod signals;
mod state;
mod systemd;

use std::{
    future,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use monitor_common::{PORTS, WATCH_ACCEPT, WATCH_BIND, WATCH_CONNECT, WATCH_LISTEN};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

pub(crate) use self::reload::warn as warn_of_registry;
use self::{
    blind::warn_of_blind_rules,
    looks::{Done, Looks},
    pipeline::Pipeline,
    reload::Reloads,
    serving::{bind, page, serve},
    signals::{Asked, Signals},
    systemd::Systemd,
};
use crate::{
    config::{Chosen, Mark, Settings, Sources},
    confinement::{self, Part},
    event::Event,
    identity::{Clock, clock},
    kernel::{
        Armed, Attempt, Backend, Events, Filter, KernelLog, Probe,
        capability::{Effective, in_initial_pid_namespace},
        give_back_memory,
    },
    output::{
        http::{About, Current, QUESTIONS_MAX, Question, READERS_MAX, Reload, Shared, lock},
        metrics::Metrics,
        recent::Recent,
        writer::Writer,
    },
    policy::Policy,
    registry::PortSpec,
};

/// Records that are worked off before the ring is emptied again and other work gets its turn: few, since a record can take
/// a third of a millisecond on a slow machine, and the ring holds what is made in some sixty.
const BATCH: usize = 16;

/// How often counters are read and alerts are looked at.
const TICK: Duration = Duration::from_secs(1);

/// How often the agent proves that it sees.
const SELFTEST_EVERY: Duration = Duration::from_secs(300);

/// Sockets of a look that leaves some megabytes behind.
const LARGE: usize = 2_048;

/// Runs until SIGINT or SIGTERM. `settings` and `chosen` are what `sources` gave after they looked like `mark`.
pub async fn run(settings: Settings, chosen: Chosen, sources: Sources, mark: Mark) -> Result<()> {
    // First what most often fails, and what the kernel would have to be asked to undo.
    let web = Current::open(settings.web_config.clone())?;
    let scheme = if web.speaks_tls() { "https" } else { "http" };
    let listeners = bind(&settings).await?;
    let mut signals = Signals::new()?;
    let metrics = Metrics::new(
        &settings.policy,
        &chosen.registry,
        settings.max_series,
        ephemeral_ports(&settings.paths.procfs),
    )?;
    let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
    let (reloads, reload_asked) = mpsc::channel(QUESTIONS_MAX);
    let shared = Shared {
        metrics: Arc::new(Mutex::new(metrics)),
        ready: Arc::new(AtomicBool::new(false)),
        questions,
        reloads: settings.lifecycle.then_some(reloads),
        instance: Arc::from(settings.instance.as_str()),
        external_host: settings.external_url.as_deref().and_then(host_of).map(Arc::from),
        telemetry_path: Arc::from(settings.telemetry_path.as_str()),
        expose_api: settings.expose_api,
        web: Arc::new(web),
        recent: Arc::new(Recent::new(run_id()?)),
        readers: Arc::new(Semaphore::new(READERS_MAX)),
    };
    shared.web.count_in(Arc::clone(&shared.metrics)).await;
    let clock = Clock::read();
    lock(&shared.metrics).config_read(seconds(clock, clock::boot_now()));

    let mut probe = load(&settings)?;
    let named = filter(&settings.policy, &settings);
    probe.set_filter(&named)?;
    let (mut events, log) = (probe.events()?, probe.log()?);
    let readers = (probe.counters()?, probe.bound_udp()?);
    let writer = settings
        .events
        .then(|| {
            Writer::start(std::io::stdout(), "events", |error| {
                ::log::error!("cannot write events to stdout: {error}; they are counted as lost");
            })
        })
        .transpose()?;
    let page = page(&settings, &listeners, scheme);
    let receivers = settings.receivers.start(&settings.instance, page, &shared.metrics)?;
    let mut pipeline = Pipeline::new(
        &settings,
        Arc::clone(&chosen.registry),
        Arc::clone(&shared.metrics),
        Arc::clone(&shared.recent),
        readers,
        writer,
        receivers,
    )?;

    let (armed, attempts) = probe.arm(settings.backend, &mut || {
        events.gather();
    });
    let mut armed = armed?;
    // Not before: what goes wrong until here is one sentence. A registry that is exchanged later must not be kept from here.
    reload::tell(&chosen);
    drop(chosen);
    let times = settings.probe_stats.then(|| armed.times()).transpose()?;
    pipeline.armed(std::mem::take(&mut armed.misses), times, armed.service.sees_binds());
    for attempt in attempts.iter().filter(|attempt| !attempt.is_attached()) {
        ::log::info!("a backend is not used: {attempt}");
    }
    let (stopping, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    serve(&mut servers, listeners, scheme, &shared, &stopped);
    let log = tokio::spawn(KernelLog::forward(log));
    let backend = armed.service.backend;
    let mut agent = Agent {
        looks: Looks::new(&settings.paths, netns_of(&settings.paths.procfs, "self"), named),
        settings,
        asked,
        reload_asked,
        shared,
        armed,
        events,
        pipeline,
        reloads: Reloads::new(sources, mark),
        systemd: Systemd::of_environment(),
    };
    // Not before: the thread that looks keeps what it has from this one.
    confine(backend);
    let outcome = agent.watch(&mut servers, &mut signals).await;
    agent.systemd.stopping();

    // From here on the kernel reports nothing more; what it reported is still told.
    let pipeline = agent.disarm();
    let _ = stopping.send(true);
    ending::finish(pipeline, servers, log).await;
    ::log::info!("stopped");
    outcome
}

/// All is attached and open: this thread gives up what that took.
fn confine(backend: Backend) {
    let part = Part::Events {
        enters: backend == Backend::Tracepoint,
    };
    confinement::give_up(part);
    confinement::tell(part);
}

/// Loads and verifies everything, and attaches nothing.
pub fn check(settings: &Settings) -> Result<Vec<Attempt>> {
    Current::open(settings.web_config.clone())?;
    Ok(load(settings)?.survey(false))
}

/// Loads the kernel object, or says what keeps this process from it.
fn load(settings: &Settings) -> Result<Probe> {
    let missing = Effective::of_self(&settings.paths.procfs).missing();
    if missing.is_empty() {
        return Probe::load(&settings.paths.sysfs, settings.ring_bytes);
    }
    let names: Vec<_> = missing.iter().map(|missing| missing.name).collect();
    bail!(
        "{} missing: run as root, or give the binary what it needs (setcap cap_bpf,cap_perfmon,cap_sys_ptrace,\
         cap_dac_read_search+ep FILE; in a systemd unit AmbientCapabilities=)",
        match names.as_slice() {
            [one] => format!("the capability {one} is"),
            several => format!("the capabilities {} are", several.join(" and ")),
        }
    )
}

/// An id that no other run of an agent has.
fn run_id() -> Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot make an id for this run")?;
    Ok(id.trim().to_owned())
}

/// The host in a URL.
fn host_of(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => authority,
    };
    Some(host.trim_start_matches('[').trim_end_matches(']'))
}

/// What runs, once the hooks are attached.
struct Agent {
    settings: Settings,
    asked: mpsc::Receiver<Question>,
    reload_asked: mpsc::Receiver<Reload>,
    shared: Shared,
    armed: Armed,
    events: Events,
    pipeline: Pipeline,
    looks: Looks,
    reloads: Reloads,
    systemd: Systemd,
}

impl Agent {
    /// Until somebody says stop, or something breaks.
    async fn watch(&mut self, servers: &mut JoinSet<Result<()>>, signals: &mut Signals) -> Result<()> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut selftest = interval(SELFTEST_EVERY);
        selftest.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut records = Vec::with_capacity(BATCH);
        let mut quiet = Quiet::default();
        // The hooks are attached: whatever opens from now on is reported, and all else is there.
        self.start_look();
        // What the kernel's BTF took, before what it found comes on top.
        give_back_memory();
        loop {
            // In this order, so that a flood of events holds up neither the end nor the clock.
            tokio::select! {
                biased;
                asked = signals.asked() => match asked {
                    Asked::Stop(name) => {
                        ::log::info!("stopping: {name}");
                        return Ok(());
                    }
                    Asked::Reload => self.start_reload(None),
                },
                () = self.systemd.watched() => {}
                _ = tick.tick() => {
                    if quiet.tick(self.pipeline.events()) {
                        self.pipeline.shrink();
                        give_back_memory();
                    }
                    // Whatever lies in the ring that nobody was woken for.
                    if self.events.take_present(&mut records, BATCH) {
                        self.pipeline.take(&mut records);
                    }
                    self.pipeline.tick(self.events.take_overflowed());
                    if self.settings.config_watch {
                        self.reloads.look();
                    }
                    if !self.looks.is_under_way() && self.pipeline.wants_look() {
                        self.start_look();
                    }
                }
                Some(question) = self.asked.recv() => {
                    let Question { about, answer } = question;
                    let listing = match about {
                        About::Listeners(query) => self.pipeline.listing(query),
                        About::Alerts => self.pipeline.alert_listing(),
                        About::Port(port) => self.pipeline.port_listing(port),
                        About::Status => self.pipeline.status_listing(&self.armed.service, &self.armed.hooks),
                    };
                    // Whoever asked may be gone.
                    let _ = answer.send(listing);
                }
                done = self.looks.done(&self.settings.paths) => self.end_look(done),
                Some(asked) = self.reload_asked.recv() => self.start_reload(Some(asked)),
                Some(done) = self.reloads.done() => if let Some((read, asked)) = done {
                    self.end_reload(read, asked);
                },
                _ = selftest.tick() => self.pipeline.start_selftest(),
                () = due(self.pipeline.selftest_deadline()) => self.pipeline.selftest_late(),
                Some(ended) = servers.join_next() => match ended {
                    Ok(result) => return result.and_then(|()| bail!("the HTTP server ended by itself")),
                    Err(error) => bail!("the HTTP server broke off: {error}"),
                },
                taken = self.events.take(&mut records, BATCH) => {
                    taken?;
                    self.pipeline.take(&mut records);
                }
                () = due(self.pipeline.next_look()) => {
                    // The end of what is looked for may lie in the ring, and says more than a look.
                    self.catch_up();
                    self.pipeline.look();
                }
            }
        }
    }

    fn start_look(&mut self) {
        self.pipeline.look_begins();
        self.looks.start(&mut self.armed);
    }

    /// Merges a look. After the first one everything is known that there is.
    fn end_look(&mut self, done: Option<Done>) {
        // What was reported meanwhile knows more than the look.
        self.catch_up();
        let Some(done) = done else {
            self.pipeline.look_failed();
            return;
        };
        self.armed.service.sees_processes = in_initial_pid_namespace(&self.settings.paths.procfs);
        self.armed.service.sees_all = self.looks.by_files() || done.unseen.is_empty();
        let is_large = done.look.sockets.len() > LARGE;
        self.pipeline.merge(done);
        if is_large {
            give_back_memory();
        }
        if !self.shared.ready.load(Ordering::Acquire) {
            // Before it is ready: whoever waits for that scrapes next, and every counter must stand there.
            let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
            lock(&self.shared.metrics).armed(&self.armed.service, &self.armed.hooks, &kernel);
            self.shared.ready.store(true, Ordering::Release);
            self.announce(&kernel);
        }
    }

    /// Says what is reported from now on, and what is not.
    fn announce(&self, kernel: &str) {
        let service = &self.armed.service;
        let blind_spots = service.blind_spots();
        let unseen: Vec<_> = blind_spots.iter().map(|situation| situation.name).collect();
        ::log::info!("not seen here: {} (portreeve doctor explains)", unseen.join(", "));
        warn_of_blind_rules(&self.settings.policy, service);
        ::log::info!(backend = service.backend.name(), kernel = kernel; "armed: listeners are reported");
        self.tell_ready("");
        give_back_memory();
    }

    /// Takes as many records as there are now: on a busy host there are always more.
    fn catch_up(&mut self) {
        let mut left = self.events.gather();
        let mut records = Vec::with_capacity(BATCH);
        while left > 0 && self.events.take_present(&mut records, BATCH.min(left)) {
            left -= records.len();
            self.pipeline.take(&mut records);
        }
    }

    /// Detaches the hooks, and passes on what they had reported.
    fn disarm(self) -> Pipeline {
        let Self {
            armed,
            mut events,
            mut pipeline,
            ..
        } = self;
        drop(armed);
        let mut records = Vec::with_capacity(BATCH);
        while events.take_present(&mut records, BATCH) {
            pipeline.take(&mut records);
        }
        pipeline.tick(events.take_overflowed());
        pipeline
    }
}

/// Knows when a burst of events is over, and memory can be given back: the allocator would keep what it took.
#[derive(Default)]
struct Quiet {
    /// Events that had arrived at the last tick.
    before: u64,
    /// Quiet seconds since the last burst; `None` once memory was given back for the last time.
    since_burst: Option<u64>,
}

/// Quiet seconds after which memory is given back: at once, and when readers that were behind have caught up.
const GIVE_BACK_AFTER: [u64; 4] = [1, 5, 15, 60];

/// Events in a second that are a burst.
const BURST: u64 = 256;

impl Quiet {
    /// Asked once a second, with the number of events so far: whether to give memory back now.
    fn tick(&mut self, events: u64) -> bool {
        let arrived = events - std::mem::replace(&mut self.before, events);
        if arrived >= BURST {
            self.since_burst = Some(0);
            return false;
        }
        let Some(seconds) = &mut self.since_burst else {
            return false;
        };
        *seconds += 1;
        let due = GIVE_BACK_AFTER.contains(seconds);
        if *seconds > 60 {
            self.since_burst = None;
        }
        due
    }
}

/// Waits for a moment in nanoseconds since boot; for ever where there is none.
async fn due(at: Option<u64>) {
    match at {
        None => future::pending().await,
        Some(at) => match at.saturating_sub(clock::boot_now()) {
            0 => tokio::task::yield_now().await,
            wait => tokio::time::sleep(Duration::from_nanos(wait)).await,
        },
    }
}

/// What the kernel side reports: every listen; for the ports that rules and the watch list name all the rest; and for those
/// that an expectation names binds, so that a UDP socket there is a listener at once. Not its connections: what is expected to
/// listen on 443 accepts thousands a second.
fn filter(policy: &Policy, settings: &Settings) -> Box<Filter> {
    let mut filter = Box::new([WATCH_LISTEN; PORTS]);
    let mut name = |spec: &PortSpec, bits: u8| {
        for port in spec.first..=spec.last {
            if let Some(byte) = filter.get_mut(usize::from(port)) {
                *byte |= bits;
            }
        }
    };
    let ruled = policy.rules().iter().flat_map(|rule| rule.selector.named());
    for spec in ruled.chain(&settings.watch) {
        name(spec, WATCH_BIND | WATCH_CONNECT | WATCH_ACCEPT);
    }
    for spec in policy.expectations().iter().flat_map(|expect| expect.selector.named()) {
        name(spec, WATCH_BIND);
    }
    filter
}

/// The host's range of automatic ports, where it can be read.
pub(crate) fn ephemeral_ports(procfs: &Path) -> Option<(u16, u16)> {
    let path = procfs.join("sys/net/ipv4/ip_local_port_range");
    let text = std::fs::read_to_string(path).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Inode of the host's network namespace: that of process 1, or of this process where that may not be seen.
pub(crate) fn host_netns(procfs: &Path) -> Option<u32> {
    // The second one is the kernel's own, which starts its threads: where the first hides itself even from root.
    let kernel = std::fs::read(procfs.join("2/comm")).is_ok_and(|comm| comm == b"kthreadd\n");
    netns_of(procfs, "1")
        .or_else(|| netns_of(procfs, "2").filter(|_| kernel))
        .or_else(|| netns_of(procfs, "self"))
}

/// Inode of the network namespace of a process.
pub(crate) fn netns_of(procfs: &Path, process: &str) -> Option<u32> {
    let link = std::fs::read_link(procfs.join(process).join("ns/net")).ok()?;
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// A moment in nanoseconds since boot, as seconds since the epoch.
fn seconds(clock: Clock, boot: u64) -> f64 {
    clock.wall(boot) as f64 / 1e9
}

/// Decodes a record; what cannot be decoded is for the caller to count.
fn decode(record: &[u8]) -> Option<Event> {
    match Event::decode(record) {
        Ok(event) => Some(event),
        Err(error) => {
            ::log::warn!("cannot decode an event: {error}; do agent and kernel object belong together?");
            None
        }
    }
}
