//! What can be wrong with a table, and what is merely worth saying about it.

use std::fmt;
use std::path::PathBuf;

use retain_core::{ColumnKind, SchemaError, ValueError};

/// Something worth knowing about a table that does not keep it from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// A fixed name for the kind of warning, such as `constant_column`.
    pub code: &'static str,
    /// What was found, where, and what was done about it.
    pub message: String,
}

impl Warning {
    pub(crate) fn new(code: &'static str, message: String) -> Self {
        Self { code, message }
    }
}

/// A cell that does not fit its column.
#[derive(Debug, Clone, PartialEq)]
pub struct RejectedCell {
    /// Data row, counted from 1; the header does not count.
    pub row: usize,
    /// The column's name.
    pub column: String,
    /// Whether models read the column; targets, dates of observation and durations they do not.
    pub is_feature: bool,
    /// What was found and what was expected.
    pub problem: ValueError,
}

impl fmt::Display for RejectedCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}: column `{}` {}", self.row, self.column, self.problem)
    }
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// No such file.
    #[error("`{}` does not exist", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// A directory where a file belongs.
    #[error("`{}` is a directory; name a CSV or Parquet file", path.display())]
    Directory {
        /// The path.
        path: PathBuf,
    },
    /// The file may not be read.
    #[error("no permission to read `{}`", path.display())]
    Permission {
        /// The path.
        path: PathBuf,
    },
    /// Reading failed half way.
    #[error("reading `{name}` failed")]
    Io {
        /// The table.
        name: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Nothing in the file.
    #[error("the table is empty: no header and no rows")]
    Empty,
    /// A header, and nothing below.
    #[error("the table has a header with {n_columns} columns and no rows")]
    NoRows {
        /// Columns in the header.
        n_columns: usize,
    },
    /// Not a table in a format we read.
    #[error("the table is {found}; expected CSV in UTF-8 or Windows-1252, or Parquet")]
    Format {
        /// What the content looks like.
        found: String,
    },
    /// Two columns of one name.
    #[error("the header names `{name}` twice, in columns {first} and {second}")]
    DuplicateColumn {
        /// The name.
        name: String,
        /// Position of the first, from 1.
        first: usize,
        /// Position of the second, from 1.
        second: usize,
    },
    /// A column without a name.
    #[error("column {position} of {n_columns} has no name in the header")]
    UnnamedColumn {
        /// Position, from 1.
        position: usize,
        /// Columns in the header.
        n_columns: usize,
    },
    /// A row with another number of fields than the header.
    #[error("line {line}: {found} fields, expected {expected} as in the header{hint}")]
    FieldCount {
        /// Line of the file, from 1.
        line: u64,
        /// Fields in the row.
        found: usize,
        /// Fields in the header.
        expected: usize,
        /// What may have happened.
        hint: &'static str,
    },
    /// A quote that nothing closes.
    #[error("line {line}: a quote opens here and never closes; the file may be cut short")]
    OpenQuote {
        /// Line where the row starts, from 1.
        line: u64,
    },
    /// Larger than the reader accepts.
    #[error("{place}: {what}; at most {limit} are read")]
    TooLarge {
        /// Where.
        place: String,
        /// What is too large.
        what: &'static str,
        /// The limit, with its unit.
        limit: String,
    },
    /// The Parquet reader refused the file.
    #[error("the Parquet file cannot be read, it may be damaged: {message}")]
    Parquet {
        /// What the reader said.
        message: String,
    },
    /// A column of a type that is no number, text, boolean or date.
    #[error("column `{column}` has the Parquet type {found}; numbers, texts, booleans, dates and timestamps are read{hint}")]
    ColumnType {
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// What to try.
        hint: &'static str,
    },
    /// The task or the model names columns that the table does not have.
    #[error("{named_in} names {}, and the table has no such column{hint}", quoted(columns))]
    UnknownColumn {
        /// A key of the task file, or the model.
        named_in: String,
        /// The columns that are not there.
        columns: Vec<String>,
        /// The nearest column, when there is one.
        hint: String,
    },
    /// Labels of one kind only, or none.
    #[error("target `{column}` has {found}; expected two values, one of them `{positive}`")]
    OneClass {
        /// The target column.
        column: String,
        /// What it has.
        found: String,
        /// The positive label.
        positive: String,
    },
    /// The positive label does not occur.
    #[error("target `{column}` never has the positive value `{positive}`; it has {found}")]
    PositiveNotFound {
        /// The target column.
        column: String,
        /// The positive label.
        positive: String,
        /// The values that occur, with counts.
        found: String,
    },
    /// Far more values than a label has.
    #[error("target `{column}` has too many values for a label: {found}; expected `{positive}` and few others")]
    ManyClasses {
        /// The target column.
        column: String,
        /// The positive label.
        positive: String,
        /// The values that occur, with counts.
        found: String,
    },
    /// Too few customers of one class to learn from.
    #[error(
        "too little data: {n_positives} positive and {n_negatives} negative rows, expected at least {needed} of each; with so few, \
         an AUC of 0.80 would be uncertain by about ±{half_width:.3} (95 % interval)"
    )]
    TooFewLabels {
        /// Positive rows.
        n_positives: usize,
        /// Negative rows.
        n_negatives: usize,
        /// Rows needed of each class.
        needed: usize,
        /// Half the width of the interval (Hanley and `McNeil`, 1982).
        half_width: f64,
    },
    /// The control or a treatment does not occur.
    #[error("treatment column `{column}` never has the value `{arm}`; it has {found}")]
    ArmNotFound {
        /// The treatment column.
        column: String,
        /// The control or treatment.
        arm: String,
        /// The values that occur, with counts, and the nearest of them where there is one.
        found: String,
    },
    /// Nobody was treated.
    #[error(
        "treatment column `{column}` has the control `{control}` only: an effect needs rows that were treated to compare with"
    )]
    OneArm {
        /// The treatment column.
        column: String,
        /// The control.
        control: String,
    },
    /// Far more values than treatments.
    #[error(
        "treatment column `{column}` has too many values: {found}; at most {limit} treatments are compared: list those that matter in \
         `treatments`"
    )]
    ManyArms {
        /// The treatment column.
        column: String,
        /// The values that occur, with counts.
        found: String,
        /// Treatments that there may be.
        limit: usize,
    },
    /// Too few rows of an arm.
    #[error("only {n_rows} rows have `{arm}` in treatment column `{column}`, at least {needed} are needed")]
    SmallArm {
        /// The treatment column.
        column: String,
        /// The control or treatment.
        arm: String,
        /// Rows of it.
        n_rows: usize,
        /// Rows needed.
        needed: usize,
    },
    /// All rows of an arm came out alike.
    #[error(
        "of the {n_rows} rows with `{arm}` in treatment column `{column}`, {n_positives} have the outcome `{target}`: at least {needed} \
         with it and {needed} without are needed"
    )]
    UniformArm {
        /// The treatment column.
        column: String,
        /// The control or treatment.
        arm: String,
        /// The target column.
        target: String,
        /// Rows of the arm.
        n_rows: usize,
        /// Of which positive.
        n_positives: usize,
        /// Rows needed of either outcome.
        needed: usize,
    },
    /// Amounts below 0.
    #[error(
        "target `{column}` has amounts below 0 in {n_rows} rows, the first `{found}` in row {row}: an amount should be 0 or more"
    )]
    NegativeAmounts {
        /// The column.
        column: String,
        /// The first such row of the table, from 1.
        row: usize,
        /// Its amount.
        found: f64,
        /// How many there are.
        n_rows: usize,
    },
    /// Nothing but zeros.
    #[error("target `{column}` has no amount above 0 in {n_rows} rows: there is nothing to learn")]
    NoAmounts {
        /// The column.
        column: String,
        /// Rows with a target.
        n_rows: usize,
    },
    /// All amounts are the same.
    #[error("target `{column}` has the amount `{found}` in all {n_rows} rows: there is nothing to learn")]
    OneAmount {
        /// The column.
        column: String,
        /// The amount.
        found: f64,
        /// Rows with a target.
        n_rows: usize,
    },
    /// Too few rows to learn from.
    #[error(
        "{n_rows} rows have a value in target `{column}`, {n_positives} of them {counted}: at least {needed} of these are needed"
    )]
    TooFewAmounts {
        /// The column.
        column: String,
        /// Rows with a target.
        n_rows: usize,
        /// Of which count.
        n_positives: usize,
        /// What those are that count, such as `above 0`.
        counted: &'static str,
        /// Rows above 0 that are needed.
        needed: usize,
    },
    /// Cells that do not fit their columns.
    #[error("{}", list_cells(first, *n_cells, *n_rows))]
    RejectedCells {
        /// The first of them, in the order of the table.
        first: Vec<RejectedCell>,
        /// How many there are in all.
        n_cells: usize,
        /// In how many rows.
        n_rows: usize,
    },
    /// A direction was asked of a column that has none.
    #[error("column `{column}` is a {kind}, so `monotone` means nothing for it; remove it, or state `kind = \"number\"`")]
    Monotone {
        /// The column.
        column: String,
        /// Its kind.
        kind: ColumnKind,
    },
    /// The model has date features, and no day to count them to is known.
    #[error(
        "the model counts days to the observation, and the table has no date of observation: add the column {column} or give the date"
    )]
    NoObservation {
        /// The model's column with the date, quoted, or what is known of it.
        column: String,
    },
    /// Nothing to learn from.
    #[error("no column is left to learn from: {dropped}")]
    NoFeatures {
        /// Why columns were dropped.
        dropped: String,
    },
    /// The file became another one between two readings.
    #[error("the table changed while it was read: {before} rows at first, then {after}")]
    Changed {
        /// Rows on the first reading.
        before: usize,
        /// Rows on the second reading.
        after: usize,
    },
    /// The columns do not make a schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

impl DataError {
    /// Whether the caller named the wrong file, rather than the file having the wrong content.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Directory { .. } | Self::Permission { .. })
    }

    pub(crate) fn io(name: &str, source: std::io::Error) -> Self {
        let path = PathBuf::from(name);
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound { path },
            std::io::ErrorKind::PermissionDenied => Self::Permission { path },
            std::io::ErrorKind::IsADirectory => Self::Directory { path },
            _ => Self::Io { name: name.to_owned(), source },
        }
    }
}

fn quoted(columns: &[String]) -> String {
    const SHOWN: usize = 20;
    let names = columns.iter().take(SHOWN).map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ");
    if columns.len() > SHOWN { format!("{names} and {} more", columns.len() - SHOWN) } else { names }
}

fn list_cells(first: &[RejectedCell], n_cells: usize, n_rows: usize) -> String {
    let mut lines = vec![format!("{n_cells} cells in {n_rows} rows do not fit their columns")];
    lines.extend(first.iter().map(|cell| format!("  {cell}")));
    if n_cells > first.len() {
        lines.push(format!("  … and {} more", n_cells - first.len()));
    }
    if let Some(cell) = first.first() {
        let section = column_section(&cell.column);
        // The date of observation is no feature: nothing can be said about it under [columns].
        lines.push(if matches!(cell.problem, ValueError::NotDate { .. }) {
            format!(
                "hint: correct the cells; of a feature, `{section}` may also list them in `missing = [...]` or set `kind = \"category\"`, \
                 but every row needs its date of observation"
            )
        } else if !cell.is_feature {
            "hint: correct these cells, or remove their rows".to_owned()
        } else {
            format!("hint: correct the cells, or under `{section}` list them in `missing = [...]` or set `kind = \"category\"`")
        });
    }
    lines.join("\n")
}

/// The heading of a column's section in a task file, quoted where TOML asks for it.
pub(crate) fn column_section(column: &str) -> String {
    let bare = column.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare { format!("[columns.{column}]") } else { format!("[columns.{column:?}]") }
}
