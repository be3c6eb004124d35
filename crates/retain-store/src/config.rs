//! Where the log is and what it may take: settings as they stand in a file, checked before anything is opened.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio_postgres::config::{Host, SslMode};

use crate::backend::Database;
use crate::error::StoreError;
use crate::postgres::Postgres;
use crate::sqlite::Sqlite;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Settings of the log. Either `path` or `postgres` says where it is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// The SQLite file. It is made where it is missing, its folder is not. It has to lie on a local disk.
    pub path: Option<PathBuf>,
    /// The PostgreSQL database.
    pub postgres: Option<PostgresUrl>,
    /// Certificates, as PEM, that the PostgreSQL server's has to come from. With them the connection is encrypted and verified;
    /// without them it is not encrypted.
    pub postgres_root_certificates: Option<PathBuf>,
    /// How long a call may take, in milliseconds. Default 5,000.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// Most calls that wait to be written, and as many that wait to read; more are refused as busy. Default 4,096.
    #[serde(default = "queue_len")]
    pub queue_len: usize,
    /// Most bytes of records that wait to be written, about. Default 64 MiB.
    #[serde(default = "queue_bytes")]
    pub queue_bytes: usize,
    /// Most calls of one transaction. More wait for the next sync of the disk together. Default 256.
    #[serde(default = "group_len")]
    pub group_len: usize,
    /// Threads that read, each with a connection. Default 2.
    #[serde(default = "readers")]
    pub readers: usize,
    /// For how many days after its window a decision's outcomes are still taken, if they happened within it. Default 7.
    #[serde(default = "late_days")]
    pub late_days: u32,
    /// Most bytes of the SQLite file; beyond them the log is full. The log beside it, which is written first, takes some
    /// 70 MB more. Default: as much as the disk has.
    pub max_bytes: Option<u64>,
}

fn timeout_ms() -> u64 {
    5_000
}

fn queue_len() -> usize {
    4_096
}

fn queue_bytes() -> usize {
    64 << 20
}

fn group_len() -> usize {
    256
}

fn readers() -> usize {
    2
}

fn late_days() -> u32 {
    7
}

impl StoreConfig {
    /// The default settings for a SQLite file.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), ..Self::nowhere() }
    }

    /// The default settings for a PostgreSQL database.
    pub fn postgres(url: PostgresUrl) -> Self {
        Self { postgres: Some(url), ..Self::nowhere() }
    }

    fn nowhere() -> Self {
        Self {
            path: None,
            postgres: None,
            postgres_root_certificates: None,
            timeout_ms: timeout_ms(),
            queue_len: queue_len(),
            queue_bytes: queue_bytes(),
            group_len: group_len(),
            readers: readers(),
            late_days: late_days(),
            max_bytes: None,
        }
    }

    /// Refuses settings that cannot be. Looks at no file but the certificates.
    ///
    /// # Errors
    /// [`StoreError::Setting`].
    pub fn check(&self) -> Result<(), StoreError> {
        for (key, found, most, expected) in [
            ("timeout_ms", self.timeout_ms, 600_000, "a whole number from 1 to 600000"),
            ("queue_len", self.queue_len as u64, 1 << 20, "a whole number from 1 to 1048576"),
            ("queue_bytes", self.queue_bytes as u64, 1 << 40, "a number of bytes from 1 to 2^40"),
            ("group_len", self.group_len as u64, 4_096, "a whole number from 1 to 4096"),
            ("readers", self.readers as u64, 64, "a whole number from 1 to 64"),
            ("late_days", u64::from(self.late_days) + 1, 3_661, "a whole number from 0 to 3660"),
            ("max_bytes", self.max_bytes.unwrap_or(1), 1 << 48, "a number of bytes from 1 to 2^48"),
        ] {
            if !(1..=most).contains(&found) {
                return Err(StoreError::Setting { key, expected, found: found.to_string() });
            }
        }
        self.database().map(drop)
    }

    /// How long a call may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// `late_days` as milliseconds.
    pub(crate) fn late_ms(&self) -> i64 {
        i64::from(self.late_days) * DAY_MS
    }

    /// The database that is meant, not connected to yet.
    pub(crate) fn database(&self) -> Result<Arc<dyn Database>, StoreError> {
        match (&self.path, &self.postgres) {
            (Some(path), None) if self.postgres_root_certificates.is_none() => {
                Ok(Arc::new(Sqlite::new(path.clone(), self.timeout(), self.max_bytes)))
            }
            (None, Some(url)) if self.max_bytes.is_none() => {
                let certificates = self.postgres_root_certificates.as_deref();
                Ok(Arc::new(Postgres::new(url, certificates, self.timeout())?))
            }
            (Some(_), None) => Err(unfit("postgres_root_certificates", "absent beside `path`")),
            (None, Some(_)) => Err(unfit("max_bytes", "absent beside `postgres`")),
            (Some(_), Some(_)) => Err(unfit("path", "absent beside `postgres`")),
            (None, None) => Err(StoreError::Setting { key: "path", expected: "the log's file", found: String::new() }),
        }
    }
}

fn unfit(key: &'static str, expected: &'static str) -> StoreError {
    StoreError::Setting { key, expected, found: "a value".to_owned() }
}

/// The address of a PostgreSQL database, such as `postgresql://user:password@host:5432/name`. It never prints its password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PostgresUrl(tokio_postgres::Config);

impl PostgresUrl {
    pub(crate) fn config(&self) -> &tokio_postgres::Config {
        &self.0
    }

    /// Whether the address asks for encryption.
    pub(crate) fn requires_tls(&self) -> bool {
        self.0.get_ssl_mode() == SslMode::Require
    }
}

impl FromStr for PostgresUrl {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "an address such as `postgresql://user:password@host:5432/name`";
        // What was found may hold a password, also where it cannot be read.
        let unread = || StoreError::Setting { key: "postgres", expected, found: "…".to_owned() };
        let config: tokio_postgres::Config = text.parse().map_err(|_| unread())?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() { Err(unread()) } else { Ok(Self(config)) }
    }
}

impl TryFrom<String> for PostgresUrl {
    type Error = StoreError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgresql://")?;
        self.0.get_user().map_or(Ok(()), |user| write!(f, "{user}@"))?;
        for (place, host) in self.0.get_hosts().iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}")?,
                #[cfg(unix)]
                Host::Unix(folder) => write!(f, "{comma}{}", folder.display())?,
            }
            let port = self.0.get_ports().get(place).or(self.0.get_ports().first());
            port.map_or(Ok(()), |port| write!(f, ":{port}"))?;
        }
        self.0.get_dbname().map_or(Ok(()), |name| write!(f, "/{name}"))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}
