//! Which rows train and which rows judge.

use retain_data::{Dataset, Fold, SplitError, stratified_folds, time_folds};

/// Folds of a table without dates.
const N_FOLDS: usize = 5;
/// Rolling origins of a table with dates.
const N_ORIGINS: usize = 3;
/// Customers below which resampling them says little about other customers.
const FEW_GROUPS: usize = 30;

/// The splits of one training run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Each row is validated at most once; learners, settings and calibrators are chosen on these.
    pub(crate) folds: Vec<Fold>,
    /// What keeps the shares alike over folds: 1 where it happened, or the amount is above the median.
    pub(crate) strata: Vec<f64>,
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
        let strata = strata(dataset);
        let mut plan = match &dataset.observed {
            Some(observed) => Self::by_time(observed, strata, gap_days)?,
            None => Self::by_customer(dataset, strata, seed)?,
        };
        let n_groups = dataset.n_groups();
        if n_groups < FEW_GROUPS {
            plan.warnings.push(format!(
                "the rows belong to {n_groups} customers or groups only: intervals resample these, and are too narrow for other customers"
            ));
        }
        Ok(plan)
    }

    fn by_time(observed: &[f64], strata: Vec<f64>, gap_days: f64) -> Result<Self, SplitError> {
        let split = time_folds(observed, &strata, gap_days, N_ORIGINS)?;
        Ok(Self {
            description: split.description,
            strata,
            folds: split.folds,
            test: Some(split.test),
            gap_days: Some(gap_days),
            warnings: split.warnings.into_iter().map(|warning| warning.message).collect(),
        })
    }

    fn by_customer(dataset: &Dataset, strata: Vec<f64>, seed: u64) -> Result<Self, SplitError> {
        let folds = stratified_folds(&strata, &dataset.group, N_FOLDS, seed);
        if folds.is_empty() {
            return Err(SplitError::TooFewGroups { found: dataset.n_groups() });
        }
        for (position, fold) in folds.iter().enumerate() {
            let n_positives = fold.train.iter().filter(|&&row_idx| strata[row_idx] == 1.0).count();
            if n_positives == 0 || n_positives == fold.train.len() {
                let block = format!("the training part of fold {}, which keeps customers together,", position + 1);
                return Err(SplitError::OneClass { block, n_rows: fold.train.len(), n_positives });
            }
        }
        let description = format!(
            "{} random folds, stratified by label, customers kept together (the table has no dates of observation)",
            folds.len()
        );
        Ok(Self { folds, strata, test: None, description, gap_days: None, warnings: Vec::new() })
    }

    /// Which rows judge the model, in words.
    pub(crate) fn measured_on(&self) -> String {
        match &self.test {
            None => format!("rows left out of the fit: {}", self.description),
            Some(_) => format!("the latest block, which nothing was chosen on: {}", self.description),
        }
    }

    /// Rows that some fold validates, rising.
    pub(crate) fn judged_rows(&self) -> Vec<usize> {
        let mut rows: Vec<usize> = self.folds.iter().flat_map(|fold| fold.validate.iter().copied()).collect();
        rows.sort_unstable();
        rows
    }
}

/// 1 where it happened, or the amount is above the median; 0 elsewhere. Of amounts that are mostly 0, those above 0 are 1.
fn strata(dataset: &Dataset) -> Vec<f64> {
    let border = if dataset.schema.has_amounts() {
        let mut sorted = dataset.target.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        // Where the median is also the largest amount nothing lies above it.
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
        if sorted.last() == Some(&median) { median.next_down() } else { median }
    } else {
        0.0
    };
    dataset.target.iter().map(|&value| f64::from(u8::from(value > border))).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;
    use crate::learners::rows::tests::example;

    #[test]
    fn the_description_counts_the_folds_there_are() {
        let mut table = example(300, 1);
        table.group.iter_mut().for_each(|group| *group %= 3);
        let plan = Plan::new(&table, 30.0, 1).unwrap();
        assert_eq!(plan.folds.len(), 3);
        assert!(plan.description.starts_with("3 random folds"), "{}", plan.description);
        assert!(plan.warnings[0].contains("3 customers"), "{:?}", plan.warnings);
        assert!(Plan::new(&example(300, 1), 30.0, 1).unwrap().warnings.is_empty());
    }

    #[test]
    fn one_customer_and_customers_of_one_class_are_refused() {
        let mut table = example(300, 2);
        table.group.fill(0);
        assert_eq!(Plan::new(&table, 30.0, 1).unwrap_err(), SplitError::TooFewGroups { found: 1 });
        table.group = table.target.iter().map(|&label| label as u32).collect();
        let error = Plan::new(&table, 30.0, 1).unwrap_err().to_string();
        assert!(error.contains("keeps customers together") && error.contains("both classes"), "{error}");
    }
}
