//! The histograms of `reference.json`: how features and scores were distributed in training, for finding drift later.

use retain_core::{ColumnKind, FeatureSpec};
use retain_data::Dataset;
use retain_score::{Histogram, REFERENCE_FORMAT_VERSION, Reference};

/// Bins of numbers and of scores.
const N_BINS: usize = 10;

/// The histograms of a training table; `predictions` are of the rows that judged the model, and are called `name`.
pub(crate) fn reference(dataset: &Dataset, name: &str, predictions: &[f64]) -> Reference {
    let columns = dataset.schema.features.iter().zip(&dataset.columns);
    Reference {
        format_version: REFERENCE_FORMAT_VERSION,
        n_rows: dataset.n_rows(),
        features: columns.map(|(feature, column)| feature_histogram(feature, column)).collect(),
        scores: number_histogram(name, predictions),
    }
}

fn feature_histogram(feature: &FeatureSpec, column: &[f64]) -> Histogram {
    if feature.kind != ColumnKind::Category {
        return number_histogram(&feature.name, column);
    }
    let mut counts = vec![0; feature.categories.len() + 1];
    for value in column.iter().filter(|value| !value.is_nan()) {
        counts[(*value as usize).min(feature.categories.len())] += 1;
    }
    Histogram { name: feature.name.clone(), borders: Vec::new(), counts, n_missing: n_missing(column) }
}

fn n_missing(column: &[f64]) -> u64 {
    column.iter().filter(|value| value.is_nan()).count() as u64
}

/// Bins of about equal mass; fewer where values repeat.
fn number_histogram(name: &str, column: &[f64]) -> Histogram {
    let sorted = sorted_present(column);
    let mut borders: Vec<f64> = (1..N_BINS).filter_map(|bin| sorted.get(bin * sorted.len() / N_BINS).copied()).collect();
    borders.dedup();
    // A border at the smallest value would leave an empty bin below it.
    borders.retain(|&border| sorted.first().is_some_and(|&least| border > least));
    let mut counts = vec![0; borders.len() + 1];
    for value in &sorted {
        counts[borders.partition_point(|border| border <= value)] += 1;
    }
    Histogram { name: name.to_owned(), borders, counts, n_missing: n_missing(column) }
}

/// The values that are there, rising.
pub(crate) fn sorted_present(column: &[f64]) -> Vec<f64> {
    let mut present: Vec<f64> = column.iter().copied().filter(|value| !value.is_nan()).collect();
    present.sort_by(f64::total_cmp);
    present
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_about_equal_shares_and_repeats_share_one() {
        let column: Vec<f64> = (0..100).map(f64::from).chain([f64::NAN; 3]).collect();
        let histogram = number_histogram("x", &column);
        assert_eq!(histogram.counts, [10; 10]);
        assert_eq!(histogram.n_missing, 3);
        let flags: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i % 4 == 0))).collect();
        let histogram = number_histogram("x", &flags);
        assert_eq!((histogram.borders, histogram.counts), (vec![1.0], vec![75, 25]));
        assert_eq!(number_histogram("x", &[f64::NAN; 4]).counts, [0]);
    }
}
