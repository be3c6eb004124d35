//! One run of boosting: margins of all rows, and round after round a tree that improves them.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use retain_score::{MarginModel, Node, NodeKind, Tree};

use super::bins::BinnedTable;
use super::grow::{GrownNode, GrownTree, grow};
use super::histogram::{Derived, FixedPoint, Pair};
use super::params::BoostingParams;
use super::refit::refit_to_quantile;
use super::symmetric::{Sample, grow_symmetric};
use crate::learner::Loss;

/// Rows of the table that a thread takes at a time.
const ROWS_PER_TASK: usize = 1 << 14;

/// What a run of boosting learns from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    /// The binned features.
    pub(super) table: &'a BinnedTable,
    /// The target of each row of the table.
    pub(super) targets: &'a [f64],
    /// How much each row of the table counts, above 0; none: all the same.
    pub(super) weights: Option<&'a [f64]>,
    /// The settings.
    pub(super) params: &'a BoostingParams,
    /// What is minimised.
    pub(super) loss: Loss,
}

impl Task<'_> {
    /// How much a row counts.
    pub(super) fn weight(&self, row: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[row])
    }
}

/// A model that grows by one tree a round.
#[derive(Debug)]
pub(super) struct Booster<'a> {
    task: Task<'a>,
    /// The table with categories read as statistics, in several orders of the rows that trees take by turns; none: as it is.
    statistics: Vec<BinnedTable>,
    /// Rows that train, rising.
    train: Vec<u32>,
    /// Rows whose margins are kept up to date and that teach nothing, rising.
    watched: Vec<u32>,
    /// The margin of every row of the table that trains or is watched.
    margins: Vec<f64>,
    /// The derivatives of every row of the table that the current tree is grown on.
    pairs: Vec<Pair>,
    /// Whether all leaves of a level ask the same question.
    symmetric: bool,
    rng: Xoshiro256PlusPlus,
    model: MarginModel,
}

impl<'a> Booster<'a> {
    /// Starts from `model`, which has no trees yet and gives the rows of the table these margins.
    pub(super) fn new(
        task: Task<'a>,
        (model, margins): (MarginModel, Vec<f64>),
        statistics: Vec<BinnedTable>,
        train: Vec<u32>,
        watched: Vec<u32>,
        seed: u64,
    ) -> Self {
        let pairs = vec![Pair::default(); task.table.n_rows];
        // A question to all leaves cannot keep an order in each: trees grown leaf by leaf do.
        let symmetric = task.params.symmetric && task.table.columns.iter().all(|column| column.monotone.is_none());
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        Self { task, statistics, train, watched, margins, pairs, symmetric, rng, model }
    }

    /// Adds one tree. Where no split is worth it the tree is a leaf of 0, so that rounds and trees stay the same number.
    pub(super) fn step(&mut self) {
        let statistics = std::mem::take(&mut self.statistics);
        let by_turns = self.model.trees.len() % statistics.len().max(1);
        let task = Task { table: statistics.get(by_turns).unwrap_or(self.task.table), ..self.task };
        let columns = sample_columns(&mut self.rng, task.table.columns.len(), task.params.column_share);
        if self.symmetric {
            self.step_level_by_level(&task, &columns);
        } else {
            self.step_leaf_by_leaf(&task, &columns);
        }
        self.statistics = statistics;
    }

    fn step_leaf_by_leaf(&mut self, task: &Task, columns: &[usize]) {
        let Task { table, params, loss, .. } = *task;
        let samples = params.row_share < 1.0;
        let (inside, outside) = if samples {
            sample_rows(&mut self.rng, &self.train, params.row_share)
        } else {
            (std::mem::take(&mut self.train), Vec::new())
        };
        let fixed = self.derive(&inside);
        let derived = Derived { pairs: &self.pairs, fixed };
        let grown = grow(table, params, derived, loss.step_bounds(), inside, columns);
        let rows = self.add(task, grown, &outside);
        if !samples {
            self.train = rising(rows, table.n_rows);
        }
    }

    /// Draws rows that find the questions; the values of the leaves come from all.
    fn step_level_by_level(&mut self, task: &Task, columns: &[usize]) {
        let Task { params, .. } = *task;
        let learning = self.model.trees.len() as f64 * params.learning_rate;
        let (inside, _) = sample_rows(&mut self.rng, &self.train, params.row_share);
        let train = std::mem::take(&mut self.train);
        let fixed = self.derive(&train);
        let derived = Derived { pairs: &self.pairs, fixed };
        let sample = Sample { inside, train: &train, columns, noise_left: noise_left(train.len(), learning) };
        let grown = grow_symmetric(task, derived, sample, &mut self.rng);
        self.add(task, grown, &[]);
        self.train = train;
    }

    /// Adds a tree to the margins and to the model, and gives back the rows it was grown on; `outside` are other rows that train.
    fn add(&mut self, task: &Task, mut grown: GrownTree, outside: &[u32]) -> Vec<u32> {
        if let Loss::Quantile { level } = task.loss {
            refit_to_quantile(&mut grown, task, &self.margins, level);
        }
        let covers = self.apply(task.table, &grown, outside);
        self.model.trees.push(compile(task.table, &grown, covers));
        grown.rows
    }

    /// Takes the derivatives of these rows at their margins.
    fn derive(&mut self, rows: &[u32]) -> FixedPoint {
        let Self { task, margins, pairs, .. } = self;
        let derive = |(from, pairs): (usize, &mut [Pair])| {
            let mut largest = Pair::default();
            for &row in rows_within(rows, from, pairs.len()) {
                let row = row as usize;
                let pair = task.loss.derivatives(margins[row], task.targets[row]).weighted(task.weight(row));
                largest = [largest[0].max(pair[0].abs()), largest[1].max(pair[1])];
                pairs[row - from] = pair;
            }
            largest
        };
        let tasks = (0..).step_by(ROWS_PER_TASK).zip(pairs.chunks_mut(ROWS_PER_TASK)).collect::<Vec<_>>();
        let largest = tasks.into_par_iter().map(derive).reduce(Pair::default, |a, b| [a[0].max(b[0]), a[1].max(b[1])]);
        FixedPoint::new(rows.len(), largest)
    }

    /// Adds the tree to the margins and returns how many training rows passed each node.
    fn apply(&mut self, table: &BinnedTable, grown: &GrownTree, outside: &[u32]) -> Vec<u64> {
        let Self { margins, watched, .. } = self;
        let add = |(from, margins): (usize, &mut [f64])| {
            let mut passed = vec![0; grown.nodes.len()];
            for (position, rows, value) in grown.leaves() {
                let rows = rows_within(rows, from, margins.len());
                passed[position] += rows.len() as u64;
                for &row in rows {
                    margins[row as usize - from] += value;
                }
            }
            let mut walk = |row: u32| {
                let (position, value) = grown.leaf_of(table, row);
                margins[row as usize - from] += value;
                position
            };
            for &row in rows_within(outside, from, ROWS_PER_TASK) {
                passed[walk(row)] += 1;
            }
            for &row in rows_within(watched, from, ROWS_PER_TASK) {
                walk(row);
            }
            passed
        };
        let tasks = (0..).step_by(ROWS_PER_TASK).zip(margins.chunks_mut(ROWS_PER_TASK)).collect::<Vec<_>>();
        let sum = |mut all: Vec<u64>, some: Vec<u64>| {
            all.iter_mut().zip(some).for_each(|(all, some)| *all += some);
            all
        };
        let mut covers = tasks.into_par_iter().map(add).reduce(|| vec![0; grown.nodes.len()], sum);
        for (position, node) in grown.nodes.iter().enumerate().rev() {
            if let GrownNode::Split { left, right, .. } = *node {
                covers[position] = covers[left] + covers[right];
            }
        }
        covers
    }

    /// The summed loss of the watched rows.
    pub(super) fn watched_loss(&self) -> f64 {
        let Self { task, margins, .. } = self;
        let loss = |&row: &u32| {
            let row = row as usize;
            task.weight(row) * task.loss.value(margins[row], task.targets[row])
        };
        // Parts of fixed size, added in their order: the number of threads does not change the sum.
        let parts: Vec<f64> = self.watched.par_chunks(ROWS_PER_TASK).map(|rows| rows.iter().map(loss).sum()).collect();
        parts.iter().sum()
    }

    /// The model after so many rounds, without the trees that say nothing.
    pub(super) fn into_model(self, rounds: usize) -> MarginModel {
        let mut model = self.model;
        model.trees.truncate(rounds);
        model.trees.retain(|tree| tree.nodes.len() > 1);
        model
    }

    /// The running margin of each row of the table.
    #[cfg(test)]
    pub(super) fn margins(&self) -> &[f64] {
        &self.margins
    }
}

/// The share of the noise on scores that is left after so much learning (rounds × learning rate): about one until learning comes
/// near the logarithm of the number of rows, then falling like its exponential.
fn noise_left(n_rows: usize, learning: f64) -> f64 {
    let left = n_rows as f64 * libm::exp(-learning);
    left / (1.0 + left)
}

/// Distinct rows of a table, put in rising order where they are: a tree has mixed them, and a copy would cost memory.
fn rising(mut rows: Vec<u32>, n_rows: usize) -> Vec<u32> {
    let mut seen = vec![0u64; n_rows.div_ceil(64)];
    for &row in &rows {
        seen[row as usize / 64] |= 1 << (row % 64);
    }
    rows.clear();
    for (from, mut bits) in (0..).step_by(64).zip(seen) {
        while bits != 0 {
            rows.push(from + bits.trailing_zeros());
            bits &= bits - 1;
        }
    }
    rows
}

/// Those of the rising rows that lie in `from..from + n_rows`.
fn rows_within(rows: &[u32], from: usize, n_rows: usize) -> &[u32] {
    let first_from = |limit: usize| rows.partition_point(|&row| (row as usize) < limit);
    &rows[first_from(from)..first_from(from + n_rows)]
}

/// The tree in the form that scores.
fn compile(table: &BinnedTable, grown: &GrownTree, covers: Vec<u64>) -> Tree {
    let node = |(node, cover): (&GrownNode, u64)| {
        let kind = match node {
            GrownNode::Leaf { value, .. } => NodeKind::Leaf { value: *value },
            GrownNode::Split { column, left_bins, left, right } => {
                let column = &table.columns[*column];
                let (test, missing_left) = column.question(left_bins);
                let (left, right) = (*left as u32, *right as u32);
                NodeKind::Split { feature_idx: column.feature_idx, test, missing_left, left, right }
            }
        };
        Node { cover: cover as f64, kind }
    };
    Tree { nodes: grown.nodes.iter().zip(covers).map(node).collect() }
}

/// A share of the rows, at least one where there are any, drawn without replacement, and the others; both in the order of `rows`.
fn sample_rows(rng: &mut Xoshiro256PlusPlus, rows: &[u32], share: f64) -> (Vec<u32>, Vec<u32>) {
    let mut wanted = ((rows.len() as f64 * share).ceil() as usize).min(rows.len());
    let (mut inside, mut outside) = (Vec::with_capacity(wanted), Vec::with_capacity(rows.len() - wanted));
    for (place, &row) in rows.iter().enumerate() {
        if rng.random_range(0..rows.len() - place) < wanted {
            inside.push(row);
            wanted -= 1;
        } else {
            outside.push(row);
        }
    }
    (inside, outside)
}

/// A share of the columns, at least one where there are any, in rising order.
fn sample_columns(rng: &mut Xoshiro256PlusPlus, n_columns: usize, share: f64) -> Vec<usize> {
    let wanted = ((n_columns as f64 * share).ceil() as usize).min(n_columns);
    let mut columns: Vec<usize> = (0..n_columns).collect();
    for place in 0..wanted {
        let other = rng.random_range(place..n_columns);
        columns.swap(place, other);
    }
    columns.truncate(wanted);
    columns.sort_unstable();
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_their_size_and_keep_the_order() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let rows: Vec<u32> = (0..1000).collect();
        let (inside, outside) = sample_rows(&mut rng, &rows, 0.7);
        assert_eq!((inside.len(), outside.len()), (700, 300));
        assert!(inside.is_sorted() && outside.is_sorted());
        let mut all = [inside, outside].concat();
        all.sort_unstable();
        assert_eq!(all, rows);
        assert_eq!(sample_rows(&mut rng, &[], 0.7), (vec![], vec![]));
        assert_eq!(sample_columns(&mut rng, 7, 0.5).len(), 4);
        assert_eq!(sample_columns(&mut rng, 7, 1.0), [0, 1, 2, 3, 4, 5, 6]);
        assert!(sample_columns(&mut rng, 0, 0.5).is_empty());
    }

    #[test]
    fn every_row_is_drawn_about_equally_often() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
        let mut drawn = [0u32; 10];
        for _ in 0..2000 {
            sample_rows(&mut rng, &(0..10).collect::<Vec<_>>(), 0.5).0.iter().for_each(|&row| drawn[row as usize] += 1);
        }
        // Five standard deviations around 1000.
        assert!(drawn.iter().all(|&n| (888..1112).contains(&n)), "{drawn:?}");
    }
}
