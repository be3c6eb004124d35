//! Rows sorted once by probability, and counts of positives and negatives per distinct probability.
//!
//! Every metric is a function of these counts. That makes three things true at once: rows tied in probability are never told
//! apart by their order, a bootstrap resample is one pass over sorted rows, and whole-number weights come for free.

use crate::labelled::Labelled;
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
    pub(crate) fn new(labelled: &Labelled) -> Self {
        let predicted = labelled.probability();
        let mut row_idxs: Vec<usize> = (0..labelled.n_rows()).collect();
        row_idxs.sort_unstable_by(|&a, &b| predicted[b].total_cmp(&predicted[a]));
        let mut block_ends = Vec::new();
        let mut probability: Vec<f64> = Vec::new();
        for (position, &row_idx) in row_idxs.iter().enumerate() {
            if probability.last() != Some(&predicted[row_idx]) {
                probability.push(predicted[row_idx]);
                block_ends.push(position);
            }
            if let Some(end) = block_ends.last_mut() {
                *end = position + 1;
            }
        }
        let ranked =
            |row_idx: usize| RankedRow { group_idx: labelled.group_idx()[row_idx], positive: labelled.positive()[row_idx] };
        let rows = row_idxs.into_iter().map(ranked).collect();
        let clipped = || probability.iter().map(|p| p.clamp(CLIP, 1.0 - CLIP));
        let loss_if_positive: Vec<f64> = clipped().map(|p| -libm::log(p)).collect();
        let loss_if_negative: Vec<f64> = clipped().map(|p| -libm::log1p(-p)).collect();
        let log_odds = loss_if_negative.iter().zip(&loss_if_positive).map(|(negative, positive)| negative - positive).collect();
        Self { rows, block_ends, probability, log_odds, loss_if_positive, loss_if_negative }
    }

    /// Counts each row as often as its group weighs; `group_weights` has one number per group.
    pub(crate) fn tally_into(&self, group_weights: &[u32], tally: &mut Tally) {
        let mut start = 0;
        (tally.n_positives, tally.n_negatives) = (0, 0);
        for (block, &end) in self.block_ends.iter().enumerate() {
            let (mut positives, mut both) = (0, 0);
            for row in &self.rows[start..end] {
                let weight = u64::from(group_weights[row.group_idx as usize]);
                positives += weight * u64::from(row.positive);
                both += weight;
            }
            (tally.positives[block], tally.negatives[block]) = (positives, both - positives);
            tally.n_positives += positives;
            tally.n_negatives += both - positives;
            start = end;
        }
    }

    /// Counts each row once.
    pub(crate) fn tally(&self, n_groups: usize) -> Tally {
        let mut tally = self.empty_tally();
        self.tally_into(&vec![1; n_groups], &mut tally);
        tally
    }

    pub(crate) fn empty_tally(&self) -> Tally {
        let n_blocks = self.probability.len();
        Tally { positives: vec![0; n_blocks], negatives: vec![0; n_blocks], n_positives: 0, n_negatives: 0 }
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
