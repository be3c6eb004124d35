//! [`Labelled`]: predictions beside what happened, checked once, so that no metric checks again.

use crate::outcome::{Curves, Effects, Events, Outcome, OutcomeKind, Values};

/// Most rows of one table; keeps every count and position within its integer type.
const MAX_ROWS: usize = 1_000_000_000;
/// Sums of squares of amounts up to here stay finite, and so does every interval.
pub(crate) const LARGEST_AMOUNT: f64 = 1e100;

/// One row per prediction: what happened, what was predicted, and whose row it is.
///
/// Four kinds of outcome have a constructor each: [`Self::new`] whether something happens, [`Self::values`] how much comes,
/// [`Self::survival`] when it happens, [`Self::uplift`] what a treatment changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    outcome: Outcome,
    group_idx: Vec<u32>,
    n_groups: usize,
}

/// Why there is nothing to measure.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A table without rows, or with more than can be counted.
    #[error("metrics need 1 to {MAX_ROWS} rows, found {found}")]
    Rows {
        /// Number of rows.
        found: usize,
    },
    /// Two columns of different length.
    #[error("`{column}` has {found} values for {expected} rows")]
    Length {
        /// The column that does not fit.
        column: &'static str,
        /// Its length.
        found: usize,
        /// Number of rows.
        expected: usize,
    },
    /// A label that is neither 0 nor 1.
    #[error("row {row}: the label should be 0 or 1, found `{found}`")]
    Target {
        /// Row, counted from 1.
        row: usize,
        /// The label.
        found: f64,
    },
    /// Not a probability.
    #[error("row {row}: the prediction should lie within [0, 1], found `{found}`")]
    Probability {
        /// Row, counted from 1.
        row: usize,
        /// The prediction.
        found: f64,
    },
    /// An amount that is not a number, or so large that its square is none.
    #[error("row {row}: `{column}` should be a number within ±{LARGEST_AMOUNT:e}, found `{found}`")]
    Amount {
        /// Row, counted from 1.
        row: usize,
        /// The column.
        column: &'static str,
        /// The value.
        found: f64,
    },
    /// A predicted interval that is upside down.
    #[error("row {row}: the interval should not end below its beginning, found `{low}` to `{high}`")]
    Interval {
        /// Row, counted from 1.
        row: usize,
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// Not a length of time.
    #[error("row {row}: the time should be a finite number of days from 0, found `{found}`")]
    Time {
        /// Row, counted from 1.
        row: usize,
        /// The time.
        found: f64,
    },
    /// A grid of days that does not rise.
    #[error("grid day {position} should be finite and above {before}, found `{found}`")]
    Grid {
        /// Position in the grid, counted from 1.
        position: usize,
        /// The day.
        found: f64,
        /// The day before it in the grid, 0 for the first.
        before: f64,
    },
    /// Not a survival curve.
    #[error("row {row}: survival at day {day} should lie within [0, 1] and not above {before}, found `{found}`")]
    Survival {
        /// Row, counted from 1.
        row: usize,
        /// The grid day.
        day: f64,
        /// The probability.
        found: f64,
        /// The probability at the grid day before, 1 for the first.
        before: f64,
    },
    /// An effect is measured between two arms, and there is one.
    #[error("an effect needs treated rows and controls, found {n_treated} and {n_controls}")]
    OneArm {
        /// Treated rows.
        n_treated: usize,
        /// Controls.
        n_controls: usize,
    },
    /// Two models that were not measured on the same rows cannot be compared.
    #[error("the two models were measured on different rows")]
    DifferentRows,
    /// A row position past the end.
    #[error("row position {found} of a table with {n_rows} rows")]
    RowIdx {
        /// The position.
        found: usize,
        /// Number of rows.
        n_rows: usize,
    },
    /// A name that no metric has.
    #[error("unknown metric `{found}`, {hint}")]
    UnknownMetric {
        /// The name, shortened.
        found: String,
        /// The nearest metric, or all of them.
        hint: String,
    },
}

impl Labelled {
    /// Checks labels, probabilities and groups of the same rows; the three slices have one value per row.
    ///
    /// `group` says which rows belong together, usually to one customer; any numbers will do. Where each row is its own
    /// customer, give the row numbers.
    ///
    /// # Errors
    /// [`EvalError`] when there are no rows, the lengths differ, a label is neither 0 nor 1, or a prediction is NaN or
    /// outside `[0, 1]`.
    pub fn new(target: &[f64], probability: &[f64], group: &[u32]) -> Result<Self, EvalError> {
        check_rows(target.len(), group)?;
        Ok(Self::grouped(Outcome::Binary(Events::new(target, probability)?), group))
    }

    /// Checks amounts or counts that came, their predicted expectations and, where there are any, predicted intervals.
    ///
    /// All slices have one value per row: `actual` and `expected` in the same unit (currency, active days), `interval` the lower
    /// and the upper ends; `group` as in [`Self::new`]. Amounts below 0, such as refunds, are allowed; metrics that they make
    /// meaningless are then not defined.
    ///
    /// # Errors
    /// [`EvalError`] when there are no rows, the lengths differ, a number is not within ±1e100, or an interval ends
    /// below its beginning.
    pub fn values(
        actual: &[f64],
        expected: &[f64],
        interval: Option<(&[f64], &[f64])>,
        group: &[u32],
    ) -> Result<Self, EvalError> {
        check_rows(actual.len(), group)?;
        Ok(Self::grouped(Outcome::Value(Values::new(actual, expected, interval)?), group))
    }

    /// Checks times to an event, or to the end of observation, and predicted survival curves.
    ///
    /// Shapes: `times` (days from the prediction on), `events` (whether the time ended with the event) and `group` have one
    /// value per row; `survival` is `n_rows × grid_days.len()`, row by row, the probability that the event comes after each of
    /// `grid_days`. The last grid day is the horizon.
    ///
    /// # Errors
    /// [`EvalError`] when there are no rows, the lengths differ, a time is below 0 or not finite, the grid is empty or does not
    /// rise from above 0, or a curve leaves `[0, 1]` or rises.
    pub fn survival(
        times: &[f64],
        events: &[bool],
        grid_days: &[f64],
        survival: &[f64],
        group: &[u32],
    ) -> Result<Self, EvalError> {
        check_rows(times.len(), group)?;
        Ok(Self::grouped(Outcome::Survival(Curves::new(times, events, grid_days, survival)?), group))
    }

    /// Checks outcomes of treated rows and of controls, and the predicted effect of the treatment on each of them.
    ///
    /// All slices have one value per row. `actual` is 0 or 1, or an amount; more of it is good, so an effect above 0 is good. `effect` is
    /// in the same unit: a difference of chances, or of amounts. `group` as in [`Self::new`].
    ///
    /// # Errors
    /// [`EvalError`] when there are no rows, the lengths differ, a number is not within ±1e100, or one of the arms is empty.
    pub fn uplift(actual: &[f64], treated: &[bool], effect: &[f64], group: &[u32]) -> Result<Self, EvalError> {
        check_rows(actual.len(), group)?;
        Ok(Self::grouped(Outcome::Uplift(Effects::new(actual, treated, effect)?), group))
    }

    fn grouped(outcome: Outcome, group: &[u32]) -> Self {
        let (group_idx, n_groups) = compact(group);
        Self { outcome, group_idx, n_groups }
    }

    /// The same rows with another model's predictions, laid out as [`Self::predictions`]; predicted intervals are dropped.
    ///
    /// # Errors
    /// [`EvalError`] when there are more or fewer than rows ask for, or one is not a prediction of this kind.
    pub fn with_predictions(&self, predictions: &[f64]) -> Result<Self, EvalError> {
        let outcome = self.outcome.with_predictions(predictions)?;
        Ok(Self { outcome, group_idx: self.group_idx.clone(), n_groups: self.n_groups })
    }

    /// The same rows with one prediction for everybody: a single number, or for survival one probability per grid day.
    ///
    /// # Errors
    /// [`EvalError`] when it has another length or is not a prediction of this kind.
    pub fn with_constant(&self, prediction: &[f64]) -> Result<Self, EvalError> {
        let expected = match &self.outcome {
            Outcome::Survival(curves) => curves.grid_days.len(),
            Outcome::Binary(_) | Outcome::Value(_) | Outcome::Uplift(_) => 1,
        };
        check_length("prediction", prediction.len(), expected)?;
        self.with_predictions(&prediction.repeat(self.n_rows()))
    }

    /// The rows at these positions, in this order.
    ///
    /// # Errors
    /// [`EvalError`] when there are none, or a position lies past the end.
    pub fn subset(&self, row_idxs: &[usize]) -> Result<Self, EvalError> {
        if row_idxs.is_empty() {
            return Err(EvalError::Rows { found: 0 });
        }
        if let Some(&found) = row_idxs.iter().find(|&&row_idx| row_idx >= self.n_rows()) {
            return Err(EvalError::RowIdx { found, n_rows: self.n_rows() });
        }
        let group: Vec<u32> = row_idxs.iter().map(|&row_idx| self.group_idx[row_idx]).collect();
        Ok(Self::grouped(self.outcome.subset(row_idxs), &group))
    }

    /// What kind of outcome the rows have.
    pub fn kind(&self) -> OutcomeKind {
        self.outcome.kind()
    }

    /// Number of rows, at least one.
    pub fn n_rows(&self) -> usize {
        self.group_idx.len()
    }

    /// Rows where it happened: a positive label, a value above 0, an event that was seen.
    pub fn n_positives(&self) -> usize {
        self.outcome.n_positives()
    }

    /// Rows where it did not happen, or was not seen to.
    pub fn n_negatives(&self) -> usize {
        self.n_rows() - self.n_positives()
    }

    /// Number of groups, usually customers.
    pub fn n_groups(&self) -> usize {
        self.n_groups
    }

    /// The predictions: probabilities, expected values or effects, one per row; survival curves row by row.
    pub fn predictions(&self) -> &[f64] {
        self.outcome.predictions()
    }

    /// The predicted probabilities of a binary outcome, one per row; empty for other kinds.
    pub fn probability(&self) -> &[f64] {
        match &self.outcome {
            Outcome::Binary(events) => &events.probability,
            Outcome::Value(_) | Outcome::Survival(_) | Outcome::Uplift(_) => &[],
        }
    }

    /// How many numbers one resample reads: what the number of affordable resamples depends on.
    pub(crate) fn n_cells(&self) -> usize {
        match &self.outcome {
            Outcome::Binary(_) | Outcome::Value(_) | Outcome::Uplift(_) => self.n_rows(),
            Outcome::Survival(curves) => curves.survival.len(),
        }
    }

    /// What happened and what was predicted.
    pub(crate) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The group of each row, numbered from 0 without gaps.
    pub(crate) fn group_idx(&self) -> &[u32] {
        &self.group_idx
    }

    /// Whether both predictions put the rows in the same order, with the same ties.
    pub(crate) fn ranks_as(&self, other: &Self) -> bool {
        dense_ranks(&self.outcome.rank_key()) == dense_ranks(&other.outcome.rank_key())
    }

    /// Whether outcomes and groups are those of `other`, row by row.
    pub(crate) fn same_rows(&self, other: &Self) -> bool {
        self.group_idx == other.group_idx && self.outcome.same_truth(&other.outcome)
    }
}

fn check_rows(n_rows: usize, group: &[u32]) -> Result<(), EvalError> {
    if n_rows == 0 || n_rows > MAX_ROWS {
        return Err(EvalError::Rows { found: n_rows });
    }
    check_length("group", group.len(), n_rows)
}

pub(crate) fn check_length(column: &'static str, found: usize, expected: usize) -> Result<(), EvalError> {
    if found == expected { Ok(()) } else { Err(EvalError::Length { column, found, expected }) }
}

/// Numbers the groups from 0 without gaps, in order of their given numbers.
fn compact(group: &[u32]) -> (Vec<u32>, usize) {
    let mut known = group.to_vec();
    known.sort_unstable();
    known.dedup();
    let position = |number: &u32| known.partition_point(|other| other < number) as u32;
    (group.iter().map(position).collect(), known.len())
}

/// The position of each row's number among the distinct ones.
pub(crate) fn dense_ranks(numbers: &[f64]) -> Vec<usize> {
    let mut known = numbers.to_vec();
    known.sort_unstable_by(f64::total_cmp);
    known.dedup();
    numbers.iter().map(|number| known.partition_point(|other| other < number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_measured_is_refused_with_its_row() {
        let new = Labelled::new;
        assert_eq!(new(&[], &[], &[]).unwrap_err(), EvalError::Rows { found: 0 });
        let length = |column, found| EvalError::Length { column, found, expected: 2 };
        assert_eq!(new(&[0.0, 1.0], &[0.5], &[0, 1]).unwrap_err(), length("probability", 1));
        assert_eq!(new(&[0.0, 1.0], &[0.5, 0.5], &[0]).unwrap_err(), length("group", 1));
        assert_eq!(new(&[0.0, 0.5], &[0.5, 0.5], &[0, 1]).unwrap_err(), EvalError::Target { row: 2, found: 0.5 });
        for found in [f64::NAN, -0.001, 1.001, f64::INFINITY] {
            let error = new(&[0.0, 1.0], &[0.5, found], &[0, 1]).unwrap_err();
            assert!(matches!(error, EvalError::Probability { row: 2, .. }), "{error}");
        }
        assert!(matches!(new(&[f64::NAN], &[0.5], &[0]).unwrap_err(), EvalError::Target { row: 1, .. }));
    }

    #[test]
    fn groups_of_any_numbers_are_counted() {
        let rows = Labelled::new(&[0.0, 1.0, 1.0], &[0.1, 0.2, -0.0], &[u32::MAX, 7, u32::MAX]).unwrap();
        assert_eq!((rows.n_groups(), rows.group_idx()), (2, [1, 0, 1].as_slice()));
        assert_eq!(rows.probability()[2].to_bits(), 0.0_f64.to_bits());
        let subset = rows.subset(&[2, 0]).unwrap();
        assert_eq!((subset.n_groups(), subset.n_positives(), subset.n_negatives()), (1, 1, 1));
        assert_eq!(rows.subset(&[3]).unwrap_err(), EvalError::RowIdx { found: 3, n_rows: 3 });
        assert!(rows.subset(&[]).is_err());
    }
}
