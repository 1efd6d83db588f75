//! Receivers that take the place of others.

use super::*;
use crate::{
    output::scrape::scrape,
    policy::{Policy, Rule, Verdict},
    registry::Registry,
};

fn webhook(name: &str, ca_file: Option<PathBuf>) -> Endpoint {
    Endpoint {
        name: format!("webhook/{name}"),
        url: endpoint::Url::parse("https://127.0.0.1:1/hook").unwrap(),
        timeout: Duration::from_secs(1),
        ca_file,
        credentials: endpoint::Credentials::None,
    }
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
    let policy = Policy::new(vec![Rule::dormant_port()], Verdict::Unruled);
    let metrics = Metrics::new(&policy, Registry::embedded(), 1_000, None).unwrap();
    let wanted = |webhooks: Vec<Endpoint>| Wanted {
        webhooks,
        ..Wanted::default()
    };
    let before = wanted(vec![webhook("a", None)]);
    let receivers = before
        .start("web-7", "http://127.0.0.1/", &Arc::new(Mutex::new(metrics)))
        .unwrap();
    let broken = wanted(vec![
        webhook("b", None),
        webhook("c", Some(PathBuf::from("/nowhere/ca.pem"))),
    ]);
    let error = receivers.exchange(&broken).err().unwrap().to_string();
    assert!(
        error.starts_with("webhook/c: ") && error.contains("/nowhere/ca.pem"),
        "{error}"
    );
    assert_eq!(counted(&receivers), ["webhook/a"]);
    let exchange = receivers.exchange(&wanted(vec![webhook("b", None)])).unwrap();
    assert_eq!(counted(&receivers), ["webhook/a", "webhook/b"]);
    receivers.give_up(&exchange);
    assert_eq!(counted(&receivers), ["webhook/a"]);
    assert_eq!(receivers.names().collect::<Vec<_>>(), ["webhook/a"]);
    receivers.stop();
}
