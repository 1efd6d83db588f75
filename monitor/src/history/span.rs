//! One listener, from its listen to its end.

use std::{net::IpAddr, sync::Arc};

use crate::{
    event::{Event, Protocol, SocketKey},
    identity::{Clock, ProcessIdentity},
    output::{Origin, Report},
    policy::Verdict,
};

/// How the end of a listener is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A hook told it.
    Seen,
    /// A look found it gone: it ended since the look before.
    Found,
    /// It ended while no agent ran, after this time.
    Unwatched,
}

impl End {
    /// The word in the file and in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Found => "found",
            Self::Unwatched => "unwatched",
        }
    }
}

/// One listener. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Debug)]
pub struct Span {
    pub(super) key: SocketKey,
    pub(super) inode: u64,
    pub(super) netns: u32,
    pub(super) host_netns: bool,
    pub(super) protocol: Protocol,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// `None` where it was found in a table that does not tell it.
    pub(super) automatic: Option<bool>,
    /// The process, as metrics and alerts name it.
    pub(super) label: String,
    /// `None` where the process is not known.
    pub(super) opener: Option<Opener>,
    pub(super) unit: Option<String>,
    pub(super) process: Arc<ProcessIdentity>,
    pub(super) origin: Origin,
    pub(super) verdict: Verdict,
    pub(super) rule: Option<String>,
    pub(super) opened: i64,
    pub(super) closed: Option<(i64, End)>,
    /// Whether no span of this socket can be in the file yet: a hook just told of it.
    pub(super) is_new: bool,
}

/// Who opened it, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opener {
    pub(super) pid: u32,
    pub(super) uid: u32,
}

impl Span {
    /// A listener that opened, or was found.
    pub fn opened(event: &Event, report: &Report, clock: Clock) -> Self {
        let (socket, opener) = (&event.socket, &event.opener);
        Self {
            key: socket.key,
            inode: socket.inode,
            netns: socket.netns,
            host_netns: report.host_netns,
            protocol: socket.protocol,
            address: socket.address,
            port: socket.port,
            automatic: event.automatic(),
            label: report.label.clone(),
            opener: opener.is_known().then_some(Opener {
                pid: opener.tgid,
                uid: opener.uid,
            }),
            unit: report.unit().map(str::to_owned),
            process: Arc::clone(&report.process),
            origin: report.origin,
            verdict: report.verdict,
            rule: report.findings.first().map(|finding| finding.rule.clone()),
            opened: wall(clock, event.time),
            closed: None,
            is_new: !event.is_found(),
        }
    }

    /// The same listener with its end, at a time in nanoseconds since boot.
    #[must_use]
    pub fn closed(self, time: u64, end: End, clock: Clock) -> Self {
        Self {
            // The clock may have been set back meanwhile.
            closed: Some((wall(clock, time).max(self.opened), end)),
            is_new: false,
            ..self
        }
    }

    /// The same listener, told once more: it may be in the file.
    #[must_use]
    pub fn again(self) -> Self {
        Self { is_new: false, ..self }
    }
}

fn wall(clock: Clock, boot_ns: u64) -> i64 {
    // Past the year 2262 only for a clock that was set absurdly far.
    i64::try_from(clock.wall(boot_ns)).unwrap_or(i64::MAX)
}
