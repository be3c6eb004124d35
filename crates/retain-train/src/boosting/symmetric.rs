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

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

use super::bins::{BinKind, BinSet, BinnedColumn, BinnedTable};
use super::booster::Task;
use super::grow::{GrownNode, GrownTree, MAX_HISTOGRAM_BYTES, MIN_PARALLEL_BYTES};
use super::histogram::{Derived, Histogram, Layout, Sums};
use super::partition::partition;
use super::split::best_value;

/// Keeps the score of an empty side at zero where there is no L2 penalty.
const TINY: f64 = 1e-12;
/// Relative differences of scores that are rounding.
const ROUNDING: f64 = 1e-9;
/// Rows that a thread takes at a time.
const ROWS_PER_TASK: usize = 1 << 14;

/// The rows and columns of one tree.
pub(super) struct Sample<'a> {
    /// Rows that find the questions.
    pub(super) inside: Vec<u32>,
    /// All rows that train, rising; they give the leaves their values.
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

/// Grows a tree; its [`GrownTree::rows`] are all rows that train, and `derived` has the derivatives of all of them.
pub(super) fn grow_symmetric(task: &Task, derived: Derived, sample: Sample, rng: &mut Xoshiro256PlusPlus) -> GrownTree {
    let Task { table, params, loss, .. } = *task;
    let mut search = Search::new(task, derived, &sample);
    let questions = search.questions(sample.inside, rng);
    let (rows, starts) = by_leaf(table, &questions, sample.train);
    let value = |leaf: Range<usize>| {
        let mut sums = Sums::default();
        for &row in &rows[leaf] {
            let [gradient, hessian] = derived.pairs[row as usize];
            sums += Sums { gradient: f64::from(gradient), hessian: f64::from(hessian), n_rows: 1 };
        }
        params.learning_rate * best_value(&sums, search.l2, &loss.step_bounds())
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
    derived: Derived<'a>,
    layout: Layout<'a>,
    max_depth: usize,
    /// Whether the histograms of a level are kept for those of the next.
    keep_histograms: bool,
    /// L2 penalty in units of the hessian: the setting counts rows, so that it weighs the same whatever the loss and however sure
    /// the model has become.
    l2: f64,
    /// Standard deviation of the noise on scores.
    noise: f64,
    scratch: Vec<u32>,
}

/// A leaf of the current level.
struct Leaf {
    range: Range<usize>,
    histogram: Option<Histogram>,
}

impl<'a> Search<'a> {
    fn new(task: &Task<'a>, derived: Derived<'a>, sample: &Sample) -> Self {
        let (mut square, mut hessian) = (0.0, 0.0);
        for &row in &sample.inside {
            let pair = derived.pairs[row as usize].map(f64::from);
            square += pair[0] * pair[0];
            hessian += pair[1];
        }
        // Gradients that are nothing but noise sum up to a score of about this in a leaf of any size.
        let noise_of_a_leaf = if hessian > 0.0 { (square / hessian).sqrt() } else { 0.0 };
        let layout = Layout::new(task.table, sample.columns);
        let max_depth = task.params.max_depth;
        Self {
            table: task.table,
            derived,
            max_depth,
            keep_histograms: layout.n_bytes().saturating_mul(1 << max_depth) <= MAX_HISTOGRAM_BYTES,
            layout,
            l2: task.params.limits.l2 * hessian / sample.inside.len().max(1) as f64,
            noise: task.params.noise * sample.noise_left * noise_of_a_leaf,
            scratch: vec![0; sample.inside.len()],
        }
    }

    /// One question a level, until none saves anything or the tree is deep enough.
    fn questions(&mut self, mut rows: Vec<u32>, rng: &mut Xoshiro256PlusPlus) -> Vec<Question> {
        let mut questions: Vec<Question> = Vec::new();
        let mut leaves = vec![Leaf { histogram: Some(self.layout.histogram(&rows, &self.derived)), range: 0..rows.len() }];
        while questions.len() < self.max_depth {
            let Some(question) = self.question(&rows, &leaves, rng) else { break };
            questions.push(question);
            let is_last = questions.len() == self.max_depth;
            leaves = leaves.into_iter().flat_map(|leaf| self.split(leaf, &question, &mut rows, is_last)).collect();
        }
        questions
    }

    /// The question of the largest noisy score; the first column among equals.
    fn question(&self, rows: &[u32], leaves: &[Leaf], rng: &mut Xoshiro256PlusPlus) -> Option<Question> {
        let columns = self.layout.columns.iter();
        let mut scores: Vec<Scores> = columns.map(|&column| Scores::new(&self.table.columns[column], self.l2)).collect();
        let in_parallel = self.layout.n_bytes() >= MIN_PARALLEL_BYTES;
        let mut stay = 0.0;
        for leaf in leaves.iter().filter(|leaf| !leaf.range.is_empty()) {
            let counted = leaf.histogram.is_none().then(|| self.layout.histogram(&rows[leaf.range.clone()], &self.derived));
            let Some(histogram) = leaf.histogram.as_ref().or(counted.as_ref()) else { continue };
            let all = self.layout.total(histogram, &self.derived.fixed);
            stay += all.gradient * all.gradient / (all.hessian + self.l2).max(TINY);
            let add = |(place, scores): (usize, &mut Scores)| {
                scores.add(&self.layout.sums(histogram, place, &self.derived.fixed), &all);
            };
            if in_parallel {
                scores.par_iter_mut().enumerate().with_min_len(4).for_each(add);
            } else {
                scores.iter_mut().enumerate().for_each(add);
            }
        }
        let worth_asking = stay * (1.0 + ROUNDING) + ROUNDING;
        let mut noisy = |score: f64| (score > worth_asking).then(|| score.sqrt() + self.noise * roughly_normal(rng));
        let found = scores.iter().zip(&self.layout.columns).filter_map(|(scores, &column)| {
            let (score, left_bins) = scores.best(&mut noisy)?;
            Some((score, Question { column, left_bins }))
        });
        found.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, question)| question)
    }

    /// The two leaves of the next level; where histograms are kept, the smaller is counted and the larger is what remains.
    fn split(&mut self, leaf: Leaf, question: &Question, rows: &mut [u32], is_last: bool) -> [Leaf; 2] {
        let bins = self.table.bins(question.column);
        let (of_leaf, scratch) = (&mut rows[leaf.range.clone()], &mut self.scratch[leaf.range.clone()]);
        let n_left = partition(of_leaf, scratch, |row| bins.of(row), &question.left_bins);
        let middle = leaf.range.start + n_left;
        let [left, right] = [leaf.range.start..middle, middle..leaf.range.end];
        let Some(mut larger) = leaf.histogram.filter(|_| self.keep_histograms && !is_last) else {
            return [left, right].map(|range| Leaf { range, histogram: None });
        };
        let left_is_smaller = left.len() <= right.len();
        let smaller = if left_is_smaller { &left } else { &right };
        let counted = self.layout.histogram(&rows[smaller.clone()], &self.derived);
        larger.subtract(&counted);
        let (of_left, of_right) = if left_is_smaller { (counted, larger) } else { (larger, counted) };
        [Leaf { range: left, histogram: Some(of_left) }, Leaf { range: right, histogram: Some(of_right) }]
    }
}

/// What the questions to one column save, summed over the leaves of a level.
struct Scores {
    is_set: bool,
    n_value_bins: usize,
    l2: f64,
    /// Twice the loss saved. Of a set of categories: by each bin against the rest. Else: by the border after each bin, with
    /// missing values on its right and on its left.
    saved: Vec<[f64; 2]>,
    /// Rows of each bin.
    n_rows: Vec<u32>,
}

/// Turns twice the loss saved into a noisy score, or nothing where it is too little.
type Noisy<'a> = &'a mut dyn FnMut(f64) -> Option<f64>;

impl Scores {
    fn new(column: &BinnedColumn, l2: f64) -> Self {
        let is_set = matches!(column.kind, BinKind::Categories { .. });
        Self {
            is_set,
            n_value_bins: column.n_value_bins(),
            l2,
            saved: vec![[0.0; 2]; column.n_bins()],
            n_rows: vec![0; column.n_bins()],
        }
    }

    /// Adds a leaf by its histogram and the sums of its rows.
    fn add(&mut self, histogram: &[Sums; 256], all: &Sums) {
        self.n_rows.iter_mut().zip(histogram).for_each(|(n_rows, bin)| *n_rows += bin.n_rows);
        let l2 = self.l2;
        if self.is_set {
            self.saved.iter_mut().zip(histogram).for_each(|(saved, bin)| saved[0] += saved_by(bin, all, l2));
            return;
        }
        let missing = histogram[self.n_value_bins];
        let of = |below: &Sums| {
            let right = saved_by(below, all, l2);
            let mut with_missing = *below;
            with_missing += missing;
            [right, if missing.n_rows > 0 { saved_by(&with_missing, all, l2) } else { right }]
        };
        let mut below = Sums::default();
        let mut so_far = of(&below);
        for (saved, &bin) in self.saved[..self.n_value_bins].iter_mut().zip(histogram) {
            if bin.n_rows > 0 {
                below += bin;
                so_far = of(&below);
            }
            saved[0] += so_far[0];
            saved[1] += so_far[1];
        }
    }

    /// The largest noisy score, and what goes left.
    fn best(&self, noisy: Noisy) -> Option<(f64, BinSet)> {
        if self.is_set { self.best_bin(noisy) } else { self.best_border(noisy) }
    }

    /// Bins below a border go left; missing values to either side, and without an example to the larger.
    fn best_border(&self, noisy: Noisy) -> Option<(f64, BinSet)> {
        let missing = self.n_value_bins;
        let has_missing = self.n_rows[missing] > 0;
        let sides = if has_missing { &[false, true][..] } else { &[false] };
        let mut best: Option<(f64, usize, bool)> = None;
        // After an empty bin the border is the one before it.
        for place in (0..missing).filter(|&place| self.n_rows[place] > 0) {
            for &missing_left in sides {
                let Some(score) = noisy(self.saved[place][usize::from(missing_left)]) else { continue };
                if best.is_none_or(|best| score > best.0) {
                    best = Some((score, place + 1, missing_left));
                }
            }
        }
        let (score, border, missing_left) = best?;
        let n_rows = |bins: Range<usize>| -> u32 { self.n_rows[bins].iter().sum() };
        let mut left_bins = BinSet::default();
        (0..border).for_each(|bin| left_bins.insert(bin));
        if missing_left || (!has_missing && n_rows(0..border) >= n_rows(border..missing)) {
            left_bins.insert(missing);
        }
        Some((score, left_bins))
    }

    /// One category, or missing, against the rest; categories never seen go with "other".
    fn best_bin(&self, noisy: Noisy) -> Option<(f64, BinSet)> {
        let scored = self.saved.iter().enumerate().filter_map(|(bin, saved)| Some((noisy(saved[0])?, bin)));
        let (score, bin) = scored.reduce(|best, next| if next.0 > best.0 { next } else { best })?;
        let other = self.n_value_bins - 1;
        let mut left_bins = BinSet::default();
        if bin == other {
            // A question cannot name the categories that share the bin: it names all others.
            (0..=self.n_value_bins).filter(|&bin| bin != other).for_each(|bin| left_bins.insert(bin));
        } else {
            left_bins.insert(bin);
        }
        Some((score, left_bins))
    }
}

/// Twice the loss that a leaf saves once `left` goes left.
fn saved_by(left: &Sums, all: &Sums, l2: f64) -> f64 {
    let right = all.gradient - left.gradient;
    let left_curvature = (left.hessian + l2).max(TINY);
    let right_curvature = (all.hessian - left.hessian + l2).max(TINY);
    // One division for both sides.
    (left.gradient * left.gradient * right_curvature + right * right * left_curvature) / (left_curvature * right_curvature)
}

/// The rows leaf by leaf, in their order inside each, and where each leaf starts, with the number of rows at the end.
fn by_leaf(table: &BinnedTable, questions: &[Question], rows: &[u32]) -> (Vec<u32>, Vec<usize>) {
    let leaf_of = |&row: &u32| {
        let goes_right = |question: &Question| !question.left_bins.contains(table.bin(question.column, row));
        questions.iter().fold(0, |leaf, question| leaf << 1 | usize::from(goes_right(question)))
    };
    let leaves: Vec<usize> = rows.par_iter().with_min_len(ROWS_PER_TASK).map(leaf_of).collect();
    let n_leaves = 1 << questions.len();
    let mut starts = vec![0; n_leaves + 1];
    for &leaf in &leaves {
        starts[leaf + 1] += 1;
    }
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
    value: &'a dyn Fn(Range<usize>) -> f64,
    nodes: Vec<GrownNode>,
}

impl Builder<'_> {
    /// Adds what stands below the first `level` questions for these leaves and returns its position; a side that no row reaches is
    /// left out, and its question with it.
    fn build(&mut self, level: usize, leaves: Range<usize>) -> usize {
        let (start, end) = (self.starts[leaves.start], self.starts[leaves.end]);
        let Some(question) = self.questions.get(level) else {
            self.nodes.push(GrownNode::Leaf { value: (self.value)(start..end), start, end });
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
