//! The web configuration in use, read again when one of its files has changed.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use axum::http::HeaderValue;

use super::{auth::Auth, lock};
use crate::{
    config::{Mark, web::Web},
    exit::ConfigError,
    output::metrics::Metrics,
};

/// How often it is looked at most whether a file has changed: each request asks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// TLS, users and headers as they are now.
pub struct Current {
    /// The file; `None` where there is none to read.
    file: Option<PathBuf>,
    web: RwLock<Arc<Web>>,
    looked: tokio::sync::Mutex<Looked>,
    auth: Auth,
    look_every: Duration,
}

struct Looked {
    at: Instant,
    /// What the files looked like when they were last read.
    mark: Mark,
    /// Why that failed, if it did. It is tried again then: what the files that were read name may not be among those looked at.
    failed: Option<String>,
    metrics: Option<Arc<Mutex<Metrics>>>,
}

impl Current {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn open(file: Option<PathBuf>) -> Result<Self, ConfigError> {
        let (mark, web) = match &file {
            Some(path) => {
                let (mark, read) = read(path, &[], Mark::default());
                (mark, read?)
            }
            None => Default::default(),
        };
        tell(&web);
        Ok(Self {
            file,
            looked: tokio::sync::Mutex::new(Looked {
                at: Instant::now(),
                mark,
                failed: None,
                metrics: None,
            }),
            web: RwLock::new(Arc::new(web)),
            auth: Auth::default(),
            look_every: LOOK_EVERY,
        })
    }

    /// Says from now on in the metrics how it goes.
    pub async fn count_in(&self, metrics: Arc<Mutex<Metrics>>) {
        self.looked.lock().await.metrics = Some(metrics);
    }

    #[cfg(test)]
    pub(super) fn looking_every(mut self, span: Duration) -> Self {
        self.look_every = span;
        self
    }

    /// Whether clients have to speak TLS.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.last().tls.is_some()
    }

    /// As it was when somebody last looked.
    pub(super) fn last(&self) -> Arc<Web> {
        Arc::clone(&self.web.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// As it is now.
    pub(super) async fn now(&self) -> Arc<Web> {
        // Where somebody else looks, the one before will do.
        if self.file.is_some()
            && let Ok(mut looked) = self.looked.try_lock()
            && looked.at.elapsed() >= self.look_every
        {
            self.look(&mut looked).await;
            looked.at = Instant::now();
        }
        self.last()
    }

    async fn look(&self, looked: &mut Looked) {
        let Some(path) = self.file.clone() else { return };
        let (web, before) = (self.last(), (looked.failed.is_none()).then(|| looked.mark.clone()));
        let read = tokio::task::spawn_blocking(move || {
            let mark = web.mark();
            (Some(&mark) != before.as_ref()).then(|| read(&path, &web.files, mark))
        });
        let Ok(Some((mark, read))) = read.await else { return };
        let read = read.and_then(|now| weaker(&self.last(), &now).map_or(Ok(now), Err));
        let successful = read.is_ok();
        match read {
            Ok(web) => {
                ::log::info!("the web configuration was read again");
                tell(&web);
                (looked.mark, looked.failed) = (mark, None);
                *self.web.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(web);
            }
            Err(error) => {
                let sentence = error.to_string();
                if looked.failed.as_ref() != Some(&sentence) {
                    ::log::error!("{sentence}; the web configuration that is in use stays");
                }
                looked.failed = Some(sentence);
            }
        }
        if let Some(metrics) = &looked.metrics {
            lock(metrics).web_config_read(successful);
        }
    }

    /// Whether this header names one of the users, with the right password.
    pub(super) async fn knows(&self, web: &Web, header: Option<&HeaderValue>) -> bool {
        self.auth.knows(&web.users, header).await
    }
}

/// Reads the file, with what the files that it names looked like before. `files` had this mark; it may name others now.
fn read(path: &Path, files: &[PathBuf], mark: Mark) -> (Mark, Result<Web, ConfigError>) {
    match Web::read(path) {
        Ok(web) if web.files != files => (web.mark(), Web::read(path)),
        read => (mark, read),
    }
}

/// Why this is not taken while the agent runs: a file that is being written is empty for a moment, and must not open what was
/// closed.
fn weaker(before: &Web, now: &Web) -> Option<ConfigError> {
    let lost = match (before, now) {
        (before, now) if before.tls.is_some() && now.tls.is_none() => "tls_server_config",
        (before, now) if before.verifies_clients && !now.verifies_clients => "client_auth_type that verifies",
        (before, now) if !before.users.is_empty() && now.users.is_empty() => "basic_auth_users",
        _ => return None,
    };
    let text = format!("the web configuration has no {lost} any more; to serve without it, start the agent again");
    Some(ConfigError::from(text))
}

fn tell(web: &Web) {
    for remark in &web.remarks {
        ::log::warn!("the web configuration: {remark}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_before_is_named_and_more_is_taken() {
        let open = Web::default();
        let users = Web {
            users: [("ada".to_owned(), "hash".to_owned())].into(),
            ..Web::default()
        };
        let certificates = Web {
            verifies_clients: true,
            ..Web::default()
        };
        for (before, lost) in [(&users, "basic_auth_users"), (&certificates, "client_auth_type")] {
            let sentence = weaker(before, &open).unwrap().to_string();
            assert!(sentence.contains(lost), "{sentence}");
            assert!(weaker(&open, before).is_none());
        }
    }
}
