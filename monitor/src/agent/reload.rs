//! Another configuration, taken while the agent runs: all of it, or none.

use std::sync::{Arc, atomic::Ordering};

use tokio::task::JoinSet;

use super::{Agent, blind::warn_of_blind_rules, clock, filter, seconds};
use crate::{
    config::{Chosen, Mark, Settings, Sources},
    kernel::give_back_memory,
    output::http::{Reload, lock},
};

/// What was read, or one sentence on why the configuration in use stays.
type Read = Result<(Settings, Chosen), String>;

/// What a thread came back with.
enum Done {
    /// The configuration, and what its files looked like before it was read.
    Read(Box<Read>, Mark),
    /// What the files look like.
    Mark(Mark),
}

/// Reads the configuration on a thread of its own, one time after the other: a file on a slow disk must hold up no event.
pub(super) struct Reloads {
    sources: Arc<Sources>,
    under_way: JoinSet<Done>,
    is_reading: bool,
    /// Who waits for what is read now.
    waiting: Vec<Reload>,
    /// Asked for again meanwhile, by these: a file may have changed since it was read.
    again: Option<Vec<Reload>>,
    /// What the files looked like when they were last read.
    mark: Mark,
    /// What they looked like a tick ago, where that was something else: whoever writes them may not be done.
    changed: Option<Mark>,
    is_looking: bool,
}

impl Reloads {
    /// `mark` is what the files looked like before the configuration in use was read.
    pub(super) fn new(sources: Sources, mark: Mark) -> Self {
        Self {
            sources: Arc::new(sources),
            under_way: JoinSet::new(),
            is_reading: false,
            waiting: Vec::new(),
            again: None,
            mark,
            changed: None,
            is_looking: false,
        }
    }

    /// Reads everything again; `asked` is told how that ended.
    pub(super) fn start(&mut self, asked: Option<Reload>) {
        if self.is_reading {
            self.again.get_or_insert_default().extend(asked);
            return;
        }
        self.is_reading = true;
        self.waiting.extend(asked);
        let sources = Arc::clone(&self.sources);
        self.under_way.spawn_blocking(move || {
            let mark = sources.mark();
            let read = sources.read_again().map_err(|error| format!("{error:#}"));
            Done::Read(Box::new(read), mark)
        });
    }

    /// Looks whether a file has changed.
    pub(super) fn look(&mut self) {
        if self.is_looking || self.is_reading {
            return;
        }
        self.is_looking = true;
        let sources = Arc::clone(&self.sources);
        self.under_way.spawn_blocking(move || Done::Mark(sources.mark()));
    }

    /// What was read, and who is to be told; `None` at once where nothing is under way.
    pub(super) async fn done(&mut self) -> Option<Option<(Read, Vec<Reload>)>> {
        let ended = self.under_way.join_next().await?;
        Some(match ended {
            Ok(Done::Read(read, mark)) => {
                (self.mark, self.changed) = (mark, None);
                Some(self.end(*read))
            }
            Ok(Done::Mark(mark)) => {
                self.is_looking = false;
                if mark == self.mark {
                    self.changed = None;
                } else if self.changed.as_ref() == Some(&mark) {
                    ::log::info!("a file of the configuration has changed");
                    self.start(None);
                } else {
                    self.changed = Some(mark);
                }
                None
            }
            Err(error) => {
                self.is_looking = false;
                self.is_reading
                    .then(|| self.end(Err(format!("reading the configuration broke off: {error}"))))
            }
        })
    }

    /// Whether the configuration is read now.
    fn is_reading(&self) -> bool {
        self.is_reading
    }

    fn end(&mut self, read: Read) -> (Read, Vec<Reload>) {
        self.is_reading = false;
        let told = std::mem::take(&mut self.waiting);
        if let Some(asked) = self.again.take() {
            self.waiting = asked;
            self.start(None);
        }
        (read, told)
    }
}

impl Agent {
    /// Reads everything again, and says so to systemd; `asked` is told how that ended.
    pub(super) fn start_reload(&mut self, asked: Option<Reload>) {
        self.systemd.reloading();
        self.reloads.start(asked);
    }

    /// Says to systemd that the agent is at work, and what it should know beside that. Not before the first look is merged.
    pub(super) fn tell_ready(&self, beside: &str) {
        if self.shared.ready.load(Ordering::Acquire) && !self.reloads.is_reading() {
            let backend = self.armed.service.backend.name();
            self.systemd
                .ready(&format!("Listeners are reported ({backend}){beside}"));
        }
    }

    /// Goes on with what was read, and says so to whoever asked for it.
    pub(super) fn end_reload(&mut self, read: Read, asked: Vec<Reload>) {
        let outcome = read.and_then(|(settings, chosen)| self.reconfigure(settings, &chosen));
        match &outcome {
            Ok(()) => ::log::info!("the configuration was read again"),
            Err(sentence) => {
                lock(&self.shared.metrics).config_refused();
                ::log::error!("{sentence}; the configuration that is in use stays");
            }
        }
        self.tell_ready(if outcome.is_ok() {
            ""
        } else {
            "; the last reload failed: the configuration before stays, and the log says why"
        });
        // The configuration before is gone now.
        give_back_memory();
        for asked in asked {
            // Whoever asked may be gone.
            let _ = asked.send(outcome.clone());
        }
    }

    /// Takes over a configuration whole. What can fail comes first.
    fn reconfigure(&mut self, settings: Settings, chosen: &Chosen) -> Result<(), String> {
        let sentence = |error: anyhow::Error| format!("{error:#}");
        // A receiver's file that cannot be read must not cost a port its events, however shortly.
        let exchange = self
            .pipeline
            .receivers()
            .exchange(&settings.receivers)
            .map_err(sentence)?;
        let named = filter(&settings.policy, &settings);
        // What is watched from now on is reported from now on; what no longer is can do no harm.
        if let Err(error) = self.armed.set_filter(&named) {
            self.pipeline.receivers().give_up(&exchange);
            // A part of it may be written.
            let before = filter(&self.settings.policy, &self.settings);
            self.armed.set_filter(&before).map_err(sentence)?;
            return Err(sentence(error));
        }
        self.pipeline
            .reconfigure(&settings, Arc::clone(&chosen.registry), exchange);
        for kept in self.settings.kept_until_restart(&settings) {
            ::log::warn!("{kept} has changed, which the agent takes at its next start");
        }
        warn(chosen);
        tell(chosen);
        self.looks.watch(named);
        lock(&self.shared.metrics).config_read(seconds(crate::identity::Clock::read(), clock::boot_now()));
        self.settings = Settings {
            instance: std::mem::take(&mut self.settings.instance),
            labels: std::mem::take(&mut self.settings.labels),
            state: std::mem::take(&mut self.settings.state),
            history: self.settings.history.clone(),
            privacy: self.settings.privacy,
            ..settings
        };
        warn_of_blind_rules(&self.settings.policy, &self.armed.service);
        Ok(())
    }
}

/// Logs what is wrong with a file that was to be used.
pub(crate) fn warn(chosen: &Chosen) {
    for remark in &chosen.remarks {
        ::log::warn!("{remark}");
    }
}

/// Logs which registry is in use.
pub(super) fn tell(chosen: &Chosen) {
    let (source, records) = (chosen.registry.source(), chosen.registry.records());
    let from = chosen
        .file
        .as_ref()
        .map_or_else(|| "built in".to_owned(), |file| file.display().to_string());
    ::log::info!(
        source = source.name, updated = source.date, records = records, file = from.as_str();
        "ports are named by IANA's registry of {}", source.date
    );
}
