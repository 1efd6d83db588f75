//! The agent is killed while an alert fires; a real Alertmanager is killed again and again while alerts come and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    Named, Test,
    agent::{Agent, DEADLINE},
    listeners::free_port,
    receivers::{Alertmanager, Hook, Outcome, Setting, hook_at},
};

/// Listeners of the load.
const LISTENERS: usize = 200;

/// Rules that they are spread over: a rule fires 60 alerts a minute at most.
const RULES: usize = 5;

/// Between two listens, so that each phase of the load has several messages in it.
const PACE: Duration = Duration::from_millis(10);

/// How long it may take until an Alertmanager that forgot everything has all of it again: what it had accepted is sent again
/// each minute, and an attempt that fails is put off by up to half a minute.
const RESENT: Duration = Duration::from_mins(2);

/// With a webhook that the test is.
pub const ALL: &[Named] = &[(
    "the_api_knows_after_a_restart_what_receivers_accepted_before",
    known_after_a_restart,
)];

/// With a real Alertmanager.
pub const WITH_ALERTMANAGER: &[Named] = &[(
    "alertmanager_that_is_killed_three_times_under_load_has_in_the_end_what_is_open",
    under_load,
)];

/// When a webhook accepted the alert on this port, as the API has it.
fn accepted(agent: &Agent, port: u16) -> Outcome<Option<String>> {
    let (_, body) = agent.get("/api/v1/alerts")?;
    let document: Value = serde_json::from_str(&body)?;
    let alerts = document["alerts"].as_array().ok_or("no alerts")?;
    let alert = alerts.iter().find(|alert| alert["port"] == port);
    Ok(alert.and_then(|alert| Some(alert["receivers"][0]["firing"].as_str()?.to_owned())))
}

fn wait_until_accepted(agent: &Agent, port: u16) -> Outcome<String> {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(accepted) = accepted(agent, port)? {
            return Ok(accepted);
        }
        if Instant::now() > end {
            return Err("the API does not know that the webhook took the alert".into());
        }
        thread::park_timeout(Duration::from_millis(20));
    }
}

fn known_after_a_restart() -> Test {
    let (hook, port) = (Hook::start()?, free_port()?);
    let rules = [("dormant-port".to_owned(), port.to_string())];
    let setting = Setting::with_rules(&hook_at(hook.address), &rules)?;
    let mut agent = setting.agent()?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    hook.expect("firing", port)?;
    let before = wait_until_accepted(&agent, port)?;
    let end = Instant::now() + DEADLINE;
    while setting.kept()?.contains("\"accepted\":null") {
        if Instant::now() > end {
            return Err("what the webhook knows is not kept".into());
        }
        thread::park_timeout(Duration::from_millis(20));
    }
    agent.stop(Signal::KILL)?;
    let agent = setting.agent()?;
    let after = wait_until_accepted(&agent, port)?;
    // The clock was read again; it is the same second all the same.
    if before.get(..16) != after.get(..16) {
        return Err(format!("accepted at {before}, and after the restart at {after}").into());
    }
    drop(listener);
    hook.expect("resolved", port)?;
    hook.is_quiet()
}

/// So many ports below those that the kernel chooses, which nothing has.
fn free_ports(count: usize) -> Outcome<Vec<u16>> {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let ports: Vec<_> = (20_000..30_000).filter(is_free).take(count).collect();
    if ports.len() < count {
        return Err("too few ports are free".into());
    }
    Ok(ports)
}

/// The ports of the alerts of this process that it shows, in order; each as often as it is shown. Others of the host may listen on
/// one of these ports meanwhile.
fn shown(alertmanager: &Alertmanager) -> Outcome<Vec<u16>> {
    let process = std::env::current_exe()?;
    let process = process.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut ports = Vec::new();
    for labels in alertmanager.shown()? {
        if labels["process"] != process.get(..32).unwrap_or(process) {
            continue;
        }
        ports.push(labels["port"].as_str().ok_or("an alert without a port")?.parse()?);
    }
    ports.sort_unstable();
    Ok(ports)
}

fn wait_until_shown(alertmanager: &Alertmanager, expected: &[u16]) -> Test {
    let end = Instant::now() + RESENT;
    loop {
        let shown = shown(alertmanager)?;
        if shown == expected {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("Alertmanager shows {shown:?}, and {expected:?} are open").into());
        }
        thread::park_timeout(Duration::from_millis(200));
    }
}

/// Opens and closes, while Alertmanager is killed and started three times at whatever it does then. Gives what is open.
fn load(alertmanager: &mut Alertmanager, ports: &[u16]) -> Outcome<BTreeMap<u16, TcpListener>> {
    let listen = |port: u16| TcpListener::bind(("127.0.0.1", port)).map(|listener| (port, listener));
    let mut open = BTreeMap::new();
    for (index, port) in ports.iter().enumerate() {
        match index {
            30 | 90 | 150 => alertmanager.kill(),
            60 | 120 | 180 => alertmanager.start()?,
            _ => {}
        }
        // Half of them close at once.
        let listener = listen(*port)?;
        if index % 2 == 0 {
            open.extend([listener]);
        }
        let earlier = |by: usize| index.checked_sub(by).and_then(|earlier| ports.get(earlier));
        match index % 20 {
            // Some close later, ...
            9 | 19 => drop(earlier(5).and_then(|port| open.remove(port))),
            // ... and some that had closed open again.
            12 => {
                if let Some(port) = earlier(11) {
                    open.extend([listen(*port)?]);
                }
            }
            _ => {}
        }
        thread::park_timeout(PACE);
    }
    Ok(open)
}

fn under_load() -> Test {
    let mut alertmanager = Alertmanager::new()?;
    let ports = free_ports(LISTENERS)?;
    let rules: Vec<(String, String)> = ports
        .chunks(LISTENERS / RULES)
        .enumerate()
        .map(|(index, ports)| {
            let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
            (format!("load-{index}"), ports.join(", "))
        })
        .collect();
    let setting = Setting::with_rules(&alertmanager.receiver(), &rules)?;
    let agent = setting.agent()?;
    let open = load(&mut alertmanager, &ports)?;
    let expected: Vec<u16> = open.keys().copied().collect();
    let settled = Instant::now();
    let name = alertmanager.name();
    let receiver = [("receiver", name.as_str())];
    agent.wait_for_metric("portreeve_notification_queue_length", &receiver, Some(0.0))?;
    wait_until_shown(&alertmanager, &expected)?;
    eprintln!(
        "from the last start of Alertmanager until it has all {} alerts again: {:?}",
        expected.len(),
        settled.elapsed()
    );
    let failed = [("receiver", name.as_str()), ("result", "error")];
    if agent
        .metric("portreeve_notifications_total", &failed)?
        .unwrap_or_default()
        == 0.0
    {
        return Err("Alertmanager was never away, so this proves nothing".into());
    }

    drop(open);
    wait_until_shown(&alertmanager, &[])?;
    // The webhook behind it is told of the end of each, so it had been told of the alert.
    let mut untold: BTreeSet<String> = expected.iter().map(u16::to_string).collect();
    while !untold.is_empty() {
        let told = alertmanager
            .told()
            .map_err(|error| format!("{error}; missing: {untold:?}"))?;
        for alert in told["alerts"].as_array().into_iter().flatten() {
            if alert["status"] == "resolved" {
                untold.remove(alert["labels"]["port"].as_str().unwrap_or_default());
            }
        }
    }
    for (rule, _) in &rules {
        let rule = [("rule", rule.as_str())];
        agent.wait_for_metric("portreeve_alerts", &rule, Some(0.0))?;
        agent.wait_for_metric("portreeve_alerts_held_back_total", &rule, Some(0.0))?;
    }
    let dropped = [("receiver", name.as_str()), ("result", "dropped")];
    agent.wait_for_metric("portreeve_notifications_total", &dropped, Some(0.0))?;
    agent.wait_for_metric("portreeve_notification_queue_length", &receiver, Some(0.0))?;
    let end = Instant::now() + DEADLINE;
    while setting.kept()?.contains("load-") {
        if Instant::now() > end {
            return Err(format!("the agent keeps alerts that are over: {}", setting.kept()?).into());
        }
        thread::park_timeout(Duration::from_millis(20));
    }
    Ok(())
}
