//! Exit codes, and how an error is told: what was found, what caused it, what to try.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use retain_core::{AddressError, DayError};
use retain_data::{DataError, TaskError, TransactionError};
use retain_eval::{EvalError, GateError, GateFileError};
use retain_import::ImportError;
use retain_policy::evaluate::EvaluateError;
use retain_policy::experiment::{DesignError, ReadError};
use retain_policy::simulate::WorldError;
use retain_score::{BundleError, RegistryError};
use retain_server::{ConfigError, ServerError};
use retain_store::StoreError;
use retain_train::{SurvivalError, TrainError};
use serde_json::json;

use crate::cli::Format;
use crate::output::{StdoutClosed, printable};

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    pub(crate) const GOOD: Self = Self(0);
    pub(crate) const INTERNAL: Self = Self(1);
    pub(crate) const USAGE: Self = Self(2);
    pub(crate) const GATE: Self = Self(3);
    pub(crate) const INCONCLUSIVE: Self = Self(4);
    pub(crate) const DATA: Self = Self(5);
    pub(crate) const CHAMPION: Self = Self(6);
    /// The customary code of a process that a signal ended: 128 + SIGINT.
    pub(crate) const INTERRUPTED: Self = Self(130);

    /// The code that a gate's report asks for; anything that is no exit code is an internal error.
    pub(crate) fn of_gate(code: i32) -> Self {
        u8::try_from(code).map_or(Self::INTERNAL, Self)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// An error that the command line itself raises: it knows its exit code and what to try.
#[derive(Debug)]
pub(crate) struct Complaint {
    exit: Exit,
    message: String,
    hint: Option<String>,
    source: Option<anyhow::Error>,
}

impl Complaint {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, source: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::USAGE, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error that led here; its own exit code no longer counts.
    pub(crate) fn because(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Complaint {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}

/// Prints an error in three parts and returns the code to end with; a reader that went away is no error.
pub(crate) fn report(error: &anyhow::Error, format: Format) -> ExitCode {
    if error.chain().any(<dyn Error>::is::<StdoutClosed>) {
        return Exit::GOOD.into();
    }
    let exit = error.chain().find_map(exit_of).unwrap_or(Exit::INTERNAL);
    let told = Told::new(error);
    let text = if format == Format::Json { told.json(exit) } else { told.text() };
    // With standard error gone there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
    exit.into()
}

/// Prints what the parser of the command line says, help included.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::GOOD.into();
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let is_json = arguments.iter().any(|argument| argument == "--format=json")
        || arguments.windows(2).any(|pair| pair[0] == "--format" && pair[1] == "json");
    if is_json {
        let _ = writeln!(io::stderr().lock(), "{}", Told::usage(&error.render().to_string()).json(Exit::USAGE));
    } else {
        let _ = error.print();
    }
    Exit::USAGE.into()
}

/// What stands before the advice in the messages that carry their own.
const ADVICE: &str = "\nhint: ";

/// The parts of an error message.
struct Told {
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Told {
    fn new(error: &anyhow::Error) -> Self {
        let mut hint = error.chain().find_map(hint_of);
        let mut parts: Vec<String> = Vec::new();
        for cause in error.chain() {
            let mut part = cause.to_string();
            // Some messages of the libraries carry their own advice on a last line.
            if let Some(end) = part.find(ADVICE) {
                hint.get_or_insert_with(|| part[end + ADVICE.len()..].to_owned());
                part.truncate(end);
            }
            if !parts.iter().any(|known| known.ends_with(&part)) {
                parts.push(part);
            }
        }
        let message = if parts.is_empty() { String::new() } else { parts.remove(0) };
        Self { message, causes: parts, hint }
    }

    /// What the parser of the command line renders, without the lines that repeat how the command is called.
    fn usage(rendered: &str) -> Self {
        let mut parts = rendered.trim().split("\n\n").map(str::trim);
        let message = parts.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let tip = parts.find_map(|part| part.strip_prefix("tip: ")).unwrap_or("try `retain --help`");
        Self { message, causes: Vec::new(), hint: Some(tip.to_owned()) }
    }

    fn text(&self) -> String {
        let mut text = format!("error: {}", self.message);
        for cause in &self.causes {
            text.push_str("\n  caused by: ");
            text.push_str(cause);
        }
        if let Some(hint) = &self.hint {
            text.push_str("\nhint: ");
            text.push_str(hint);
        }
        printable(&text).into_owned()
    }

    fn json(&self, exit: Exit) -> String {
        let error = json!({ "message": self.message, "causes": self.causes, "hint": self.hint, "exit_code": exit.0 });
        json!({ "error": error }).to_string()
    }
}

/// The exit code of an error of a known type.
fn exit_of(cause: &(dyn Error + 'static)) -> Option<Exit> {
    if let Some(complaint) = cause.downcast_ref::<Complaint>() {
        return Some(complaint.exit);
    }
    if let Some(error) = cause.downcast_ref::<DataError>() {
        return Some(if error.is_usage() { Exit::USAGE } else { Exit::DATA });
    }
    if let Some(error) = cause.downcast_ref::<TransactionError>() {
        return Some(of_transaction_error(error));
    }
    if let Some(error) = cause.downcast_ref::<TrainError>() {
        return Some(of_train_error(error));
    }
    if let Some(error) = cause.downcast_ref::<ImportError>() {
        return Some(of_import_error(error));
    }
    if let Some(error) = cause.downcast_ref::<GateError>() {
        return Some(Exit::of_gate(error.exit_code()));
    }
    if let Some(error) = cause.downcast_ref::<BundleError>() {
        return Some(of_bundle_error(error));
    }
    if let Some(error) = cause.downcast_ref::<RegistryError>() {
        return Some(match error {
            RegistryError::Bundle(error) => of_bundle_error(error),
            RegistryError::Aliases { .. } => Exit::DATA,
            _ => Exit::USAGE,
        });
    }
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return of_io_error(error);
    }
    let is_configuration = cause.is::<TaskError>()
        || cause.is::<GateFileError>()
        || cause.is::<ConfigError>()
        || cause.is::<ServerError>()
        || cause.is::<AddressError>()
        || cause.is::<DayError>()
        || cause.is::<DesignError>()
        || cause.is::<WorldError>();
    if is_configuration {
        return Some(Exit::USAGE);
    }
    if let Some(error) = cause.downcast_ref::<StoreError>() {
        return Some(of_store_error(error));
    }
    let is_data = cause.is::<EvalError>() || cause.is::<EvaluateError>() || cause.is::<ReadError>();
    is_data.then_some(Exit::DATA)
}

/// A file that is no decision log was named wrongly; one that cannot be believed breaks its contract.
fn of_store_error(error: &StoreError) -> Exit {
    match error {
        StoreError::Setting { .. }
        | StoreError::NotALog { .. }
        | StoreError::SchemaNewer { .. }
        | StoreError::Unavailable { .. } => Exit::USAGE,
        StoreError::Damaged { .. } | StoreError::Database { .. } => Exit::DATA,
        _ => Exit::INTERNAL,
    }
}

/// A date that does not fit the log, or columns to be named, are for the command line to put right.
fn of_transaction_error(error: &TransactionError) -> Exit {
    match error {
        TransactionError::Table(error) if !error.is_usage() => Exit::DATA,
        TransactionError::MixedDates { .. }
        | TransactionError::Cell { .. }
        | TransactionError::NothingUsable { .. }
        | TransactionError::NoPurchases { .. } => Exit::DATA,
        _ => Exit::USAGE,
    }
}

fn of_train_error(error: &TrainError) -> Exit {
    match error {
        TrainError::Survival(SurvivalError::NoDurations) => Exit::INTERNAL,
        TrainError::OutOfTime { .. }
        | TrainError::Monotone { .. }
        | TrainError::NoLearner { .. }
        | TrainError::Kind { .. }
        | TrainError::Survival(SurvivalError::ManyCauses { .. }) => Exit::USAGE,
        TrainError::Split(_) | TrainError::Amount { .. } | TrainError::Survival(_) => Exit::DATA,
        _ => Exit::INTERNAL,
    }
}

/// A model of another make, or one that needs a table, is for the command line to put right; a broken file breaks its contract.
fn of_import_error(error: &ImportError) -> Exit {
    match error {
        ImportError::Unsupported { .. } | ImportError::Categories { .. } => Exit::USAGE,
        _ => Exit::DATA,
    }
}

/// A folder without a bundle was named wrongly; a bundle that is not believed breaks its contract.
fn of_bundle_error(error: &BundleError) -> Exit {
    match error {
        BundleError::NotABundle { .. } | BundleError::Exists { .. } => Exit::USAGE,
        BundleError::Io { source, .. } => of_io_error(source).unwrap_or(Exit::INTERNAL),
        _ => Exit::DATA,
    }
}

/// What a person can put right by naming another path or asking for permission.
fn of_io_error(error: &io::Error) -> Option<Exit> {
    use io::ErrorKind as Kind;
    let theirs = [
        Kind::NotFound,
        Kind::PermissionDenied,
        Kind::AlreadyExists,
        Kind::NotADirectory,
        Kind::IsADirectory,
        Kind::AddrInUse,
        Kind::AddrNotAvailable,
        Kind::ReadOnlyFilesystem,
        Kind::InvalidFilename,
        Kind::InvalidInput,
        Kind::InvalidData,
    ];
    theirs.contains(&error.kind()).then_some(Exit::USAGE)
}

/// What to try, for errors whose own message does not say it.
fn hint_of(cause: &(dyn Error + 'static)) -> Option<String> {
    if let Some(complaint) = cause.downcast_ref::<Complaint>() {
        return complaint.hint.clone();
    }
    if let Some(error) = cause.downcast_ref::<DataError>() {
        return data_hint(error).map(str::to_owned);
    }
    if let Some(error) = cause.downcast_ref::<ImportError>() {
        return Some(import_hint(error).to_owned());
    }
    if let Some(error) = cause.downcast_ref::<BundleError>() {
        return bundle_hint(error).map(str::to_owned);
    }
    if let Some(error) = cause.downcast_ref::<RegistryError>() {
        return match error {
            RegistryError::Bundle(error) => bundle_hint(error).map(str::to_owned),
            RegistryError::Io { .. } => None,
            RegistryError::UnknownAlias { .. } => {
                Some("aliases are `champion`, `challenger` and `shadow`; `retain models list` shows where they point".to_owned())
            }
            RegistryError::Aliases { .. } => {
                Some("correct it by hand, to `{\"champion\": 1}` say, or remove it and promote again".to_owned())
            }
            _ => Some("`retain models list` shows what is published".to_owned()),
        };
    }
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return io_hint(error).map(str::to_owned);
    }
    if let Some(GateError::NoChampion) = cause.downcast_ref::<GateError>() {
        return Some("give it with `--champion MODEL`, or leave [[non_inferiority]] out of the first gate".to_owned());
    }
    if let Some(error) = cause.downcast_ref::<TransactionError>() {
        return transaction_hint(error).map(str::to_owned);
    }
    match cause.downcast_ref::<TrainError>() {
        Some(TrainError::OutOfTime { .. }) => Some("raise `budget_seconds` in [train] of the task".to_owned()),
        Some(TrainError::NoLearner { .. }) => {
            Some("add `logistic` or `boosting` to `learners` in [train] of the task".to_owned())
        }
        Some(TrainError::Amount { .. }) => Some("correct it, or state amounts in a larger unit".to_owned()),
        Some(TrainError::Monotone { .. }) => Some("add `boosting` to `learners`, or remove `monotone`".to_owned()),
        _ => None,
    }
}

fn import_hint(error: &ImportError) -> &'static str {
    match error {
        ImportError::Categories { .. } => "give the table that the model was trained on as `--data`",
        ImportError::Unsupported { .. } => "train the model again without it, or have `retain train` learn one",
        _ => "save the model again: LightGBM as text, XGBoost as JSON or UBJSON, CatBoost with `format=\"json\"`",
    }
}

fn transaction_hint(error: &TransactionError) -> Option<&'static str> {
    match error {
        TransactionError::Table(error) => data_hint(error),
        TransactionError::MixedDates { .. } => Some("export the log with one way of writing dates, best `2026-01-31`"),
        TransactionError::AmbiguousDates { .. } => Some("`--date-format dd/mm/yyyy` or `--date-format mm/dd/yyyy`"),
        TransactionError::Ambiguous { .. } => {
            Some("a log has a customer, a date and an amount in every row; an amount is price times quantity")
        }
        TransactionError::EndsBefore { .. } => Some("take a newer log, or a date at most 31 days after its end"),
        TransactionError::NobodyYet { .. } => Some("take a later `--observe-at`, or fewer `--origins`"),
        TransactionError::NoPurchases { .. } => Some("if the log writes purchases below 0, turn the sign of its amounts"),
        TransactionError::Cell { .. } => Some("correct the cell, or leave it empty: such rows are counted and left out"),
        _ => None,
    }
}

fn io_hint(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::NotFound => Some("check the path, and that its folder exists"),
        io::ErrorKind::PermissionDenied => Some("ask for permission, or name another path"),
        io::ErrorKind::StorageFull => Some("make room on the disk, or name a path on another one"),
        _ => None,
    }
}

fn data_hint(error: &DataError) -> Option<&'static str> {
    match error {
        DataError::NotFound { .. } => Some("check the path; it is read from the folder that the command runs in"),
        DataError::Empty | DataError::NoRows { .. } => {
            Some("export the table again: it needs a header and one line per customer")
        }
        DataError::DuplicateColumn { .. } => Some("rename or remove one of the two columns"),
        DataError::UnnamedColumn { .. } => Some("give every column a name, or remove a separator too many from the header"),
        DataError::FieldCount { .. } | DataError::OpenQuote { .. } => {
            Some("export or copy the file again, or repair that line; fields with separators or line breaks need quotes")
        }
        DataError::OneClass { .. } | DataError::PositiveNotFound { .. } | DataError::ManyClasses { .. } => {
            Some("check `target` and `positive` in [table] of the task, and that the table has customers who left and who stayed")
        }
        DataError::TooFewLabels { .. } | DataError::TooFewAmounts { .. } => {
            Some("collect more customers, or more months of the same customers")
        }
        DataError::NoObservation { .. } => {
            Some("add that column to the table; `score` and `explain` also take the day as `--observed-at 2026-01-31`")
        }
        DataError::UnknownColumn { .. } => Some("compare the names with the table's header; upper and lower case differ"),
        DataError::Changed { .. } => Some("wait until the table is no longer being written, and try again"),
        _ => None,
    }
}

fn bundle_hint(error: &BundleError) -> Option<&'static str> {
    match error {
        BundleError::NotABundle { .. } => {
            Some("name the folder that `retain train` wrote, or a published model such as `telco-churn@champion`")
        }
        BundleError::Exists { .. } => Some("name a folder that is empty, new, or holds a bundle"),
        BundleError::MissingFile { .. }
        | BundleError::Checksum { .. }
        | BundleError::Json { .. }
        | BundleError::Format { .. }
        | BundleError::CheckRows { .. } => Some("the bundle was damaged or edited after it was written: copy or train it again"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn exit(error: &anyhow::Error) -> Option<Exit> {
        error.chain().find_map(exit_of)
    }

    #[test]
    fn the_exit_code_comes_from_the_first_known_cause() {
        let missing = DataError::NotFound { path: "x.csv".into() };
        let error = Err::<(), _>(missing).context("cannot read feature table `x.csv`").unwrap_err();
        assert_eq!(exit(&error), Some(Exit::USAGE));
        let champion = Complaint::new(Exit::CHAMPION, "cannot read the champion").because(DataError::Empty);
        assert_eq!(exit(&champion.into()), Some(Exit::CHAMPION));
        assert_eq!(exit(&DataError::Empty.into()), Some(Exit::DATA));
        assert_eq!(exit(&anyhow::anyhow!("a bug")), None);
    }

    #[test]
    fn an_error_is_told_in_three_parts() {
        let error = anyhow::Error::from(DataError::Empty).context("cannot read feature table `x.csv`");
        let text = Told::new(&error).text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "error: cannot read feature table `x.csv`");
        assert!(lines[1].starts_with("  caused by: the table is empty"), "{text}");
        assert!(lines[2].starts_with("hint: "), "{text}");
    }

    #[test]
    fn escape_codes_in_a_table_do_not_reach_the_terminal() {
        let error = anyhow::anyhow!("column `\u{1b}[31mred` is not there");
        assert!(!Told::new(&error).text().contains('\u{1b}'));
    }
}
