//! Categories as numbers: the mean target of the rows of the same category, as a row could know it.
//!
//! In training a row's statistic comes from the rows before it in a random order, so that its own label never stands in it: a
//! statistic of all rows would tell rare categories' labels to themselves. Rows that are only watched, and rows that are scored later,
//! have the statistic of all training rows; there a border between statistics is a border between categories, so the question
//! becomes a set of categories. Rows of one group stand together in the order and do not inform each other.
//!
//! # Source
//! Ordered target statistics: Prokhorenkova et al. (2018).

use std::sync::Arc;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_core::ColumnKind;
use retain_data::Dataset;

use super::bins::{BinKind, BinnedColumn, BinnedTable, quantile_thresholds};

/// Orders that trees take in turn: one order alone gives the rows it has first little to say in every tree.
const N_ORDERS: usize = 4;
/// Categories up to which a column is asked one against the rest.
const MAX_ONE_HOT: usize = 4;
/// Bins of a statistic.
const MAX_BINS: usize = 64;

/// Rows, and their part in a fit.
pub(super) struct StatisticRows<'a> {
    pub(super) dataset: &'a Dataset,
    /// The rows of the binned table, as positions in the dataset.
    pub(super) row_idxs: &'a [usize],
    /// The target of each.
    pub(super) targets: &'a [f64],
    /// Those that train, as rows of the table.
    pub(super) train: &'a [u32],
    /// Rows of the prior mean that each statistic starts from.
    pub(super) prior_rows: f64,
}

/// Tables that read the columns of many categories as statistics, one table for each order of the rows; the table itself where there
/// is no such column.
pub(super) fn with_statistics(table: &Arc<BinnedTable>, rows: &StatisticRows, seed: u64) -> Vec<Arc<BinnedTable>> {
    let is_many = |column: &BinnedColumn| {
        let feature = &rows.dataset.schema.features[column.feature_idx as usize];
        feature.kind == ColumnKind::Category && column.n_value_bins() - 1 > MAX_ONE_HOT
    };
    if !table.columns.iter().any(|column| is_many(column)) {
        return vec![Arc::clone(table)];
    }
    let one = |order: usize| {
        let order = random_order(rows, seed.wrapping_add(order as u64));
        let replaced = |column: &Arc<BinnedColumn>| {
            if is_many(column) { Arc::new(statistic_column(column.feature_idx, rows, &order)) } else { Arc::clone(column) }
        };
        Arc::new(BinnedTable { columns: table.columns.iter().map(replaced).collect(), n_rows: table.n_rows })
    };
    (0..N_ORDERS).map(one).collect()
}

/// The training rows in a random order of their groups.
fn random_order(rows: &StatisticRows, seed: u64) -> Vec<u32> {
    let group = |row: u32| rows.dataset.group[rows.row_idxs[row as usize]];
    let mut order = rows.train.to_vec();
    order.sort_by_key(|&row| group(row));
    let mut groups: Vec<&[u32]> = order.chunk_by(|&a, &b| group(a) == group(b)).collect();
    groups.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    groups.concat()
}

fn statistic_column(feature_idx: u32, rows: &StatisticRows, order: &[u32]) -> BinnedColumn {
    let values = &rows.dataset.columns[feature_idx as usize];
    let n_categories = rows.dataset.schema.features[feature_idx as usize].categories.len();
    let category = |row: u32| {
        let value = values[rows.row_idxs[row as usize]];
        // Past the list stand the unseen.
        (!value.is_nan()).then(|| (value as usize).min(n_categories))
    };
    let mut tally = Tally::new(n_categories, rows);
    let mut of_row = vec![f64::NAN; rows.row_idxs.len()];
    let group = |row: u32| rows.dataset.group[rows.row_idxs[row as usize]];
    for together in order.chunk_by(|&a, &b| group(a) == group(b)) {
        together
            .iter()
            .for_each(|&row| of_row[row as usize] = category(row).map_or(f64::NAN, |category| tally.statistic(category)));
        together
            .iter()
            .for_each(|&row| category(row).into_iter().for_each(|category| tally.add(category, rows.targets[row as usize])));
    }
    let statistics: Vec<f64> = (0..=n_categories).map(|category| tally.statistic(category)).collect();
    let of_train = rows.train.iter().filter_map(|&row| category(row)).map(|category| statistics[category]).collect();
    let thresholds = quantile_thresholds(of_train, MAX_BINS);
    let mut is_train = vec![false; rows.row_idxs.len()];
    rows.train.iter().for_each(|&row| is_train[row as usize] = true);
    let bin = |row: usize| {
        let statistic =
            if is_train[row] { of_row[row] } else { category(row as u32).map_or(f64::NAN, |category| statistics[category]) };
        let missing = thresholds.len() + 1;
        if statistic.is_nan() { missing as u8 } else { thresholds.partition_point(|&threshold| threshold <= statistic) as u8 }
    };
    let bins = (0..rows.row_idxs.len()).map(bin).collect();
    BinnedColumn { feature_idx, kind: BinKind::Statistic { thresholds, statistics }, monotone: None, bins }
}

/// Sums and counts of the target by category, the last for unseen ones.
struct Tally {
    sums: Vec<f64>,
    counts: Vec<f64>,
    prior: f64,
    prior_rows: f64,
}

impl Tally {
    fn new(n_categories: usize, rows: &StatisticRows) -> Self {
        let total: f64 = rows.train.iter().map(|&row| rows.targets[row as usize]).sum();
        let prior = total / (rows.train.len().max(1) as f64);
        Self { sums: vec![0.0; n_categories + 1], counts: vec![0.0; n_categories + 1], prior, prior_rows: rows.prior_rows }
    }

    fn statistic(&self, category: usize) -> f64 {
        (self.sums[category] + self.prior_rows * self.prior) / (self.counts[category] + self.prior_rows)
    }

    fn add(&mut self, category: usize, target: f64) {
        self.sums[category] += target;
        self.counts[category] += 1.0;
    }
}
