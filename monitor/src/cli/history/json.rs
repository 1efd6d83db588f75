//! The history as one JSON document; what is not known is null. docs/history.md explains each key.

use std::{net::IpAddr, path::Path};

use jiff::Timestamp;
use serde::Serialize;

use super::{Entry, Listing};
use crate::cli::{list::json::time, print};

pub(super) fn render(listing: &Listing) -> anyhow::Result<String> {
    print::document(&Document {
        file: &listing.file,
        time: time(listing.time),
        since: listing.since.map(moment),
        until: listing.until.map(moment),
        listeners: listing.entries.iter().map(Listened::from).collect(),
        left_out: listing.left_out,
    })
}

#[derive(Serialize)]
struct Document<'a> {
    file: &'a Path,
    time: String,
    since: Option<String>,
    until: Option<String>,
    listeners: Vec<Listened<'a>>,
    left_out: usize,
}

/// Listeners of one program on one port.
#[derive(Serialize)]
pub struct Listened<'a> {
    protocol: &'static str,
    port: u16,
    addresses: &'a [IpAddr],
    scope: &'static str,
    netns: u32,
    host_netns: bool,
    automatic: Option<bool>,
    process: &'a str,
    pid: Option<u32>,
    exe: Option<&'a str>,
    cmdline: Option<&'a [String]>,
    uid: Option<u32>,
    user: Option<&'a str>,
    unit: Option<&'a str>,
    container: Option<&'a str>,
    pod: Option<&'a str>,
    package: Option<&'a str>,
    verdict: &'static str,
    rule: Option<&'a str>,
    origin: &'static str,
    first_opened: String,
    first_origin: &'static str,
    opened: String,
    closed: Option<String>,
    end: Option<&'static str>,
    times: usize,
    open: usize,
}

impl<'a> From<&'a Entry> for Listened<'a> {
    fn from(entry: &'a Entry) -> Self {
        let row = &entry.newest;
        let (first, first_origin) = entry.first;
        Self {
            protocol: row.protocol.as_str(),
            port: row.port,
            addresses: &entry.addresses,
            scope: row.scope.as_str(),
            netns: row.netns,
            host_netns: row.host_netns,
            automatic: row.automatic,
            process: &row.process,
            pid: row.pid,
            exe: row.exe.as_deref(),
            cmdline: row.cmdline.as_deref(),
            uid: row.uid,
            user: row.user.as_deref(),
            unit: row.unit.as_deref(),
            container: row.container.as_deref(),
            pod: row.pod.as_deref(),
            package: row.package.as_deref(),
            verdict: row.verdict.as_str(),
            rule: row.rule.as_deref(),
            origin: row.origin.as_str(),
            first_opened: moment(first),
            first_origin: first_origin.as_str(),
            opened: moment(row.opened),
            closed: entry.closed.map(|(closed, _)| moment(closed)),
            end: entry.closed.map(|(_, end)| end.as_str()),
            times: entry.times,
            open: entry.open,
        }
    }
}

/// Nanoseconds since the Unix epoch, as events write them.
fn moment(nanoseconds: i64) -> String {
    Timestamp::from_nanosecond(nanoseconds.into()).map_or_else(|_| String::new(), time)
}
