//! What the pages read of the API's own documents: what they show, a program can ask for too.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde::Deserialize;

use crate::output::report::process_name;

/// A moment, as events write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Moment(Timestamp);

impl TryFrom<String> for Moment {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

/// For people and for `datetime`: to the second, in UTC.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the nearest one: what stands beside it is cut off as well.
        let second = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Trunc);
        let seconds = self.0.round(second).unwrap_or(self.0);
        write!(f, "{seconds}")
    }
}

impl Moment {
    /// The time of day.
    pub(super) fn of_day(self) -> String {
        self.0.strftime("%H:%M:%S").to_string()
    }

    /// The day and the minute.
    pub(super) fn of_year(self) -> String {
        self.0.strftime("%Y-%m-%d %H:%M").to_string()
    }

    /// How long ago it was, in one unit.
    pub(super) fn age(self, now: Self) -> String {
        let seconds = now.0.duration_since(self.0).as_secs().max(0);
        match seconds {
            0..60 => format!("{seconds}s"),
            60..3_600 => format!("{}m", seconds / 60),
            3_600..172_800 => format!("{}h", seconds / 3_600),
            _ => format!("{}d", seconds / 86_400),
        }
    }

    /// Whether it is longer ago than so many seconds.
    pub(super) fn is_older_than(self, seconds: i64, now: Self) -> bool {
        now.0.duration_since(self.0).as_secs() > seconds
    }
}

#[derive(Deserialize)]
pub(super) struct Listeners {
    pub(super) host: String,
    pub(super) time: Moment,
    pub(super) total: usize,
    pub(super) matched: usize,
    pub(super) offset: usize,
    pub(super) listeners: Vec<Socket>,
}

/// A listener, or what happened to a socket.
#[derive(Deserialize)]
pub(super) struct Socket {
    pub(super) time: Moment,
    pub(super) event: String,
    pub(super) origin: String,
    pub(super) result: Option<String>,
    pub(super) errno: Option<String>,
    pub(super) protocol: String,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) automatic: Option<bool>,
    pub(super) peer: Option<End>,
    pub(super) scope: String,
    pub(super) backlog: Option<u32>,
    pub(super) netns: u32,
    pub(super) host_netns: bool,
    pub(super) socket: u64,
    pub(super) process: Option<Process>,
    pub(super) kernel_thread: bool,
    pub(super) container: Option<Container>,
    pub(super) unit: Option<String>,
    pub(super) service: Option<String>,
    pub(super) cgroup: Option<String>,
    pub(super) package: Option<String>,
    pub(super) registry: Vec<Name>,
    pub(super) name_matches_process: Option<bool>,
    pub(super) verdict: String,
    pub(super) rule: Option<String>,
    #[serde(default)]
    pub(super) missing: Vec<String>,
    #[serde(default)]
    pub(super) holders: Vec<Other>,
}

#[derive(Deserialize)]
pub(super) struct End {
    pub(super) address: IpAddr,
}

#[derive(Deserialize)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) comm: String,
    pub(super) exe: Option<String>,
    pub(super) exe_state: Option<String>,
    pub(super) cmdline: Option<Vec<String>>,
    pub(super) started: Moment,
    pub(super) uid: u32,
    pub(super) user: Option<String>,
    pub(super) ancestors: Option<Vec<Other>>,
}

#[derive(Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Other {
    pub(super) pid: u32,
    pub(super) comm: String,
}

#[derive(Deserialize)]
pub(super) struct Container {
    pub(super) runtime: String,
    pub(super) id: String,
    pub(super) pod: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) image: Option<String>,
}

/// A registration, as far as its name goes.
#[derive(Deserialize)]
pub(super) struct Name {
    pub(super) service: Option<String>,
}

impl Socket {
    /// The names that are registered for the port, each once.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for name in self.registry.iter().filter_map(|row| row.service.as_deref()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The process in a word, as the other outputs name it.
    pub(super) fn process_name(&self) -> String {
        match (&self.process, self.holders.first()) {
            (Some(process), _) => process_name(process.exe.as_deref(), &process.comm),
            (None, Some(holder)) => process_name(None, &holder.comm),
            (None, None) if self.kernel_thread => "(kernel)".to_owned(),
            (None, None) => "?".to_owned(),
        }
    }

    /// The number of the process.
    pub(super) fn pid(&self) -> Option<u32> {
        let holder = || self.holders.first().map(|holder| holder.pid);
        self.process.as_ref().map(|process| process.pid).or_else(holder)
    }

    /// The user in a word.
    pub(super) fn user(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::user_word)
    }

    /// The container, else the unit: that of a container is but its id once more.
    pub(super) fn place(&self) -> String {
        match (&self.container, &self.unit) {
            (Some(container), _) => container.word(),
            (None, Some(unit)) => unit.clone(),
            (None, None) => String::new(),
        }
    }

    /// The address, as it stands before a port.
    pub(super) fn address_word(&self) -> String {
        match self.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        }
    }
}

impl Process {
    /// The user's name, else the number.
    pub(super) fn user_word(&self) -> String {
        self.user.clone().unwrap_or_else(|| self.uid.to_string())
    }
}

impl Container {
    /// The pod, else the first digits of the id, as container tools show them.
    pub(super) fn word(&self) -> String {
        match (&self.namespace, &self.pod) {
            (Some(namespace), Some(pod)) => format!("{namespace}/{pod}"),
            _ => format!("{} {}", self.runtime, self.id.chars().take(12).collect::<String>()),
        }
    }
}

/// An event of any kind.
#[derive(Deserialize)]
pub(super) struct AnyEvent {
    pub(super) id: String,
    pub(super) event: String,
    pub(super) time: Moment,
    /// Of a socket or an alert.
    pub(super) port: Option<u16>,
}

#[derive(Deserialize)]
pub(super) struct AlertEvent {
    pub(super) rule: String,
    pub(super) severity: String,
    pub(super) protocol: String,
    pub(super) process: String,
}

#[derive(Deserialize)]
pub(super) struct Counted {
    /// Of a loss.
    #[serde(default)]
    pub(super) edge: String,
    /// Of a drift.
    #[serde(default)]
    pub(super) kind: String,
    pub(super) count: u64,
}

#[derive(Deserialize)]
pub(super) struct Alerts {
    pub(super) time: Moment,
    pub(super) alerts: Vec<Alert>,
}

#[derive(Deserialize)]
pub(super) struct Alert {
    pub(super) status: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) starts_at: Moment,
    pub(super) ends_at: Option<Moment>,
    pub(super) open: Option<usize>,
    pub(super) receivers: Vec<Receiver>,
}

#[derive(Deserialize)]
pub(super) struct Receiver {
    pub(super) name: String,
    pub(super) firing: Option<Moment>,
    pub(super) resolved: Option<Moment>,
}

#[derive(Deserialize)]
pub(super) struct Port {
    pub(super) host: String,
    pub(super) time: Moment,
    pub(super) port: u16,
    pub(super) class: String,
    pub(super) registrations: Vec<Registration>,
    pub(super) listeners: Vec<Socket>,
    pub(super) listened: Option<Vec<Listened>>,
    pub(super) history_error: Option<String>,
}

#[derive(PartialEq, Eq, Deserialize)]
pub(super) struct Registration {
    pub(super) source: String,
    pub(super) service: Option<String>,
    pub(super) ports: Option<Stretch>,
    pub(super) transport: Option<String>,
    pub(super) status: String,
    pub(super) dormant: Option<String>,
    pub(super) description: Option<String>,
    pub(super) assignee: Option<String>,
    pub(super) contact: Option<String>,
    pub(super) registered: Option<String>,
    pub(super) modified: Option<String>,
    pub(super) reference: Option<String>,
    pub(super) service_code: Option<String>,
    pub(super) unauthorized_use: Option<String>,
    pub(super) note: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Stretch {
    pub(super) first: u16,
    pub(super) last: u16,
}

/// Listeners of the past, those of one program as one.
#[derive(Deserialize)]
pub(super) struct Listened {
    pub(super) protocol: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) process: String,
    pub(super) exe: Option<String>,
    pub(super) uid: Option<u32>,
    pub(super) user: Option<String>,
    pub(super) unit: Option<String>,
    pub(super) container: Option<String>,
    pub(super) pod: Option<String>,
    pub(super) verdict: String,
    pub(super) rule: Option<String>,
    pub(super) first_opened: Moment,
    pub(super) first_origin: String,
    pub(super) closed: Option<Moment>,
    pub(super) end: Option<String>,
    pub(super) times: usize,
    pub(super) open: usize,
    pub(super) netns: u32,
    pub(super) host_netns: bool,
}

#[derive(Deserialize)]
pub(super) struct Status {
    pub(super) time: Moment,
    pub(super) version: String,
    pub(super) started: Moment,
    pub(super) ready: bool,
    pub(super) backend: String,
    pub(super) kernel: String,
    pub(super) hooks: Vec<Hook>,
    pub(super) blind_spots: Vec<BlindSpot>,
    pub(super) unseen_namespaces: Vec<String>,
    pub(super) lost: BTreeMap<String, u64>,
    pub(super) drift: BTreeMap<String, u64>,
    pub(super) selftest: SelfTest,
    pub(super) look: Look,
    pub(super) config: Config,
    pub(super) registry: RegistrySource,
    pub(super) history: Option<String>,
    pub(super) receivers: Vec<String>,
    pub(super) expectations: usize,
}

#[derive(Deserialize)]
pub(super) struct Hook {
    pub(super) hook: String,
    pub(super) refusal: Option<String>,
    pub(super) absent: bool,
}

#[derive(Deserialize)]
pub(super) struct BlindSpot {
    pub(super) name: String,
    pub(super) meaning: String,
}

#[derive(Deserialize)]
pub(super) struct SelfTest {
    pub(super) last_success: Option<Moment>,
}

#[derive(Deserialize)]
pub(super) struct Look {
    pub(super) last: Option<Moment>,
    pub(super) seconds: f64,
}

#[derive(Deserialize)]
pub(super) struct Config {
    pub(super) last_reload_successful: bool,
    pub(super) last_success: Option<Moment>,
}

#[derive(Deserialize)]
pub(super) struct RegistrySource {
    pub(super) source: String,
    pub(super) updated: String,
    pub(super) records: usize,
}
