//! The file, and what is done with it.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, Statement, params};
use rustix::{
    fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with},
    io::Errno,
};

use super::{
    End, Span,
    queue::Message,
    schema::{self, MIGRATIONS},
    trouble::{Kind, Trouble},
};
use crate::identity::mask;

/// What a database of SQLite begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Bytes of a command line that are kept, as JSON.
const CMDLINE_MAX: usize = 4_096;

/// Milliseconds after each try to lock the file.
const LOCK_PAUSES: [u64; 4] = [5, 20, 50, 0];

/// Files moved aside that are kept.
const ASIDE_MAX: usize = 2;

/// Rows that are deleted in one transaction: it must not hold up spans for long, nor fill the log beside the file.
const DELETED_TOGETHER: i64 = 1_000;

/// A listener that is open in the file and is this socket. One without an inode is known by its address.
const SAME: &str = "SELECT id FROM span WHERE closed IS NULL AND inode = ? AND netns = ? AND protocol = ? AND port = ?
    AND (inode <> 0 OR address = ?) LIMIT 1";

/// What bounds the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) keep: Duration,
    pub(super) max_size: u64,
}

/// The open file. The connection goes first: what is opened beside it and closed before it would end its locks.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    file: File,
    path: PathBuf,
    /// This run of the agent.
    run: i64,
}

impl Store {
    /// Opens or makes the file, for a run of the agent in this boot. Listeners that an earlier boot left open end here.
    pub(super) fn open(path: &Path, boot: &str, bounds: Bounds, now: i64) -> Result<Self, Trouble> {
        let file = claim(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(1))?;
        // KiB. What is written is mostly at the ends of trees; what is read is read by others.
        connection.pragma_update(None, "cache_size", -384)?;
        schema::prepare(&mut connection, &MIGRATIONS)?;
        connection.pragma_update(None, "synchronous", "normal")?;
        // The log beside the file counts for its size: pages of 4 KiB.
        let log = (bounds.max_size / 16).clamp(128 << 10, 4 << 20);
        let truncated = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        connection.pragma_update_and_check(None, "wal_autocheckpoint", to_i64(log / 4_096), truncated)?;
        connection.pragma_update_and_check(None, "journal_size_limit", to_i64(log), truncated)?;
        let begin = connection.transaction()?;
        begin.execute(
            "UPDATE span SET closed_by = ?2, closed = max(opened, (SELECT alive FROM run WHERE run.id = span.run))
                WHERE closed IS NULL AND run IN (SELECT id FROM run WHERE boot <> ?1)",
            params![boot, End::Unwatched.as_str()],
        )?;
        begin.execute("INSERT INTO run (boot, alive) VALUES (?, ?)", params![boot, now])?;
        let run = begin.last_insert_rowid();
        begin.commit()?;
        Ok(Self {
            connection,
            file,
            path: path.to_owned(),
            run,
        })
    }

    /// Writes messages, all or none.
    pub(super) fn write(&mut self, messages: &[Message], now: i64) -> Result<(), Trouble> {
        let run = self.run;
        let batch = self.connection.transaction()?;
        {
            let mut statements = Statements::prepare(&batch)?;
            for message in messages {
                match message {
                    Message::Span(span) => statements.put(span, run)?,
                    Message::Settled => settle(&batch, run)?,
                }
            }
        }
        alive(&batch, run, now)?;
        Ok(batch.commit()?)
    }

    /// Says that the agent lives.
    pub(super) fn beat(&self, now: i64) -> Result<(), Trouble> {
        Ok(alive(&self.connection, self.run, now)?)
    }

    /// Deletes a part of what is too old or too much. Says whether there is more.
    pub(super) fn trim(&mut self, bounds: Bounds, now: i64) -> Result<bool, Trouble> {
        let keep = i64::try_from(bounds.keep.as_nanos()).unwrap_or(i64::MAX);
        let before = now.saturating_sub(keep);
        let old = self.delete("closed < ?1", before)?;
        self.connection.execute(
            "DELETE FROM run WHERE alive < ?1 AND id <> ?2 AND id NOT IN (SELECT run FROM span WHERE closed IS NULL)",
            params![before, self.run],
        )?;
        if old == DELETED_TOGETHER {
            return Ok(true);
        }
        if self.size()? <= bounds.max_size {
            return Ok(false);
        }
        self.give_back()?;
        // Thousands of listeners that nobody minds must not make those go that somebody asks for afterwards: they go first, as long
        // as they are the most.
        let condition = match self.most_are_unexpected()? {
            true => "closed <= ?1",
            false => "closed <= ?1 AND verdict <> 'unexpected'",
        };
        // Some room below the bound, or each span that comes would make one go.
        while self.live()? > bounds.max_size / 8 * 7 && self.delete(condition, i64::MAX)? > 0 {
            self.give_back()?;
        }
        Ok(false)
    }

    fn most_are_unexpected(&self) -> Result<bool, Trouble> {
        let more = "SELECT total(verdict = 'unexpected') * 2 > count(*) FROM span WHERE closed IS NOT NULL";
        Ok(self.connection.query_row(more, [], |row| row.get(0))?)
    }

    /// Deletes the oldest ended spans of which a condition holds, but not too many at once. Says how many they were.
    fn delete(&self, condition: &str, bound: i64) -> Result<i64, Trouble> {
        let deleted = self.connection.execute(
            &format!(
                "DELETE FROM span WHERE id IN (SELECT id FROM span WHERE closed IS NOT NULL AND {condition}
                    ORDER BY closed LIMIT ?2)"
            ),
            params![bound, DELETED_TOGETHER],
        )?;
        Ok(i64::try_from(deleted).unwrap_or(i64::MAX))
    }

    /// Gives the pages that are free back to the disk, and empties the log.
    fn give_back(&self) -> Result<(), Trouble> {
        // A page a row.
        let mut vacuum = self.connection.prepare("PRAGMA incremental_vacuum")?;
        let mut pages = vacuum.query([])?;
        while pages.next()?.is_some() {}
        let busy = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        // While somebody reads it cannot be emptied, and is next time.
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], busy)?;
        Ok(())
    }

    /// Bytes of the pages that hold something.
    fn live(&self) -> Result<u64, Trouble> {
        let pages = self
            .number("page_count")?
            .saturating_sub(self.number("freelist_count")?);
        Ok(pages.saturating_mul(self.number("page_size")?))
    }

    /// Bytes that it takes on the disk, with the log beside it.
    pub(super) fn size(&self) -> Result<u64, Trouble> {
        let log = fs::metadata(beside(&self.path, "-wal")).map_or(0, |metadata| metadata.len());
        let pages = self.number("page_count")?.saturating_mul(self.number("page_size")?);
        Ok(pages.saturating_add(log))
    }

    fn number(&self, pragma: &str) -> Result<u64, Trouble> {
        let number = self
            .connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))?;
        Ok(u64::try_from(number).unwrap_or(0))
    }

    /// Whether the name still stands for this file: somebody may have removed it.
    pub(super) fn is_in_place(&self) -> bool {
        let (Ok(named), Ok(open)) = (fs::metadata(&self.path), self.file.metadata()) else {
            return false;
        };
        (named.dev(), named.ino()) == (open.dev(), open.ino())
    }

    #[cfg(test)]
    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// Opens the file, or makes it for its owner alone, and locks it against other agents. The files that SQLite puts beside it get
/// its mode.
fn claim(path: &Path) -> Result<File, Trouble> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Trouble::new(Kind::Foreign, "it is no regular file"));
    }
    lock(&file)?;
    let mut start = [0; MAGIC.len()];
    let is_empty = file.metadata()?.len() == 0;
    if !is_empty && (file.read_exact_at(&mut start, 0).is_err() || start != *MAGIC) {
        // Whoever named a file of another kind by mistake keeps it.
        let is_ours = path.extension().is_some_and(|extension| extension == "db");
        let kind = if is_ours { Kind::Damaged } else { Kind::Foreign };
        return Err(Trouble::new(kind, "it is no database"));
    }
    Ok(file)
}

/// Locks the file against other agents. Whoever reads tries this lock, for an instant, to see whether an agent is there.
fn lock(file: &File) -> Result<(), Trouble> {
    for pause in LOCK_PAUSES {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) => thread::sleep(Duration::from_millis(pause)),
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
    Err(Trouble::new(Kind::Locked, "another agent writes it"))
}

/// Moves a damaged file aside, with the log beside it, and removes all but the newest of those that were moved before. Says
/// what it is called now.
pub(super) fn move_aside(path: &Path, now: i64) -> io::Result<PathBuf> {
    let time = Timestamp::from_nanosecond(now.into()).unwrap_or(Timestamp::UNIX_EPOCH);
    let name = beside(path, &format!(".damaged-{}", time.strftime("%Y%m%dT%H%M%SZ")));
    let aside = rename_to_new(path, &name)?;
    // A new file must not meet the log of another one.
    let _ = fs::rename(beside(path, "-wal"), beside(&aside, "-wal"));
    let _ = fs::remove_file(beside(path, "-shm"));
    let damaged = damaged(path)?;
    let surplus = damaged.len().saturating_sub(ASIDE_MAX);
    for old in damaged.iter().take(surplus) {
        let _ = fs::remove_file(old);
        let _ = fs::remove_file(beside(old, "-wal"));
    }
    Ok(aside)
}

/// Gives a damaged file this name, or the same with a number where another file got it within the same second. None is
/// overwritten.
fn rename_to_new(path: &Path, name: &Path) -> io::Result<PathBuf> {
    let has_name = |file: &PathBuf| {
        file.as_os_str()
            .as_encoded_bytes()
            .starts_with(name.as_os_str().as_encoded_bytes())
    };
    let newest = damaged(path)?.into_iter().rfind(has_name);
    // Above those that are there: what was removed since was older.
    let mut number = match &newest {
        None => 0,
        Some(newest) => number(newest) + 1,
    };
    loop {
        let aside = match number {
            0 => name.to_owned(),
            number => beside(name, &format!("-{number:04}")),
        };
        match renameat_with(CWD, path, CWD, &aside, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(aside),
            Err(Errno::EXIST) => number += 1,
            // The file system cannot say so itself.
            Err(Errno::INVAL | Errno::NOSYS) if !aside.exists() => {
                fs::rename(path, &aside)?;
                return Ok(aside);
            }
            Err(Errno::INVAL | Errno::NOSYS) => number += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// The number behind a name, where there is one.
fn number(aside: &Path) -> u32 {
    let name = aside.to_string_lossy();
    let number = name.rsplit_once("Z-").and_then(|(_, number)| number.parse().ok());
    number.unwrap_or(0)
}

/// The files that were moved aside, the oldest first.
fn damaged(path: &Path) -> io::Result<Vec<PathBuf>> {
    let prefix = beside(path, ".damaged-");
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        let name = file.as_os_str().as_encoded_bytes();
        if name.starts_with(prefix.as_os_str().as_encoded_bytes()) && !name.ends_with(b"-wal") {
            found.push(file);
        }
    }
    found.sort();
    Ok(found)
}

/// The path with something behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn alive(connection: &Connection, run: i64, now: i64) -> rusqlite::Result<()> {
    connection.execute("UPDATE run SET alive = ?1 WHERE id = ?2", params![now, run])?;
    Ok(())
}

/// Whatever is open and was not told in this run ended while nobody watched.
fn settle(connection: &Connection, run: i64) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE span SET closed_by = ?2, closed = max(opened, (SELECT alive FROM run WHERE run.id = span.run))
            WHERE closed IS NULL AND run <> ?1",
        params![run, End::Unwatched.as_str()],
    )?;
    Ok(())
}

/// What is done with a span.
struct Statements<'a> {
    insert: Statement<'a>,
    claim: Statement<'a>,
    close: Statement<'a>,
}

impl<'a> Statements<'a> {
    fn prepare(connection: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            insert: connection.prepare(
                "INSERT INTO span (run, netns, inode, protocol, address, port, scope, host_netns, automatic, process, pid, exe,
                    cmdline, uid, user, unit, container, pod, package, origin, verdict, rule, opened, closed, closed_by)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?,
            claim: connection.prepare(&format!("UPDATE span SET run = ? WHERE id = ({SAME})"))?,
            close: connection.prepare(&format!(
                "UPDATE span SET closed = max(opened, ?), closed_by = ? WHERE id = ({SAME})"
            ))?,
        })
    }

    /// A span that is told whole or anew makes a row; any other changes the one that is there, if it is.
    fn put(&mut self, span: &Span, run: i64) -> rusqlite::Result<()> {
        let (inode, address) = (span.inode.cast_signed(), span.address.to_string());
        let changed = match span.closed {
            _ if span.is_new => 0,
            None => self.claim.execute(params![
                run,
                inode,
                span.netns,
                span.protocol.as_str(),
                span.port,
                address
            ])?,
            Some((closed, end)) => self.close.execute(params![
                closed,
                end.as_str(),
                inode,
                span.netns,
                span.protocol.as_str(),
                span.port,
                address
            ])?,
        };
        if changed == 0 {
            self.insert(span, run, &address)?;
        }
        Ok(())
    }

    fn insert(&mut self, span: &Span, run: i64, address: &str) -> rusqlite::Result<()> {
        let process = &span.process;
        let container = process.container.as_ref();
        let pod = container.and_then(|container| container.pod.as_ref());
        self.insert.execute(params![
            run,
            span.netns,
            span.inode.cast_signed(),
            span.protocol.as_str(),
            address,
            span.port,
            crate::event::Scope::of(span.address).as_str(),
            span.host_netns,
            span.automatic,
            span.label,
            span.opener.map(|opener| opener.pid),
            process.exe,
            process.cmdline.as_deref().map(kept),
            span.opener.map(|opener| opener.uid),
            process.user,
            span.unit,
            container.map(|container| format!("{}:{}", container.runtime.as_str(), container.id)),
            pod.map(|pod| format!("{}/{}", pod.namespace, pod.name)),
            process.package,
            span.origin.as_str(),
            span.verdict.as_str(),
            span.rule,
            span.opened,
            span.closed.map(|(closed, _)| closed),
            span.closed.map(|(_, end)| end.as_str()),
        ])?;
        Ok(())
    }
}

/// A command line as it is kept: masked even where outputs show it in full, since this stays on the disk; a list in JSON, cut to
/// whole arguments.
fn kept(cmdline: &[String]) -> String {
    let mut arguments = mask::mask(cmdline.to_vec());
    loop {
        let text = serde_json::to_string(&arguments).unwrap_or_default();
        if text.len() <= CMDLINE_MAX || arguments.is_empty() {
            return text;
        }
        // An estimate from below, so that this ends soon; `…` is what identity puts for what is cut.
        let surplus = arguments.len() * (text.len() - CMDLINE_MAX) / text.len();
        arguments.truncate(arguments.len().saturating_sub(surplus.max(2)));
        arguments.push("…".to_owned());
        if arguments.len() == 1 {
            return "[\"…\"]".to_owned();
        }
    }
}

fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
