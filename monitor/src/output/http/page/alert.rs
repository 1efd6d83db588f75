//! Alerts, for people.

use super::documents::{Alert, Alerts, Moment};

/// Alerts that are over and still shown.
const OVER_SHOWN: usize = 8;

/// An alert as a page shows it.
pub(super) struct Notice {
    /// `firing`, `pending` or `over`.
    pub(super) status: &'static str,
    pub(super) severity: String,
    pub(super) rule: String,
    pub(super) protocol: String,
    pub(super) port: String,
    /// Of its name on the page: that of the alert among all others.
    pub(super) key: String,
    pub(super) summary: String,
    pub(super) since: Moment,
    pub(super) age: String,
    pub(super) ended: Option<Moment>,
    /// Whether it is kept up though its last listener is gone.
    pub(super) is_kept: bool,
    /// Who was told what.
    pub(super) told: String,
    pub(super) runbook: Option<String>,
    /// What makes it expected.
    pub(super) expect: Option<String>,
}

/// Those that fire, those that are pending, and the last that are over.
pub(super) struct Notices {
    pub(super) now: Vec<Notice>,
    pub(super) over: Vec<Notice>,
}

impl Notices {
    /// All of them; of one port, where one is given.
    pub(super) fn of(document: Alerts, port: Option<u16>) -> Self {
        let port = port.map(|port| port.to_string());
        let asked = |alert: &Alert| port.is_none() || alert.labels.get("port") == port.as_ref();
        let alerts = document.alerts.into_iter().filter(asked);
        let (over, mut now): (Vec<_>, Vec<_>) = alerts
            .map(|alert| notice(alert, document.time))
            .partition(|notice| notice.status == "over");
        let mut over = over;
        // What fires stands above what may fire soon, the newest on top.
        now.sort_by(|one, other| (one.status, other.since).cmp(&(other.status, one.since)));
        over.sort_by_key(|notice| std::cmp::Reverse(notice.ended));
        over.truncate(OVER_SHOWN);
        Self { now, over }
    }

    /// How many fire; those that are pending do not yet.
    pub(super) fn firing(&self) -> usize {
        self.now.iter().filter(|notice| notice.status == "firing").count()
    }
}

fn notice(mut alert: Alert, now: Moment) -> Notice {
    let mut label = |name: &str| alert.labels.remove(name).unwrap_or_default();
    let (severity, rule, protocol, port) = (label("severity"), label("rule"), label("protocol"), label("port"));
    let key = [&*rule, &*protocol, &*port, &*label("process"), &*label("netns")].join("-");
    let told: Vec<_> = alert
        .receivers
        .iter()
        .filter_map(|receiver| {
            let told = receiver.resolved.or(receiver.firing)?;
            Some(format!("{} {} ago", receiver.name, told.age(now)))
        })
        .collect();
    let is_page = |url: &String| url.starts_with("https://") || url.starts_with("http://");
    Notice {
        status: match alert.status.as_str() {
            "firing" => "firing",
            "pending" => "pending",
            _ => "over",
        },
        severity,
        rule,
        protocol,
        port,
        key,
        summary: alert.annotations.remove("summary").unwrap_or_default(),
        since: alert.starts_at,
        age: alert.starts_at.age(now),
        ended: alert.ends_at,
        is_kept: alert.open == Some(0),
        told: told.join(", "),
        // Anything else would be run when somebody follows it.
        runbook: alert.annotations.remove("runbook_url").filter(is_page),
        expect: alert.annotations.remove("expect"),
    }
}
