//! The log in PostgreSQL, which several servers may share.
//!
//! Every thread has a connection and a small runtime of its own to drive it, so that the rest of the log is plain blocking code.
//! Statements work on arrays, so a group of any size takes the same few round trips. The rows that reports are about are locked in
//! the order of their ids until the commit; two servers cannot both accept what contradicts.

mod connection;
mod rows;
mod tls;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::backend::{Connection, Database};
use crate::config::PostgresUrl;
use crate::error::StoreError;
use connection::PostgresConnection;
use tls::Tls;

/// What makes each version of the tables out of the one before.
const MIGRATIONS: [&str; 1] = [include_str!("postgres/schema_1.sql")];
/// What processes lock while they look at the tables' version: the letters `retain` as a number.
const MIGRATION_LOCK: i64 = 0x7265_7461_696e;
/// A server that does not answer a connection within so much is as good as gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) struct Postgres {
    config: tokio_postgres::Config,
    tls: Option<Tls>,
    place: Arc<str>,
    timeout: Duration,
}

impl Postgres {
    pub(crate) fn new(url: &PostgresUrl, certificates: Option<&Path>, timeout: Duration) -> Result<Self, StoreError> {
        let tls = certificates.map(Tls::trusting).transpose()?;
        if tls.is_none() && url.requires_tls() {
            let expected = "without `sslmode=require`, or with `postgres_root_certificates` beside it";
            return Err(StoreError::Setting { key: "postgres", expected, found: "sslmode=require".to_owned() });
        }
        let mut config = url.config().clone();
        let connect_timeout = config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
        config.connect_timeout(connect_timeout.min(timeout)).tcp_user_timeout(timeout);
        if tls.is_some() {
            config.ssl_mode(tokio_postgres::config::SslMode::Require);
        }
        if config.get_application_name().is_none() {
            config.application_name("retain");
        }
        Ok(Self { config, tls, place: url.to_string().into(), timeout })
    }

    fn open(&self) -> Result<PostgresConnection, StoreError> {
        PostgresConnection::open(&self.config, self.tls.as_ref(), self.place.clone(), self.timeout)
    }

    /// The tables' version; nothing where there are none.
    fn version(&self, connection: &mut PostgresConnection) -> Result<Option<i64>, StoreError> {
        let tables = connection.number("SELECT count(*) FROM pg_class WHERE oid = to_regclass('schema_version')")?;
        if tables == 0 {
            return Ok(None);
        }
        let found = connection.number("SELECT max(version) FROM schema_version")?;
        if (0..=MIGRATIONS.len() as i64).contains(&found) {
            Ok(Some(found))
        } else {
            Err(StoreError::SchemaNewer { place: self.place.clone(), found, known: MIGRATIONS.len() as i64 })
        }
    }

    fn migrate(&self, connection: &mut PostgresConnection) -> Result<(), StoreError> {
        connection.batch(&format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))?;
        let found = self.version(connection)?;
        if found.is_none() {
            connection.batch("CREATE TABLE schema_version (version BIGINT NOT NULL); INSERT INTO schema_version VALUES (0)")?;
        }
        for (migration, version) in MIGRATIONS.iter().zip(1_i64..).skip(usize::try_from(found.unwrap_or(0)).unwrap_or(0)) {
            connection.batch(migration)?;
            connection.batch(&format!("UPDATE schema_version SET version = {version}"))?;
        }
        Ok(())
    }
}

impl Database for Postgres {
    fn prepare(&self) -> Result<(), StoreError> {
        let mut connection = self.open()?;
        connection.begin()?;
        self.migrate(&mut connection)?;
        connection.commit()
    }

    fn connect(&self) -> Result<Box<dyn Connection>, StoreError> {
        let mut connection = self.open()?;
        match self.version(&mut connection)? {
            Some(_) => Ok(Box::new(connection)),
            None => Err(StoreError::NotALog { place: self.place.clone() }),
        }
    }

    fn place(&self) -> &Arc<str> {
        &self.place
    }
}

/// Gives PostgreSQL's errors the names that callers act on.
fn store_error(place: &Arc<str>, error: tokio_postgres::Error) -> StoreError {
    let place = place.clone();
    let Some(code) = error.code().cloned() else {
        // The connection broke, or there was none.
        return StoreError::Unavailable { place, source: Arc::new(error) };
    };
    let source = Arc::new(error);
    match &code.code()[..2] {
        _ if code == SqlState::DISK_FULL => StoreError::Full { place, source },
        // A statement or a lock that took too long was given up by the server, and nothing was kept.
        _ if [SqlState::QUERY_CANCELED, SqlState::LOCK_NOT_AVAILABLE].contains(&code) => StoreError::Locked { place, source },
        // A server that has become a replica: the writer is elsewhere.
        _ if code == SqlState::READ_ONLY_SQL_TRANSACTION => StoreError::Unavailable { place, source },
        // Two writers in each other's way.
        "40" => StoreError::Locked { place, source },
        // Connections, logins, resources, shutdown, the system.
        "08" | "28" | "3D" | "53" | "57" | "58" => StoreError::Unavailable { place, source },
        "XX" => StoreError::Damaged { place, column: "database", problem: source.to_string() },
        _ => StoreError::Database { place, source },
    }
}
