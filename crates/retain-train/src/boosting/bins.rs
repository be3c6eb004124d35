//! The training table as the trees read it: every value replaced by the number of its bin, one byte each.
//!
//! A column has at most [`MAX_VALUE_BINS`] bins for values and one more, its last, for missing ones. Numbers are cut at quantiles,
//! halfway between neighbouring distinct values. The most frequent categories have a bin each; all others, and those never seen,
//! share the bin "other".

use std::sync::Arc;

use rayon::prelude::*;
use retain_core::{ColumnKind, Monotone};
use retain_data::Dataset;
use retain_score::Test;

/// Bins for values; with the one for missing values they fill a byte.
pub(super) const MAX_VALUE_BINS: usize = 255;

/// Quantiles are taken from at most so many rows, evenly spaced: more do not move them, and sorting is what binning costs.
const MAX_QUANTILE_ROWS: usize = 200_000;

/// The chosen rows of a dataset, binned; rows are numbered from 0 in their order.
#[derive(Debug, Clone)]
pub(super) struct BinnedTable {
    /// The columns that a tree can split, in feature order: those with at least two bins in use.
    pub(super) columns: Vec<Arc<BinnedColumn>>,
    /// Number of rows.
    pub(super) n_rows: usize,
}

/// One binned feature.
#[derive(Debug)]
pub(super) struct BinnedColumn {
    /// Position of the feature in the schema.
    pub(super) feature_idx: u32,
    /// What the bins mean.
    pub(super) kind: BinKind,
    /// The order that the margin has to keep along the bins.
    pub(super) monotone: Option<Monotone>,
    /// The bin of each row.
    pub(super) bins: Vec<u8>,
}

/// What the value bins of a column mean.
#[derive(Debug, PartialEq)]
pub(super) enum BinKind {
    /// Bin `b` holds `thresholds[b - 1] <= x < thresholds[b]`.
    Numbers {
        /// Strictly rising.
        thresholds: Vec<f64>,
    },
    /// Bin `b` holds the category at `positions[b]`; the bin after them is "other".
    Categories {
        /// Positions in the schema's list, most frequent first.
        positions: Vec<u32>,
    },
    /// Bin `b` holds the categories with `thresholds[b - 1] <= statistic < thresholds[b]`.
    Statistic {
        /// Strictly rising.
        thresholds: Vec<f64>,
        /// The statistic of each category of the schema, and last of those never seen.
        statistics: Vec<f64>,
    },
}

/// A set of bins of one column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct BinSet([u64; 4]);

impl BinSet {
    /// Adds a bin.
    pub(super) fn insert(&mut self, bin: usize) {
        self.0[bin >> 6] |= 1 << (bin & 63);
    }

    /// Whether a bin is in the set.
    pub(super) fn contains(&self, bin: u8) -> bool {
        self.0[usize::from(bin >> 6)] >> (bin & 63) & 1 == 1
    }
}

impl BinnedTable {
    /// Bins these rows of the dataset by their own quantiles and frequencies.
    pub(super) fn new(dataset: &Dataset, row_idxs: &[usize]) -> Self {
        let columns = (0..dataset.n_features())
            .into_par_iter()
            .map(|feature_idx| BinnedColumn::new(dataset, feature_idx, row_idxs))
            .filter(|column| column.bins.iter().any(|&bin| bin != column.bins[0]))
            .map(Arc::new)
            .collect();
        Self { columns, n_rows: row_idxs.len() }
    }
}

impl BinnedColumn {
    fn new(dataset: &Dataset, feature_idx: usize, row_idxs: &[usize]) -> Self {
        let feature = &dataset.schema.features[feature_idx];
        let values = row_idxs.iter().map(|&row_idx| dataset.columns[feature_idx][row_idx]);
        let (kind, bins, monotone) = if feature.kind == ColumnKind::Category {
            let positions = frequent_categories(values.clone(), feature.categories.len());
            let bins = category_bins(values, &positions, feature.categories.len());
            (BinKind::Categories { positions }, bins, None)
        } else {
            let step = row_idxs.len().div_ceil(MAX_QUANTILE_ROWS).max(1);
            let thresholds = quantile_thresholds(values.clone().step_by(step).collect(), MAX_VALUE_BINS);
            let missing = thresholds.len() + 1;
            let bin = |x: f64| if x.is_nan() { missing } else { thresholds.partition_point(|&threshold| threshold <= x) };
            let bins = values.map(|x| bin(x) as u8).collect();
            (BinKind::Numbers { thresholds }, bins, feature.monotone)
        };
        Self { feature_idx: feature_idx as u32, kind, monotone, bins }
    }

    /// Bins of values; the bin of this number is the one for missing values.
    pub(super) fn n_value_bins(&self) -> usize {
        match &self.kind {
            BinKind::Numbers { thresholds } | BinKind::Statistic { thresholds, .. } => thresholds.len() + 1,
            BinKind::Categories { positions } => positions.len() + 1,
        }
    }

    /// All bins: values and missing.
    pub(super) fn n_bins(&self) -> usize {
        self.n_value_bins() + 1
    }

    /// The question that a split into `left` and the other bins asks, and whether missing values go left.
    ///
    /// `left` holds a number's bins from 0 up to a border, or categories without "other", and may hold missing.
    pub(super) fn question(&self, left: &BinSet) -> (Test, bool) {
        let n_value_bins = self.n_value_bins();
        let border = || (0..n_value_bins).filter(|&bin| left.contains(bin as u8)).count();
        // Past the last threshold every present value is below: the question is whether there is one.
        let threshold = |thresholds: &[f64]| thresholds.get(border().saturating_sub(1)).copied().unwrap_or(f64::INFINITY);
        let test = match &self.kind {
            BinKind::Numbers { thresholds } => Test::Below(threshold(thresholds)),
            BinKind::Statistic { thresholds, statistics } => {
                let threshold = threshold(thresholds);
                Test::OneOf(statistics.iter().zip(0..).filter(|(x, _)| **x < threshold).map(|(_, category)| category).collect())
            }
            BinKind::Categories { positions } => {
                let mut chosen: Vec<u32> =
                    positions.iter().enumerate().filter(|(bin, _)| left.contains(*bin as u8)).map(|(_, &p)| p).collect();
                chosen.sort_unstable();
                Test::OneOf(chosen)
            }
        };
        (test, left.contains(n_value_bins as u8))
    }
}

/// Positions of the categories that get a bin of their own, most frequent first, ties by position.
fn frequent_categories(values: impl Iterator<Item = f64>, n_categories: usize) -> Vec<u32> {
    let mut counts = vec![0usize; n_categories];
    for value in values {
        // An unseen category is at `n_categories`; missing saturates to 0, so it has to be asked for.
        if let Some(count) = counts.get_mut(value as usize).filter(|_| !value.is_nan()) {
            *count += 1;
        }
    }
    let mut positions: Vec<u32> = (0..n_categories as u32).filter(|&position| counts[position as usize] > 0).collect();
    positions.sort_by_key(|&position| std::cmp::Reverse(counts[position as usize]));
    positions.truncate(MAX_VALUE_BINS - 1);
    positions
}

fn category_bins(values: impl Iterator<Item = f64>, positions: &[u32], n_categories: usize) -> Vec<u8> {
    let other = positions.len() as u8;
    let mut bin_of = vec![other; n_categories];
    for (bin, &position) in positions.iter().enumerate() {
        bin_of[position as usize] = bin as u8;
    }
    values.map(|value| if value.is_nan() { other + 1 } else { bin_of.get(value as usize).copied().unwrap_or(other) }).collect()
}

/// Thresholds that cut the numbers into at most `max_bins` bins of about equal size; a value as frequent as a whole bin stands
/// alone, and with no more distinct values than bins each has its own.
pub(super) fn quantile_thresholds(mut values: Vec<f64>, max_bins: usize) -> Vec<f64> {
    values.retain(|value| !value.is_nan());
    values.sort_unstable_by(f64::total_cmp);
    let distinct: Vec<&[f64]> = values.chunk_by(|a, b| a == b).collect();
    let every_one = distinct.len() <= max_bins;
    let (mut thresholds, mut rows_left, mut rows_in_bin) = (Vec::new(), values.len(), 0);
    for pair in distinct.windows(2) {
        rows_in_bin += pair[0].len();
        let bins_left = max_bins - thresholds.len();
        let fair_share = rows_left.div_ceil(bins_left);
        let next_is_heavy = pair[1].len() >= fair_share;
        if every_one || (bins_left > 1 && (rows_in_bin >= fair_share || next_is_heavy)) {
            thresholds.push(halfway(pair[0][0], pair[1][0]));
            rows_left -= rows_in_bin;
            rows_in_bin = 0;
        }
    }
    thresholds
}

/// A number above `low` and not above `high`, as near to their middle as floats allow.
fn halfway(low: f64, high: f64) -> f64 {
    // Halved first: the sum of two large numbers overflows.
    let middle = low / 2.0 + high / 2.0;
    if low < middle && middle <= high { middle } else { high }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_distinct_values_have_a_bin_each() {
        assert_eq!(quantile_thresholds(vec![3.0, 1.0, f64::NAN, 2.0, 1.0], 255), [1.5, 2.5]);
        assert!(quantile_thresholds(vec![7.0; 5], 255).is_empty());
        assert!(quantile_thresholds(vec![f64::NAN; 5], 255).is_empty());
        assert!(quantile_thresholds(vec![-0.0, 0.0], 255).is_empty(), "the two zeros are one number");
    }

    #[test]
    fn many_values_are_cut_into_bins_of_like_size() {
        let thresholds = quantile_thresholds((0..10_000).map(f64::from).collect(), 10);
        assert_eq!(thresholds, (1..10).map(|k| f64::from(k) * 1000.0 - 0.5).collect::<Vec<_>>());
    }

    #[test]
    fn a_frequent_value_stands_alone() {
        let values = (0..1000).map(f64::from).chain(std::iter::repeat_n(500.0, 9000)).collect();
        let thresholds = quantile_thresholds(values, 10);
        assert!(thresholds.contains(&499.5) && thresholds.contains(&500.5), "{thresholds:?}");
    }

    #[test]
    fn neighbouring_floats_and_extremes_are_told_apart() {
        for (low, high) in [(1.0, 1.0f64.next_up()), (0.0, f64::from_bits(1)), (f64::MIN, f64::MAX), (1e300, 1.7e308)] {
            let threshold = halfway(low, high);
            assert!(low < threshold && threshold <= high, "{low} {high} {threshold}");
        }
    }

    #[test]
    fn rare_categories_share_a_bin_with_unseen_ones() {
        // Category k stands k + 1 times among 300 categories, then an unseen one and a missing one.
        let mut values: Vec<f64> = (0..300).flat_map(|k| std::iter::repeat_n(f64::from(k), k as usize + 1)).collect();
        values.extend([300.0, f64::NAN]);
        let positions = frequent_categories(values.iter().copied(), 300);
        assert_eq!((positions.len(), positions[0]), (254, 299));
        let bins = category_bins(values.into_iter(), &positions, 300);
        assert_eq!((bins[0], bins[bins.len() - 2], bins[bins.len() - 1]), (254, 254, 255));
    }

    proptest! {
        #[test]
        fn thresholds_rise_and_respect_the_limit(
            values in proptest::collection::vec(proptest::num::f64::ANY, 0..400), max_bins in 2usize..20,
        ) {
            let finite: Vec<f64> = values.into_iter().filter(|value| value.is_finite() || value.is_nan()).collect();
            let thresholds = quantile_thresholds(finite, max_bins);
            prop_assert!(thresholds.len() < max_bins);
            prop_assert!(thresholds.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
