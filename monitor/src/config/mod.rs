//! What was asked for, in files and flags, made into settings that hold.

mod document;
pub(crate) mod duration;
mod file;
mod history;
pub mod listen;
pub mod names;
mod receivers;
mod rules;
mod selectors;
mod size;
mod sources;
mod status;
pub mod web;
mod wrong;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

pub use file::{File, Files, ReadFile, gather, read_names};
pub use history::{History, HistoryFile};
pub use listen::Listen;
pub use names::{Chosen, Names};
pub use sources::{Mark, Sources};

use crate::{
    exit::UsageError,
    identity::{Paths, Privacy},
    kernel::Backend,
    output::notify::{Wanted, endpoint::Url},
    policy::{Expect, Policy, Rule, UNEXPECTED, Verdict},
    registry::{PortSpec, Registry, Transport},
};

/// Everything the agent needs to know to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of this host in events and alerts.
    pub instance: String,
    /// Labels that all alerts have beside the usual ones.
    pub labels: BTreeMap<String, String>,
    /// Who is told of alerts.
    pub receivers: Wanted,
    /// Where people reach the page: `--web.external-url`, without a slash at its end.
    pub external_url: Option<String>,
    /// The rules in force.
    pub policy: Policy,
    /// The ports of `--watch` and `[watch]`.
    pub watch: Vec<PortSpec>,
    /// What of command lines is shown.
    pub privacy: Privacy,
    /// Series with a process in them, at most.
    pub max_series: usize,
    /// Between two looks at all that listens.
    pub reconcile: Duration,
    /// The folder of what outlives the agent; used if it is there.
    pub state: PathBuf,
    /// Whether the configuration names it.
    pub state_asked: bool,
    /// What is kept of what listened.
    pub history: History,
    /// Where HTTP is served.
    pub listen: Vec<Listen>,
    /// Whether that is on the sockets of systemd instead.
    pub systemd_socket: bool,
    /// `--web.config.file`.
    pub web_config: Option<PathBuf>,
    /// Whether everybody who can reach it is told what listens.
    pub expose_api: bool,
    /// Path of the metrics page.
    pub telemetry_path: String,
    /// Where the host's /proc, /sys and root are.
    pub paths: Paths,
    /// The backend that is asked for; `None` for the best that attaches.
    pub backend: Option<Backend>,
    /// Bytes of the ring between kernel and agent; `None` for the usual size.
    pub ring_bytes: Option<u32>,
    /// Whether the kernel measures what the hooks cost.
    pub probe_stats: bool,
    /// Whether events go to stdout as JSON lines.
    pub events: bool,
    /// Which registry is to be used.
    pub names: Names,
    /// Whether `POST /-/reload` is answered.
    pub lifecycle: bool,
    /// Whether the files are read again when they change.
    pub config_watch: bool,
}

/// The flags that files do not have.
#[derive(Clone, Debug)]
pub struct Flags {
    /// `--watch`, each a list.
    pub watch: Vec<String>,
    /// `--web.listen-address`.
    pub listen: Vec<Listen>,
    /// `--web.systemd-socket`.
    pub systemd_socket: bool,
    /// `--web.config.file`.
    pub web_config: Option<PathBuf>,
    /// `--web.expose-api`.
    pub expose_api: bool,
    /// `--web.telemetry-path`.
    pub telemetry_path: String,
    /// `--web.external-url`.
    pub external_url: Option<String>,
    /// `--path.procfs`, `--path.sysfs`, `--path.rootfs`.
    pub paths: Paths,
    /// `--backend`.
    pub backend: Option<Backend>,
    /// `--probe.ring-bytes`.
    pub ring_bytes: Option<u32>,
    /// `--probe.stats`.
    pub probe_stats: bool,
    /// `--events=json`.
    pub events: bool,
    /// `--web.enable-lifecycle`.
    pub lifecycle: bool,
    /// `--config.watch`.
    pub config_watch: bool,
}

/// Series with a process in them where the configuration names no number.
const MAX_SERIES: usize = 1_000;

/// The folder of what outlives the agent, where the configuration does not say.
const STATE: &str = "/var/lib/portreeve";

/// Between two looks where the configuration does not say.
const RECONCILE: Duration = Duration::from_secs(60);

impl Settings {
    /// Puts file and flags together.
    pub fn new(file: File, flags: Flags, names: Names, registry: &Registry) -> Result<Self> {
        let history = file.history();
        let mut watch = file.watch;
        for ports in &flags.watch {
            watch.extend(watchable(ports, registry).map_err(|error| UsageError(format!("--watch: {error}")))?);
        }
        let telemetry_path = flags.telemetry_path;
        let taken = ["/-/", "/api/", "/ports/", "/assets/"];
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        if !telemetry_path.starts_with('/')
            || !telemetry_path.bytes().all(is_plain)
            || taken.iter().any(|path| telemetry_path.starts_with(path))
        {
            let text = format!(
                "--web.telemetry-path: `{telemetry_path}` is no path for metrics: it starts with /, like /metrics, has letters, digits \
                 and -._~ alone, and starts with none of {}",
                taken.join(", ")
            );
            return Err(UsageError(text).into());
        }
        Ok(Self {
            instance: instance(file.instance)?,
            labels: file.labels,
            receivers: file.receivers.wanted(),
            external_url: flags.external_url.as_deref().map(external_url).transpose()?,
            policy: policy(file.rules, file.expects, &watch, file.default),
            watch,
            privacy: file.privacy.unwrap_or_default(),
            max_series: file.max_series.unwrap_or(MAX_SERIES),
            reconcile: file.reconcile.unwrap_or(RECONCILE),
            state_asked: file.state.is_some(),
            state: file.state.unwrap_or_else(|| PathBuf::from(STATE)),
            history,
            listen: each_once(flags.listen),
            systemd_socket: flags.systemd_socket,
            web_config: flags.web_config,
            expose_api: flags.expose_api,
            telemetry_path,
            paths: flags.paths,
            backend: flags.backend,
            ring_bytes: flags.ring_bytes,
            probe_stats: flags.probe_stats,
            events: flags.events,
            names,
            lifecycle: flags.lifecycle,
            config_watch: flags.config_watch,
        })
    }

    /// What differs in other settings and is taken at a start alone, by its name in the files.
    #[must_use]
    pub fn kept_until_restart(&self, other: &Self) -> Vec<&'static str> {
        let kept = [
            ("[agent] instance", self.instance != other.instance),
            ("[agent] labels", self.labels != other.labels),
            ("[agent] state", self.state != other.state),
            ("[history]", self.history != other.history),
            ("[privacy] cmdline", self.privacy != other.privacy),
        ];
        kept.into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| name)
            .collect()
    }
}

/// What the commands that look and do not stay need of the files: the same host, rules and privacy as the agent.
#[derive(Clone, Debug)]
pub struct Look {
    /// The name of this host.
    pub instance: String,
    /// The rules in force.
    pub policy: Policy,
    /// What of command lines is shown.
    pub privacy: Privacy,
    /// What is kept of what listened.
    pub history: History,
}

impl Look {
    /// Takes it from the files.
    pub fn new(file: File) -> Result<Self> {
        let history = file.history();
        Ok(Self {
            instance: instance(file.instance)?,
            policy: policy(file.rules, file.expects, &file.watch, file.default),
            privacy: file.privacy.unwrap_or_default(),
            history,
        })
    }
}

impl File {
    /// What is kept of what listened, and where.
    #[must_use]
    pub fn history(&self) -> History {
        let state = self.state.as_deref().unwrap_or(Path::new(STATE));
        self.history.clone().settle(state, self.state.is_some())
    }
}

/// What is in force without a configuration, written as one.
pub const DEFAULT: &str = include_str!("default.toml");

/// The policy that files without flags make.
pub fn policy_of(file: &File) -> Policy {
    policy(file.rules.clone(), file.expects.clone(), &file.watch, file.default)
}

/// Says which rules match nothing yet. That of the unexpected is meant to wait, whoever wrote it.
pub fn waiting(policy: &Policy) -> Option<String> {
    let names = policy.waiting().map(|rule| rule.name.as_str());
    let names: Vec<_> = names.filter(|name| *name != UNEXPECTED).collect();
    (!names.is_empty()).then(|| {
        format!(
            "silent until there is an [[expect]]: {} (a rule on what is exposed, or without ports)",
            names.join(", ")
        )
    })
}

/// The rules of the files, with the built-in ones and that of the watched ports.
fn policy(mut rules: Vec<Rule>, expects: Vec<Expect>, watch: &[PortSpec], default: Option<Verdict>) -> Policy {
    // A rule of the same name takes the place of a built-in one.
    if !rules.iter().any(|rule| rule.name == Rule::dormant_port().name) {
        rules.insert(0, Rule::dormant_port());
    }
    if !rules.iter().any(|rule| rule.name == UNEXPECTED) {
        rules.push(Rule::unexpected());
    }
    if !watch.is_empty() {
        rules.push(Rule::watched(watch.to_vec()));
    }
    Policy::new(rules, default.unwrap_or(Verdict::Unruled)).with_expectations(expects)
}

/// Where people reach the page, without a slash at its end.
fn external_url(text: &str) -> Result<String, UsageError> {
    match Url::parse(text) {
        Ok(_) if !text.contains('?') => Ok(text.trim_end_matches('/').to_owned()),
        Ok(_) => Err(UsageError(format!(
            "--web.external-url: `{text}` has a query; write a URL like https://web-7.example.net/portreeve"
        ))),
        Err(error) => Err(UsageError(format!("--web.external-url: {error}"))),
    }
}

/// A path that means the same wherever the agent was started; `key` is what it is the value of.
fn absolute(key: &str, text: String) -> Result<PathBuf, String> {
    let path = PathBuf::from(&text);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(format!(
        "{key} is `{}`; write a path that begins with /",
        text.escape_debug()
    ))
}

/// The host's name: that of the files, else its own.
fn instance(given: Option<String>) -> Result<String> {
    match given {
        Some(instance) => Ok(instance),
        None => host_name().context("cannot learn this host's name; set [agent] instance"),
    }
}

/// Leaves out what was given twice.
fn each_once(addresses: Vec<Listen>) -> Vec<Listen> {
    let mut once = Vec::with_capacity(addresses.len());
    for address in addresses {
        let is_any = matches!(&address, Listen::Tcp(address) if address.port() == 0);
        if !once.contains(&address) || is_any {
            once.push(address);
        }
    }
    once
}

/// Reads ports to watch. A service name stands for its TCP and UDP ports; what can never be seen is refused.
///
/// # Errors
/// One sentence.
fn watchable(text: &str, registry: &Registry) -> Result<Vec<PortSpec>, String> {
    let mut watchable = Vec::new();
    for item in text.split(',').map(str::trim) {
        let specs = PortSpec::parse_list(item, registry).map_err(|error| error.to_string())?;
        let before = watchable.len();
        watchable.extend(specs.into_iter().filter(|spec| {
            spec.transport
                .is_none_or(|transport| matches!(transport, Transport::Tcp | Transport::Udp))
        }));
        if watchable.len() == before {
            return Err(format!("`{item}` is neither TCP nor UDP, and nothing else is watched"));
        }
        if watchable.iter().skip(before).any(|spec| spec.first == 0) {
            return Err(format!(
                "`{item}` has port 0 in it, on which nothing can listen; ports begin at 1"
            ));
        }
    }
    Ok(watchable)
}

fn host_name() -> Result<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    anyhow::ensure!(!name.is_empty(), "it is empty");
    Ok(name)
}
