//! Who is told of alerts: `[alertmanager]`, `[[webhook]]` and `[journal]`.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use super::{
    absolute,
    document::{Table, any, replace},
    duration,
    wrong::Noted,
};
use crate::output::{
    alertmanager, journal,
    notify::{
        Wanted, client,
        endpoint::{Credentials, Endpoint, Url},
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

/// What the files say of receivers.
#[derive(Clone, Debug, Default)]
pub struct Receivers {
    urls: Vec<Url>,
    timeout: Option<Duration>,
    ca_file: Option<PathBuf>,
    credentials: Option<Credentials>,
    webhooks: Vec<Endpoint>,
    /// Their names, also of those that are wrong otherwise.
    names: Vec<String>,
    journal: Option<bool>,
}

/// What the tables of receivers have in common.
struct Access {
    timeout: Option<Duration>,
    ca_file: Option<PathBuf>,
    credentials: Option<Credentials>,
}

impl Receivers {
    /// Takes what one file says. A later value takes the place of an earlier one; webhooks add up.
    pub(super) fn add(&mut self, mut alertmanager: Table<'_>, webhooks: Vec<Table<'_>>, mut journal: Table<'_>) {
        let mut urls = Vec::new();
        let each = alertmanager.list("urls", |text: String| {
            let url = Url::parse(&text)?
                .below(alertmanager::PATH)
                .ok_or("an Alertmanager's URL has no `?`; write one like http://127.0.0.1:9093")?;
            if urls.contains(&url) {
                return Err("this Alertmanager is named twice".to_owned());
            }
            urls.push(url);
            Ok(())
        });
        if let Ok(Some(_)) = each {
            self.urls = urls;
        }
        let access = Access::of(&mut alertmanager);
        alertmanager.end();
        self.timeout = access.timeout.or(self.timeout);
        self.ca_file = access.ca_file.or(self.ca_file.take());
        self.credentials = access.credentials.or(self.credentials.take());
        for webhook in webhooks {
            self.add_webhook(webhook);
        }
        replace(&mut self.journal, journal.take("enabled", any));
        journal.end();
    }

    fn add_webhook(&mut self, mut table: Table<'_>) {
        let url = table.need("url", |text: String| Url::parse(&text));
        let name = table.take("name", webhook_name);
        let access = Access::of(&mut table);
        table.end();
        let name = match (name, &url) {
            (Ok(Some(name)), _) => name,
            (Ok(None), Ok(url)) => url.host().to_owned(),
            _ => return,
        };
        let name = format!("webhook/{name}");
        if self.names.contains(&name) {
            table.note(format!(
                "there is a receiver `{name}` already; give each a `name` of its own"
            ));
            return;
        }
        if self.names.len() + self.urls.len() >= RECEIVERS_MAX {
            table.note(format!("there are more than {RECEIVERS_MAX} receivers"));
            return;
        }
        self.names.push(name.clone());
        if let Ok(url) = url {
            self.webhooks.push(Endpoint {
                name,
                url,
                timeout: access.timeout.unwrap_or(TIMEOUT),
                ca_file: access.ca_file,
                credentials: access.credentials.unwrap_or_default(),
            });
        }
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

impl Access {
    /// What is wrong is left out.
    fn of(table: &mut Table<'_>) -> Self {
        let (mut timeout, mut ca_file, mut credentials) = (None, None, None);
        replace(&mut timeout, table.take("timeout", self::timeout));
        replace(&mut ca_file, table.take("ca_file", authorities));
        replace(&mut credentials, self::credentials(table));
        Self {
            timeout,
            ca_file,
            credentials,
        }
    }
}

fn authorities(text: String) -> Result<PathBuf, String> {
    let path = absolute("ca_file", text)?;
    client::check_authorities_in(&path)?;
    Ok(path)
}

fn webhook_name(name: String) -> Result<String, String> {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(letter) {
        return Err(format!(
            "a webhook's name has a-z, A-Z, 0-9 and - _ . in it, {NAME_MAX} at most, like chat"
        ));
    }
    Ok(name)
}

fn timeout(text: String) -> Result<Duration, String> {
    let timeout = duration::parse(&text).filter(|timeout| TIMEOUTS.contains(timeout));
    timeout.ok_or_else(|| {
        format!(
            "timeout is `{}`; write a duration from 100ms to 60s, like 10s",
            text.escape_debug()
        )
    })
}

fn credentials(table: &mut Table<'_>) -> Result<Option<Credentials>, Noted> {
    let token_file = table.take("bearer_token_file", |text| absolute("bearer_token_file", text));
    let Some(mut basic) = table.table("basic_auth")? else {
        return Ok(token_file?.map(|token_file| Credentials::Bearer { token_file }));
    };
    let username = basic.need("username", |name: String| {
        if name.is_empty() || name.contains(':') || name.contains(char::is_control) {
            return Err("the username of basic_auth is empty, or has a colon or control characters in it".to_owned());
        }
        Ok(name)
    });
    let password_file = basic.need("password_file", |text| absolute("password_file", text));
    basic.end();
    if token_file != Ok(None) {
        let text = "there are basic_auth and bearer_token_file; a message has one of the two";
        return Err(basic.note(text));
    }
    Ok(Some(Credentials::Basic {
        username: username?,
        password_file: password_file?,
    }))
}

#[cfg(test)]
#[path = "receivers_tests.rs"]
mod tests;
