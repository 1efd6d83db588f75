//! Alerts as Alertmanager takes them: API v2, `POST /api/v2/alerts`.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::notify::{
    client::{Client, Failure},
    outbox::{Parcel, Status, Style},
    worker::Deliver,
};
use crate::identity::{Clock, clock};

/// The path below the URL of an Alertmanager.
pub const PATH: &str = "/api/v2/alerts";

/// How it wants to be told: what fires again and again, or it takes it for over.
pub const STYLE: Style = Style {
    resend: Some(Duration::from_secs(60)),
    batch: 64,
    keeps: true,
};

/// How long what is sent fires, unless it is sent again: so the alerts of an agent that is gone end.
const FIRES_FOR: SignedDuration = SignedDuration::from_mins(4);

/// Sends to one Alertmanager.
pub struct Alertmanager {
    client: Client,
    page: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Posted<'a> {
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<String>,
}

impl Alertmanager {
    /// Through this client; `page` is the URL of the agent's own page, where people can reach it.
    pub fn new(client: Client, page: Option<String>) -> Self {
        Self { client, page }
    }
}

impl Deliver for Alertmanager {
    fn deliver(&mut self, parcels: &[Parcel]) -> Result<(), Failure> {
        self.client.post(
            &body(parcels, self.page.as_deref(), Clock::read(), clock::boot_now()),
            &[],
        )
    }
}

fn body(parcels: &[Parcel], page: Option<&str>, clock: Clock, now: u64) -> Vec<u8> {
    let posted: Vec<_> = parcels
        .iter()
        .map(|parcel| {
            let starts_at = parcel.alert.starts_at;
            let ends_at = match parcel.status {
                Status::Firing => wall(clock, now).saturating_add(FIRES_FOR).unwrap_or(starts_at),
                Status::Resolved => wall(clock, parcel.ended.map_or(now, |ended| ended.at)),
            };
            Posted {
                labels: &parcel.alert.notice.labels,
                annotations: &parcel.alert.notice.annotations,
                starts_at: starts_at.to_string(),
                // A clock that was set back must not make it end before it began, which is refused.
                ends_at: ends_at.max(starts_at).to_string(),
                generator_url: page.map(|page| format!("{page}/ports/{}", parcel.alert.key.port)),
            }
        })
        .collect();
    serde_json::to_vec(&posted).unwrap_or_default()
}

/// A moment in nanoseconds since boot, by the wall clock.
pub(super) fn wall(clock: Clock, boot: u64) -> Timestamp {
    Timestamp::from_nanosecond(clock.wall(boot)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        output::{
            notify::outbox::Ended,
            samples::{moment, parcel},
        },
        policy::notice::Over,
    };

    fn posted(status: Status, now: i128, ended: Option<i128>) -> Value {
        posted_with(Some("http://web-7:19992"), status, now, ended)
    }

    fn posted_with(page: Option<&str>, status: Status, now: i128, ended: Option<i128>) -> Value {
        let clock = Clock::read();
        let parcel = Parcel {
            status,
            ended: ended.map(|ended| Ended {
                at: moment(clock, ended),
                why: Over::Closed,
            }),
            ..parcel(clock)
        };
        let body = body(&[parcel], page, clock, moment(clock, now));
        serde_json::from_slice::<Value>(&body).unwrap()[0].take()
    }

    #[test]
    fn what_fires_ends_four_minutes_after_it_was_last_sent() {
        let posted = posted(Status::Firing, 60_000_000_000, None);
        assert_eq!(posted["startsAt"], "2100-11-23T03:20:00Z");
        assert_eq!(posted["endsAt"], "2100-11-23T03:25:00Z");
        assert_eq!(posted["generatorURL"], "http://web-7:19992/ports/1992");
        assert_eq!(posted["labels"]["alertname"], "DormantPort");
        assert!(posted["annotations"]["summary"].as_str().unwrap().contains("1992/tcp"));
    }

    #[test]
    fn without_a_page_that_people_can_reach_there_is_no_link() {
        let posted = posted_with(None, Status::Firing, 0, None);
        assert!(posted.get("generatorURL").is_none(), "{posted}");
    }

    #[test]
    fn what_is_over_ends_when_it_did_and_never_before_it_began() {
        let end = |ended| posted(Status::Resolved, 900_000_000_000, ended)["endsAt"].take();
        assert_eq!(end(Some(2_500_000_000)), "2100-11-23T03:20:02.5Z");
        assert_eq!(end(Some(-1)), "2100-11-23T03:20:00Z", "the clock was set back");
    }
}
