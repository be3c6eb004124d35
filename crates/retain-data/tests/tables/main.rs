//! Tests of the crate through its public interface.
#![allow(clippy::format_collect, clippy::format_push_string, reason = "small tables are written the short way")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

/// The CSV reader: dialects, encodings, damaged files.
mod csv_table;
/// What inference decides about columns.
mod inference;
/// What knows the answer, planted and in public tables.
mod leakage;
/// Parquet of every type that is read, and damaged files.
mod parquet_table;
/// Random bytes, mutated tables, round trips.
mod properties;
/// Public churn tables, when `RETAIN_DATA_DIR` says where they are.
mod real_data;
/// Streaming rows by a known schema.
mod scoring;
/// Tables and tasks that the modules share.
mod support;
/// Task files and their mistakes.
mod task_file;
/// From table to dataset.
mod training;
/// Transaction logs.
mod transactions;
/// What was written down after a treatment, planted.
mod treatment_leaks;
/// Tables of several arms.
mod treatments;
