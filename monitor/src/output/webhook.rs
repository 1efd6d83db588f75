//! Alerts as a webhook gets them: one JSON document for each alert and each of its two states, documented in docs/alerts.md.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    alert_states::AlertFields,
    alertmanager::wall,
    notify::{
        client::{Client, Failure},
        outbox::{Parcel, Status, Style},
        worker::Deliver,
    },
};
use crate::{
    identity::{Clock, clock},
    policy::notice::Subject,
};

/// Version of the document's shape.
const SCHEMA: u32 = 1;

/// How it wants to be told: each change once.
pub const STYLE: Style = Style {
    resend: None,
    batch: 1,
    keeps: true,
};

/// Sends to one webhook.
pub struct Webhook {
    client: Client,
    host: String,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    id: &'a str,
    status: &'static str,
    host: &'a str,
    alert: About<'a>,
    listener: &'a Subject,
}

#[derive(Serialize)]
struct About<'a> {
    #[serde(flatten)]
    about: AlertFields<'a>,
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    starts_at: String,
    ends_at: Option<String>,
}

impl Webhook {
    /// Through this client, as this host.
    pub fn new(client: Client, host: String) -> Self {
        Self { client, host }
    }
}

impl Deliver for Webhook {
    fn deliver(&mut self, parcels: &[Parcel]) -> Result<(), Failure> {
        for parcel in parcels {
            let id = id(parcel);
            let body = body(parcel, &id, &self.host, Clock::read(), clock::boot_now());
            self.client.post(&body, &[("Idempotency-Key", &id)])?;
        }
        Ok(())
    }
}

/// The same for each attempt to tell one state of one alert, so that a receiver knows what it has already.
fn id(parcel: &Parcel) -> String {
    format!("{}-{}", parcel.alert.id(), parcel.status.as_str())
}

fn body(parcel: &Parcel, id: &str, host: &str, clock: Clock, now: u64) -> Vec<u8> {
    let (alert, notice) = (&parcel.alert, &parcel.alert.notice);
    let ends_at = (parcel.status == Status::Resolved).then(|| {
        wall(clock, parcel.ended.map_or(now, |ended| ended.at))
            .max(alert.starts_at)
            .to_string()
    });
    let document = Document {
        schema: SCHEMA,
        id,
        status: parcel.status.as_str(),
        host,
        alert: About {
            about: AlertFields::of(&alert.key, alert.severity),
            labels: &notice.labels,
            annotations: &notice.annotations,
            starts_at: alert.starts_at.to_string(),
            ends_at,
        },
        listener: &notice.listener,
    };
    serde_json::to_vec(&document).unwrap_or_default()
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

    fn posted(parcel: &Parcel, clock: Clock) -> Value {
        let body = body(parcel, &id(parcel), "web-7", clock, moment(clock, 0));
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn the_document_is_the_one_of_docs_alerts_md() {
        let clock = Clock::read();
        let told = posted(&parcel(clock), clock);
        let documented = include_str!("../../../docs/alerts.md");
        let example = documented
            .split("```json")
            .filter_map(|rest| serde_json::from_str::<Value>(rest.split("```").next()?).ok())
            .find(|value| value["schema"] == 1)
            .expect("docs/alerts.md has a document");
        let mut expected = example.clone();
        // The day of tests is another one, so that no clock comes near it.
        expected["id"] = told["id"].clone();
        expected["alert"]["starts_at"] = told["alert"]["starts_at"].clone();
        assert_eq!(told, expected, "{}", serde_json::to_string_pretty(&told).unwrap());
    }

    #[test]
    fn each_state_of_an_alert_has_an_id_that_stays() {
        let clock = Clock::read();
        let firing = parcel(clock);
        let resolved = Parcel {
            status: Status::Resolved,
            ended: Some(Ended {
                at: moment(clock, 1_000_000_000),
                why: Over::Closed,
            }),
            ..firing.clone()
        };
        assert_eq!(id(&firing), id(&firing.clone()));
        assert_ne!(id(&firing), id(&resolved));
        let told = posted(&resolved, clock);
        assert_eq!(told["status"], "resolved");
        assert_eq!(told["alert"]["ends_at"], "2100-11-23T03:20:01Z");
    }
}
