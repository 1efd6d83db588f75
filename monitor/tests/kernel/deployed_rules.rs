//! The rules of `deploy/prometheus` in a real Prometheus.

use std::{collections::BTreeMap, net::TcpListener, time::Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    BACKENDS, Named, Test, agent::Agent, listeners::free_port, prometheus_server::Prometheus, receivers::Outcome,
};

/// The ports of that rule, by what happens on them.
const BEFORE: u16 = 1990;
const SHORT: u16 = 1991;
const OPEN: u16 = 1992;

/// With a real Prometheus.
pub const WITH_PROMETHEUS: &[Named] = &[(
    "prometheus_fires_for_dormant_ports_and_not_for_a_restart_of_the_agent",
    dormant_ports,
)];

/// The agent without any configuration, at an address that outlives it, or its series would be others after a restart.
pub fn agent(port: u16) -> Outcome<Agent> {
    let backend = BACKENDS
        .into_iter()
        .find(|backend| super::attaches(backend))
        .ok_or("no backend attaches here")?;
    Agent::start(backend, &["--web.listen-address", &format!("127.0.0.1:{port}")])
}

pub fn listen(port: u16) -> Outcome<TcpListener> {
    Ok(TcpListener::bind(("127.0.0.1", port)).map_err(|error| format!("cannot listen on {port}: {error}"))?)
}

fn dormant_ports() -> Test {
    let before = listen(BEFORE)?;
    let port = free_port()?;
    let mut first = agent(port)?;
    let prometheus = Prometheus::start(port)?;
    prometheus.check_rules()?;
    prometheus.wait_for_firing(&[BEFORE])?;
    prometheus.wait_for_scrapes()?;
    if prometheus.listens(BEFORE)? != Some(0.0) {
        return Err("what listened before the agent counts as a listen".into());
    }

    let open = listen(OPEN)?;
    let listened = Instant::now();
    drop(listen(SHORT)?);
    let firing = prometheus.wait_for_firing(&[BEFORE, SHORT, OPEN])?;
    eprintln!("from listen() to Prometheus's own alert: {:?}", listened.elapsed());
    if prometheus.listens(SHORT)?.is_none_or(|count| count <= 0.0) {
        return Err("what came and went between two scrapes is not counted".into());
    }
    for port in [SHORT, OPEN] {
        let alert = &firing[&port];
        let (labels, summary) = (
            &alert["labels"],
            alert["annotations"]["summary"].as_str().unwrap_or_default(),
        );
        let is_whole = labels["severity"] == "critical"
            && labels["protocol"] == "tcp"
            && labels["cluster"] == "eu"
            && summary.starts_with(&format!("Dormant port {port}/tcp was opened on 127.0.0.1 by "));
        if !is_whole {
            return Err(format!("the alert does not say what it should: {alert}").into());
        }
    }

    first.stop(Signal::TERM)?;
    let _second = agent(port)?;
    prometheus.wait_for_scrapes()?;
    if prometheus.listens(BEFORE)? != Some(0.0) {
        return Err("a restart of the agent counts as a listen".into());
    }
    // They fire on, as the alerts that they were.
    let began = |firing: &BTreeMap<u16, Value>| -> Vec<_> {
        let began = firing.iter().map(|(port, alert)| (*port, alert["activeAt"].clone()));
        began.collect()
    };
    let again = prometheus.firing()?;
    if began(&again) != began(&firing) {
        return Err(format!("a restart of the agent changed what fires: {firing:?} became {again:?}").into());
    }
    drop((before, open));
    prometheus.check_rules()
}
