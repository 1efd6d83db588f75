//! What people and receivers are told of an alert.
//!
//! It is made once, from the first listener or event, and refers to nothing in the agent: so it can be kept on disk, and the
//! next agent can send it again as it was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Bytes of an annotation that may grow: the addresses of a service with very many are not all needed.
const ADDRESSES_MAX: usize = 512;

/// Name of the annotation with the addresses.
pub const ADDRESSES: &str = "addresses";

/// Name of the annotation with the alerts of the same rule that were held back.
pub const HELD_BACK: &str = "held_back";

/// Name of the annotation with the sentence for people.
pub const SUMMARY: &str = "summary";

/// An alert as receivers get it, without its times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What it is known by at a receiver: these must not change while it fires.
    pub labels: BTreeMap<String, String>,
    /// Everything else.
    pub annotations: BTreeMap<String, String>,
    /// What set it off.
    pub listener: Subject,
}

/// Why an alert is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// Its listeners have closed.
    #[default]
    Closed,
    /// What set it off opened no listener, and was not done again.
    Quiet,
    /// One that is more severe fires in its place.
    Worse,
    /// By the configuration that is in use now, it is none.
    Unruled,
    /// The machine was started anew, and it did not fire again.
    Rebooted,
}

/// The listener, or the other end of what happened, that set an alert off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Local address, or the destination of a connect.
    pub address: String,
    /// Whether its namespace is the host's.
    pub host_netns: bool,
    /// Inode of the socket.
    pub socket: u64,
    /// Process id.
    pub pid: Option<u32>,
    /// Name of the process's leader.
    pub comm: Option<String>,
    /// Path of the executable.
    pub exe: Option<String>,
    /// What became of the executable's file.
    pub exe_state: Option<String>,
    /// User id.
    pub uid: Option<u32>,
    /// Name of the user.
    pub user: Option<String>,
}

impl Notice {
    /// The sentence for people.
    pub fn summary(&self) -> &str {
        self.annotations.get(SUMMARY).map_or("", String::as_str)
    }

    /// Adds an address to those it names. Says whether that changed it.
    pub fn add_address(&mut self, address: &str) -> bool {
        let addresses = self.annotations.entry(ADDRESSES.to_owned()).or_default();
        let is_known = addresses.split(", ").any(|known| known == address);
        if is_known || addresses.len() + address.len() > ADDRESSES_MAX {
            return false;
        }
        if !addresses.is_empty() {
            addresses.push_str(", ");
        }
        addresses.push_str(address);
        true
    }
}

/// The name of a rule as Prometheus writes names of alerts: `dormant-port` is `DormantPort`.
pub fn alertname(rule: &str) -> String {
    let words = rule.split('-').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alerts_name_is_the_rules_in_camel_case() {
        for (rule, name) in [
            ("dormant-port", "DormantPort"),
            ("watched-port", "WatchedPort"),
            ("no-2nd-ssh", "No2ndSsh"),
            ("-", ""),
        ] {
            assert_eq!(alertname(rule), name);
        }
    }

    #[test]
    fn an_address_is_named_once_and_the_list_has_a_bound() {
        let mut notice = Notice::default();
        assert!(notice.add_address("0.0.0.0") && notice.add_address("::"));
        assert!(!notice.add_address("::"));
        assert_eq!(notice.annotations[ADDRESSES], "0.0.0.0, ::");
        for last in 0..=255 {
            notice.add_address(&format!("192.0.2.{last}"));
        }
        assert!(notice.annotations[ADDRESSES].len() <= ADDRESSES_MAX + 2);
    }
}
