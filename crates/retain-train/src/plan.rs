//! Which rows train and which rows judge.

use retain_data::{Dataset, Fold, SplitError, stratified_folds, time_folds};

/// Folds of a table without dates.
const N_FOLDS: usize = 5;
/// Rolling origins of a table with dates.
const N_ORIGINS: usize = 3;

/// The splits of one training run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Each row is validated at most once; learners, settings and calibrators are chosen on these.
    pub(crate) folds: Vec<Fold>,
    /// The latest rows, which nothing was chosen on; only where the table has dates.
    pub(crate) test: Option<Fold>,
    /// In words, for the leaderboard, the manifest and the card.
    pub(crate) description: String,
    /// Days kept between training rows and the rows that judge them.
    pub(crate) gap_days: Option<f64>,
    /// What the reader should know about the splits.
    pub(crate) warnings: Vec<String>,
}

impl Plan {
    /// Time order where rows are dated, else stratified folds that keep a customer together.
    pub(crate) fn new(dataset: &Dataset, gap_days: f64, seed: u64) -> Result<Self, SplitError> {
        match &dataset.observed {
            Some(observed) => {
                let split = time_folds(observed, gap_days, N_ORIGINS)?;
                Ok(Self {
                    description: split.description,
                    folds: split.folds,
                    test: Some(split.test),
                    gap_days: Some(gap_days),
                    warnings: split.warnings.into_iter().map(|warning| warning.message).collect(),
                })
            }
            None => Ok(Self {
                folds: stratified_folds(&dataset.target, &dataset.group, N_FOLDS, seed),
                test: None,
                description: format!(
                    "{N_FOLDS} random folds, stratified by label, customers kept together (the table has no dates of observation)"
                ),
                gap_days: None,
                warnings: Vec::new(),
            }),
        }
    }

    /// Rows that some fold validates, rising.
    pub(crate) fn judged_rows(&self) -> Vec<usize> {
        let mut rows: Vec<usize> = self.folds.iter().flat_map(|fold| fold.validate.iter().copied()).collect();
        rows.sort_unstable();
        rows
    }
}
