//! The training table as the trees read it: every value replaced by the number of its bin, one byte each.
//!
//! A column has at most [`MAX_VALUE_BINS`] bins for values and one more, its last, for missing ones. Numbers are cut at quantiles,
//! halfway between neighbouring distinct values. The most frequent categories have a bin each; all others, and those never seen,
//! share the bin "other". Bytes lie in panels of [`PANEL_COLUMNS`] columns, row after row: a row of a panel is about a cache line, so
//! that the rows of a leaf, which lie anywhere, cost little more than one access to memory each. A row is made of blocks of
//! [`BLOCK_COLUMNS`] columns, whose histograms fit into the first-level cache.

use std::sync::Arc;

use rayon::prelude::*;
use retain_core::{ColumnKind, Monotone};
use retain_data::Dataset;
use retain_score::Test;

/// Bins for values; with the one for missing values they fill a byte.
pub(super) const MAX_VALUE_BINS: usize = 255;

/// Rows of a bin, on average, that are worth a bin of their own.
const MIN_BIN_ROWS: usize = 32;

/// Bins that few rows have, too.
const MIN_VALUE_BINS: usize = 48;

/// Columns that are counted together.
pub(super) const BLOCK_COLUMNS: usize = 8;

/// Blocks that lie side by side; a row of so many is a cache line.
pub(super) const PANEL_BLOCKS: usize = 8;

/// Columns that lie side by side.
const PANEL_COLUMNS: usize = PANEL_BLOCKS * BLOCK_COLUMNS;

/// Quantiles are taken from at most so many rows, evenly spaced: more do not move them, and sorting is what binning costs.
const MAX_QUANTILE_ROWS: usize = 200_000;

/// Rows that a thread bins at a time.
const ROWS_PER_TASK: usize = 2048;

/// Values that are looked up side by side, so that their searches do not wait for each other.
const LANES: usize = 16;

/// One row of one block: the bins of neighbouring columns, 0 past the last column.
pub(super) type BlockRow = [u8; BLOCK_COLUMNS];

/// The chosen rows of a dataset, binned; rows are numbered from 0 in their order.
#[derive(Debug, Clone)]
pub(super) struct BinnedTable {
    /// The columns that a tree can split, in feature order: those with at least two bins in use.
    pub(super) columns: Vec<BinnedColumn>,
    /// Number of rows.
    pub(super) n_rows: usize,
    /// Column `c` is in panel `c / PANEL_COLUMNS`.
    panels: Vec<Arc<Panel>>,
}

/// Neighbouring columns, up to [`PANEL_COLUMNS`], row after row.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    /// Blocks of one row.
    n_blocks: usize,
    /// Block `b` of row `r` is at `r * n_blocks + b`.
    blocks: Vec<BlockRow>,
}

impl Panel {
    /// Copies one block of these rows. Nothing is done with them here, so that the processor waits for many rows at once.
    pub(super) fn copy_block(&self, block: usize, rows: &[u32], to: &mut [BlockRow]) {
        for (to, &row) in to.iter_mut().zip(rows) {
            *to = self.blocks[row as usize * self.n_blocks + block];
        }
    }
}

/// The bins of one column.
#[derive(Debug, Clone, Copy)]
pub(super) struct ColumnBins<'a> {
    panel: &'a Panel,
    block: usize,
    place: usize,
}

impl ColumnBins<'_> {
    /// The bin of a row.
    #[inline]
    pub(super) fn of(&self, row: u32) -> u8 {
        self.panel.blocks[row as usize * self.panel.n_blocks + self.block][self.place % BLOCK_COLUMNS]
    }
}

/// One binned feature.
#[derive(Debug, Clone)]
pub(super) struct BinnedColumn {
    /// Position of the feature in the schema.
    pub(super) feature_idx: u32,
    /// What the bins mean.
    pub(super) kind: BinKind,
    /// The order that the margin has to keep along the bins.
    pub(super) monotone: Option<Monotone>,
}

/// What the value bins of a column mean.
#[derive(Debug, Clone, PartialEq)]
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
        let columns: Vec<BinnedColumn> = (0..dataset.n_features())
            .into_par_iter()
            .filter_map(|feature_idx| BinnedColumn::new(dataset, feature_idx, row_idxs))
            .collect();
        let panels = columns.chunks(PANEL_COLUMNS).map(|columns| Arc::new(bin_rows(dataset, row_idxs, columns))).collect();
        Self { columns, n_rows: row_idxs.len(), panels }
    }

    /// Puts another column in the place of one; `bins` has a bin for each row.
    pub(super) fn replace(&mut self, column: usize, with: BinnedColumn, bins: impl Iterator<Item = u8>) {
        self.columns[column] = with;
        let panel = Arc::make_mut(&mut self.panels[column / PANEL_COLUMNS]);
        let rows = panel.blocks.chunks_exact_mut(panel.n_blocks);
        let block = column % PANEL_COLUMNS / BLOCK_COLUMNS;
        rows.zip(bins).for_each(|(row, bin)| row[block][column % BLOCK_COLUMNS] = bin);
    }

    /// Columns from `panel * PANEL_COLUMNS` on.
    pub(super) fn panel(&self, panel: usize) -> &Panel {
        &self.panels[panel]
    }

    /// The bins of a column.
    pub(super) fn bins(&self, column: usize) -> ColumnBins<'_> {
        let block = column % PANEL_COLUMNS / BLOCK_COLUMNS;
        ColumnBins { panel: &self.panels[column / PANEL_COLUMNS], block, place: column % BLOCK_COLUMNS }
    }

    /// The bin of a row in a column.
    pub(super) fn bin(&self, column: usize, row: u32) -> u8 {
        self.bins(column).of(row)
    }
}

/// Bins for the values of a column of so many rows: finer ones than these would be cut by chance, and every question looks through all
/// of them.
fn value_bins(n_rows: usize) -> usize {
    (n_rows / MIN_BIN_ROWS).clamp(MIN_VALUE_BINS, MAX_VALUE_BINS)
}

impl BinnedColumn {
    /// Chooses the bins of a feature; none where all rows fall into one.
    fn new(dataset: &Dataset, feature_idx: usize, row_idxs: &[usize]) -> Option<Self> {
        let feature = &dataset.schema.features[feature_idx];
        let values = row_idxs.iter().map(|&row_idx| dataset.columns[feature_idx][row_idx]);
        let (kind, monotone) = if feature.kind == ColumnKind::Category {
            (BinKind::Categories { positions: frequent_categories(values.clone(), feature.categories.len()) }, None)
        } else {
            let step = row_idxs.len().div_ceil(MAX_QUANTILE_ROWS).max(1);
            let thresholds = quantile_thresholds(values.clone().step_by(step).collect(), value_bins(row_idxs.len()));
            (BinKind::Numbers { thresholds }, feature.monotone)
        };
        let column = Self { feature_idx: feature_idx as u32, kind, monotone };
        let lookup = column.lookup(feature.categories.len());
        let mut bins = values.map(|value| lookup.bins(&[value; LANES])[0]);
        let first = bins.next()?;
        bins.any(|bin| bin != first).then_some(column)
    }

    /// How a value of this column finds its bin.
    fn lookup(&self, n_categories: usize) -> Lookup {
        let missing = self.n_value_bins() as u8;
        match &self.kind {
            BinKind::Numbers { thresholds } => {
                let mut padded = Box::new([f64::NAN; 256]);
                padded[..thresholds.len()].copy_from_slice(thresholds);
                Lookup::Numbers { padded, first_step: ((thresholds.len() + 1).next_power_of_two() / 2) as u8, missing }
            }
            BinKind::Categories { positions } => {
                let mut bin_of = vec![positions.len() as u8; n_categories + 1];
                for (bin, &position) in positions.iter().enumerate() {
                    bin_of[position as usize] = bin as u8;
                }
                Lookup::Categories { bin_of, missing }
            }
            BinKind::Statistic { thresholds, statistics } => {
                let bin = |statistic: &f64| thresholds.partition_point(|threshold| threshold <= statistic) as u8;
                Lookup::Categories { bin_of: statistics.iter().map(bin).collect(), missing }
            }
        }
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
    /// `left` holds bins of numbers or statistics from 0 up to a border, or categories without "other", and may hold missing.
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

/// How the values of one column find their bins.
enum Lookup {
    Numbers {
        /// The thresholds, then NaN, which no value reaches.
        padded: Box<[f64; 256]>,
        /// The largest power of two that a binary search over the thresholds steps by.
        first_step: u8,
        missing: u8,
    },
    Categories {
        /// The bin of each category; the last one is that of all others.
        bin_of: Vec<u8>,
        missing: u8,
    },
}

impl Lookup {
    fn bins(&self, values: &[f64; LANES]) -> [u8; LANES] {
        match self {
            Self::Numbers { padded, first_step, missing } => {
                let below = n_reached(padded, *first_step, values);
                std::array::from_fn(|lane| if values[lane].is_nan() { *missing } else { below[lane] })
            }
            Self::Categories { bin_of, missing } => values.map(|value| {
                let position = (value as usize).min(bin_of.len() - 1);
                if value.is_nan() { *missing } else { bin_of[position] }
            }),
        }
    }
}

/// How many thresholds each value reaches: a binary search without branches, in step for all values.
fn n_reached(padded: &[f64; 256], first_step: u8, values: &[f64; LANES]) -> [u8; LANES] {
    let mut reached = [0usize; LANES];
    let mut step = usize::from(first_step);
    while step > 0 {
        for (reached, value) in reached.iter_mut().zip(values) {
            // Never past 255; the mask spares the check.
            let reaches = padded[(*reached + step - 1) & 255] <= *value;
            // Said to be unpredictable, or the compiler makes it a branch: half of them would be foreseen wrongly.
            *reached += std::hint::select_unpredictable(reaches, step, 0);
        }
        step /= 2;
    }
    reached.map(|reached| reached as u8)
}

/// The bytes of the columns of a panel.
fn bin_rows(dataset: &Dataset, row_idxs: &[usize], columns: &[BinnedColumn]) -> Panel {
    let n_blocks = columns.len().div_ceil(BLOCK_COLUMNS);
    let mut blocks = vec![BlockRow::default(); n_blocks * row_idxs.len()];
    let n_categories = |column: &BinnedColumn| dataset.schema.features[column.feature_idx as usize].categories.len();
    let lookups: Vec<Lookup> = columns.iter().map(|column| column.lookup(n_categories(column))).collect();
    let tasks = blocks.par_chunks_mut(n_blocks * ROWS_PER_TASK).zip(row_idxs.par_chunks(ROWS_PER_TASK));
    tasks.for_each(|(blocks, row_idxs)| {
        for (place, (column, lookup)) in columns.iter().zip(&lookups).enumerate() {
            let values = &dataset.columns[column.feature_idx as usize];
            let (block, place) = (place / BLOCK_COLUMNS, place % BLOCK_COLUMNS);
            for (rows, row_idxs) in blocks.chunks_mut(n_blocks * LANES).zip(row_idxs.chunks(LANES)) {
                let mut lanes = [f64::NAN; LANES];
                lanes.iter_mut().zip(row_idxs).for_each(|(lane, &row_idx)| *lane = values[row_idx]);
                rows.chunks_exact_mut(n_blocks).zip(lookup.bins(&lanes)).for_each(|(row, bin)| row[block][place] = bin);
            }
        }
    });
    Panel { n_blocks, blocks }
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

/// Thresholds that cut the numbers into at most `max_bins` bins of about equal size; a value as frequent as a whole bin stands
/// alone, and with no more distinct values than bins each has its own.
pub(super) fn quantile_thresholds(mut values: Vec<f64>, max_bins: usize) -> Vec<f64> {
    values.retain(|value| !value.is_nan());
    values.sort_unstable_by(f64::total_cmp);
    let every_one = values.chunk_by(|a, b| a == b).take(max_bins + 1).count() <= max_bins;
    let mut distinct = values.chunk_by(|a, b| a == b).peekable();
    let (mut thresholds, mut rows_left, mut rows_in_bin) = (Vec::new(), values.len(), 0);
    while let (Some(low), Some(high)) = (distinct.next(), distinct.peek()) {
        rows_in_bin += low.len();
        let bins_left = max_bins - thresholds.len();
        let fair_share = rows_left.div_ceil(bins_left);
        let next_is_heavy = high.len() >= fair_share;
        if every_one || (bins_left > 1 && (rows_in_bin >= fair_share || next_is_heavy)) {
            thresholds.push(halfway(low[0], high[0]));
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
        let column = BinnedColumn { feature_idx: 0, kind: BinKind::Categories { positions }, monotone: None };
        let mut asked = [1e300; LANES];
        asked[..4].copy_from_slice(&[0.0, 299.0, 300.0, f64::NAN]);
        assert_eq!(column.lookup(300).bins(&asked)[..5], [254, 0, 254, 255, 254]);
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

        #[test]
        fn values_find_the_bin_between_their_thresholds(
            cuts in proptest::collection::btree_set(-1000i32..1000, 0..254), values in proptest::array::uniform16(-1001.0..1001.0f64),
        ) {
            let thresholds: Vec<f64> = cuts.into_iter().map(f64::from).collect();
            let column = BinnedColumn { feature_idx: 0, kind: BinKind::Numbers { thresholds: thresholds.clone() }, monotone: None };
            let mut asked = values.map(f64::round);
            asked[..4].copy_from_slice(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0]);
            for (&value, bin) in asked.iter().zip(column.lookup(0).bins(&asked)) {
                let below = thresholds.partition_point(|&threshold| threshold <= value);
                prop_assert_eq!(usize::from(bin), if value.is_nan() { thresholds.len() + 1 } else { below });
            }
        }
    }
}
