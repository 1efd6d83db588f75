//! A newer registry, taken while the agent runs.

use tokio::task::JoinSet;

use super::Agent;
use crate::{
    config::{Chosen, Settings},
    kernel::give_back_memory,
};

/// What was read, or one sentence on why the registry in use stays.
type Read = Result<Chosen, String>;

/// Reads the registry on a thread of its own, one time after the other: a megabyte on a slow disk must hold up no event.
#[derive(Default)]
pub(super) struct Reloads {
    under_way: JoinSet<Read>,
    /// Asked for again meanwhile: the file may have changed since it was read.
    again: bool,
}

impl Reloads {
    pub(super) fn start(&mut self, settings: &Settings) {
        if self.under_way.is_empty() {
            let (names, rootfs) = (settings.names.clone(), settings.paths.rootfs.clone());
            self.under_way.spawn_blocking(move || names.read(&rootfs));
        } else {
            self.again = true;
        }
    }

    /// What was read; `None` at once where nothing is.
    pub(super) async fn done(&mut self, settings: &Settings) -> Option<Read> {
        let ended = self.under_way.join_next().await?;
        if std::mem::take(&mut self.again) {
            self.start(settings);
        }
        Some(ended.unwrap_or_else(|error| Err(format!("reading the registry broke off: {error}"))))
    }
}

impl Agent<'_> {
    /// Names ports by what was read from now on.
    pub(super) fn end_reload(&mut self, read: Read) {
        match read {
            Ok(chosen) => {
                ::log::info!(
                    "SIGHUP: the registry was read again; the configuration itself is not read again, restart the agent for it"
                );
                warn(&chosen);
                tell(&chosen);
                self.pipeline.use_registry(chosen.registry);
                // The table before is gone now.
                give_back_memory();
            }
            Err(sentence) => ::log::error!("{sentence}; the registry that is in use stays"),
        }
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
