//! The rows as JSON, with the keys of the event contract; what is not known is null and named in `missing`.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::row::{Listing, Owner, Row, Unseen};
use crate::{
    cli::print,
    event::Family,
    output::events::{ContainerOf, Other, Registered},
};

/// The whole document.
pub fn render(listing: &Listing) -> anyhow::Result<String> {
    print::document(&Document {
        host: &listing.host,
        time: time(listing.time),
        listeners: listing.rows.iter().map(Listener::from).collect(),
        left_out: listing.left_out,
        unseen: &listing.unseen,
    })
}

/// A moment as events write it.
pub fn time(time: Timestamp) -> String {
    format!("{time:.9}")
}

#[derive(Serialize)]
struct Document<'a> {
    host: &'a str,
    time: String,
    listeners: Vec<Listener<'a>>,
    /// UDP sockets on automatic ports that are not in `listeners`.
    left_out: usize,
    unseen: &'a [Unseen],
}

/// A listening socket.
#[derive(Serialize)]
pub struct Listener<'a> {
    protocol: &'static str,
    family: &'static str,
    address: IpAddr,
    port: u16,
    // A look from outside tells none of these three.
    automatic: Option<bool>,
    scope: &'static str,
    dual_stack: Option<bool>,
    backlog: Option<u32>,
    reuseport: Option<bool>,
    mptcp: Option<bool>,
    netns: u32,
    host_netns: bool,
    socket: u64,
    cookie: Option<String>,
    since: Option<String>,
    uid: u32,
    user: Option<&'a str>,
    process: Option<Process<'a>>,
    holders: Vec<Other<'a>>,
    kernel_thread: Option<bool>,
    container: Option<ContainerOf<'a>>,
    unit: Option<&'a str>,
    service: Option<&'a str>,
    cgroup: Option<&'a str>,
    package: Option<&'a str>,
    registry: Vec<Registered<'a>>,
    name_matches_process: Option<bool>,
    verdict: &'static str,
    rule: Option<&'a str>,
    missing: &'a [&'static str],
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    comm: &'a str,
    exe: Option<&'a str>,
    exe_state: Option<&'static str>,
    cmdline: Option<&'a [String]>,
    started: Option<String>,
    uid: u32,
    user: Option<&'a str>,
    ancestors: Option<Vec<Other<'a>>>,
}

impl<'a> From<&'a Row> for Listener<'a> {
    fn from(row: &'a Row) -> Self {
        Self {
            protocol: row.protocol.as_str(),
            family: match row.family {
                Family::Ipv4 => "ipv4",
                Family::Ipv6 => "ipv6",
            },
            address: row.address,
            port: row.port,
            automatic: None,
            scope: row.scope.as_str(),
            dual_stack: row.dual_stack,
            backlog: row.backlog,
            reuseport: None,
            mptcp: None,
            netns: row.netns,
            host_netns: row.host_netns,
            socket: row.inode,
            cookie: row.cookie.map(|cookie| cookie.to_string()),
            since: row.since.map(time),
            uid: row.user.uid,
            user: row.user.name.as_deref(),
            process: row.process().map(|process| Process {
                pid: process.pid,
                comm: &process.comm,
                exe: process.exe.as_deref(),
                exe_state: process.exe_state.map(|state| state.as_str()),
                cmdline: process.cmdline.as_deref(),
                started: process.started.map(time),
                uid: process.user.uid,
                user: process.user.name.as_deref(),
                ancestors: process
                    .ancestors
                    .as_ref()
                    .map(|ancestors| ancestors.iter().map(Other::from).collect()),
            }),
            holders: row
                .holders
                .iter()
                .map(|holder| Other {
                    pid: holder.pid,
                    comm: &holder.comm,
                })
                .collect(),
            kernel_thread: match row.owner {
                Owner::Process(_) => Some(false),
                Owner::Nobody | Owner::Hidden => None,
            },
            container: row.container.as_ref().map(ContainerOf::from),
            unit: row.unit.as_deref(),
            service: row.service.as_deref(),
            cgroup: row.cgroup.as_deref(),
            package: row.package.as_deref(),
            registry: row.registrations.iter().map(Registered::from).collect(),
            name_matches_process: row.name_matches,
            verdict: row.verdict.as_str(),
            rule: row.rule.as_deref(),
            missing: &row.missing,
        }
    }
}
