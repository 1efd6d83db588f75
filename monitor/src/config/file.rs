//! The configuration files: TOML, merged in order, unknown keys refused.

use std::{
    collections::BTreeMap,
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    string::FromUtf8Error,
    time::Duration,
};

use serde::Deserialize;

use super::{
    absolute,
    document::{self, Table, any, replace},
    duration,
    history::HistoryFile,
    names::Names,
    receivers::Receivers,
    rules::{self, All},
    selectors,
    wrong::Wrong,
};
use crate::{
    exit::{ConfigError, Problem},
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
    /// `[history]`.
    pub history: HistoryFile,
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

/// The files as they are written. What they say of names comes first, since rules may name ports by them.
#[derive(Default)]
pub struct Files {
    written: Vec<Wrong>,
    names: Names,
    /// Those that cannot be read.
    unread: Vec<Problem>,
}

/// A file, in its tables.
struct Tables<'a> {
    registry: Table<'a>,
    services: Vec<Table<'a>>,
    agent: Table<'a>,
    watch: Table<'a>,
    policy: Table<'a>,
    rules: Vec<Table<'a>>,
    expects: Vec<Table<'a>>,
    metrics: Table<'a>,
    privacy: Table<'a>,
    history: Table<'a>,
    alertmanager: Table<'a>,
    webhooks: Vec<Table<'a>>,
    journal: Table<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawDefault {
    Unruled,
    Unexpected,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawPrivacyOf {
    Masked,
    Full,
    None,
}

/// Reads the files in order, each with the `*.toml` of a `conf.d` beside it, in the order of their names. A later value
/// takes the place of an earlier one; ports, rules and expectations add up. What is wrong is kept, for [`Files::resolve`] to tell
/// with the rest.
pub fn gather(paths: &[PathBuf]) -> Files {
    let mut files = Files::default();
    for path in paths {
        files.take(path);
        match beside(path) {
            Ok(beside) => beside.iter().for_each(|path| files.take(path)),
            Err(error) => files.unread.extend(error.0),
        }
    }
    files
}

/// Reads the files as [`gather`] does, for whoever needs nothing but names.
///
/// # Errors
/// What cannot be read, is no TOML, or is wrong with names and with what stands beside them.
pub fn read_names(paths: &[PathBuf]) -> Result<Names, ConfigError> {
    let files = gather(paths);
    let wrong = files.wrong();
    if wrong.is_empty() {
        Ok(files.names)
    } else {
        Err(ConfigError(wrong))
    }
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
        let (file, wrong) = self.draft(registry);
        if wrong.is_empty() {
            Ok(file)
        } else {
            Err(ConfigError(wrong))
        }
    }

    /// What the files say, and all that is wrong, as whoever goes through them comes by it. What is wrong is missing in the rest.
    #[must_use]
    pub fn draft(self, registry: &Registry) -> (File, Vec<Problem>) {
        let (mut file, mut all) = (File::default(), All::default());
        for written in &self.written {
            let tables = Tables::of(written);
            file.read.push(ReadFile {
                path: written.path().to_owned(),
                rules: tables.rules.len(),
                expectations: tables.expects.len(),
            });
            tables.add_to(&mut file, &mut all, registry);
        }
        let mut wrong = self.wrong();
        wrong.extend(all.hidden());
        wrong.sort_by_key(|problem| {
            let place = problem.place.as_ref()?;
            let file = self.written.iter().position(|written| written.path() == place.file);
            Some((file, place.line, place.column))
        });
        (file.rules, file.expects) = all.into_parts();
        (file, wrong)
    }

    /// What is wrong as far as it was found.
    fn wrong(&self) -> Vec<Problem> {
        let of_files = self.written.iter().flat_map(Wrong::problems);
        self.unread.iter().cloned().chain(of_files).collect()
    }

    fn take(&mut self, path: &Path) {
        match text_of(path) {
            Ok(text) => self.add(path, text),
            Err(error) => self.unread.extend(error.0),
        }
    }

    fn add(&mut self, path: &Path, text: String) {
        let wrong = Wrong::new(path, text);
        let tables = Tables::of(&wrong);
        self.names.add(tables.registry, tables.services);
        self.written.push(wrong);
    }
}

/// The `conf.d/*.toml` beside a file.
pub(super) fn beside(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
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
    let refuse = |error: std::io::Error| {
        let advice = match error.kind() {
            std::io::ErrorKind::NotFound => "; `portreeve check --print-default` writes one to begin with",
            _ => "",
        };
        ConfigError::from(format!("cannot read {}: {error}{advice}", path.display()))
    };
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
    String::from_utf8(fs::read(path).map_err(refuse)?).map_err(|error| no_text(path, &error))
}

/// Says where a file is no UTF-8.
fn no_text(path: &Path, error: &FromUtf8Error) -> ConfigError {
    let start = error.utf8_error().valid_up_to();
    let (sound, rest) = error.as_bytes().split_at_checked(start).unwrap_or_default();
    let before = Wrong::new(path, String::from_utf8_lossy(sound).into_owned());
    let byte = rest.first().copied().unwrap_or_default();
    ConfigError(vec![Problem {
        place: Some(before.place(start)),
        sentence: format!("the byte 0x{byte:02x} is no UTF-8 here; save the file in UTF-8"),
    }])
}

impl<'a> Tables<'a> {
    fn of(written: &'a Wrong) -> Self {
        let mut root = document::read(written);
        let tables = Self {
            agent: root.section("agent"),
            watch: root.section("watch"),
            policy: root.section("policy"),
            rules: root.sections("rule"),
            expects: root.sections("expect"),
            metrics: root.section("metrics"),
            privacy: root.section("privacy"),
            history: root.section("history"),
            registry: root.section("registry"),
            services: root.sections("service"),
            alertmanager: root.section("alertmanager"),
            webhooks: root.sections("webhook"),
            journal: root.section("journal"),
        };
        root.end();
        tables
    }

    /// Takes what it says into `file`, and its rules and expectations into `all`.
    fn add_to(self, file: &mut File, all: &mut All, registry: &Registry) {
        add_agent(file, self.agent);
        file.receivers.add(self.alertmanager, self.webhooks, self.journal);
        file.history.add(self.history);
        let mut watch = self.watch;
        file.watch
            .extend(selectors::ports(&mut watch, "ports", registry).unwrap_or_default());
        watch.end();
        let mut policy = self.policy;
        let default = policy.take("default", |raw| {
            Ok(match raw {
                RawDefault::Unruled => Verdict::Unruled,
                RawDefault::Unexpected => Verdict::Unexpected,
            })
        });
        replace(&mut file.default, default);
        policy.end();
        let mut metrics = self.metrics;
        replace(&mut file.max_series, metrics.take("max_series", any));
        metrics.end();
        let mut privacy = self.privacy;
        let cmdline = privacy.take("cmdline", |raw| {
            Ok(match raw {
                RawPrivacyOf::Masked => Privacy::Masked,
                RawPrivacyOf::Full => Privacy::Full,
                RawPrivacyOf::None => Privacy::None,
            })
        });
        replace(&mut file.privacy, cmdline);
        privacy.end();
        for rule in self.rules {
            all.add_rule(rule, registry);
        }
        for expect in self.expects {
            all.add_expect(expect, registry);
        }
    }
}

fn add_agent(file: &mut File, mut table: Table<'_>) {
    let instance = table.take("instance", |instance: String| {
        if instance.is_empty() || instance.contains(char::is_control) {
            let text = "[agent] instance is empty or has control characters in it; leave it out to use the host's name";
            return Err(text.to_owned());
        }
        Ok(instance)
    });
    replace(&mut file.instance, instance);
    let reconcile = table.take("reconcile", |text: String| {
        let reconcile = duration::parse(&text).filter(|reconcile| RECONCILE.contains(reconcile));
        reconcile.ok_or_else(|| {
            format!(
                "[agent] reconcile is `{}`; write a duration from 1s to 1h, like 60s",
                text.escape_debug()
            )
        })
    });
    replace(&mut file.reconcile, reconcile);
    replace(
        &mut file.state,
        table.take("state", |text| absolute("[agent] state", text)),
    );
    file.labels.extend(rules::labels(&mut table).unwrap_or_default());
    table.end();
}

#[cfg(test)]
#[path = "file_tests.rs"]
pub(super) mod tests;

#[cfg(test)]
#[path = "mistakes_tests.rs"]
mod mistakes_tests;

#[cfg(test)]
#[path = "schema_tests.rs"]
mod schema_tests;
