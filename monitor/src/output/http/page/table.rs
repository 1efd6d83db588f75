//! The rows of the table of listeners.

use super::documents::{Moment, Other, Socket};

/// A service as people see it: its sockets that differ by nothing but address and process are one row.
pub(super) struct Row {
    /// Tells it from other rows, for whoever compares two pages.
    pub(super) key: String,
    pub(super) port: u16,
    pub(super) protocol: String,
    /// Names that are registered, separated by commas.
    pub(super) names: String,
    /// Whether the process serves something else than the port is registered for.
    pub(super) is_misnamed: bool,
    pub(super) process: String,
    pub(super) pid: Option<u32>,
    /// Further processes that hold it.
    pub(super) others: usize,
    pub(super) exe: String,
    pub(super) user: String,
    pub(super) place: String,
    pub(super) scope: String,
    /// Each once, separated by commas.
    pub(super) addresses: String,
    pub(super) sockets: usize,
    /// Its network namespace, where that is not the host's.
    pub(super) netns: Option<u32>,
    pub(super) since: Moment,
    pub(super) age: String,
    /// Whether it may have listened before that: it was there when the agent started.
    pub(super) is_older: bool,
    pub(super) verdict: String,
    pub(super) rule: Option<String>,
}

/// Makes rows of sockets in order. Those of one service stand side by side in every order.
pub(super) fn rows(sockets: &[Socket], now: Moment) -> Vec<Row> {
    sockets
        .chunk_by(|one, other| service(one) == service(other))
        .filter_map(|group| row(group, now))
        .collect()
}

/// What makes two sockets one service.
fn service(socket: &Socket) -> (u16, &str, u32, &str, &str, Option<&str>, String, String, String) {
    (
        socket.port,
        &socket.protocol,
        socket.netns,
        &socket.scope,
        &socket.verdict,
        socket.rule.as_deref(),
        socket.process_name(),
        socket.user(),
        socket.place(),
    )
}

fn row(group: &[Socket], now: Moment) -> Option<Row> {
    let first = group.first()?;
    let oldest = group.iter().min_by_key(|socket| socket.time)?;
    let mut addresses: Vec<String> = Vec::new();
    let mut pids: Vec<u32> = Vec::new();
    for socket in group {
        let address = socket.address_word();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
        let holders = socket.holders.iter().map(|Other { pid, .. }| *pid);
        for pid in socket.pid().into_iter().chain(holders) {
            if !pids.contains(&pid) {
                pids.push(pid);
            }
        }
    }
    let exe = first.process.as_ref().and_then(|process| process.exe.clone());
    Some(Row {
        key: format!("{}-{}", first.netns, first.socket),
        port: first.port,
        protocol: first.protocol.clone(),
        names: first.names().join(", "),
        is_misnamed: first.name_matches_process == Some(false),
        process: first.process_name(),
        pid: first.pid(),
        others: pids.len().saturating_sub(1),
        exe: exe.unwrap_or_default(),
        user: first.user(),
        place: first.place(),
        scope: first.scope.clone(),
        addresses: addresses.join(", "),
        sockets: group.len(),
        netns: (!first.host_netns).then_some(first.netns),
        since: oldest.time,
        age: oldest.time.age(now),
        is_older: oldest.origin == "existing",
        verdict: first.verdict.clone(),
        rule: first.rule.clone(),
    })
}
