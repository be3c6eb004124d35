//! The log in a SQLite file, for the processes of one machine: they write in turns, and reading waits for nobody.
//!
//! Journal mode WAL with `synchronous = FULL`: a commit appends to the log beside the file and syncs it once, which is all that
//! durability needs. `NORMAL` would sync only at checkpoints, so that a power cut loses acknowledged records; `EXTRA` adds nothing in
//! this mode. Checkpoints, which copy the log into the file, run on a thread of their own (`checkpoint`).
//!
//! A file that somebody removed can still be written to while it is open, and is gone afterwards. So before a commit and after
//! it the connection looks whether the names still stand for the files that it has open.

mod checkpoint;
mod connection;
mod place;
mod rows;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{ErrorCode, OpenFlags, OptionalExtension};

use crate::backend::{Connection, Database};
use crate::error::StoreError;
use checkpoint::Checkpoints;
use connection::SqliteConnection;

/// What makes each version of the tables out of the one before.
const MIGRATIONS: [&str; 1] = [include_str!("sqlite/schema_1.sql")];
/// Memory for pages, in KiB and negative, as SQLite wants it.
const CACHE_KIB: i64 = -16_384;
/// What a file is made of; SQLite's own default.
const PAGE_BYTES: u64 = 4_096;

pub(crate) struct Sqlite {
    file: SqliteFile,
    checkpoints: Arc<Checkpoints>,
}

/// The file, and how it is opened.
#[derive(Clone)]
struct SqliteFile {
    path: PathBuf,
    place: Arc<str>,
    timeout: Duration,
    max_bytes: Option<u64>,
}

impl Sqlite {
    pub(crate) fn new(path: PathBuf, timeout: Duration, max_bytes: Option<u64>) -> Self {
        let place = path.display().to_string().into();
        Self { file: SqliteFile { path, place, timeout, max_bytes }, checkpoints: Arc::default() }
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.checkpoints.close();
    }
}

impl SqliteFile {
    /// Opens the file; only the first time may it be made, because a file that is made in place of one that vanished is an empty log.
    fn open(&self, create: bool) -> Result<rusqlite::Connection, StoreError> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
        self.named(rusqlite::Connection::open_with_flags(&self.path, flags).and_then(|connection| {
            // Shorter than a call may take, so that the call is told why.
            connection.busy_timeout(self.timeout / 2)?;
            connection.set_prepared_statement_cache_capacity(64);
            // Else every new value of a parameter has its statement parsed and planned again.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            connection.pragma_update(None, "foreign_keys", true)?;
            connection.pragma_update(None, "cache_size", CACHE_KIB)?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            // Where a plain sync does not reach the disk, on Apple's systems, this one does.
            connection.pragma_update(None, "fullfsync", true)?;
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
            if let Some(max_bytes) = self.max_bytes {
                connection.pragma_update(None, "max_page_count", (max_bytes / PAGE_BYTES).max(1) as i64)?;
            }
            Ok(connection)
        }))
    }

    /// Two processes that change the journal's mode at once do not wait for each other, so this does.
    fn enter_wal(&self, connection: &rusqlite::Connection) -> Result<(), StoreError> {
        let until = Instant::now() + self.timeout;
        loop {
            match self.named(connection.pragma_update(None, "journal_mode", "WAL")) {
                Err(StoreError::Locked { .. }) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                entered => return entered,
            }
        }
    }

    fn migrate(&self, connection: &mut rusqlite::Connection) -> Result<(), StoreError> {
        let transaction = self.named(connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate))?;
        let found = match self.version(&transaction)? {
            Some(found) => found,
            None if self
                .named(transaction.query_row("SELECT count(*) FROM sqlite_master", (), |row| row.get::<_, i64>(0)))?
                > 0 =>
            {
                return Err(StoreError::NotALog { place: self.place.clone() });
            }
            None => {
                self.named(transaction.execute_batch("CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT"))?;
                self.named(transaction.execute("INSERT INTO schema_version VALUES (0)", ()))?;
                0
            }
        };
        for (migration, version) in MIGRATIONS.iter().zip(1_i64..).skip(usize::try_from(found).unwrap_or(0)) {
            self.named(transaction.execute_batch(migration))?;
            self.named(transaction.execute("UPDATE schema_version SET version = ?", [version]))?;
        }
        self.named(transaction.commit())
    }

    /// The tables' version; nothing where there are none.
    fn version(&self, connection: &rusqlite::Connection) -> Result<Option<i64>, StoreError> {
        let table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'";
        if self.named(connection.query_row(table, (), |_| Ok(())).optional())?.is_none() {
            return Ok(None);
        }
        let found = self.named(connection.query_row("SELECT max(version) FROM schema_version", (), |row| row.get(0)))?;
        if (0..=MIGRATIONS.len() as i64).contains(&found) {
            Ok(Some(found))
        } else {
            Err(StoreError::SchemaNewer { place: self.place.clone(), found, known: MIGRATIONS.len() as i64 })
        }
    }

    fn named<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|error| store_error(&self.place, error))
    }
}

impl SqliteFile {
    /// Makes or migrates the tables.
    fn prepare(&self) -> Result<(), StoreError> {
        let mut connection = self.open(true)?;
        // Before anything is changed: a file of something else stays as it is.
        if self.version(&connection)?.is_none_or(|found| found < MIGRATIONS.len() as i64) {
            self.migrate(&mut connection)?;
        }
        self.enter_wal(&connection)
    }

    fn connect(&self, checkpoints: Arc<Checkpoints>) -> Result<SqliteConnection, StoreError> {
        let connection = self.open(false)?;
        if self.version(&connection)?.is_none() {
            return Err(StoreError::NotALog { place: self.place.clone() });
        }
        SqliteConnection::new(connection, &self.path, self.place.clone(), checkpoints)
    }
}

impl Database for Sqlite {
    fn prepare(&self) -> Result<(), StoreError> {
        self.file.prepare()?;
        let (file, shared) = (self.file.clone(), self.checkpoints.clone());
        let started = self.checkpoints.start(move || file.connect(shared.clone()));
        let place = self.file.place.clone();
        started.map(drop).map_err(|error| StoreError::Unavailable { place, source: Arc::new(error) })
    }

    fn connect(&self) -> Result<Box<dyn Connection>, StoreError> {
        Ok(Box::new(self.file.connect(self.checkpoints.clone())?))
    }

    fn place(&self) -> &Arc<str> {
        &self.file.place
    }

    fn at_hand(&self) -> Option<Arc<dyn Database>> {
        let file = SqliteFile { timeout: Duration::ZERO, ..self.file.clone() };
        Some(Arc::new(AtHand { file, checkpoints: self.checkpoints.clone() }))
    }
}

/// The file for callers who must not wait.
struct AtHand {
    file: SqliteFile,
    checkpoints: Arc<Checkpoints>,
}

impl Database for AtHand {
    fn prepare(&self) -> Result<(), StoreError> {
        self.file.prepare()
    }

    fn connect(&self) -> Result<Box<dyn Connection>, StoreError> {
        Ok(Box::new(self.file.connect(self.checkpoints.clone())?))
    }

    fn place(&self) -> &Arc<str> {
        &self.file.place
    }
}

/// Gives SQLite's errors the names that callers act on.
pub(super) fn store_error(place: &Arc<str>, error: rusqlite::Error) -> StoreError {
    let (place, code) = (place.clone(), error.sqlite_error_code());
    let source = Arc::new(error);
    match code {
        Some(ErrorCode::DiskFull) => StoreError::Full { place, source },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked { place, source },
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::FileLockingProtocolFailed,
        ) => StoreError::Unavailable { place, source },
        Some(ErrorCode::NotADatabase) => StoreError::NotALog { place },
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged { place, column: "file", problem: source.to_string() },
        _ => StoreError::Database { place, source },
    }
}
