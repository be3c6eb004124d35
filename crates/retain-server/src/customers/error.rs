//! Why a customer table cannot be used.

use std::path::PathBuf;

use retain_data::DataError;

/// Why the customer table was not read; the one before it stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CustomersError {
    /// The file or folder cannot be looked at.
    #[error("cannot read `{path}`")]
    Read {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A pipe, a device, or a folder in a folder.
    #[error("`{path}` is no file; the customer table is a CSV or Parquet file, or a folder of such files")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A folder with nothing in it.
    #[error("the folder `{path}` has no files")]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A file that is no table, or is damaged.
    #[error("the customer table `{path}` cannot be read")]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: DataError,
    },
    /// No such column.
    #[error("`{path}` has no column `{column}`{hint}")]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// A column like it.
        hint: String,
    },
    /// None of the columns that models read.
    #[error("the customer table has none of the columns that the models read, such as {columns}")]
    NoFeatures {
        /// Some of them.
        columns: String,
    },
    /// No row has an id.
    #[error("no row of the customer table has an id in column `{column}`")]
    NoIds {
        /// The column.
        column: String,
    },
    /// A file of a folder has another column than the others.
    #[error("`{path}` and the files before it differ in column `{column}`: all files should have the same columns")]
    OtherColumns {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
    },
    /// A column is text in one file and something else in another.
    #[error("column `{column}` of `{path}` is of another type than in the files before it")]
    MixedTypes {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
    },
    /// More than is kept.
    #[error("the customer table has more {what} than are kept, {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: &'static str,
    },
    /// Nobody says which column has the ids.
    #[error("no live model names the column of its customers; say it in `entity` under `[features]`")]
    NoEntity,
    /// Models do not agree on the column that has the ids.
    #[error(
        "live models name their customers by different columns, {columns}; say in `entity` under `[features]` which it is here"
    )]
    SeveralEntities {
        /// The columns.
        columns: String,
    },
    /// The files became others while they were read.
    #[error("the customer table changed while it was read")]
    Changed,
    /// The files are being written.
    #[error("the customer table has changed and may still be being written")]
    Unsettled,
    /// No model is live, so that nobody says which columns count.
    #[error("the customer table is not read before a model is live")]
    NoModels,
    /// The system gave no thread.
    #[error("cannot start a thread to read the customer table")]
    Thread {
        /// Why not.
        source: std::io::Error,
    },
    /// The reader itself failed; a mistake of ours.
    #[error("the reading of the customer table broke off")]
    BrokeOff,
}
