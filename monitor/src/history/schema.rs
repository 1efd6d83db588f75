//! The shape of the file, and how an older one comes to it.

use rusqlite::{Connection, Transaction};

use super::trouble::{Kind, Trouble};

/// What SQLite keeps in a file's header to tell whose it is: `PRhi`.
pub(super) const APPLICATION: i64 = 0x5052_6869;

/// What leads from each version of the shape to the next, from the empty file on. What stands here once is never changed: files
/// of that version are out there.
pub(super) const MIGRATIONS: [&str; 1] = ["
    -- A run of an agent: of which boot, and when it was last alive.
    CREATE TABLE run (
        id INTEGER PRIMARY KEY,
        boot TEXT NOT NULL,
        alive INTEGER NOT NULL
    ) STRICT;
    -- A listener; times are nanoseconds since the epoch. It is open while closed is null.
    CREATE TABLE span (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL,
        netns INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        protocol TEXT NOT NULL,
        address TEXT NOT NULL,
        port INTEGER NOT NULL,
        scope TEXT NOT NULL,
        host_netns INTEGER NOT NULL,
        automatic INTEGER,
        process TEXT NOT NULL,
        pid INTEGER,
        exe TEXT,
        cmdline TEXT,
        uid INTEGER,
        user TEXT,
        unit TEXT,
        container TEXT,
        pod TEXT,
        package TEXT,
        origin TEXT NOT NULL,
        verdict TEXT NOT NULL,
        rule TEXT,
        opened INTEGER NOT NULL,
        closed INTEGER,
        closed_by TEXT
    ) STRICT;
    CREATE INDEX span_open ON span (inode, netns) WHERE closed IS NULL;
    CREATE INDEX span_closed ON span (closed) WHERE closed IS NOT NULL;
    CREATE INDEX span_port ON span (port);
"];

/// Makes a new file, brings an older one up to date, and refuses what is newer or something else's.
pub(super) fn prepare(connection: &mut Connection, migrations: &[&str]) -> Result<(), Trouble> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_new = application == 0 && version == 0 && tables == 0;
    if application != APPLICATION && !is_new {
        return Err(Trouble::new(Kind::Foreign, "it is a database of something else"));
    }
    let newest = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if version > newest {
        return Err(Trouble::new(
            Kind::Newer,
            format!("a newer version of portreeve wrote it (schema {version}; this one knows {newest})"),
        ));
    }
    if is_new {
        // Only before the first table.
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
    }
    connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    for (migration, version) in migrations.iter().skip(done).zip(version + 1..) {
        let step = connection.transaction()?;
        apply(&step, migration, version)?;
        step.commit()?;
    }
    Ok(())
}

fn apply(step: &Transaction<'_>, migration: &str, version: i64) -> rusqlite::Result<()> {
    step.execute_batch(migration)?;
    step.pragma_update(None, "application_id", APPLICATION)?;
    step.pragma_update(None, "user_version", version)
}
