//! Parts that several documents have in common, of commands and of the API; what is not known is null.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    history::Entry,
    registry::{Dormancy, Meaning, Ports, Registration, Transport},
};

/// A stretch of ports in documents.
#[derive(Serialize)]
pub struct Stretch {
    first: u16,
    last: u16,
}

impl From<Ports> for Stretch {
    fn from(ports: Ports) -> Self {
        Self {
            first: ports.first,
            last: ports.last,
        }
    }
}

/// A row of the registry of ports, with all its columns.
#[derive(Serialize)]
pub struct Registered<'a> {
    /// Who says so: `iana`, `site` or `services`.
    source: &'static str,
    service: Option<&'a str>,
    ports: Option<Stretch>,
    /// Null where the row speaks of all transports.
    transport: Option<&'static str>,
    /// `dormant`, `unauthorised`, `assigned`, `reserved` or `unassigned`.
    status: &'static str,
    /// Why it is dormant.
    dormant: Option<&'static str>,
    description: Option<&'a str>,
    assignee: Option<&'a str>,
    contact: Option<&'a str>,
    registered: Option<&'a str>,
    modified: Option<&'a str>,
    reference: Option<&'a str>,
    service_code: Option<&'a str>,
    unauthorized_use: Option<&'a str>,
    note: Option<&'a str>,
}

impl<'a> Registered<'a> {
    /// The row, of this transport.
    #[must_use]
    pub fn new(registration: &Registration<'a>, transport: Option<Transport>) -> Self {
        Self {
            source: registration.authority().as_str(),
            service: registration.service(),
            ports: registration.ports().map(Stretch::from),
            transport: transport.map(Transport::name),
            status: Meaning::of(registration).name(),
            dormant: Dormancy::of(registration).map(|dormancy| dormancy.reason),
            description: registration.description(),
            assignee: registration.assignee(),
            contact: registration.contact(),
            registered: registration.registered(),
            modified: registration.modified(),
            reference: registration.reference(),
            service_code: registration.service_code(),
            unauthorized_use: registration.unauthorized_use(),
            note: registration.note(),
        }
    }
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
#[must_use]
pub fn moment(nanoseconds: i64) -> String {
    Timestamp::from_nanosecond(nanoseconds.into()).map_or_else(|_| String::new(), |time| format!("{time:.9}"))
}
