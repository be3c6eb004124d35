//! A checked table in memory: encoded features column by column, and for each row its label, customer and date.

use retain_core::{FeatureSchema, Rows};

/// Encoded rows with their labels.
///
/// `columns[feature_idx][row_idx]` is encoded as [`FeatureSchema`] says: missing is NaN, a category its position, a boolean 0
/// or 1, a date the days until the observation. All vectors below have one value per row, in the order of the table.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The features and what training may know of them.
    pub schema: FeatureSchema,
    /// The features' values, one vector per feature.
    pub columns: Vec<Vec<f64>>,
    /// What is predicted: an amount, or 0 for what did not happen and 1 for what did. Where it can happen in several ways, the number of
    /// the way, counted from 1 in the order of [`FeatureSchema::positive`].
    pub target: Vec<f64>,
    /// How much each row counts in a fit, from 0; none: all the same.
    pub weight: Option<Vec<f64>>,
    /// The customer's name; the row number, counted from 1, where the table has no entity column.
    pub entity: Vec<String>,
    /// Rows of one number stay in one fold; numbered from 0 in order of first appearance.
    pub group: Vec<u32>,
    /// Survival: how long each row was followed, in days.
    pub duration: Option<Vec<f64>>,
    /// Amounts: the same amount over the window before the observation, NaN where it is not known.
    pub past: Option<Vec<f64>>,
    /// Uplift: which treatment each row had, counted from 1 in the order of the schema; 0: the control.
    pub treatment: Option<Vec<u32>>,
    /// Uplift: the chance that each row had of the treatment it had, where the table says; above 0.
    pub propensity: Option<Vec<f64>>,
    /// When each row was known, in days since 1970-01-01; none for a snapshot without dates.
    pub observed: Option<Vec<f64>>,
}

impl Dataset {
    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.target.len()
    }

    /// Number of features.
    pub fn n_features(&self) -> usize {
        self.columns.len()
    }

    /// Number of distinct groups, usually customers.
    pub fn n_groups(&self) -> usize {
        self.group.iter().max().map_or(0, |&last| last as usize + 1)
    }

    /// Rows where it happened, or whose amount is above 0.
    pub fn n_positives(&self) -> usize {
        self.target.iter().filter(|&&value| value > 0.0).count()
    }

    /// The chosen rows as a table of their own.
    #[must_use]
    pub fn subset(&self, row_idxs: &[usize]) -> Self {
        let pick = |values: &[f64]| -> Vec<f64> { row_idxs.iter().map(|&row_idx| values[row_idx]).collect() };
        let pick_some = |values: &Option<Vec<f64>>| values.as_deref().map(pick);
        Self {
            schema: self.schema.clone(),
            columns: self.columns.iter().map(|column| pick(column)).collect(),
            target: pick(&self.target),
            weight: pick_some(&self.weight),
            entity: row_idxs.iter().map(|&row_idx| self.entity[row_idx].clone()).collect(),
            group: row_idxs.iter().map(|&row_idx| self.group[row_idx]).collect(),
            duration: pick_some(&self.duration),
            past: pick_some(&self.past),
            treatment: self.treatment.as_ref().map(|arms| row_idxs.iter().map(|&row_idx| arms[row_idx]).collect()),
            propensity: pick_some(&self.propensity),
            observed: pick_some(&self.observed),
        }
    }

    /// The chosen rows, row after row, as the scoring engine reads them.
    pub fn rows(&self, row_idxs: &[usize]) -> Rows {
        let mut rows = self.schema.rows();
        for &row_idx in row_idxs {
            for (value, column) in rows.push_missing().iter_mut().zip(&self.columns) {
                *value = column[row_idx];
            }
        }
        rows
    }

    /// All rows, row after row.
    pub fn all_rows(&self) -> Rows {
        self.rows(&(0..self.n_rows()).collect::<Vec<_>>())
    }
}
