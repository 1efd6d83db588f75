//! Receivers that take the place of others.

use std::{path::Path, time::Instant};

use super::{
    servers::{endpoint, serve, status, testdata},
    *,
};
use crate::{
    output::{samples, scrape::scrape},
    policy::{Policy, Verdict},
    registry::Registry,
};

fn metrics() -> Arc<Mutex<Metrics>> {
    let policy = Policy::new(Vec::new(), Verdict::Unruled);
    let registry = Arc::new(Registry::builtin());
    Arc::new(Mutex::new(Metrics::new(&policy, &registry, 1_000, None).unwrap()))
}

fn wanted(endpoint: Endpoint) -> Wanted {
    Wanted {
        webhooks: vec![endpoint],
        ..Wanted::default()
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        thread::yield_now();
    }
}

#[test]
fn a_receiver_whose_settings_change_is_told_nothing_twice_and_of_the_end() {
    let (address, came) = serve(vec![status("200 OK", ""), status("200 OK", "")]);
    let before = endpoint("http", address, Duration::from_secs(10));
    let (alert, clock) = (samples::alert(1), Clock::read());
    let mut receivers = wanted(before.clone()).start("web-7", None, &metrics()).unwrap();
    receivers.fire(&alert, clock);
    until("accepted", || !receivers.told(&alert).is_empty());
    let after = wanted(Endpoint {
        timeout: Duration::from_secs(20),
        ..before.clone()
    });
    let exchange = receivers.exchange(&after).unwrap();
    receivers.commit(exchange, [&alert].into_iter(), clock);
    receivers.end(&alert, Over::Closed, 2);
    until("told of the end", || {
        receivers.told(&alert).iter().any(|(_, times)| times.resolved.is_some())
    });
    assert_eq!(receivers.told(&alert)[0].0, before.name);
    let statuses: Vec<_> = came
        .try_iter()
        .map(|message| serde_json::from_str::<serde_json::Value>(&message.body).unwrap()["status"].take())
        .collect();
    assert_eq!(statuses, ["firing", "resolved"]);
}

#[test]
fn a_reload_says_that_a_file_of_certificates_cannot_be_used_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::copy(testdata("ca.pem"), &ca_file).unwrap();
    let address = "127.0.0.1:1".parse().unwrap();
    let wanted = wanted(Endpoint {
        ca_file: Some(ca_file.clone()),
        ..endpoint("https", address, Duration::from_secs(10))
    });
    let mut receivers = wanted.start("web-7", None, &metrics()).unwrap();
    assert!(receivers.exchange(&wanted).is_ok());
    let refused = |receivers: &mut Receivers, file: &Path| {
        let error = receivers.exchange(&wanted).err().unwrap().to_string();
        assert!(
            error.contains("webhook/127.0.0.1:1: ") && error.contains(file.to_str().unwrap()),
            "{error}"
        );
    };
    std::fs::write(&ca_file, "no certificate").unwrap();
    refused(&mut receivers, &ca_file);
    std::fs::remove_file(&ca_file).unwrap();
    refused(&mut receivers, &ca_file);
}

/// The receivers that have series.
fn counted(receivers: &Receivers) -> Vec<String> {
    let page = String::from_utf8(lock(&receivers.metrics).page().text().unwrap()).unwrap();
    let samples = scrape(&page).into_iter();
    let of_queues = samples.filter(|sample| sample.name == "portreeve_notification_queue_length");
    of_queues.map(|sample| sample.labels["receiver"].clone()).collect()
}

#[test]
fn an_exchange_that_fails_or_is_given_up_leaves_everybody_as_they_were() {
    let webhook = |name: &str, ca_file: Option<PathBuf>| Endpoint {
        name: format!("webhook/{name}"),
        ca_file,
        ..endpoint("https", "127.0.0.1:1".parse().unwrap(), Duration::from_secs(1))
    };
    let receivers = wanted(webhook("a", None)).start("web-7", None, &metrics()).unwrap();
    let broken = Wanted {
        webhooks: vec![webhook("b", None), webhook("c", Some(PathBuf::from("/nowhere/ca.pem")))],
        ..Wanted::default()
    };
    let error = receivers.exchange(&broken).err().unwrap().to_string();
    assert!(
        error.starts_with("webhook/c: ") && error.contains("/nowhere/ca.pem"),
        "{error}"
    );
    assert_eq!(counted(&receivers), ["webhook/a"]);
    let exchange = receivers.exchange(&wanted(webhook("b", None))).unwrap();
    assert_eq!(counted(&receivers), ["webhook/a", "webhook/b"]);
    receivers.give_up(&exchange);
    assert_eq!(counted(&receivers), ["webhook/a"]);
    assert_eq!(receivers.names().collect::<Vec<_>>(), ["webhook/a"]);
    receivers.stop();
}
