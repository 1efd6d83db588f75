//! Events as JSON lines on stdout: DESIGN's contract, one object a line, flushed one by one.

mod list;

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

pub(super) use self::list::Listed;
pub use self::list::listeners;
use super::{Report, alert_states::AlertFields};
use crate::{
    event::{Endpoint, Event, Family, Kind, Outcome, Protocol, Source, errno_name},
    identity::{Ancestor, Clock, Container},
    policy::{alerts::Alert, notice::Notice},
    registry::Registration,
};

/// Version of the lines' shape.
pub(super) const SCHEMA: u32 = 1;

/// Makes the lines of one run of the agent: it holds what all have in common.
#[derive(Debug)]
pub struct Lines {
    host: String,
    run: String,
    sequence: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    /// None in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    host: &'a str,
    time: String,
    event: &'static str,
    origin: &'static str,
    result: Option<&'static str>,
    errno: Option<String>,
    protocol: &'static str,
    family: &'static str,
    address: IpAddr,
    port: u16,
    automatic: Option<bool>,
    peer: Option<End>,
    local: Option<End>,
    scope: &'static str,
    dual_stack: Option<bool>,
    backlog: Option<u32>,
    reuseport: Option<bool>,
    mptcp: Option<bool>,
    reason: Option<&'static str>,
    netns: u32,
    host_netns: bool,
    socket: u64,
    cookie: Option<String>,
    process: Option<Process<'a>>,
    holder: Option<Other<'a>>,
    kernel_thread: bool,
    container: Option<ContainerOf<'a>>,
    unit: Option<&'a str>,
    service: Option<&'a str>,
    cgroup: Option<&'a str>,
    package: Option<&'a str>,
    registry: Vec<Registered<'a>>,
    name_matches_process: Option<bool>,
    verdict: &'static str,
    rule: Option<&'a str>,
    missing: Vec<&'static str>,
    /// In a list alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    holders: Option<Vec<Other<'a>>>,
}

/// One end of a connection.
#[derive(Serialize)]
struct End {
    address: IpAddr,
    port: u16,
}

impl From<Endpoint> for End {
    fn from(Endpoint { address, port }: Endpoint) -> Self {
        Self { address, port }
    }
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    tid: u32,
    comm: &'a str,
    thread: &'a str,
    exe: Option<&'a str>,
    exe_state: Option<&'static str>,
    cmdline: Option<&'a [String]>,
    started: String,
    uid: u32,
    user: Option<&'a str>,
    ancestors: Option<Vec<Other<'a>>>,
}

/// A container.
#[derive(Serialize)]
pub(crate) struct ContainerOf<'a> {
    runtime: &'static str,
    id: &'a str,
    pod_uid: Option<&'a str>,
    pod: Option<&'a str>,
    namespace: Option<&'a str>,
    image: Option<&'a str>,
}

impl<'a> From<&'a Container> for ContainerOf<'a> {
    fn from(container: &'a Container) -> Self {
        let pod = container.pod.as_ref();
        Self {
            runtime: container.runtime.as_str(),
            id: &container.id,
            pod_uid: container.pod_uid.as_deref(),
            pod: pod.map(|pod| pod.name.as_str()),
            namespace: pod.map(|pod| pod.namespace.as_str()),
            image: container.image.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct AlertLine<'a> {
    schema: u32,
    id: String,
    host: &'a str,
    time: String,
    event: &'static str,
    #[serde(flatten)]
    about: AlertFields<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fired: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a str>,
    #[serde(flatten)]
    notice: Option<&'a Notice>,
}

#[derive(Serialize)]
struct LostLine<'a> {
    schema: u32,
    id: String,
    host: &'a str,
    time: String,
    event: &'static str,
    edge: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct DriftLine<'a> {
    schema: u32,
    id: String,
    host: &'a str,
    time: String,
    event: &'static str,
    kind: &'a str,
    count: u64,
}

/// Another process: the holder of a socket, or an ancestor.
#[derive(Serialize)]
pub(crate) struct Other<'a> {
    pub(crate) pid: u32,
    pub(crate) comm: &'a str,
}

impl<'a> From<&'a Ancestor> for Other<'a> {
    fn from(Ancestor { pid, comm }: &'a Ancestor) -> Self {
        Self { pid: *pid, comm }
    }
}

/// One registration, as events and the API show it.
#[derive(Serialize)]
pub(crate) struct Registered<'a> {
    source: &'static str,
    service: Option<&'a str>,
    description: Option<&'a str>,
    note: Option<&'a str>,
    unauthorized_use: Option<&'a str>,
    reference: Option<&'a str>,
    registered: Option<&'a str>,
    modified: Option<&'a str>,
}

impl<'a> From<Registration<'a>> for Registered<'a> {
    fn from(row: Registration<'a>) -> Self {
        Self {
            source: row.authority().as_str(),
            service: row.service(),
            description: row.description(),
            note: row.note(),
            unauthorized_use: row.unauthorized_use(),
            reference: row.reference(),
            registered: row.registered(),
            modified: row.modified(),
        }
    }
}

/// The name of a kind in events and metrics.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Listen => "listen",
        Kind::Unlisten => "unlisten",
        Kind::Bind => "bind",
        Kind::Connect => "connect",
        Kind::Accept => "accept",
        Kind::Unknown(_) => "unknown",
    }
}

/// `result` and `errno` of an outcome.
pub fn result_of(outcome: Outcome) -> (Option<&'static str>, Option<String>) {
    match outcome {
        Outcome::Succeeded => (Some("ok"), None),
        Outcome::Failed(errno) => {
            let name = |errno| errno_name(errno).map_or_else(|| errno.to_string(), str::to_owned);
            (Some("error"), errno.map(name))
        }
        Outcome::Unconfirmed => (None, None),
    }
}

/// A moment in nanoseconds since boot, as wall-clock time in UTC with nanoseconds.
pub fn rfc3339(clock: Clock, boot: u64) -> String {
    // The clock's range is narrower than a timestamp's, but for a clock that was set absurdly far.
    Timestamp::from_nanosecond(clock.wall(boot)).map_or_else(|_| String::new(), |time| format!("{time:.9}"))
}

/// What there is to say of an event about a socket.
fn line<'a>(host: &'a str, event: &'a Event, report: &'a Report, clock: Clock) -> Line<'a> {
    let (socket, opener, process) = (&event.socket, &event.opener, &report.process);
    let (result, errno) = match event.kind {
        Kind::Unlisten => (Some("ok"), None),
        _ => result_of(event.outcome),
    };
    let subject = event.subject();
    // A listener, or what may become one: not one end of a connection.
    let is_local = !matches!(event.kind, Kind::Connect | Kind::Accept);
    let knows_options = is_local && event.source != Source::Tables;
    let has_backlog = is_local && event.kind != Kind::Bind && socket.protocol == Protocol::Tcp;
    let local = Endpoint {
        address: socket.address,
        port: socket.port,
    };
    Line {
        schema: SCHEMA,
        id: None,
        host,
        time: rfc3339(clock, event.time),
        event: kind_name(event.kind),
        origin: report.origin.as_str(),
        result,
        errno,
        protocol: socket.protocol.as_str(),
        family: match socket.family {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        },
        address: subject.address,
        port: subject.port,
        automatic: event.automatic(),
        peer: event.peer.filter(|_| event.kind == Kind::Accept).map(End::from),
        local: (event.kind == Kind::Connect && local.port != 0).then(|| End::from(local)),
        scope: event.scope().as_str(),
        dual_stack: socket.dual_stack().filter(|_| is_local),
        backlog: has_backlog.then_some(socket.backlog),
        reuseport: knows_options.then_some(socket.reuseport),
        mptcp: knows_options.then_some(socket.mptcp),
        reason: (event.kind == Kind::Unlisten && socket.protocol == Protocol::Udp).then_some(if event.connected {
            "connected"
        } else {
            "closed"
        }),
        netns: socket.netns,
        host_netns: report.host_netns,
        socket: socket.inode,
        cookie: socket.cookie.map(|cookie| cookie.to_string()),
        process: opener.is_known().then(|| Process {
            pid: opener.tgid,
            tid: opener.tid,
            comm: &opener.comm,
            thread: &opener.thread,
            exe: process.exe.as_deref(),
            exe_state: process.exe_state.map(|state| state.as_str()),
            cmdline: process.cmdline.as_deref(),
            started: rfc3339(clock, opener.start_time),
            uid: opener.uid,
            user: process.user.as_deref(),
            ancestors: process
                .ancestors
                .as_ref()
                .map(|ancestors| ancestors.iter().map(Other::from).collect()),
        }),
        // Process 0 is the kernel's idle task: nobody held the socket any more.
        holder: (event.kind == Kind::Unlisten && event.holder.0 != 0).then_some(Other {
            pid: event.holder.0,
            comm: &event.holder.1,
        }),
        kernel_thread: opener.kernel_thread,
        container: process.container.as_ref().map(ContainerOf::from),
        unit: report.unit(),
        service: report.socket_unit.as_ref().map(|socket| socket.service.as_str()),
        cgroup: process.cgroup.as_deref(),
        package: process.package.as_deref(),
        registry: report.registrations.iter().map(Registered::from).collect(),
        name_matches_process: report.name_matches,
        verdict: report.verdict.as_str(),
        rule: report.findings.first().map(|finding| finding.rule.as_str()),
        missing: report.missing(event),
        holders: None,
    }
}

fn socket_line(host: &str, id: String, event: &Event, report: &Report, clock: Clock) -> String {
    json(&Line {
        id: Some(id),
        ..line(host, event, report, clock)
    })
}

impl Lines {
    /// Starts the sequence of this run. `run` must differ from one run of the agent to the next.
    pub fn new(host: String, run: String) -> Self {
        Self { host, run, sequence: 0 }
    }

    fn next_id(&mut self) -> String {
        self.sequence += 1;
        format!("{}-{}", self.run, self.sequence)
    }

    /// The number of the last line.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// An event about a socket.
    pub fn socket(&mut self, event: &Event, report: &Report, clock: Clock) -> String {
        let id = self.next_id();
        socket_line(&self.host, id, event, report, clock)
    }

    /// The same, to be written down by whoever wants to read it.
    pub fn socket_later(
        &mut self,
        event: &Event,
        report: &Report,
        clock: Clock,
    ) -> impl FnOnce() -> String + Send + use<> {
        let (id, host, event, report) = (self.next_id(), self.host.clone(), event.clone(), report.clone());
        move || socket_line(&host, id, &event, &report, clock)
    }

    /// An alert that fires, with the listener that set it off.
    pub fn alert(&mut self, alert: &Alert, clock: Clock) -> String {
        let notice = &alert.notice;
        let time = rfc3339(clock, alert.fired);
        let line = AlertLine {
            summary: Some(notice.summary()),
            notice: Some(notice),
            ..self.about_alert("alert", alert, time)
        };
        json(&line)
    }

    /// An alert that is over.
    pub fn alert_resolved(&mut self, alert: &Alert, now: u64, clock: Clock) -> String {
        let line = AlertLine {
            fired: Some(rfc3339(clock, alert.fired)),
            ..self.about_alert("alert_resolved", alert, rfc3339(clock, now))
        };
        json(&line)
    }

    fn about_alert<'a>(&'a mut self, event: &'static str, alert: &'a Alert, time: String) -> AlertLine<'a> {
        AlertLine {
            schema: SCHEMA,
            id: self.next_id(),
            host: &self.host,
            time,
            event,
            about: AlertFields::of(&alert.key, alert.severity),
            fired: None,
            summary: None,
            notice: None,
        }
    }

    /// A loss at an edge.
    pub fn lost(&mut self, edge: &str, count: u64, now: u64, clock: Clock) -> String {
        let id = self.next_id();
        let line = LostLine {
            schema: SCHEMA,
            id,
            host: &self.host,
            time: rfc3339(clock, now),
            event: "lost",
            edge,
            count,
        };
        json(&line)
    }

    /// The inventory was wrong: how, and about how many listeners.
    pub fn drift(&mut self, kind: &str, count: u64, now: u64, clock: Clock) -> String {
        let id = self.next_id();
        let line = DriftLine {
            schema: SCHEMA,
            id,
            host: &self.host,
            time: rfc3339(clock, now),
            event: "drift",
            kind,
            count,
        };
        json(&line)
    }
}

/// Bytes that most lines have at most.
const LINE: usize = 1_536;

/// A structure as one line. Strings and numbers: there is nothing in them that JSON cannot say.
pub(super) fn json(line: &impl Serialize) -> String {
    let mut text = Vec::with_capacity(LINE);
    match serde_json::to_writer(&mut text, line) {
        Ok(()) => String::from_utf8(text).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
