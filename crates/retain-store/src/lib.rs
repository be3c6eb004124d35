//! The log of decisions and what came of them: kept on disk before anybody is told so, readable by SQL.
//!
//! [`Store`] is the log, in a SQLite file by default or in PostgreSQL where several servers share it. A call is queued, one thread
//! writes what waits as one transaction and answers all of it after one sync of the disk; other threads read. [`StoreConfig`] says
//! where the log is; [`StoreError`] says what went wrong and whether anything was kept. The records themselves are in `retain-core`; what is decided,
//! and the clock, are the caller's.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps an error should fail"))]

mod backend;
mod check;
mod config;
mod error;
mod export;
mod link;
mod pages;
mod pending;
mod postgres;
mod queue;
mod records;
mod rules;
mod sqlite;
mod store;
mod writer;

pub use check::{MAX_CUSTOMER_ID_BYTES, MAX_JSON_BYTES, MAX_KEY_BYTES, MAX_NAME_BYTES, MAX_NOTE_BYTES};
pub use config::{PostgresUrl, StoreConfig};
pub use error::{Cause, StoreError};
pub use pending::Pending;
pub use records::{Counts, Cursor, LoggedDecision, Page, Recorded, Used};
pub use rules::{CLOCK_TOLERANCE_MS, MAX_REPORTS};
pub use store::{MAX_DECISIONS, MAX_HISTORY, MAX_PAGE, Store, StoreThreads};
