//! Which rows train and which rows judge.

use retain_data::{Dataset, Fold, SplitError, stratified_folds, time_folds};

/// Folds of a table without dates.
const N_FOLDS: usize = 5;
/// Rolling origins of a table with dates.
const N_ORIGINS: usize = 3;
/// Stretches of neighbouring rows that a table without dates is looked at in.
const N_STRETCHES: usize = 100;
/// Rows below which stretches are too short to tell order from chance.
const MIN_ORDERED_ROWS: usize = 2_000;
/// How far beyond chance the label's share has to vary between stretches, in standard deviations of the chi-square statistic.
const ORDER_Z: f64 = 10.0;
/// Part of the label's variance that has to be within stretches: a table sorted by its label is in no order of time.
const MIN_WITHIN: f64 = 0.5;
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
        let warnings = if is_ordered(dataset, &strata) { vec![ORDERED.to_owned()] } else { Vec::new() };
        let description = format!(
            "{} random folds, stratified by label, customers kept together (the table has no dates of observation)",
            folds.len()
        );
        Ok(Self { folds, strata, test: None, description, gap_days: None, warnings })
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

const ORDERED: &str = "the label's share changes along the table as if the rows stood in order of time: random folds then flatter a model \
    that will meet later rows; name the day of each row in `observed_at`, so that later rows judge what earlier ones taught";

/// Whether the label's share changes along the table by more than chance, as time or an id changes it; not of tables where customers
/// have several rows each, whose order is that of the customers.
///
/// A chi-square test that the shares of a hundred stretches are one.
fn is_ordered(dataset: &Dataset, strata: &[f64]) -> bool {
    let n_rows = strata.len();
    if n_rows < MIN_ORDERED_ROWS || dataset.n_groups() * 10 < n_rows * 9 {
        return false;
    }
    let (mut n, mut n_positive) = ([0.0; N_STRETCHES], [0.0; N_STRETCHES]);
    for (row_idx, label) in strata.iter().enumerate() {
        let stretch = row_idx * N_STRETCHES / n_rows;
        n[stretch] += 1.0;
        n_positive[stretch] += label;
    }
    let share = n_positive.iter().sum::<f64>() / n_rows as f64;
    let variance = share * (1.0 - share);
    let (mut chi_square, mut within) = (0.0, 0.0);
    for (n, n_positive) in n.into_iter().zip(n_positive) {
        let of_stretch: f64 = n_positive / n;
        chi_square += n * (of_stretch - share).powi(2) / variance;
        within += n * of_stretch * (1.0 - of_stretch);
    }
    let degrees = (N_STRETCHES - 1) as f64;
    (chi_square - degrees) / (2.0 * degrees).sqrt() > ORDER_Z && within > MIN_WITHIN * variance * n_rows as f64
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
    fn a_drifting_label_is_told_and_nothing_else() {
        let labelled = |share: &dyn Fn(f64) -> f64| {
            let mut table = example(6_000, 3);
            // Shares as they are, without chance: every row in turn of a sequence that is evenly spread.
            for (row_idx, label) in table.target.iter_mut().enumerate() {
                let uniform = (row_idx as f64 * 0.618_033_988_749_895).fract();
                *label = f64::from(u8::from(uniform < share(row_idx as f64 / 6_000.0)));
            }
            Plan::new(&table, 30.0, 1).unwrap()
        };
        let drifting = labelled(&|position| 0.1 + 0.3 * position);
        assert!(drifting.warnings[0].contains("observed_at"), "{:?}", drifting.warnings);
        for steady in [labelled(&|_| 0.25), labelled(&|position| f64::from(u8::from(position < 0.25)))] {
            assert_eq!(steady.warnings, Vec::<String>::new());
        }
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
