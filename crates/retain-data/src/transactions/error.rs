//! What can be wrong with a transaction log.

use retain_core::Day;

use crate::error::DataError;

/// Why a transaction log cannot be used, or not on that day.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// The table itself.
    #[error(transparent)]
    Table(#[from] DataError),
    /// A column that was named is not there.
    #[error("{flag} names `{found}`, and the log has no such column; it has {columns}")]
    UnknownColumn {
        /// The flag, such as `--date`.
        flag: &'static str,
        /// The name that was given.
        found: String,
        /// The columns of the log.
        columns: String,
    },
    /// Several columns could be meant, or none.
    #[error("{n_candidates} could be the {role}: {candidates}; say which with `{flag}`")]
    Ambiguous {
        /// What is looked for.
        role: &'static str,
        /// How many could be it, such as `2 columns`.
        n_candidates: String,
        /// They, or all columns where there are none.
        candidates: String,
        /// The flag that decides.
        flag: &'static str,
    },
    /// One column in two roles.
    #[error("column `{column}` is both the {first} and the {second}")]
    SameColumn {
        /// The column.
        column: String,
        /// One role.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// No way of writing dates fits all rows.
    #[error("column `{column}` has no one way of writing dates: {examples}; expected one of {known} in all rows")]
    MixedDates {
        /// The column.
        column: String,
        /// Rows that contradict each other.
        examples: String,
        /// The formats that are read.
        known: String,
    },
    /// Every row could be day first or month first.
    #[error(
        "column `{column}` may be day first or month first: no row decides, the first is `{example}`; say which with `--date-format`"
    )]
    AmbiguousDates {
        /// The column.
        column: String,
        /// The first date.
        example: String,
    },
    /// A cell that cannot be read.
    #[error("row {row}: column `{column}` should be {expected}, found `{found}`")]
    Cell {
        /// Data row, from 1.
        row: usize,
        /// The column.
        column: String,
        /// What is read there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// Not one row can be used.
    #[error("no row of the log has a customer, a date and an amount: {n_rows} rows, {left_out}")]
    NothingUsable {
        /// Rows of the log.
        n_rows: usize,
        /// Why they were left out.
        left_out: String,
    },
    /// Nothing was ever bought.
    #[error(
        "the log has no purchase: all {n_refunds} usable rows have a negative amount, which is a refund; expected amounts of 0 or more"
    )]
    NoPurchases {
        /// Rows with a negative amount.
        n_refunds: usize,
    },
    /// Nobody bought on or before the observation date.
    #[error("nobody bought on or before {observe_at}; the log goes from {first} to {last}")]
    NobodyYet {
        /// The earliest observation date.
        observe_at: Day,
        /// First day of the log.
        first: Day,
        /// Last day of the log.
        last: Day,
    },
    /// The log ends long before the observation date.
    #[error(
        "the log ends on {last}, {days} days before the observation date {observe_at}: every customer would look as if gone since then"
    )]
    EndsBefore {
        /// The observation date.
        observe_at: Day,
        /// Last day of the log.
        last: Day,
        /// Days between the two.
        days: i64,
    },
}
