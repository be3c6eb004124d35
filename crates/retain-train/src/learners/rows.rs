//! Which rows a package is given: both classes must be there, and a large table is thinned to what the package can afford.

use std::borrow::Cow;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_data::Dataset;

use crate::learner::FitError;

/// Whether a row's label is positive.
pub(super) fn is_positive(dataset: &Dataset, row_idx: usize) -> bool {
    dataset.target[row_idx] == 1.0
}

/// Largest weight of a row: sums of weights and derivatives stay far from overflow.
const MAX_WEIGHT: f64 = 1e30;

/// The rows with a weight above 0: all of them where the dataset has no weights.
///
/// # Errors
/// [`FitError::Weight`] for a weight that is negative, not finite or above 1e30, [`FitError::NoRows`] when no row is left.
pub(crate) fn counting_rows<'a>(dataset: &Dataset, row_idxs: &'a [usize]) -> Result<Cow<'a, [usize]>, FitError> {
    let Some(weights) = &dataset.weight else {
        return if row_idxs.is_empty() { Err(FitError::NoRows { n_rows: 0 }) } else { Ok(Cow::Borrowed(row_idxs)) };
    };
    if let Some(&row) = row_idxs.iter().find(|row_idx| !(0.0..=MAX_WEIGHT).contains(&weights[**row_idx])) {
        return Err(FitError::Weight { row, found: weights[row] });
    }
    let counting: Vec<usize> = row_idxs.iter().copied().filter(|&row_idx| weights[row_idx] > 0.0).collect();
    if counting.is_empty() { Err(FitError::NoRows { n_rows: row_idxs.len() }) } else { Ok(Cow::Owned(counting)) }
}

/// Refuses weights, for a learner whose package cannot weigh rows: a fit without them would answer another question.
pub(super) fn refuse_weights(dataset: &Dataset, learner: &'static str) -> Result<(), FitError> {
    if dataset.weight.is_some() { Err(FitError::WeightsUnsupported { learner }) } else { Ok(()) }
}

/// Refuses rows of one class.
pub(crate) fn require_both_classes(dataset: &Dataset, row_idxs: &[usize]) -> Result<(), FitError> {
    let n_rows = row_idxs.len();
    let n_positives = row_idxs.iter().filter(|&&row_idx| is_positive(dataset, row_idx)).count();
    if n_positives == 0 || n_positives == n_rows { Err(FitError::OneClass { n_rows, n_positives }) } else { Ok(()) }
}

/// At most about `max_rows` of the rows, sorted: all of them, or a random share of each class, the same share of both, so
/// that the base rate stays.
pub(crate) fn thinned<'a>(dataset: &Dataset, row_idxs: &'a [usize], max_rows: usize, seed: u64) -> Cow<'a, [usize]> {
    if row_idxs.len() <= max_rows {
        return Cow::Borrowed(row_idxs);
    }
    let share = max_rows as f64 / row_idxs.len() as f64;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut kept = Vec::with_capacity(max_rows + 2);
    for positive in [false, true] {
        let mut class: Vec<usize> =
            row_idxs.iter().copied().filter(|&row_idx| is_positive(dataset, row_idx) == positive).collect();
        let n_kept = ((class.len() as f64 * share).round() as usize).max(1);
        let (chosen, _) = class.partial_shuffle(&mut random, n_kept);
        kept.extend_from_slice(chosen);
    }
    kept.sort_unstable();
    Cow::Owned(kept)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rand::RngExt;
    use retain_core::{ColumnKind, FeatureSchema, FeatureSpec};

    /// A made-up table: `usage` (number), `debt` (skewed, a tenth missing), `plan` (three categories and some unseen), `flag`.
    pub(crate) fn example(n_rows: usize, seed: u64) -> Dataset {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut columns = vec![Vec::new(), Vec::new(), Vec::new(), Vec::new()];
        let mut target = Vec::new();
        for _ in 0..n_rows {
            let usage = random.random::<f64>() * 10.0 - 2.0;
            let debt = if random.random::<f64>() < 0.1 { f64::NAN } else { (random.random::<f64>() * 8.0).exp() };
            let plan = (random.random::<f64>() * 3.2).floor();
            let flag = f64::from(u8::from(random.random::<f64>() < 0.3));
            let debt_part = if debt.is_nan() { 1.5 } else { 0.3 * debt.ln() - 1.0 };
            let margin = 0.1 * (usage - 3.0).powi(2) - 1.5 + debt_part + [0.0, 1.0, -1.0, 0.5][plan as usize] - flag;
            for (column, value) in columns.iter_mut().zip([usage, debt, plan, flag]) {
                column.push(value);
            }
            target.push(f64::from(u8::from(random.random::<f64>() < 1.0 / (1.0 + (-margin).exp()))));
        }
        dataset(columns, target)
    }

    fn dataset(columns: Vec<Vec<f64>>, target: Vec<f64>) -> Dataset {
        let mut plan = FeatureSpec::new("plan", ColumnKind::Category);
        plan.set_categories(vec!["basic".into(), "gold".into(), "silver".into()]);
        let features = vec![
            FeatureSpec::new("usage", ColumnKind::Number),
            FeatureSpec::new("debt", ColumnKind::Number),
            plan,
            FeatureSpec::new("flag", ColumnKind::Boolean),
        ];
        let schema = FeatureSchema::new(features, None, "churned".into(), "yes".into(), None).unwrap();
        let n_rows = target.len();
        let entity = (1..=n_rows).map(|number| number.to_string()).collect();
        Dataset {
            schema,
            columns,
            target,
            weight: None,
            duration: None,
            past: None,
            treatment: None,
            propensity: None,
            entity,
            group: (0..n_rows as u32).collect(),
            observed: None,
        }
    }

    #[test]
    fn one_class_and_no_rows_are_refused() {
        let table = example(50, 1);
        assert!(matches!(require_both_classes(&table, &[]), Err(FitError::OneClass { n_rows: 0, n_positives: 0 })));
        let positives: Vec<usize> = (0..50).filter(|&row_idx| is_positive(&table, row_idx)).collect();
        assert!(
            matches!(require_both_classes(&table, &positives), Err(FitError::OneClass { n_rows, n_positives }) if n_rows == n_positives)
        );
    }

    #[test]
    fn thinning_keeps_order_rate_and_seed() {
        let table = example(4000, 2);
        let all: Vec<usize> = (0..4000).collect();
        let thin = thinned(&table, &all, 1000, 5);
        assert!((999..=1001).contains(&thin.len()));
        assert!(thin.windows(2).all(|pair| pair[0] < pair[1]));
        let rate = |rows: &[usize]| rows.iter().filter(|&&row| is_positive(&table, row)).count() as f64 / rows.len() as f64;
        assert!((rate(&thin) - rate(&all)).abs() < 2e-3);
        assert_eq!(thin, thinned(&table, &all, 1000, 5));
        assert_ne!(thin, thinned(&table, &all, 1000, 6));
    }
}
