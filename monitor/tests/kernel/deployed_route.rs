//! A real Alertmanager that tells by the sample route of `deploy/alertmanager`.

use std::{
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use super::{
    Named, Test,
    listeners::in_another_namespace,
    receivers::{Alertmanager, Outcome, Setting},
};

/// What is deployed.
const ROUTE: &str = include_str!("../../../deploy/alertmanager/alertmanager.yml");

/// What stands there for a webhook of one's own.
const STAND_IN: &str = "http://127.0.0.1:8000/";

/// How soon the route tells of a further host in a group, and how soon it is here: nobody waits a minute for a test. All else
/// is as deployed, the `group_wait` of 10 s too.
const INTERVAL: (&str, &str) = ("group_interval: 1m", "group_interval: 6s");

/// The port, on both hosts.
const PORT: u16 = 1992;

/// How long the second host's listener lives: it is gone before the group is told of again.
const SHORT: Duration = Duration::from_secs(2);

/// With a real Alertmanager.
pub const WITH_ALERTMANAGER: &[Named] = &[(
    "the_deployed_route_tells_of_a_2_s_listener_in_a_group_that_another_host_fires_in_already",
    short_listener_in_a_group,
)];

fn route(hook: SocketAddr) -> Outcome<String> {
    if !ROUTE.contains(INTERVAL.0) || !ROUTE.contains(STAND_IN) {
        return Err("the deployed route is another one than this test knows".into());
    }
    Ok(ROUTE
        .replace(INTERVAL.0, INTERVAL.1)
        .replace(STAND_IN, &format!("http://{hook}/")))
}

/// The built-in rule, of an agent that is to take a network namespace for its host: both see all that this kernel has.
fn host(alertmanager: &Alertmanager, instance: &str, namespace: &str) -> Outcome<Setting> {
    Setting::of_host(
        instance,
        &format!(
            "{}\n[[rule]]\nname = \"dormant-port\"\nports = [{PORT}]\nseverity = \"critical\"\nnamespace = \"{namespace}\"",
            alertmanager.receiver()
        ),
    )
}

fn short_listener_in_a_group() -> Test {
    let alertmanager = Alertmanager::with(route)?;
    let (first, second) = (
        host(&alertmanager, "host-a", "host")?,
        host(&alertmanager, "host-b", "other")?,
    );
    let (_first, _second) = (first.agent()?, second.agent()?);

    let _open = TcpListener::bind(("127.0.0.1", PORT)).map_err(|error| format!("cannot listen on {PORT}: {error}"))?;
    let told = alertmanager.hook.expect_of_group("host-a", "firing")?;
    if told.has("host-b", "firing") {
        return Err(format!("host-b fires for what host-a has: {}", told.document).into());
    }

    let (listener, _) = in_another_namespace(PORT)?;
    let listened = Instant::now();
    thread::park_timeout(SHORT);
    drop(listener);
    let closed = Instant::now();
    let told = alertmanager.hook.expect_of_group("host-b", "firing")?;
    if told.at < closed {
        return Err("it was told while it was open, so this proves nothing".into());
    }
    if !told.has("host-a", "firing") {
        return Err(format!("it was told in another group: {}", told.document).into());
    }
    eprintln!(
        "from listen() to the webhook of a group that fires already: {:?}",
        told.at - listened
    );
    Ok(())
}
