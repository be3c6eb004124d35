//! Reads feature tables (CSV, Parquet) and task files into checked datasets and splits them by time and group; makes feature tables of
//! transaction logs.
//!
//! [`Task::parse`] reads what to predict; [`TableSource::open`] opens a table; [`read_training`] infers its columns and encodes it,
//! [`read_labelled`] and [`RowReader`] read other tables by the schema that came out. [`stratified_folds`] and [`time_folds`]
//! divide a dataset; [`find_leaks`] looks for what knows the answer; [`simulate_customers`] makes one whose truth is known.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on should stop"))]

mod cells;
mod dataset;
mod delimited;
mod distinct;
mod error;
mod infer;
mod label;
mod leakage;
mod load;
mod parquet_table;
mod profile;
mod read;
mod row_reader;
mod simulate;
mod split;
mod table;
mod target;
mod task;
mod task_file;
mod time_split;
mod transactions;
mod treatment;

pub use cells::Cells;
pub use dataset::Dataset;
pub use distinct::distinct_texts;
pub use error::{DataError, RejectedCell, Warning};
pub use leakage::{Finding, LeakReport, NOT_SHOWN, Severity, Twins, find_leaks, keep_together};
pub use read::{ColumnRole, ColumnSummary, TableReport, Training, describe_features, read_labelled, read_training};
pub use row_reader::{FeatureNotes, Names, RawBatch, RawBatches, RowEncoder, RowReader, ScoringBatch};
pub use simulate::{SimulatedCustomers, SimulationOptions, simulate, simulate_customers};
pub use split::{Fold, stratified_folds};
pub use table::{TableBatches, TableSource};
pub use task::{ColumnHint, LEARNERS, MAX_TREATMENTS, TableRoles, Task, TaskError, ValueColumns};
pub use time_split::{SplitError, TimeSplit, time_folds};
pub use transactions::{
    Customer, CustomerTable, DateFormat, LogColumns, LogCounts, LogOptions, Outcome, PurchaseDay, PurchaseSummary,
    TransactionError, TransactionLog,
};
