//! The log against real databases: SQLite files always, PostgreSQL where `RETAIN_TEST_POSTGRES` has the address of one.
#![allow(clippy::unwrap_used, reason = "a test that unwraps an error should fail")]

/// A log of its own for each test, and records to keep in it.
mod common;
/// Decisions as a Parquet file.
mod export;
/// Killed at any point, nothing that was acknowledged is lost.
mod kill;
/// Settings, tables of other versions, several at once.
mod opening;
/// PostgreSQL gone, and gone in the middle of a commit.
mod postgres_trouble;
/// A way to PostgreSQL that can be cut.
mod proxy;
/// History, matured decisions, counts, retention.
mod reading;
/// The queries of the README.
mod readme;
/// What is kept is what was given, once, and what cannot be kept is refused.
mod recording;
/// The rules on outcomes and overrides.
mod reporting;
/// Many callers, in groups, and several servers on one database.
mod sharing;
/// No room and no file.
mod sqlite_trouble;
