//! The configuration files: TOML, merged in order, unknown keys refused.

use std::{
    collections::BTreeMap,
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use toml::Spanned;

use super::{
    document, duration,
    names::{Names, RawRegistry, RawService},
    receivers::{RawAlertmanager, RawJournal, RawWebhook, Receivers},
    rules::{self, Placed, RawExpect, RawRule},
    selectors::{self, At},
};
use crate::{
    exit::{ConfigError, Place, Problem},
    identity::Privacy,
    policy::{Expect, Rule, Verdict},
    registry::{PortSpec, Registry},
};

/// What may lie between two looks at all that listens.
const RECONCILE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// A file larger than this is none of ours.
const SIZE_MAX: u64 = 4 << 20;

/// What all files together say.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// `[agent] instance`.
    pub instance: Option<String>,
    /// `[agent] labels`, of all files.
    pub labels: BTreeMap<String, String>,
    /// `[agent] reconcile`: between two looks at all that listens.
    pub reconcile: Option<Duration>,
    /// `[agent] state`: the folder of what outlives the agent.
    pub state: Option<PathBuf>,
    /// `[watch] ports`, of all files.
    pub watch: Vec<PortSpec>,
    /// `[policy] default`.
    pub default: Option<Verdict>,
    /// `[[rule]]`, of all files.
    pub rules: Vec<Rule>,
    /// `[[expect]]`, of all files.
    pub expects: Vec<Expect>,
    /// The files, in order.
    pub read: Vec<ReadFile>,
    /// `[metrics] max_series`.
    pub max_series: Option<usize>,
    /// `[privacy] cmdline`.
    pub privacy: Option<Privacy>,
    /// Who is told of alerts.
    pub receivers: Receivers,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFile {
    /// Where it is.
    pub path: PathBuf,
    /// How many rules it has.
    pub rules: usize,
    /// How many expectations it has.
    pub expectations: usize,
}

/// The rules and expectations of all files, with their places.
#[derive(Default)]
struct All {
    rules: Vec<Placed<Rule>>,
    expects: Vec<Placed<Expect>>,
}

/// The files as they are written. What they say of names comes first, since rules may name ports by them.
#[derive(Default)]
pub struct Files {
    written: Vec<Written>,
    names: Names,
    /// What is wrong with their form.
    wrong: Vec<Problem>,
}

struct Written {
    path: PathBuf,
    text: String,
    raw: Raw,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    agent: RawAgent,
    watch: RawWatch,
    policy: RawPolicy,
    rule: Vec<Spanned<RawRule>>,
    expect: Vec<Spanned<RawExpect>>,
    metrics: RawMetrics,
    privacy: RawPrivacy,
    registry: RawRegistry,
    service: Vec<Spanned<RawService>>,
    alertmanager: RawAlertmanager,
    webhook: Vec<Spanned<RawWebhook>>,
    journal: RawJournal,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawAgent {
    instance: Option<Spanned<String>>,
    reconcile: Option<Spanned<String>>,
    state: Option<Spanned<String>>,
    labels: BTreeMap<Spanned<String>, Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawWatch {
    ports: Vec<Spanned<RawPort>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawPolicy {
    default: Option<RawDefault>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawDefault {
    Unruled,
    Unexpected,
}

/// A port: a number, or text as on the command line.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "write a port (8080), or a text: \"8000-8010\", \"tcp/8080\" or a service name"
)]
pub(super) enum RawPort {
    Number(i64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawProtocol {
    Tcp,
    Udp,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawMetrics {
    max_series: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawPrivacy {
    cmdline: Option<RawPrivacyOf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawPrivacyOf {
    Masked,
    Full,
    None,
}

/// Reads the files in order, each with the `*.toml` of a `conf.d` beside it, in the order of their names. A later value
/// takes the place of an earlier one; ports, rules and expectations add up.
///
/// # Errors
/// All that is wrong with the form of the files, and what cannot be read.
pub fn read(paths: &[PathBuf]) -> Result<Files, ConfigError> {
    let mut files = gather(paths);
    if files.wrong.is_empty() {
        Ok(files)
    } else {
        Err(ConfigError(std::mem::take(&mut files.wrong)))
    }
}

/// Reads the files as [`read`] does, and keeps what is wrong for [`Files::resolve`] to tell with the rest.
pub fn gather(paths: &[PathBuf]) -> Files {
    let mut files = Files::default();
    for path in paths {
        files.take(path);
        match beside(path) {
            Ok(beside) => beside.iter().for_each(|path| files.take(path)),
            Err(error) => files.wrong.extend(error.0),
        }
    }
    files
}

impl Files {
    /// Which registry is to be used, and what names lie over it.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Everything else, with service names understood by this registry.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn resolve(self, registry: &Registry) -> Result<File, ConfigError> {
        let (mut file, mut all, mut wrong) = (File::default(), All::default(), self.wrong);
        let order: Vec<_> = self.written.iter().map(|written| written.path.clone()).collect();
        for written in self.written {
            wrong.extend(add_text(&mut file, &mut all, written, registry));
        }
        wrong.extend(rules::hidden(&all.rules, &all.expects).0);
        if !wrong.is_empty() {
            // As whoever goes through the files comes by them.
            wrong.sort_by_key(|problem| {
                let place = problem.place.as_ref()?;
                let file = order.iter().position(|path| *path == place.file);
                Some((file, place.line, place.column))
            });
            return Err(ConfigError(wrong));
        }
        file.rules = all.rules.into_iter().map(|rule| rule.value).collect();
        file.expects = all.expects.into_iter().map(|expect| expect.value).collect();
        Ok(file)
    }

    fn take(&mut self, path: &Path) {
        match text_of(path) {
            Ok(text) => self.add(path, text),
            Err(error) => self.wrong.extend(error.0),
        }
    }

    fn add(&mut self, path: &Path, text: String) {
        let (mut raw, wrong): (Raw, _) = document::read(&text);
        let at = |start: usize, problem: &str| at(path, &text, start, problem);
        self.wrong
            .extend(wrong.iter().flat_map(|(start, problem)| at(*start, problem).0));
        let named = self
            .names
            .add(std::mem::take(&mut raw.registry), std::mem::take(&mut raw.service), &at);
        self.wrong.extend(named.err().into_iter().flat_map(|error| error.0));
        self.written.push(Written {
            path: path.to_owned(),
            text,
            raw,
        });
    }
}

/// The error on what begins at this byte of a file.
fn at(path: &Path, text: &str, start: usize, problem: &str) -> ConfigError {
    let before = text.get(..start).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or(before);
    let place = Place {
        file: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
    };
    ConfigError(vec![Problem {
        place: Some(place),
        sentence: problem.to_owned(),
    }])
}

/// The `conf.d/*.toml` beside a file.
fn beside(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let folder = path.parent().unwrap_or(Path::new("")).join("conf.d");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(ConfigError::from(format!(
                "cannot read the folder {}: {error}",
                folder.display()
            )));
        }
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry
            .map_err(|error| ConfigError::from(format!("cannot read the folder {}: {error}", folder.display())))?;
        if entry.path().extension().is_some_and(|extension| extension == "toml") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn text_of(path: &Path) -> Result<String, ConfigError> {
    let refuse = |error: std::io::Error| ConfigError::from(format!("cannot read {}: {error}", path.display()));
    let metadata = fs::metadata(path).map_err(refuse)?;
    if !metadata.is_file() {
        return Err(ConfigError::from(format!("{} is no regular file", path.display())));
    }
    let size = metadata.len();
    if size > SIZE_MAX {
        return Err(ConfigError::from(format!(
            "{} has {size} bytes; a configuration has at most {SIZE_MAX}",
            path.display()
        )));
    }
    fs::read_to_string(path).map_err(refuse)
}

/// Takes what one file says into `file`; what is wrong comes back.
fn add_text(file: &mut File, all: &mut All, written: Written, registry: &Registry) -> Vec<Problem> {
    let Written { path, text, raw } = written;
    let at = |start: usize, problem: &str| at(&path, &text, start, problem);
    let mut wrong = Vec::new();
    let mut note = |outcome: Result<(), ConfigError>| wrong.extend(outcome.err().into_iter().flat_map(|error| error.0));
    note(add_agent(file, raw.agent, &at));
    note(file.receivers.add(raw.alertmanager, raw.webhook, &raw.journal, &at));
    note(selectors::ports(&raw.watch.ports, registry, &at).map(|ports| file.watch.extend(ports)));
    if let Some(default) = raw.policy.default {
        file.default = Some(match default {
            RawDefault::Unruled => Verdict::Unruled,
            RawDefault::Unexpected => Verdict::Unexpected,
        });
    }
    if let Some(max_series) = raw.metrics.max_series {
        file.max_series = Some(max_series);
    }
    if let Some(privacy) = raw.privacy.cmdline {
        file.privacy = Some(match privacy {
            RawPrivacyOf::Masked => Privacy::Masked,
            RawPrivacyOf::Full => Privacy::Full,
            RawPrivacyOf::None => Privacy::None,
        });
    }
    let before = (all.rules.len(), all.expects.len());
    for raw in raw.rule {
        note(rules::rule(raw, &all.rules, registry, &at).map(|rule| all.rules.push(rule)));
    }
    for raw in raw.expect {
        note(rules::expect(raw, &all.expects, registry, &at).map(|expect| all.expects.push(expect)));
    }
    file.read.push(ReadFile {
        rules: all.rules.len() - before.0,
        expectations: all.expects.len() - before.1,
        path,
    });
    wrong
}

fn add_agent(file: &mut File, raw: RawAgent, at: &At<'_>) -> Result<(), ConfigError> {
    if let Some(instance) = raw.instance {
        if instance.as_ref().is_empty() || instance.as_ref().contains(char::is_control) {
            let text = "[agent] instance is empty or has control characters in it; leave it out to use the host's name";
            return Err(at(instance.span().start, text));
        }
        file.instance = Some(instance.into_inner());
    }
    if let Some(raw) = raw.reconcile {
        let reconcile = duration::parse(raw.as_ref()).filter(|reconcile| RECONCILE.contains(reconcile));
        file.reconcile = Some(reconcile.ok_or_else(|| {
            let text = format!(
                "[agent] reconcile is `{}`; write a duration from 1s to 1h, like 60s",
                raw.as_ref().escape_debug()
            );
            at(raw.span().start, &text)
        })?);
    }
    if let Some(raw) = raw.state {
        let folder = PathBuf::from(raw.as_ref());
        if !folder.is_absolute() {
            let text = format!(
                "[agent] state is `{}`; write a path that begins with /",
                raw.as_ref().escape_debug()
            );
            return Err(at(raw.span().start, &text));
        }
        file.state = Some(folder);
    }
    file.labels.extend(rules::labels(raw.labels, at)?);
    Ok(())
}

#[cfg(test)]
#[path = "file_tests.rs"]
pub(super) mod tests;

#[cfg(test)]
#[path = "schema_tests.rs"]
mod schema_tests;
