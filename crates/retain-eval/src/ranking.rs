//! Rows sorted once by probability, and counts of positives and negatives per distinct probability.
//!
//! Every metric is a function of these counts. That makes three things true at once: rows tied in probability are never told
//! apart by their order, a bootstrap resample is one pass over sorted rows, and whole-number weights come for free.

use crate::binary::N_BINS;
use crate::outcome::Events;
use crate::recalibration::{Recalibration, recalibrate};

/// Probabilities are held this far from 0 and 1 where a logarithm is taken, as scikit-learn's `log_loss` does.
const CLIP: f64 = f64::EPSILON;

/// A table sorted by falling probability; rows of one probability form a block.
#[derive(Debug)]
pub(crate) struct Ranking {
    rows: Vec<RankedRow>,
    /// Block `b` holds `rows[block_ends[b − 1]..block_ends[b]]`.
    block_ends: Vec<usize>,
    /// Per block, strictly falling.
    pub(crate) probability: Vec<f64>,
    /// Per block: `ln(p / (1 − p))` of the clipped probability.
    pub(crate) log_odds: Vec<f64>,
    /// Per block: `−ln p`, what a positive row loses.
    pub(crate) loss_if_positive: Vec<f64>,
    /// Per block: `−ln(1 − p)`, what a negative row loses.
    pub(crate) loss_if_negative: Vec<f64>,
}

#[derive(Debug, Clone, Copy)]
struct RankedRow {
    group_idx: u32,
    positive: bool,
}

/// How many positives and negatives each block of a [`Ranking`] has in one resample.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) positives: Vec<u64>,
    pub(crate) negatives: Vec<u64>,
    pub(crate) n_positives: u64,
    pub(crate) n_negatives: u64,
}

impl Ranking {
    pub(crate) fn new(events: &Events, group_idx: &[u32]) -> Self {
        let predicted = &events.probability;
        let row_idxs = falling(predicted);
        let block_ends = block_ends(&row_idxs, |a, b| predicted[a] == predicted[b]);
        let probability: Vec<f64> = block_ends.iter().map(|&end| predicted[row_idxs[end - 1]]).collect();
        let ranked = |row_idx: usize| RankedRow { group_idx: group_idx[row_idx], positive: events.positive[row_idx] };
        let rows = row_idxs.into_iter().map(ranked).collect();
        let clipped = || probability.iter().map(|p| p.clamp(CLIP, 1.0 - CLIP));
        let loss_if_positive: Vec<f64> = clipped().map(|p| -libm::log(p)).collect();
        let loss_if_negative: Vec<f64> = clipped().map(|p| -libm::log1p(-p)).collect();
        let log_odds = loss_if_negative.iter().zip(&loss_if_positive).map(|(negative, positive)| negative - positive).collect();
        Self { rows, block_ends, probability, log_odds, loss_if_positive, loss_if_negative }
    }

    /// Counts each row as often as its group weighs; `group_weights` has one number per group.
    pub(crate) fn tally(&self, group_weights: &[u32]) -> Tally {
        let n_blocks = self.probability.len();
        let mut tally = Tally {
            positives: Vec::with_capacity(n_blocks),
            negatives: Vec::with_capacity(n_blocks),
            n_positives: 0,
            n_negatives: 0,
        };
        let mut start = 0;
        for &end in &self.block_ends {
            let (mut positives, mut both) = (0, 0);
            for row in &self.rows[start..end] {
                let weight = u64::from(group_weights[row.group_idx as usize]);
                positives += weight * u64::from(row.positive);
                both += weight;
            }
            tally.positives.push(positives);
            tally.negatives.push(both - positives);
            tally.n_positives += positives;
            tally.n_negatives += both - positives;
            start = end;
        }
        tally
    }

    /// The logistic recalibration of these counts; see [`recalibrate`].
    pub(crate) fn recalibration(&self, tally: &Tally, start: Option<Recalibration>) -> Option<Recalibration> {
        recalibrate(&self.log_odds, tally, start)
    }
}

impl Tally {
    pub(crate) fn n_rows(&self) -> u64 {
        self.n_positives + self.n_negatives
    }

    /// Positives and negatives per block, from the highest probability to the lowest.
    pub(crate) fn blocks(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + ExactSizeIterator {
        self.positives.iter().copied().zip(self.negatives.iter().copied())
    }

    /// `Σ positives · if_positive + negatives · if_negative` over the blocks, divided by the rows.
    pub(crate) fn mean(&self, mut if_positive: impl FnMut(usize) -> f64, mut if_negative: impl FnMut(usize) -> f64) -> f64 {
        let mut sum = 0.0;
        for (block, (positives, negatives)) in self.blocks().enumerate() {
            sum += positives as f64 * if_positive(block) + negatives as f64 * if_negative(block);
        }
        sum / self.n_rows() as f64
    }
}

/// Row positions by falling number, rows of equal numbers in no particular order.
pub(crate) fn falling(numbers: &[f64]) -> Vec<usize> {
    let mut row_idxs: Vec<usize> = (0..numbers.len()).collect();
    row_idxs.sort_unstable_by(|&a, &b| numbers[b].total_cmp(&numbers[a]));
    row_idxs
}

/// Where each run of equal neighbours ends: block `b` is `ordered[ends[b − 1]..ends[b]]`.
pub(crate) fn block_ends<T: Copy>(ordered: &[T], equal: impl Fn(T, T) -> bool) -> Vec<usize> {
    (1..=ordered.len()).filter(|&end| end == ordered.len() || !equal(ordered[end - 1], ordered[end])).collect()
}

/// The bin, of ten equal shares of `n_rows`, for `tied` rows above `below` others: that of their middle rank.
pub(crate) fn tenth(below: u64, tied: u64, n_rows: u64) -> usize {
    // At most 9: twice the rows below and the tied rows once stay under twice the rows.
    (N_BINS as u128 * (2 * u128::from(below) + u128::from(tied)) / (2 * u128::from(n_rows))) as usize
}

/// The bin of each row when rows are put into ten bins of equal shares, from low numbers to high.
pub(crate) fn tenths(numbers: &[f64]) -> Vec<usize> {
    let row_idxs = falling(numbers);
    let mut bins = vec![0; numbers.len()];
    let (n_rows, mut start) = (numbers.len() as u64, 0);
    for end in block_ends(&row_idxs, |a, b| numbers[a] == numbers[b]) {
        let bin = tenth(n_rows - end as u64, (end - start) as u64, n_rows);
        row_idxs[start..end].iter().for_each(|&row_idx| bins[row_idx] = bin);
        start = end;
    }
    bins
}
