//! Encoded rows in schema order: what models read.

/// Rows of encoded features, row after row; each row has `n_features` numbers in schema order.
///
/// Missing is NaN; a category is its position in [`FeatureSpec::categories`](crate::FeatureSpec), and the number of
/// categories for one never seen; a boolean is 0 or 1; a date is the days from it to the observation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    n_features: usize,
    values: Vec<f64>,
}

/// Values whose number is not a multiple of the row length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{n_values} values do not make rows of {n_features} features")]
pub struct RowsError {
    /// How many values there were.
    pub n_values: usize,
    /// How many features a row has.
    pub n_features: usize,
}

impl Rows {
    /// No rows yet, of `n_features` numbers each.
    pub fn new(n_features: usize) -> Self {
        Self { n_features, values: Vec::new() }
    }

    /// Takes values that lie row after row.
    ///
    /// # Errors
    /// [`RowsError`] when the last row is incomplete.
    pub fn from_values(n_features: usize, values: Vec<f64>) -> Result<Self, RowsError> {
        let complete = if n_features == 0 { values.is_empty() } else { values.len().is_multiple_of(n_features) };
        if complete { Ok(Self { n_features, values }) } else { Err(RowsError { n_values: values.len(), n_features }) }
    }

    /// Room for one more row, filled with missing; the caller writes into it.
    pub fn push_missing(&mut self) -> &mut [f64] {
        let start = self.values.len();
        self.values.resize(start + self.n_features, f64::NAN);
        &mut self.values[start..]
    }

    /// Adds one row.
    ///
    /// # Panics
    /// When `row` does not have `n_features` numbers.
    pub fn push(&mut self, row: &[f64]) {
        assert_eq!(row.len(), self.n_features, "a row has one number per feature");
        self.values.extend_from_slice(row);
    }

    /// Forgets the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.values.clear();
    }

    /// Numbers in a row.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.values.len().checked_div(self.n_features).unwrap_or(0)
    }

    /// The row at `row_idx`.
    pub fn row(&self, row_idx: usize) -> &[f64] {
        &self.values[row_idx * self.n_features..(row_idx + 1) * self.n_features]
    }

    /// All rows in order.
    pub fn in_order(&self) -> std::slice::ChunksExact<'_, f64> {
        // A model has at least one feature; the maximum only keeps `chunks_exact` from refusing zero.
        self.values.chunks_exact(self.n_features.max(1))
    }

    /// All values, row after row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}
