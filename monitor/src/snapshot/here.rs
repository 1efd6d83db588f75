//! What listens in the network namespace of the calling thread: asked by sock_diag, read from /proc where that fails.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::sock_diag::{DumpError, Dumper};
use super::{Protocol, Rows, Unseen, Way, proc_net};
use crate::identity::Paths;

/// How long a kernel that had no INET_DIAG is not asked again: each time it would run modprobe.
const ABSENT: Duration = Duration::from_secs(60);

/// All sockets of one namespace.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) rows: Rows,
    /// How they were seen. With an error some may be missing.
    pub(super) seen: Result<Way, Unseen>,
}

impl Table {
    /// TCP and UDP, each as `read` gives it.
    fn of(mut read: impl FnMut(Protocol) -> Result<(Rows, Way), Unseen>) -> Self {
        let mut table = Self {
            rows: Rows::default(),
            seen: Ok(Way::SockDiag),
        };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            match read(protocol) {
                Ok((rows, way)) => {
                    table.rows.append(rows);
                    if table.seen.is_ok() && way == Way::ProcNet {
                        table.seen = Ok(way);
                    }
                }
                Err(reason) => table.seen = Err(reason),
            }
        }
        if table.rows.more {
            table.seen = Err(Unseen::TooMany);
        } else if table.rows.unread > 0 && table.seen.is_ok() {
            let lines = table.rows.unread;
            table.seen = Err(Unseen::Failed(format!(
                "{lines} lines of /proc/net are of a form that is not known"
            )));
        }
        table
    }

    /// What a `net` directory of /proc shows.
    pub(super) fn of_proc(directory: &Path) -> Self {
        Self::of(|protocol| match proc_net::sockets(directory, protocol) {
            Ok(rows) => Ok((rows, Way::ProcNet)),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(Unseen::Denied),
            Err(error) => Err(Unseen::Failed(format!(
                "cannot read {}/{protocol}: {error}",
                directory.display()
            ))),
        })
    }
}

/// Asks for the sockets of the namespace that the calling thread is in.
#[derive(Debug)]
pub(super) struct Here {
    directory: PathBuf,
    dumper: Option<Dumper>,
    /// When the kernel last had no INET_DIAG: for TCP, for UDP.
    absent: [Option<Instant>; 2],
}

impl Here {
    /// Reads nothing yet.
    pub(super) fn new(paths: &Paths) -> Self {
        Self {
            directory: paths.procfs.join("thread-self/net"),
            dumper: None,
            absent: [None; 2],
        }
    }

    /// The calling thread is in another namespace now.
    pub(super) fn moved(&mut self) {
        self.dumper = None;
    }

    /// The sockets of `protocol` on these ports, or all where no port is named.
    pub(super) fn sockets(&mut self, protocol: Protocol, ports: &[u16]) -> Result<(Rows, Way), Unseen> {
        match self.dump(protocol, ports) {
            Ok(rows) => Ok((rows, Way::SockDiag)),
            // An unsteady or failing dump is no reason to know nothing.
            Err(error) => match proc_net::sockets(&self.directory, protocol) {
                Ok(rows) => Ok((rows, Way::ProcNet)),
                Err(second) => Err(Unseen::Failed(format!(
                    "{error}; cannot read {}/{protocol} either: {second}",
                    self.directory.display()
                ))),
            },
        }
    }

    /// All of TCP and UDP.
    pub(super) fn all(&mut self) -> Table {
        Table::of(|protocol| self.sockets(protocol, &[]))
    }

    fn dump(&mut self, protocol: Protocol, ports: &[u16]) -> Result<Rows, DumpError> {
        if self.absent(protocol).is_some_and(|since| since.elapsed() < ABSENT) {
            return Err(DumpError::NoSockDiag);
        }
        let result = self.ask(protocol, ports);
        *self.absent(protocol) = matches!(result, Err(DumpError::NoSockDiag)).then(Instant::now);
        result
    }

    fn ask(&mut self, protocol: Protocol, ports: &[u16]) -> Result<Rows, DumpError> {
        let mut dumper = match self.dumper.take() {
            Some(dumper) => dumper,
            None => Dumper::new()?,
        };
        let rows = match ports {
            [] => dumper.dump(protocol, 0)?,
            ports => ports.iter().try_fold(Rows::default(), |mut rows, port| {
                rows.append(dumper.dump(protocol, *port)?);
                Ok::<_, DumpError>(rows)
            })?,
        };
        // Kept only after a dump that ended well: what is left of another would be in the way of the next.
        self.dumper = Some(dumper);
        Ok(rows)
    }

    fn absent(&mut self, protocol: Protocol) -> &mut Option<Instant> {
        let [tcp, udp] = &mut self.absent;
        match protocol {
            Protocol::Tcp => tcp,
            Protocol::Udp => udp,
        }
    }
}
