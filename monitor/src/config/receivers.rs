//! Who is told of alerts: `[alertmanager]`, `[[webhook]]` and `[journal]`.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use serde::Deserialize;
use toml::Spanned;

use super::{duration, selectors::At};
use crate::{
    exit::ConfigError,
    output::{
        alertmanager, journal,
        notify::{
            Wanted,
            endpoint::{Credentials, Endpoint, Url},
        },
    },
};

/// How long one message may take, unless the configuration says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What it may say.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// Receivers at most: each has a thread.
const RECEIVERS_MAX: usize = 32;

/// Letters of a webhook's name at most.
const NAME_MAX: usize = 40;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAlertmanager {
    urls: Option<Vec<Spanned<String>>>,
    timeout: Option<Spanned<String>>,
    ca_file: Option<Spanned<String>>,
    basic_auth: Option<RawBasicAuth>,
    bearer_token_file: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWebhook {
    url: Spanned<String>,
    name: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
    ca_file: Option<Spanned<String>>,
    basic_auth: Option<RawBasicAuth>,
    bearer_token_file: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBasicAuth {
    username: Spanned<String>,
    password_file: Spanned<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawJournal {
    enabled: Option<bool>,
}

/// What the files say of receivers.
#[derive(Clone, Debug, Default)]
pub struct Receivers {
    urls: Vec<Url>,
    timeout: Option<Duration>,
    ca_file: Option<PathBuf>,
    credentials: Option<Credentials>,
    webhooks: Vec<Endpoint>,
    journal: Option<bool>,
}

impl Receivers {
    /// Takes what one file says. A later value takes the place of an earlier one; webhooks add up.
    pub(super) fn add(
        &mut self,
        raw: RawAlertmanager,
        webhooks: Vec<Spanned<RawWebhook>>,
        journal: &RawJournal,
        at: &At<'_>,
    ) -> Result<(), ConfigError> {
        if let Some(urls) = raw.urls {
            self.urls = Vec::new();
            for raw in &urls {
                let url = url(raw, at)?.below(alertmanager::PATH).ok_or_else(|| {
                    at(
                        raw.span().start,
                        "an Alertmanager's URL has no `?`; write one like http://127.0.0.1:9093",
                    )
                })?;
                if self.urls.contains(&url) {
                    return Err(at(raw.span().start, "this Alertmanager is named twice"));
                }
                self.urls.push(url);
            }
        }
        self.timeout = timeout(raw.timeout.as_ref(), at)?.or(self.timeout);
        self.ca_file = path("ca_file", raw.ca_file.as_ref(), at)?.or(self.ca_file.take());
        let credentials = credentials(raw.basic_auth, raw.bearer_token_file, at)?;
        self.credentials = credentials.or(self.credentials.take());
        for spanned in webhooks {
            let start = spanned.span().start;
            let webhook = webhook(spanned.into_inner(), at)?;
            if self.webhooks.iter().any(|other| other.name == webhook.name) {
                let text = format!(
                    "there is a receiver `{}` already; give each a `name` of its own",
                    webhook.name
                );
                return Err(at(start, &text));
            }
            if self.webhooks.len() + self.urls.len() >= RECEIVERS_MAX {
                return Err(at(start, &format!("there are more than {RECEIVERS_MAX} receivers")));
            }
            self.webhooks.push(webhook);
        }
        self.journal = journal.enabled.or(self.journal);
        Ok(())
    }

    /// Who is to be told.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let alertmanager = |url: &Url| Endpoint {
            name: self.name_of(url),
            url: url.clone(),
            timeout: self.timeout.unwrap_or(TIMEOUT),
            ca_file: self.ca_file.clone(),
            credentials: self.credentials.clone().unwrap_or_default(),
        };
        Wanted {
            alertmanagers: self.urls.iter().map(alertmanager).collect(),
            webhooks: self.webhooks.clone(),
            journal: self.journal.unwrap_or(false).then(|| PathBuf::from(journal::SOCKET)),
        }
    }

    /// By host and port; with a number behind, where one host has several below different prefixes.
    fn name_of(&self, url: &Url) -> String {
        let of_host = self.urls.iter().filter(|other| other.host() == url.host());
        match of_host.take_while(|other| *other != url).count() {
            0 => format!("alertmanager/{}", url.host()),
            before => format!("alertmanager/{}#{}", url.host(), before + 1),
        }
    }
}

fn webhook(raw: RawWebhook, at: &At<'_>) -> Result<Endpoint, ConfigError> {
    let url = url(&raw.url, at)?;
    let name = match &raw.name {
        None => url.host().to_owned(),
        Some(name) => {
            let letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            if name.as_ref().is_empty() || name.as_ref().len() > NAME_MAX || !name.as_ref().chars().all(letter) {
                let text = format!("a webhook's name has a-z, A-Z, 0-9 and - _ . in it, {NAME_MAX} at most, like chat");
                return Err(at(name.span().start, &text));
            }
            name.as_ref().clone()
        }
    };
    Ok(Endpoint {
        name: format!("webhook/{name}"),
        url,
        timeout: timeout(raw.timeout.as_ref(), at)?.unwrap_or(TIMEOUT),
        ca_file: path("ca_file", raw.ca_file.as_ref(), at)?,
        credentials: credentials(raw.basic_auth, raw.bearer_token_file, at)?.unwrap_or_default(),
    })
}

fn url(raw: &Spanned<String>, at: &At<'_>) -> Result<Url, ConfigError> {
    Url::parse(raw.as_ref()).map_err(|error| at(raw.span().start, &error))
}

fn timeout(raw: Option<&Spanned<String>>, at: &At<'_>) -> Result<Option<Duration>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    let timeout = duration::parse(raw.as_ref()).filter(|timeout| TIMEOUTS.contains(timeout));
    timeout.map(Some).ok_or_else(|| {
        let text = format!(
            "timeout is `{}`; write a duration from 100ms to 60s, like 10s",
            raw.as_ref()
        );
        at(raw.span().start, &text)
    })
}

fn path(key: &str, raw: Option<&Spanned<String>>, at: &At<'_>) -> Result<Option<PathBuf>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    let path = PathBuf::from(raw.as_ref());
    if path.is_absolute() {
        return Ok(Some(path));
    }
    let text = format!("{key} is `{}`; write a path that begins with /", raw.as_ref());
    Err(at(raw.span().start, &text))
}

fn credentials(
    basic: Option<RawBasicAuth>,
    bearer: Option<Spanned<String>>,
    at: &At<'_>,
) -> Result<Option<Credentials>, ConfigError> {
    let token_file = path("bearer_token_file", bearer.as_ref(), at)?;
    let Some(basic) = basic else {
        return Ok(token_file.map(|token_file| Credentials::Bearer { token_file }));
    };
    let (name, start) = (basic.username.as_ref(), basic.username.span().start);
    if token_file.is_some() {
        let text = "there are basic_auth and bearer_token_file; a message has one of the two";
        return Err(at(start, text));
    }
    if name.is_empty() || name.contains(':') || name.contains(char::is_control) {
        let text = "the username of basic_auth is empty, or has a colon or control characters in it";
        return Err(at(start, text));
    }
    Ok(
        path("password_file", Some(&basic.password_file), at)?.map(|password_file| Credentials::Basic {
            username: basic.username.into_inner(),
            password_file,
        }),
    )
}

#[cfg(test)]
#[path = "receivers_tests.rs"]
mod tests;
