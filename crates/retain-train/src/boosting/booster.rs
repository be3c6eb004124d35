//! One run of boosting: margins of all rows, and round after round a tree that improves them.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use retain_score::{MarginModel, Node, NodeKind, Tree};

use super::bins::BinnedTable;
use super::grow::{GrownNode, GrownTree, grow};
use super::loss::Derivatives;
use super::params::BoostingParams;
use super::symmetric::{Sample, grow_symmetric};
use crate::learner::Loss;

/// Rows that a thread takes at a time.
const ROWS_PER_TASK: usize = 4096;

/// What a run of boosting learns from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    /// The binned features.
    pub(super) table: &'a BinnedTable,
    /// The target of each row of the table.
    pub(super) targets: &'a [f64],
    /// The settings.
    pub(super) params: &'a BoostingParams,
    /// What is minimised.
    pub(super) loss: Loss,
}

/// A model that grows by one tree a round.
#[derive(Debug)]
pub(super) struct Booster<'a> {
    task: Task<'a>,
    /// The binned table, by turns: categories are read in several orders of the rows.
    tables: Vec<Arc<BinnedTable>>,
    /// Rows that train.
    train: Vec<u32>,
    /// Rows whose margins are kept up to date and that teach nothing.
    watched: Vec<u32>,
    /// The margin of every row of the table that trains or is watched.
    margins: Vec<f64>,
    derivatives: Vec<Derivatives>,
    /// Whether some column's order has to be kept, which trees grown leaf by leaf can.
    has_order: bool,
    rng: Xoshiro256PlusPlus,
    model: MarginModel,
}

impl<'a> Booster<'a> {
    /// Starts from `model`, which has no trees yet and gives the rows of the table these margins.
    pub(super) fn new(
        task: Task<'a>,
        (model, margins): (MarginModel, Vec<f64>),
        tables: Vec<Arc<BinnedTable>>,
        train: Vec<u32>,
        watched: Vec<u32>,
        seed: u64,
    ) -> Self {
        let derivatives = vec![Derivatives::default(); task.table.n_rows];
        let has_order = task.table.columns.iter().any(|column| column.monotone.is_some());
        Self {
            task,
            has_order,
            tables,
            train,
            watched,
            margins,
            derivatives,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            model,
        }
    }

    /// Adds one tree. Where no split is worth it the tree is a leaf of 0, so that rounds and trees stay the same number.
    pub(super) fn step(&mut self) {
        let params = self.task.params;
        let round = self.model.trees.len();
        let table = Arc::clone(&self.tables[round % self.tables.len()]);
        let (inside, outside) = sample_rows(&mut self.rng, &self.train, params.row_share);
        let columns = sample_columns(&mut self.rng, table.columns.len(), params.column_share);
        if params.symmetric && !self.has_order {
            let learning = round as f64 * params.learning_rate;
            // The leaf values of a symmetric tree come from all rows.
            let train = std::mem::take(&mut self.train);
            self.derive(&train);
            let sample = Sample {
                table: &table,
                params,
                derivatives: &self.derivatives,
                inside,
                train: &train,
                columns: &columns,
                noise_left: noise_left(train.len(), learning),
            };
            let grown = grow_symmetric(sample, &mut self.rng);
            self.train = train;
            self.add(&table, &grown, &[]);
        } else {
            self.derive(&inside);
            let grown = grow(&table, params, &self.derivatives, inside, &columns);
            self.add(&table, &grown, &outside);
        }
    }

    /// Brings the derivatives of these rows up to date.
    fn derive(&mut self, rows: &[u32]) {
        let Task { targets, loss, .. } = self.task;
        let derive = |&row: &u32| loss.derivatives(self.margins[row as usize], targets[row as usize]);
        let derived: Vec<Derivatives> = rows.par_iter().with_min_len(ROWS_PER_TASK).map(derive).collect();
        rows.iter().zip(derived).for_each(|(&row, derivatives)| self.derivatives[row as usize] = derivatives);
    }

    /// Adds the tree to the margins and to the model.
    fn add(&mut self, table: &BinnedTable, grown: &GrownTree, outside: &[u32]) {
        let covers = self.apply(table, grown, outside);
        self.model.trees.push(compile(table, grown, covers));
    }

    /// Adds the tree to the margins and returns how many training rows passed each node.
    fn apply(&mut self, table: &BinnedTable, grown: &GrownTree, outside: &[u32]) -> Vec<u64> {
        let mut covers = vec![0; grown.nodes.len()];
        for (position, node) in grown.nodes.iter().enumerate() {
            if let GrownNode::Leaf { value, start, end } = *node {
                covers[position] = (end - start) as u64;
                grown.rows[start..end].iter().for_each(|&row| self.margins[row as usize] += value);
            }
        }
        for position in add_to_margins(table, grown, outside, &mut self.margins) {
            covers[position] += 1;
        }
        add_to_margins(table, grown, &self.watched, &mut self.margins);
        for (position, node) in grown.nodes.iter().enumerate().rev() {
            if let GrownNode::Split { left, right, .. } = *node {
                covers[position] = covers[left] + covers[right];
            }
        }
        covers
    }

    /// The summed loss of the watched rows.
    pub(super) fn watched_loss(&self) -> f64 {
        let Task { targets, loss, .. } = self.task;
        self.watched.iter().map(|&row| loss.value(self.margins[row as usize], targets[row as usize])).sum()
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

/// The share of the noise on scores that is left after so much learning (rounds × learning rate): about one until learning comes near
/// the logarithm of the number of rows, then falling like its exponential.
fn noise_left(n_rows: usize, learning: f64) -> f64 {
    let left = n_rows as f64 * libm::exp(-learning);
    left / (1.0 + left)
}

/// Adds the tree's values to the margins of these rows and returns the position of each row's leaf.
fn add_to_margins(table: &BinnedTable, grown: &GrownTree, rows: &[u32], margins: &mut [f64]) -> Vec<usize> {
    let leaf_of = |&row: &u32| grown.leaf_of(table, row);
    let leaves: Vec<usize> = rows.par_iter().with_min_len(ROWS_PER_TASK).map(leaf_of).collect();
    for (&row, &position) in rows.iter().zip(&leaves) {
        if let GrownNode::Leaf { value, .. } = grown.nodes[position] {
            margins[row as usize] += value;
        }
    }
    leaves
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
    if wanted == rows.len() {
        return (rows.to_vec(), Vec::new());
    }
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
