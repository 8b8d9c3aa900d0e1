//! SQLite (rusqlite, bundled): a write-ahead log, its own page cache, no memory map; the log is
//! checkpointed when it has 1,000 pages, as by default. A connection for each thread, which the
//! next one takes over, with what it has in memory.
//!
//! Durable: `synchronous = FULL`, the log is synced at each commit. Relaxed: `NORMAL`, it is not.
//!
//! Entries with short values are in the index itself (`WITHOUT ROWID`), as the manual advises; rows
//! of long ones would not fit into its pages. Writers take turns by a mutex of this program:
//! SQLite's own way to wait is to sleep and try again.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

use super::{Durability, Engine, Promise, Reader, Session, Settings, Writer};
use crate::Failure;

/// From here on a row is longer than a twentieth of a page.
const SHORT: usize = 200;

const GET: &str = "SELECT value FROM entries WHERE key = ?1";
const RANGE: &str = "SELECT key, value FROM entries WHERE key >= ?1 ORDER BY key LIMIT ?2";
const PUT: &str = "INSERT OR REPLACE INTO entries (key, value) VALUES (?1, ?2)";
const DELETE: &str = "DELETE FROM entries WHERE key = ?1";

/// A file, and connections that no session has.
pub struct Sqlite {
    path: PathBuf,
    settings: Settings,
    idle: Mutex<Vec<Connection>>,
    turn: Mutex<()>,
}

impl Engine for Sqlite {
    const PROMISE: Promise = Promise {
        durable: "pages to a write-ahead log, one sync (`synchronous = FULL`)",
        relaxed: "in the kernel's cache (`synchronous = NORMAL`)",
        lost_by_kill: "nothing",
        lost_by_power_cut: "all since the last checkpoint",
    };

    type Session<'e> = SqliteSession<'e>;

    fn open(directory: &Path, settings: &Settings) -> Result<Self, Failure> {
        let path = directory.join("bench.sqlite");
        let (idle, turn) = (Mutex::default(), Mutex::default());
        let engine = Sqlite { path, settings: *settings, idle, turn };
        let layout = if settings.value_len < SHORT { "WITHOUT ROWID" } else { "" };
        engine.connect()?.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB) {layout}"
        ))?;
        Ok(engine)
    }

    fn session(&self) -> Result<SqliteSession<'_>, Failure> {
        let idle = lock(&self.idle).pop();
        let connection = idle.map_or_else(|| self.connect(), Ok)?;
        Ok(SqliteSession { connection: Some(connection), engine: self })
    }

    fn compact(&mut self) -> Result<bool, Failure> {
        self.connect()?.execute_batch("VACUUM")?;
        Ok(true)
    }

    fn close(self) -> Result<(), Failure> {
        // The last connection that is closed makes the checkpoint.
        for connection in lock(&self.idle).drain(..) {
            connection.close().map_err(|(_, error)| error)?;
        }
        Ok(())
    }
}

impl Sqlite {
    fn connect(&self) -> Result<Connection, Failure> {
        let connection = Connection::open(&self.path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let synchronous = match self.settings.durability {
            Durability::Durable => "FULL",
            Durability::Relaxed => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        // Negative: in KiB instead of pages.
        let Settings { cache_bytes, threads, .. } = self.settings;
        let kib = i64::try_from((cache_bytes / threads) >> 10)?;
        connection.pragma_update(None, "cache_size", -kib)?;
        connection.pragma_update(None, "mmap_size", 0)?;
        Ok(connection)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection.
pub struct SqliteSession<'e> {
    /// Only a session that is dropped has none.
    connection: Option<Connection>,
    engine: &'e Sqlite,
}

impl SqliteSession<'_> {
    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a session has one")
    }
}

impl Drop for SqliteSession<'_> {
    fn drop(&mut self) {
        lock(&self.engine.idle).extend(self.connection.take());
    }
}

impl Session for SqliteSession<'_> {
    type Reader<'r> = SqliteReader<'r>;
    type Writer<'w> = SqliteWriter<'w>;

    fn read<T>(
        &mut self,
        work: impl FnOnce(&mut SqliteReader<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let transaction = self.connection().transaction()?;
        work(&mut SqliteReader::new(&transaction)?)
    }

    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut SqliteWriter<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let _turn = lock(&self.engine.turn);
        let transaction = self.connection().transaction()?;
        let get = transaction.prepare_cached(GET)?;
        let (put, delete) = (transaction.prepare_cached(PUT)?, transaction.prepare_cached(DELETE)?);
        let mut writer = SqliteWriter { get, put, delete };
        let done = work(&mut writer)?;
        drop(writer);
        transaction.commit()?;
        Ok(done)
    }

    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        get(&mut self.connection().prepare_cached(GET)?, key, found)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        let _turn = lock(&self.engine.turn);
        self.connection().prepare_cached(PUT)?.execute((key, value))?;
        Ok(())
    }
}

fn get<T>(
    statement: &mut CachedStatement<'_>,
    key: &[u8],
    found: impl FnOnce(&[u8]) -> T,
) -> Result<Option<T>, Failure> {
    let value = |row: &Row<'_>| Ok(found(row.get_ref(0)?.as_blob()?));
    Ok(statement.query_row([key], value).optional()?)
}

/// Statements in a transaction.
pub struct SqliteReader<'r> {
    get: CachedStatement<'r>,
    range: CachedStatement<'r>,
}

impl<'r> SqliteReader<'r> {
    fn new(connection: &'r Connection) -> Result<SqliteReader<'r>, Failure> {
        let (get, range) = (connection.prepare_cached(GET)?, connection.prepare_cached(RANGE)?);
        Ok(SqliteReader { get, range })
    }
}

impl Reader for SqliteReader<'_> {
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        get(&mut self.get, key, found)
    }

    fn range(
        &mut self,
        from: &[u8],
        count: usize,
        mut entry: impl FnMut(&[u8], &[u8]),
    ) -> Result<usize, Failure> {
        // Negative: no limit.
        let limit = i64::try_from(count).unwrap_or(-1);
        let mut rows = self.range.query((from, limit))?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            entry(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
            seen += 1;
        }
        Ok(seen)
    }
}

/// Statements in a transaction.
pub struct SqliteWriter<'w> {
    get: CachedStatement<'w>,
    put: CachedStatement<'w>,
    delete: CachedStatement<'w>,
}

impl Writer for SqliteWriter<'_> {
    fn get<T>(&mut self, key: &[u8], found: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        get(&mut self.get, key, found)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.put.execute((key, value))?;
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), Failure> {
        self.delete.execute([key])?;
        Ok(())
    }
}
