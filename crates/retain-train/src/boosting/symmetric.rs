//! Grows one symmetric tree: all leaves of a level ask the same question, so that a tree of depth 6 has 6 questions.
//!
//! Such a tree is a coarse learner: a question has to pay over all leaves together, which noise in one small leaf cannot bring
//! about. A level's question is the one of largest score, the square root of the loss saved in all leaves. A random draw is
//! added to each score, as wide as a score of pure noise at first and fading with the rounds: questions that say about the same
//! take turns. Rows that were not drawn for the questions still count in the leaf values.
//!
//! # Source
//! Symmetric trees with noise on their scores: `CatBoost` (Prokhorenkova et al., 2018).

use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

use super::bins::{BinKind, BinSet, BinnedColumn, BinnedTable};
use super::grow::{GrownNode, GrownTree, MIN_PARALLEL_BYTES};
use super::histogram::{Sums, histogram};
use super::loss::Derivatives;
use super::params::BoostingParams;

/// Keeps the score of an empty side at zero where there is no L2 penalty.
const TINY: f64 = 1e-12;
/// Relative differences of scores that are rounding.
const ROUNDING: f64 = 1e-9;

/// What a tree is grown from.
pub(super) struct Sample<'a> {
    /// The binned features.
    pub(super) table: &'a BinnedTable,
    /// The settings.
    pub(super) params: &'a BoostingParams,
    /// Derivatives of the rows that train, by row of the table.
    pub(super) derivatives: &'a [Derivatives],
    /// Rows that find the questions.
    pub(super) inside: Vec<u32>,
    /// All rows that train, in the order of the table.
    pub(super) train: &'a [u32],
    /// Positions of the columns that may be asked, sorted.
    pub(super) columns: &'a [usize],
    /// Share of the noise on scores that is left at this round, from 0 to 1.
    pub(super) noise_left: f64,
}

/// A question that every leaf of a level asks.
#[derive(Debug, Clone, Copy)]
struct Question {
    /// Position in [`BinnedTable::columns`].
    column: usize,
    /// Bins of the rows that go left.
    left_bins: BinSet,
}

/// Grows a tree; its [`GrownTree::rows`] are all rows that train.
pub(super) fn grow_symmetric(sample: Sample, rng: &mut Xoshiro256PlusPlus) -> GrownTree {
    let Sample { table, params, derivatives, train, .. } = sample;
    let search = Search::new(&sample);
    let questions = search.questions(sample.inside, rng);
    let (rows, starts) = by_leaf(table, &questions, train);
    let value = |leaf: &[usize]| {
        let mut sums = Sums::default();
        rows[leaf[0]..leaf[1]].iter().for_each(|&row| sums.add_row(&derivatives[row as usize]));
        -params.learning_rate * sums.gradient / (sums.hessian + search.l2).max(TINY)
    };
    let mut builder = Builder { questions: &questions, starts: &starts, value: &value, nodes: Vec::new() };
    builder.build(0, 0..starts.len() - 1);
    if let [GrownNode::Leaf { value, .. }] = &mut builder.nodes[..] {
        // A tree without a question has nothing to say that the margin does not.
        *value = 0.0;
    }
    GrownTree { nodes: builder.nodes, rows }
}

/// The search for questions.
struct Search<'a> {
    table: &'a BinnedTable,
    derivatives: &'a [Derivatives],
    columns: &'a [usize],
    max_depth: usize,
    /// L2 penalty in units of the hessian: the setting counts rows, so that it weighs the same whatever the loss and however sure
    /// the model has become.
    l2: f64,
    /// Standard deviation of the noise on scores.
    noise: f64,
}

impl<'a> Search<'a> {
    fn new(sample: &Sample<'a>) -> Self {
        let Sample { table, params, derivatives, columns, .. } = *sample;
        let (mut square, mut hessian) = (0.0, 0.0);
        for row in sample.inside.iter().map(|&row| derivatives[row as usize]) {
            square += row.gradient * row.gradient;
            hessian += row.hessian;
        }
        // Gradients that are nothing but noise sum up to a score of about this in a leaf of any size.
        let noise_of_a_leaf = if hessian > 0.0 { (square / hessian).sqrt() } else { 0.0 };
        Self {
            table,
            derivatives,
            columns,
            max_depth: params.max_depth,
            l2: params.limits.l2 * hessian / sample.inside.len().max(1) as f64,
            noise: params.noise * sample.noise_left * noise_of_a_leaf,
        }
    }

    /// One question a level, until none saves anything or the tree is deep enough.
    fn questions(&self, mut rows: Vec<u32>, rng: &mut Xoshiro256PlusPlus) -> Vec<Question> {
        let mut questions: Vec<Question> = Vec::new();
        let mut starts = vec![0, rows.len()];
        while questions.len() < self.max_depth {
            let gathered: Vec<Derivatives> = rows.iter().map(|&row| self.derivatives[row as usize]).collect();
            let level = Level { rows: &rows, starts: &starts, derivatives: &gathered, l2: self.l2 };
            let Some(question) = self.question(&level, rng) else { break };
            starts = split_leaves(&mut rows, &starts, |row| self.goes_left(&question, row));
            questions.push(question);
        }
        questions
    }

    /// The question of the largest noisy score; the first column among equals.
    fn question(&self, level: &Level, rng: &mut Xoshiro256PlusPlus) -> Option<Question> {
        let worth_asking = level.score_unsplit() * (1.0 + ROUNDING) + ROUNDING;
        let columns: Vec<(usize, u64)> = self.columns.iter().map(|&column| (column, rng.random())).collect();
        let look = |&(column, seed): &(usize, u64)| {
            let mut noise = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut noisy = |score: f64| (score > worth_asking).then(|| score.sqrt() + self.noise * roughly_normal(&mut noise));
            let (score, left_bins) = level.best_question(&self.table.columns[column], &mut noisy)?;
            Some((score, Question { column, left_bins }))
        };
        let found: Vec<_> = if level.rows.len() * columns.len() >= MIN_PARALLEL_BYTES {
            columns.par_iter().map(look).collect()
        } else {
            columns.iter().map(look).collect()
        };
        let best = found.into_iter().flatten().reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map(|(_, question)| question)
    }

    fn goes_left(&self, question: &Question, row: u32) -> bool {
        question.left_bins.contains(self.table.columns[question.column].bins[row as usize])
    }
}

/// The leaves of one level, and the rows in them.
struct Level<'a> {
    /// Rows, leaf by leaf.
    rows: &'a [u32],
    /// Where each leaf's rows start, and the number of rows.
    starts: &'a [usize],
    /// Derivatives of `rows`.
    derivatives: &'a [Derivatives],
    l2: f64,
}

/// Turns twice the loss saved into a noisy score, or nothing where it is too little.
type Noisy<'a> = &'a mut dyn FnMut(f64) -> Option<f64>;

impl Level<'_> {
    /// Twice the loss that the leaves save without another question.
    fn score_unsplit(&self) -> f64 {
        let saved = |leaf: &[usize]| {
            let sums = Sums::of(&self.derivatives[leaf[0]..leaf[1]]);
            sums.gradient * sums.gradient / (sums.hessian + self.l2).max(TINY)
        };
        self.starts.windows(2).map(saved).sum()
    }

    /// The question to a column of the largest noisy score.
    fn best_question(&self, column: &BinnedColumn, noisy: Noisy) -> Option<(f64, BinSet)> {
        match &column.kind {
            BinKind::Categories { .. } => self.one_against_rest(column, noisy),
            BinKind::Numbers { .. } | BinKind::Statistic { .. } => self.border(column, noisy),
        }
    }

    /// The histogram of each leaf that has rows, and the sums of its rows.
    fn histograms(&self, column: &BinnedColumn) -> impl Iterator<Item = (Vec<Sums>, Sums)> {
        let filled = self.starts.windows(2).map(|leaf| leaf[0]..leaf[1]).filter(|leaf| !leaf.is_empty());
        filled.map(|leaf| {
            let derivatives = &self.derivatives[leaf.clone()];
            (histogram(column, &self.rows[leaf], derivatives), Sums::of(derivatives))
        })
    }

    /// Bins below a border go left; missing values to either side, and without an example to the larger.
    fn border(&self, column: &BinnedColumn, noisy: Noisy) -> Option<(f64, BinSet)> {
        let missing = column.n_value_bins();
        // With missing values on the right and on the left.
        let mut scores = vec![[0.0; 2]; missing];
        let mut n_rows = vec![0; missing + 1];
        for (sums, all) in self.histograms(column) {
            n_rows.iter_mut().zip(&sums).for_each(|(n_rows, bin)| *n_rows += bin.n_rows);
            let (mut below, mut saved) = (Sums::default(), [0.0; 2]);
            for (score, &bin) in scores.iter_mut().zip(&sums) {
                if bin.n_rows > 0 {
                    below += bin;
                    let mut with_missing = below;
                    with_missing += sums[missing];
                    let right = self.saved_by(&below, &all);
                    saved = [right, if sums[missing].n_rows > 0 { self.saved_by(&with_missing, &all) } else { right }];
                } else if below.n_rows == 0 {
                    saved = [self.saved_by(&below, &all), self.saved_by(&sums[missing], &all)];
                }
                score[0] += saved[0];
                score[1] += saved[1];
            }
        }
        let has_missing = n_rows[missing] > 0;
        let mut best: Option<(f64, usize, bool)> = None;
        for (place, score) in scores.iter().enumerate() {
            // Equal to the border before it, or no border at all.
            if n_rows[place] == 0 {
                continue;
            }
            for missing_left in if has_missing { &[false, true][..] } else { &[false] } {
                if let Some(score) = noisy(score[usize::from(*missing_left)])
                    && best.is_none_or(|best| score > best.0)
                {
                    best = Some((score, place + 1, *missing_left));
                }
            }
        }
        let (score, border, missing_left) = best?;
        let mut left_bins = BinSet::default();
        (0..border).for_each(|bin| left_bins.insert(bin));
        let n_below: u32 = n_rows[..border].iter().sum();
        let n_from: u32 = n_rows[border..missing].iter().sum();
        if missing_left || (!has_missing && n_below >= n_from) {
            left_bins.insert(missing);
        }
        Some((score, left_bins))
    }

    /// One category, or missing, against the rest; unseen categories go with the rest.
    fn one_against_rest(&self, column: &BinnedColumn, noisy: Noisy) -> Option<(f64, BinSet)> {
        let mut scores = vec![0.0; column.n_bins()];
        for (sums, all) in self.histograms(column) {
            scores.iter_mut().zip(&sums).for_each(|(score, bin)| *score += self.saved_by(bin, &all));
        }
        let noised = scores.into_iter().enumerate().filter_map(|(bin, score)| Some((noisy(score)?, bin)));
        let (score, bin) = noised.reduce(|best, next| if next.0 > best.0 { next } else { best })?;
        let other = column.n_value_bins() - 1;
        let mut left_bins = BinSet::default();
        if bin == other {
            // A question cannot name the categories that share the bin: it names all others.
            (0..=other + 1).filter(|&bin| bin != other).for_each(|bin| left_bins.insert(bin));
        } else {
            left_bins.insert(bin);
        }
        Some((score, left_bins))
    }

    /// Twice the loss that a leaf saves once `left` goes left.
    fn saved_by(&self, left: &Sums, all: &Sums) -> f64 {
        let right = all.gradient - left.gradient;
        let left_curvature = (left.hessian + self.l2).max(TINY);
        let right_curvature = (all.hessian - left.hessian + self.l2).max(TINY);
        // One division for both sides.
        (left.gradient * left.gradient * right_curvature + right * right * left_curvature) / (left_curvature * right_curvature)
    }
}

/// Parts each leaf's rows, keeping their order on both sides, and returns where the leaves of the next level start.
fn split_leaves(rows: &mut [u32], starts: &[usize], goes_left: impl Fn(u32) -> bool) -> Vec<usize> {
    let mut next = vec![0];
    for leaf in starts.windows(2) {
        let rows = &mut rows[leaf[0]..leaf[1]];
        let (left, right): (Vec<u32>, Vec<u32>) = rows.iter().partition(|&&row| goes_left(row));
        rows[..left.len()].copy_from_slice(&left);
        rows[left.len()..].copy_from_slice(&right);
        next.extend([leaf[0] + left.len(), leaf[1]]);
    }
    next
}

/// The rows leaf by leaf, in their order inside each, and where each leaf starts, with the number of rows at the end.
fn by_leaf(table: &BinnedTable, questions: &[Question], rows: &[u32]) -> (Vec<u32>, Vec<usize>) {
    let mut leaves = vec![0_usize; rows.len()];
    for question in questions {
        let bins = &table.columns[question.column].bins;
        leaves.iter_mut().zip(rows).for_each(|(leaf, &row)| {
            *leaf = *leaf << 1 | usize::from(!question.left_bins.contains(bins[row as usize]));
        });
    }
    let n_leaves = 1 << questions.len();
    let mut starts = vec![0; n_leaves + 1];
    leaves.iter().for_each(|&leaf| starts[leaf + 1] += 1);
    (0..n_leaves).for_each(|leaf| starts[leaf + 1] += starts[leaf]);
    let (mut next, mut sorted) = (starts.clone(), vec![0; rows.len()]);
    for (&row, &leaf) in rows.iter().zip(&leaves) {
        sorted[next[leaf]] = row;
        next[leaf] += 1;
    }
    (sorted, starts)
}

/// Turns the questions of all levels into nodes.
struct Builder<'a> {
    questions: &'a [Question],
    starts: &'a [usize],
    /// What a leaf adds, from where its rows start and end.
    value: &'a dyn Fn(&[usize]) -> f64,
    nodes: Vec<GrownNode>,
}

impl Builder<'_> {
    /// Adds what stands below the first `level` questions for these leaves and returns its position; a side that no row reaches is
    /// left out, and its question with it.
    fn build(&mut self, level: usize, leaves: Range<usize>) -> usize {
        let (start, end) = (self.starts[leaves.start], self.starts[leaves.end]);
        let Some(question) = self.questions.get(level) else {
            self.nodes.push(GrownNode::Leaf { value: (self.value)(&[start, end]), start, end });
            return self.nodes.len() - 1;
        };
        let middle = usize::midpoint(leaves.start, leaves.end);
        if self.starts[middle] == start {
            return self.build(level + 1, middle..leaves.end);
        }
        if self.starts[middle] == end {
            return self.build(level + 1, leaves.start..middle);
        }
        let position = self.nodes.len();
        // Its children come after it, and their positions are not known yet.
        self.nodes.push(GrownNode::Leaf { value: 0.0, start, end });
        let left = self.build(level + 1, leaves.start..middle);
        let right = self.build(level + 1, middle..leaves.end);
        self.nodes[position] = GrownNode::Split { column: question.column, left_bins: question.left_bins, left, right };
        position
    }
}

/// A draw of mean 0 and standard deviation 1, nearly normal: the sum of four uniform ones.
fn roughly_normal(rng: &mut Xoshiro256PlusPlus) -> f64 {
    let bits: u64 = rng.random();
    let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xffff).sum();
    // Four parts of mean ½ and variance 1/12.
    ((sum as f64 + 2.0) / 65_536.0 - 2.0) * 3.0_f64.sqrt()
}
