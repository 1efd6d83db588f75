//! Reading the file: what listened when. Works while an agent writes, and for whoever may read the file alone.

use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{End, schema, store::beside};
use crate::{
    event::{Protocol, Scope},
    output::Origin,
    policy::Verdict,
};

/// A listener of the past, or of now. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Protocol.
    pub protocol: Protocol,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Who could reach it.
    pub scope: Scope,
    /// Inode of its network namespace, in its boot.
    pub netns: u32,
    /// Whether that was the host's.
    pub host_netns: bool,
    /// Whether the kernel chose the port; `None` where that is not known.
    pub automatic: Option<bool>,
    /// The process, as metrics and alerts name it.
    pub process: String,
    /// Its number.
    pub pid: Option<u32>,
    /// Its executable.
    pub exe: Option<String>,
    /// Its command line, masked.
    pub cmdline: Option<Vec<String>>,
    /// Its user.
    pub uid: Option<u32>,
    /// The name of the user on the host.
    pub user: Option<String>,
    /// The unit that the socket belongs to.
    pub unit: Option<String>,
    /// The container, `RUNTIME:ID`.
    pub container: Option<String>,
    /// Its pod, `NAMESPACE/NAME`.
    pub pod: Option<String>,
    /// The package of the executable.
    pub package: Option<String>,
    /// How the agent came to know of it: one that is not of an event listened before `opened` already.
    pub origin: Origin,
    /// The verdict when it opened.
    pub verdict: Verdict,
    /// The rule that matched then.
    pub rule: Option<String>,
    /// When it opened, or was found.
    pub opened: i64,
    /// When it ended, and how that is known; `None` where it listens. Of one that ended unwatched, when an agent last knew of it.
    pub closed: Option<(i64, End)>,
}

/// Which listeners are wanted.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Those on one of these ports, of this protocol; of all where there is neither a port nor a program.
    pub ports: Vec<(Option<Protocol>, u16, u16)>,
    /// And those of one of these programs, by the name of the process; `*` and `?` stand for more.
    pub programs: Vec<String>,
    /// Those that listened at this time or later.
    pub since: Option<i64>,
    /// Those that listened at this time or before.
    pub until: Option<i64>,
    /// The newest of these alone.
    pub limit: Option<usize>,
}

/// Why there is nothing to read, as a sentence.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// There is no file.
    Absent(PathBuf),
    /// This user may not read it.
    Denied(PathBuf),
    /// It is something else, damaged, or newer; why.
    Unusable(PathBuf, String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(path) => write!(
                f,
                "there is no history: {} is not there; the agent writes it where that folder is, or where [history] path says",
                path.display()
            ),
            Self::Denied(path) => write!(
                f,
                "the history {} may not be read by this user; run this as root, or as the user of the agent",
                path.display()
            ),
            Self::Unusable(path, reason) => write!(f, "cannot read the history {}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for Unreadable {}

/// The open file.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
    /// Whether an agent writes it, so that what it calls open is.
    is_watched: bool,
}

impl Reader {
    /// Opens the file, and changes nothing about it.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn open(path: &Path) -> Result<Self, Unreadable> {
        let path = path.to_owned();
        if path.is_dir() {
            return Err(Unreadable::Unusable(
                path,
                "it is a folder; name the file in it".to_owned(),
            ));
        }
        let mut is_watched = false;
        for file in [path.clone(), beside(&path, "-wal")] {
            match fs::File::open(&file) {
                // Before SQLite opens it: to close a file ends the locks that SQLite has on it.
                Ok(open) => is_watched |= file == path && is_locked(&open),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(Unreadable::Denied(path)),
                Err(error) if error.kind() == io::ErrorKind::NotFound && file == path => {
                    return Err(Unreadable::Absent(path));
                }
                // The log is there only while somebody writes.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Unreadable::Unusable(path, error.to_string())),
            }
        }
        Self::open_as(path, is_watched)
    }

    /// Opens the file that this very process writes.
    ///
    /// No other way of opening it may be taken there: to close a descriptor of a file ends all locks that the process has on it,
    /// SQLite's among them.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn of_own(path: &Path) -> Result<Self, Unreadable> {
        if !path.exists() {
            return Err(Unreadable::Absent(path.to_owned()));
        }
        Self::open_as(path.to_owned(), true)
    }

    fn open_as(path: PathBuf, is_watched: bool) -> Result<Self, Unreadable> {
        // Where nobody writes and no log is left, all is in the file itself. SQLite would make a log, which it would leave
        // there, and which a user could not make who may read this file and not write its folder.
        let how = if is_watched || has_log(&path) {
            "mode=ro"
        } else {
            "mode=ro&immutable=1"
        };
        let connection = Self::connect(&path, how);
        match connection {
            Ok((connection, application, version)) => {
                let newest = i64::try_from(schema::MIGRATIONS.len()).unwrap_or(i64::MAX);
                if application != schema::APPLICATION {
                    return Err(Unreadable::Unusable(path, "it is none of portreeve's".to_owned()));
                }
                if version != newest {
                    let text = format!("its schema is {version}, and this version of portreeve knows {newest}");
                    return Err(Unreadable::Unusable(path, text));
                }
                Ok(Self {
                    connection,
                    path,
                    is_watched,
                })
            }
            Err(error) => Err(Unreadable::Unusable(path, plain(&error))),
        }
    }

    /// Opens it so far that it must be read.
    fn connect(path: &Path, how: &str) -> rusqlite::Result<(Connection, i64, i64)> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(uri(path, how), flags)?;
        connection.busy_timeout(Duration::from_secs(1))?;
        let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let (application, version) = (number("application_id")?, number("user_version")?);
        Ok((connection, application, version))
    }

    /// The listeners that are wanted, the one that opened last first. Of another boot than the one with this id none listens.
    ///
    /// # Errors
    /// [`Unreadable`] where the file is damaged.
    pub fn rows(&self, query: &Query, boot: &str) -> Result<Vec<Row>, Unreadable> {
        let mut rows = Vec::new();
        self.each(query, boot, &mut |row| rows.push(row))
            .map_err(|error| Unreadable::Unusable(self.path.clone(), plain(&error)))?;
        Ok(rows)
    }

    fn each(&self, query: &Query, boot: &str, take: &mut dyn FnMut(Row)) -> rusqlite::Result<()> {
        let mut conditions = vec!["opened <= ?1 AND (closed IS NULL OR closed >= ?2)".to_owned()];
        let ports = query.ports.iter().map(|(protocol, first, last)| {
            let protocol = protocol.map_or_else(String::new, |protocol| format!(" AND protocol = '{protocol}'"));
            format!("(port BETWEEN {first} AND {last}{protocol})")
        });
        let programs = (3..)
            .zip(&query.programs)
            .map(|(place, _)| format!("process GLOB ?{place}"));
        let named: Vec<_> = ports.chain(programs).collect();
        if !named.is_empty() {
            conditions.push(format!("({})", named.join(" OR ")));
        }
        let mut statement = self.connection.prepare(&format!(
            "SELECT protocol, address, port, scope, netns, host_netns, automatic, process, pid, exe, cmdline, uid, user, unit,
                container, pod, package, origin, verdict, rule, opened, closed, closed_by, run.boot, run.alive
             FROM span LEFT JOIN run ON run.id = span.run WHERE {} ORDER BY opened DESC, span.id DESC LIMIT {}",
            conditions.join(" AND "),
            query.limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1)
        ))?;
        let (until, since) = (query.until.unwrap_or(i64::MAX), query.since.unwrap_or(i64::MIN));
        let mut values: Vec<&dyn ToSql> = vec![&until, &since];
        values.extend(query.programs.iter().map(|program| program as &dyn ToSql));
        let mut rows = statement.query(values.as_slice())?;
        while let Some(row) = rows.next()? {
            let row = row_of(row, self.is_watched.then_some(boot))?;
            // Of one that the file calls open, the end may be known better than the file does.
            if row.closed.is_none_or(|(closed, _)| closed >= since) {
                take(row);
            }
        }
        Ok(())
    }
}

/// A row; one that is open listens where it is of the boot that is `watched`.
fn row_of(row: &rusqlite::Row<'_>, watched: Option<&str>) -> rusqlite::Result<Row> {
    let address: String = row.get("address")?;
    let opened: i64 = row.get("opened")?;
    let cmdline: Option<String> = row.get("cmdline")?;
    let closed_by: Option<String> = row.get("closed_by")?;
    let closed = match row.get::<_, Option<i64>>("closed")? {
        Some(closed) => Some((closed, end(closed_by.as_deref()))),
        None => {
            let boot: Option<String> = row.get("boot")?;
            let alive = row.get::<_, Option<i64>>("alive")?.unwrap_or(opened);
            let is_watched = boot.is_some() && boot.as_deref() == watched;
            (!is_watched).then_some((alive.max(opened), End::Unwatched))
        }
    };
    Ok(Row {
        protocol: match row.get::<_, String>("protocol")?.as_str() {
            "udp" => Protocol::Udp,
            _ => Protocol::Tcp,
        },
        address: address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        port: row.get("port")?,
        scope: match row.get::<_, String>("scope")?.as_str() {
            "wildcard" => Scope::Wildcard,
            "loopback" => Scope::Loopback,
            _ => Scope::Address,
        },
        netns: row.get("netns")?,
        host_netns: row.get("host_netns")?,
        automatic: row.get("automatic")?,
        process: row.get("process")?,
        pid: row.get("pid")?,
        exe: row.get("exe")?,
        cmdline: cmdline.and_then(|text| serde_json::from_str(&text).ok()),
        uid: row.get("uid")?,
        user: row.get("user")?,
        unit: row.get("unit")?,
        container: row.get("container")?,
        pod: row.get("pod")?,
        package: row.get("package")?,
        origin: match row.get::<_, String>("origin")?.as_str() {
            "event" => Origin::Event,
            "reconciled" => Origin::Reconciled,
            _ => Origin::Existing,
        },
        verdict: match row.get::<_, String>("verdict")?.as_str() {
            "expected" => Verdict::Expected,
            "unexpected" => Verdict::Unexpected,
            _ => Verdict::Unruled,
        },
        rule: row.get("rule")?,
        opened,
        closed,
    })
}

fn end(word: Option<&str>) -> End {
    match word {
        Some("seen") => End::Seen,
        Some("found") => End::Found,
        _ => End::Unwatched,
    }
}

/// Whether an agent has locked the file.
fn is_locked(file: &fs::File) -> bool {
    flock(file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
}

/// Whether somebody has written what is not in the file itself yet.
fn has_log(path: &Path) -> bool {
    fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

/// An error in words for somebody who has never met SQLite.
fn plain(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => "it is no database".to_owned(),
        Some(ErrorCode::DatabaseCorrupt) => {
            "it is damaged; a running agent moves it aside and begins a new one".to_owned()
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
            "the files beside it (-wal, -shm) may not be read by this user; run this as root".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The path as a URI, in which other letters have a meaning.
fn uri(path: &Path, how: &str) -> PathBuf {
    use std::{
        ffi::OsString,
        os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    };
    let mut uri = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_') {
            uri.push(*byte);
        } else {
            uri.extend(format!("%{byte:02X}").bytes());
        }
    }
    uri.extend(format!("?{how}").bytes());
    PathBuf::from(OsString::from_vec(uri))
}
