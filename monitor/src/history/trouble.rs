//! What can be wrong with the file, in a word for the metrics and a sentence for people.

use std::{io, path::Path};

use rusqlite::{Error, ErrorCode, ffi};

/// A reason why the history is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The disk has no room.
    Full,
    /// It was an own file, and cannot be read any more.
    Damaged,
    /// Another program holds it.
    Locked,
    /// It is a file of something else.
    Foreign,
    /// A newer version wrote it.
    Newer,
    /// It cannot be read or written.
    Io,
}

/// The kinds, as metrics name them.
pub const KINDS: [&str; 6] = ["full", "damaged", "locked", "foreign", "newer", "io"];

impl Kind {
    /// The place among [`KINDS`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Full => 0,
            Self::Damaged => 1,
            Self::Locked => 2,
            Self::Foreign => 3,
            Self::Newer => 4,
            Self::Io => 5,
        }
    }

    /// The name in metrics.
    pub(super) fn as_str(self) -> &'static str {
        KINDS.get(self.index()).copied().unwrap_or_default()
    }

    /// What follows from it, and what to do.
    const fn advice(self) -> &'static str {
        match self {
            Self::Full => "the newest that listened is kept in memory until then; make room, and it goes on",
            Self::Damaged => "it is moved aside, and a new one is begun",
            Self::Locked => "the newest that listened is kept in memory; it is tried again within a minute",
            Self::Foreign => "it is left alone and nothing is kept; name another file in [history] path",
            Self::Newer => "nothing is kept; run that version, or name another file in [history] path",
            Self::Io => "the newest that listened is kept in memory; it is tried again within a minute",
        }
    }
}

/// What went wrong.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    reason: String,
}

impl Trouble {
    pub(super) fn new(kind: Kind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
        }
    }

    /// The sentence for the log.
    pub(super) fn sentence(&self, path: &Path) -> String {
        let advice = self.kind.advice();
        format!("cannot write the history {}: {}; {advice}", path.display(), self.reason)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let Error::SqliteFailure(code, _) = &error else {
            return Self::new(Kind::Io, error.to_string());
        };
        let kind = match code.code {
            ErrorCode::DiskFull => Kind::Full,
            // The index of the log beside the file is a file too, and found no room to grow.
            _ if code.extended_code == ffi::SQLITE_IOERR_SHMSIZE => Kind::Full,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Kind::Damaged,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Kind::Locked,
            _ => Kind::Io,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Full,
            _ => Kind::Io,
        };
        Self::new(kind, error.to_string())
    }
}
