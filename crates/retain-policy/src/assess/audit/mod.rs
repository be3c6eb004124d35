//! Measures what a health score and signals are worth against customers who really left.
//!
//! Everything is a function of columns of the same rows: scores or answers, who left, and whose row it is. Nothing here is an effect
//! of acting: a signal that finds those who leave says nothing about whether a call would have kept them.

mod agreement;
mod health;
mod model;
mod proportion;
mod signals;

pub use agreement::{CaughtTogether, Overlap, minimal_set, overlaps};
pub use health::{BandAudit, BandCut, HealthAudit, OrderViolation, audit_health};
pub use model::{AgainstModel, Better, against_model};
pub use proportion::Proportion;
pub use signals::{SignalAudit, SignalColumn, SignalsAudit, audit_signals, signal_columns};

pub(super) use health::{audit_bands, band_of, violations};
pub(super) use proportion::Customers;

use retain_eval::{BootstrapOptions, EvalError, Labelled, Metric, evaluate};
use serde::Serialize;

/// What became of each row's customer.
#[derive(Debug, Clone, Copy)]
pub struct Outcomes<'a> {
    /// Whether the customer left within the horizon.
    pub churned: &'a [bool],
    /// Whose row it is; any numbers.
    pub customer: &'a [u32],
    /// The day of the observation, where lead times are asked for.
    pub observed_day: Option<&'a [f64]>,
    /// The day the customer left, NaN for those who stayed; on the same calendar.
    pub churn_day: Option<&'a [f64]>,
}

/// Why nothing can be measured.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// There are no rows.
    #[error("an audit needs at least one row with an outcome")]
    NoRows,
    /// Two columns of different length.
    #[error("`{column}` has {found} values for {expected} rows")]
    Length {
        /// The column that does not fit.
        column: String,
        /// Its length.
        found: usize,
        /// Number of rows.
        expected: usize,
    },
    /// A number outside its range.
    #[error("row {row}: `{column}` should lie within [{min}, {max}], found `{found}`")]
    Range {
        /// Row, counted from 1.
        row: usize,
        /// The column.
        column: &'static str,
        /// The lowest value allowed.
        min: f64,
        /// The highest value allowed.
        max: f64,
        /// The value.
        found: f64,
    },
    /// The metrics could not be measured.
    #[error(transparent)]
    Metrics(#[from] EvalError),
}

/// A number and the range it may lie in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// What was measured.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Outcomes<'_> {
    pub(super) fn check(&self) -> Result<(), AuditError> {
        let n_rows = self.churned.len();
        if n_rows == 0 {
            return Err(AuditError::NoRows);
        }
        check_length("customer", self.customer.len(), n_rows)?;
        check_length("observed_day", self.observed_day.map_or(n_rows, <[f64]>::len), n_rows)?;
        check_length("churn_day", self.churn_day.map_or(n_rows, <[f64]>::len), n_rows)
    }
}

pub(super) fn check_length(column: &str, found: usize, expected: usize) -> Result<(), AuditError> {
    if found == expected { Ok(()) } else { Err(AuditError::Length { column: column.to_owned(), found, expected }) }
}

/// Notes the first number outside its range; those not known are left out.
pub(super) fn check_range(
    column: &'static str,
    numbers: impl Iterator<Item = Option<f64>>,
    min: f64,
    max: f64,
) -> Result<(), AuditError> {
    for (row_idx, number) in numbers.enumerate() {
        if let Some(found) = number.filter(|number| !(min..=max).contains(number)) {
            return Err(AuditError::Range { row: row_idx + 1, column, min, max, found });
        }
    }
    Ok(())
}

/// The area under the curve of scores that should be low for those who leave, with an interval over customers; none where only one
/// kind of customer has a score.
pub(super) fn auc_of_scores(
    scores: &[Option<f64>],
    outcomes: &Outcomes<'_>,
    options: &BootstrapOptions,
) -> Result<Option<Estimate>, AuditError> {
    let rows = labelled(scores, outcomes)?;
    let measured = rows.map(|rows| evaluate(&rows, &[Metric::RocAuc], options));
    Ok(measured.and_then(|found| found.metrics.first().map(|auc| Estimate { value: auc.value, low: auc.low, high: auc.high })))
}

/// The rows that have a score, with what is missing to 100 as the chance of leaving.
pub(super) fn labelled(scores: &[Option<f64>], outcomes: &Outcomes<'_>) -> Result<Option<Labelled>, AuditError> {
    let known = || (0..scores.len()).filter_map(|row_idx| Some((row_idx, scores[row_idx]?)));
    let target: Vec<f64> = known().map(|(row_idx, _)| f64::from(u8::from(outcomes.churned[row_idx]))).collect();
    if target.is_empty() {
        return Ok(None);
    }
    let risk: Vec<f64> = known().map(|(_, score)| (1.0 - score / 100.0).clamp(0.0, 1.0)).collect();
    let customer: Vec<u32> = known().map(|(row_idx, _)| outcomes.customer[row_idx]).collect();
    Ok(Some(Labelled::new(&target, &risk, &customer)?))
}
