//! [`GateError`]: why a gate ends without a verdict.

use crate::labelled::EvalError;
use crate::outcome::OutcomeKind;

/// Why a gate could not be run; no verdict.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// A check for another model.
    #[error("the check `{check}` is for the model `{asked}`, and the model being gated is `{gated}`")]
    OtherModel {
        /// The check.
        check: String,
        /// The model it names.
        asked: String,
        /// The model at hand.
        gated: String,
    },
    /// A metric that the model's kind of outcome does not have.
    #[error("the check `{check}` is not for a model of {kind} outcomes, expected one of {known}")]
    OtherKind {
        /// The check.
        check: String,
        /// The kind of the model's outcomes.
        kind: OutcomeKind,
        /// The metrics that there are.
        known: String,
    },
    /// Non-inferiority without a champion.
    #[error("[[non_inferiority]] compares with a champion, and there is none")]
    NoChampion,
    /// The champion's predictions do not fit the rows.
    #[error("the champion cannot be compared on these rows")]
    Champion(#[source] EvalError),
    /// Champion, baseline and slices need rows.
    #[error("the gate file has checks that need labelled rows ([[non_inferiority]], [[beats]], [[slice]]), and there are none")]
    NoData,
    /// The baseline needs the base rate.
    #[error(
        "[[beats]] needs the rate of positives, mean value or survival curve of the training rows, and the model does not say"
    )]
    NoBaseRate,
    /// The base rate is no prediction.
    #[error("the rate of positives, mean value or survival curve of the training rows is not usable")]
    BaseRate(#[source] EvalError),
    /// A column of the past that the rows lack.
    #[error("[[beats]] needs the column `{column}`, and the data has none of that name")]
    NoPastColumn {
        /// The column.
        column: String,
    },
    /// A column of the past that is no prediction.
    #[error("the column `{column}` cannot be compared with the model's predictions")]
    Past {
        /// The column.
        column: String,
        /// What is wrong with it.
        source: EvalError,
    },
    /// A slice column that the rows lack.
    #[error("[[slice]] needs the column `{column}`, and the data has none of that name")]
    NoSliceColumn {
        /// The column.
        column: String,
    },
    /// A slice column of another length.
    #[error("the slice column `{column}` has {found} labels for {expected} rows")]
    SliceLength {
        /// The column.
        column: String,
        /// Its length.
        found: usize,
        /// Number of rows.
        expected: usize,
    },
    /// A serving number that nobody measured.
    #[error("[[serving]] limits `{what}`, and it was not measured")]
    NotMeasured {
        /// The number.
        what: &'static str,
    },
    /// Stored intervals of another confidence.
    #[error(
        "the gate asks for intervals of confidence {expected}, and the stored ones have {found}: give the data to measure again"
    )]
    Confidence {
        /// What the evaluation has.
        found: f64,
        /// What the gate file asks for.
        expected: f64,
    },
    /// A slice could not be cut.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

impl GateError {
    /// The exit code of a run that ends so: 6 for the champion, 2 for everything else.
    pub fn exit_code(&self) -> i32 {
        if matches!(self, Self::NoChampion | Self::Champion(_)) { 6 } else { 2 }
    }
}
