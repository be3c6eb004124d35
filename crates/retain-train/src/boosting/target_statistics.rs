//! Categories as numbers: the mean target of the rows of the same category, as a row could know it.
//!
//! In training a row's statistic comes from the rows before it in a random order, so that its own label never stands in it: the mean
//! of all rows would tell the rows of a rare category their labels. Rows that are only watched, and rows that are scored later,
//! have the statistic of all training rows; there a border between statistics is a border between categories, so the question
//! becomes a set of categories. Rows of one group stand together in the order and do not inform each other.
//!
//! # Source
//! Ordered target statistics: Prokhorenkova et al. (2018).

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use retain_data::Dataset;

use super::bins::{BinKind, BinnedColumn, BinnedTable, quantile_thresholds};
use super::booster::Task;

/// Orders that trees take in turn: in one order alone the same rows would come first, and know least, in every tree.
const N_ORDERS: usize = 4;
/// Rows from which one order will do: those that come first are too few to matter, and each order copies the bins.
const ONE_ORDER_FROM_ROWS: usize = 100_000;
/// Categories up to which a column is asked one against the rest.
const MAX_ONE_HOT: usize = 4;
/// Bins of a statistic.
const MAX_BINS: usize = 64;

/// Rows, and their part in a fit.
pub(super) struct StatisticRows<'a> {
    pub(super) dataset: &'a Dataset,
    /// The rows of the binned table, as positions in the dataset.
    pub(super) row_idxs: &'a [usize],
    /// The binned table, targets and weights.
    pub(super) task: &'a Task<'a>,
    /// Rows of the table that train.
    pub(super) train: &'a [u32],
    /// Rows of the mean target that every statistic starts from.
    pub(super) prior_rows: f64,
}

/// The table with its columns of many categories read as statistics, once for each order of the rows; nothing where there is no such
/// column.
pub(super) fn with_statistics(rows: &StatisticRows, seed: u64) -> Vec<BinnedTable> {
    let is_many =
        |column: &BinnedColumn| matches!(&column.kind, BinKind::Categories { positions } if positions.len() > MAX_ONE_HOT);
    let table = rows.task.table;
    let many: Vec<usize> = (0..table.columns.len()).filter(|&column| is_many(&table.columns[column])).collect();
    let n_orders = if rows.train.len() < ONE_ORDER_FROM_ROWS { N_ORDERS } else { 1 };
    let in_order = |seed: u64| {
        let order = rows.random_order(seed);
        let read = |&column: &usize| (column, rows.statistic_column(table.columns[column].feature_idx, &order));
        let columns: Vec<_> = many.par_iter().map(read).collect();
        let mut table = table.clone();
        for (column, (with, bins)) in columns {
            table.replace(column, with, bins.into_iter());
        }
        table
    };
    let orders = if many.is_empty() { 0 } else { n_orders as u64 };
    (0..orders).map(|order| in_order(seed.wrapping_add(order))).collect()
}

impl StatisticRows<'_> {
    fn group(&self, row: u32) -> u32 {
        self.dataset.group[self.row_idxs[row as usize]]
    }

    /// The category of a row, past the list for one never seen.
    fn category(&self, feature_idx: u32, row: u32) -> Option<usize> {
        let value = self.dataset.columns[feature_idx as usize][self.row_idxs[row as usize]];
        let n_categories = self.dataset.schema.features[feature_idx as usize].categories.len();
        (!value.is_nan()).then(|| (value as usize).min(n_categories))
    }

    /// The training rows in a random order of their groups.
    fn random_order(&self, seed: u64) -> Vec<u32> {
        let mut order = self.train.to_vec();
        order.sort_by_key(|&row| self.group(row));
        let mut groups: Vec<&[u32]> = order.chunk_by(|&a, &b| self.group(a) == self.group(b)).collect();
        groups.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
        groups.concat()
    }

    /// The column and the bin of each row of the table.
    fn statistic_column(&self, feature_idx: u32, order: &[u32]) -> (BinnedColumn, Vec<u8>) {
        let n_categories = self.dataset.schema.features[feature_idx as usize].categories.len();
        let mut tally = Tally::new(n_categories, self);
        let mut before = vec![f64::NAN; self.row_idxs.len()];
        for group in order.chunk_by(|&a, &b| self.group(a) == self.group(b)) {
            for &row in group {
                before[row as usize] = self.category(feature_idx, row).map_or(f64::NAN, |category| tally.statistic(category));
            }
            for &row in group {
                if let Some(category) = self.category(feature_idx, row) {
                    tally.add(category, self.task.targets[row as usize], self.task.weight(row as usize));
                }
            }
        }
        let statistics: Vec<f64> = (0..=n_categories).map(|category| tally.statistic(category)).collect();
        let of_all = |row: u32| self.category(feature_idx, row).map_or(f64::NAN, |category| statistics[category]);
        let thresholds = quantile_thresholds(self.train.iter().map(|&row| of_all(row)).collect(), MAX_BINS);
        let mut known: Vec<f64> = (0..self.row_idxs.len() as u32).map(of_all).collect();
        self.train.iter().for_each(|&row| known[row as usize] = before[row as usize]);
        let missing = thresholds.len() + 1;
        let bin = |x: f64| if x.is_nan() { missing } else { thresholds.partition_point(|&threshold| threshold <= x) };
        let bins = known.into_iter().map(|x| bin(x) as u8).collect();
        (BinnedColumn { feature_idx, kind: BinKind::Statistic { thresholds, statistics }, monotone: None }, bins)
    }
}

/// Sums and counts of the target by category, the last for those never seen.
struct Tally {
    sums: Vec<f64>,
    counts: Vec<f64>,
    /// Mean target.
    prior: f64,
    prior_rows: f64,
}

impl Tally {
    fn new(n_categories: usize, rows: &StatisticRows) -> Self {
        let StatisticRows { task, train, prior_rows, .. } = *rows;
        let add = |(sum, count): (f64, f64), &row: &u32| {
            let weight = task.weight(row as usize);
            (sum + weight * task.targets[row as usize], count + weight)
        };
        let (sum, count) = train.iter().fold((0.0, 0.0), add);
        let prior = if count > 0.0 { sum / count } else { 0.0 };
        Self { sums: vec![0.0; n_categories + 1], counts: vec![0.0; n_categories + 1], prior, prior_rows }
    }

    fn statistic(&self, category: usize) -> f64 {
        let count = self.counts[category] + self.prior_rows;
        if count > 0.0 { (self.sums[category] + self.prior_rows * self.prior) / count } else { self.prior }
    }

    fn add(&mut self, category: usize, target: f64, weight: f64) {
        self.sums[category] += weight * target;
        self.counts[category] += weight;
    }
}
