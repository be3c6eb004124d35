//! [`Labelled`]: predictions beside what happened, checked once, so that no metric checks again.

/// Most rows of one table; keeps every count and position within its integer type.
const MAX_ROWS: usize = 1_000_000_000;

/// One row per prediction: what happened, the probability that was predicted, and whose row it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    positive: Vec<bool>,
    probability: Vec<f64>,
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
        let n_rows = target.len();
        if n_rows == 0 || n_rows > MAX_ROWS {
            return Err(EvalError::Rows { found: n_rows });
        }
        check_length("group", group.len(), n_rows)?;
        if let Some((row_idx, &found)) = target.iter().enumerate().find(|(_, label)| **label != 0.0 && **label != 1.0) {
            return Err(EvalError::Target { row: row_idx + 1, found });
        }
        let (group_idx, n_groups) = compact(group);
        let positive = target.iter().map(|&label| label == 1.0).collect();
        Ok(Self { positive, probability: checked(probability, n_rows)?, group_idx, n_groups })
    }

    /// The same rows with another model's probabilities.
    ///
    /// # Errors
    /// [`EvalError`] when there are more or fewer than rows, or one is not a probability.
    pub fn with_probability(&self, probability: &[f64]) -> Result<Self, EvalError> {
        Ok(Self { probability: checked(probability, self.n_rows())?, ..self.clone() })
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
        let (group_idx, n_groups) = compact(&row_idxs.iter().map(|&row_idx| self.group_idx[row_idx]).collect::<Vec<_>>());
        let positive = row_idxs.iter().map(|&row_idx| self.positive[row_idx]).collect();
        let probability = row_idxs.iter().map(|&row_idx| self.probability[row_idx]).collect();
        Ok(Self { positive, probability, group_idx, n_groups })
    }

    /// Number of rows, at least one.
    pub fn n_rows(&self) -> usize {
        self.positive.len()
    }

    /// Rows where it happened.
    pub fn n_positives(&self) -> usize {
        self.positive.iter().filter(|&&positive| positive).count()
    }

    /// Rows where it did not happen.
    pub fn n_negatives(&self) -> usize {
        self.n_rows() - self.n_positives()
    }

    /// Number of groups, usually customers.
    pub fn n_groups(&self) -> usize {
        self.n_groups
    }

    /// The predictions, one per row.
    pub fn probability(&self) -> &[f64] {
        &self.probability
    }

    /// What happened, one per row.
    pub(crate) fn positive(&self) -> &[bool] {
        &self.positive
    }

    /// The group of each row, numbered from 0 without gaps.
    pub(crate) fn group_idx(&self) -> &[u32] {
        &self.group_idx
    }

    /// Whether both predictions put the rows in the same order, with the same ties.
    pub(crate) fn ranks_as(&self, other: &Self) -> bool {
        dense_ranks(&self.probability) == dense_ranks(&other.probability)
    }

    /// Whether the labels and groups are those of `other`, row by row.
    pub(crate) fn same_rows(&self, other: &Self) -> bool {
        self.positive == other.positive && self.group_idx == other.group_idx
    }
}

fn check_length(column: &'static str, found: usize, expected: usize) -> Result<(), EvalError> {
    if found == expected { Ok(()) } else { Err(EvalError::Length { column, found, expected }) }
}

fn checked(probability: &[f64], n_rows: usize) -> Result<Vec<f64>, EvalError> {
    check_length("probability", probability.len(), n_rows)?;
    if let Some((row_idx, &found)) = probability.iter().enumerate().find(|(_, p)| !(0.0..=1.0).contains(*p)) {
        return Err(EvalError::Probability { row: row_idx + 1, found });
    }
    // Adding 0 turns −0 into 0, which sorting by bits would otherwise tell apart.
    Ok(probability.iter().map(|p| p + 0.0).collect())
}

/// Numbers the groups from 0 without gaps, in order of their given numbers.
fn compact(group: &[u32]) -> (Vec<u32>, usize) {
    let mut known = group.to_vec();
    known.sort_unstable();
    known.dedup();
    let position = |number: &u32| known.partition_point(|other| other < number) as u32;
    (group.iter().map(position).collect(), known.len())
}

/// The position of each row's probability among the distinct ones.
fn dense_ranks(probability: &[f64]) -> Vec<usize> {
    let mut known = probability.to_vec();
    known.sort_unstable_by(f64::total_cmp);
    known.dedup();
    probability.iter().map(|p| known.partition_point(|other| other < p)).collect()
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
