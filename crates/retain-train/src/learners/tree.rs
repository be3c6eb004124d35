//! One decision tree that a person can read, with linfa-trees as its split finder.
//!
//! The package's own trees do not serve: it throws leaf frequencies away, prunes siblings with the same label, loses cuts below
//! the root where values tie, takes values closer than 1e-5 for equal, aborts on NaN, and ties depend on hash order. So each
//! node asks it for a single split of that node's own rows, on columns coded by rank, and growing, counting and leaf values
//! are ours. Weights give both classes the same total in whole numbers that 32-bit floats add exactly: sums do not depend on
//! their order, and the two sides of a useful split never get the same label, which the package would merge.

use linfa::DatasetBase;
use linfa::prelude::ParamGuard;
use linfa::traits::Fit;
use linfa_trees::{DecisionTree, SplitQuality};
use ndarray::{Array1, Array2, ShapeBuilder};
use rayon::prelude::*;
use retain_data::Dataset;
use retain_score::MarginModel;

use super::rows;
use super::split_columns::{GrownNode, GrownSplit, SplitColumn, compile, most_columns, split_columns};
use crate::learner::{Configuration, FitContext, FitError, Learner, Loss};

/// Cells (rows × columns) that a fit may have; a larger table is thinned to a stratified sample of its rows. The package needs
/// about 50 ns per cell and level.
const MAX_CELLS: usize = 8_000_000;

/// Rows' worth of the parent's rate mixed into a node's.
const SMOOTHING_ROWS: f64 = 10.0;

/// Total weight of each class at a node: two of them are the largest whole number up to which a 32-bit float counts exactly.
const CLASS_WEIGHT: u32 = 1 << 23;

/// Fall of the Gini impurity, with both classes weighing the same, below which a split is noise of 32-bit arithmetic.
const MIN_IMPURITY_DECREASE: f64 = 1e-6;

/// A single tree; configurations are `depth`, the most questions on a path, and `min_leaf`, the least weight of a leaf.
///
/// A leaf's weight counts both classes alike: as much as `min_leaf` rows of a balanced table, which is fewer rows where the
/// rarer class prevails. Leaves hold log-odds of class frequencies, each node's shrunk toward its parent's by
/// ten rows. Beyond 8 million cells (rows × columns) the fit sees a random sample of the rows, stratified by label.
///
/// # Source
/// The m-estimate: Cestnik (1990), here with the parent's rate as prior.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadableTree;

impl Learner for ReadableTree {
    fn name(&self) -> &'static str {
        "tree"
    }

    fn configurations(&self, _dataset: &Dataset, _loss: Loss) -> Vec<Configuration> {
        let of =
            |depth: u8| [60.0, 20.0].map(|min_leaf| Configuration::new(&[("depth", f64::from(depth)), ("min_leaf", min_leaf)]));
        (3..=8).flat_map(of).collect()
    }

    fn fit(
        &self,
        dataset: &Dataset,
        row_idxs: &[usize],
        configurations: &[Configuration],
        context: &FitContext,
    ) -> Result<Vec<MarginModel>, FitError> {
        rows::refuse_weights(dataset, self.name())?;
        rows::require_both_classes(dataset, row_idxs)?;
        let row_idxs = rows::thinned(dataset, row_idxs, (MAX_CELLS / most_columns(&dataset.schema)).max(2_000), context.seed);
        let columns = split_columns(dataset, &row_idxs);
        let positive: Vec<bool> = row_idxs.iter().map(|&row_idx| rows::is_positive(dataset, row_idx)).collect();
        // A tree grown to the largest depth contains those of smaller depth.
        let sizes = sizes(configurations);
        let grown = sizes
            .par_iter()
            .map(|&(min_leaf, depth)| {
                Grower { columns: &columns, positive: &positive, min_leaf, depth, context, nodes: Vec::new() }.grow_all()
            })
            .collect::<Result<Vec<_>, FitError>>()?;
        Ok(configurations
            .iter()
            .map(|configuration| {
                let (min_leaf, depth) = size(configuration);
                let position = sizes.iter().position(|(known, _)| *known == min_leaf).unwrap_or(0);
                let tree = compile(&grown[position], &columns, row_idxs.len(), depth, log_odds);
                MarginModel { intercept: 0.0, terms: Vec::new(), trees: vec![tree] }
            })
            .collect())
    }
}

fn log_odds(rate: f64) -> f64 {
    libm::log(rate / (1.0 - rate))
}

/// The least leaf weight, in rows, and the depth of a configuration.
fn size(configuration: &Configuration) -> (usize, usize) {
    let whole = |name: &str, otherwise: f64| configuration.get(name).unwrap_or(otherwise);
    (whole("min_leaf", 20.0).clamp(1.0, 1e9) as usize, whole("depth", 6.0).clamp(0.0, 16.0) as usize)
}

/// Each least leaf weight with its largest depth.
fn sizes(configurations: &[Configuration]) -> Vec<(usize, usize)> {
    let mut sizes: Vec<(usize, usize)> = configurations.iter().map(size).collect();
    sizes.sort_unstable_by_key(|&(min_leaf, depth)| (min_leaf, usize::MAX - depth));
    sizes.dedup_by_key(|(min_leaf, _)| *min_leaf);
    sizes
}

struct Grower<'a> {
    columns: &'a [SplitColumn],
    positive: &'a [bool],
    min_leaf: usize,
    depth: usize,
    context: &'a FitContext,
    nodes: Vec<GrownNode>,
}

impl Grower<'_> {
    fn grow_all(mut self) -> Result<Vec<GrownNode>, FitError> {
        let all: Vec<usize> = (0..self.positive.len()).collect();
        let rate = self.n_positives(&all) as f64 / all.len() as f64;
        self.grow(&all, rate, 0)?;
        Ok(self.nodes)
    }

    fn n_positives(&self, rows: &[usize]) -> usize {
        rows.iter().filter(|&&row| self.positive[row]).count()
    }

    /// Adds the node of these rows and all below it; returns its position.
    fn grow(&mut self, rows: &[usize], parent_rate: f64, depth: usize) -> Result<usize, FitError> {
        self.context.check_time()?;
        let n_positives = self.n_positives(rows);
        let rate = (n_positives as f64 + SMOOTHING_ROWS * parent_rate) / (rows.len() as f64 + SMOOTHING_ROWS);
        let position = self.nodes.len();
        self.nodes.push(GrownNode { value: rate, split: None });
        if depth == self.depth || n_positives == 0 || n_positives == rows.len() || rows.len() < 2 {
            return Ok(position);
        }
        if let Some((column, at)) = self.find_split(rows, n_positives)? {
            let codes = &self.columns[column].codes;
            let (small, large): (Vec<usize>, Vec<usize>) = rows.iter().partition(|&&row| codes[row] <= at);
            let (small, large) = (self.grow(&small, rate, depth + 1)?, self.grow(&large, rate, depth + 1)?);
            self.nodes[position].split = Some(GrownSplit { column, at, small, large });
        }
        Ok(position)
    }

    /// The best single split of the rows, if there is one worth having.
    fn find_split(&self, rows: &[usize], n_positives: usize) -> Result<Option<(usize, f64)>, FitError> {
        let varies = |column: &SplitColumn| rows.iter().any(|&row| column.codes[row] != column.codes[rows[0]]);
        let varying: Vec<usize> = (0..self.columns.len()).filter(|&column| varies(&self.columns[column])).collect();
        if varying.is_empty() {
            return Ok(None);
        }
        let mut records = Array2::zeros((rows.len(), varying.len()).f());
        for (mut to, &column) in records.columns_mut().into_iter().zip(&varying) {
            to.iter_mut().zip(rows).for_each(|(to, &row)| *to = self.columns[column].codes[row]);
        }
        let targets: Array1<bool> = rows.iter().map(|&row| self.positive[row]).collect();
        let weights = balanced_weights(&targets, n_positives);
        let package = |error: linfa::Error| FitError::Package { package: "linfa-trees", message: error.to_string() };
        let params = DecisionTree::params()
            .split_quality(SplitQuality::Gini)
            .max_depth(Some(1))
            .min_weight_leaf((2.0 * f64::from(CLASS_WEIGHT) * self.min_leaf as f64 / rows.len() as f64) as f32)
            .min_impurity_decrease(MIN_IMPURITY_DECREASE)
            .check()
            .map_err(package)?;
        let stump = params.fit(&DatasetBase::new(records, targets).with_weights(weights)).map_err(package)?;
        let root = stump.root_node();
        Ok((!root.is_leaf()).then(|| root.split()).map(|(column, at, _)| (varying[column], at)))
    }
}

/// Whole weights that add up to [`CLASS_WEIGHT`] in each class; the first rows of a class carry what does not divide.
fn balanced_weights(targets: &Array1<bool>, n_positives: usize) -> Array1<f32> {
    let share = |n: usize| (CLASS_WEIGHT / n as u32, CLASS_WEIGHT % n as u32);
    let mut shares = [share(targets.len() - n_positives), share(n_positives)];
    targets.mapv(|positive| {
        let (each, rest) = &mut shares[usize::from(positive)];
        let extra = (*rest).min(1);
        *rest -= extra;
        (*each + extra) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learners::rows::tests::example;
    use crate::learners::split_columns::tests::check_structure;

    const CONTEXT: FitContext = FitContext { loss: Loss::Logistic, seed: 1, deadline: None, gap_days: None };

    fn fit(table: &Dataset, rows: &[usize]) -> Vec<MarginModel> {
        ReadableTree.fit(table, rows, &ReadableTree.configurations(table, Loss::Logistic), &CONTEXT).unwrap()
    }

    #[test]
    fn twenty_fits_give_the_same_bits() {
        let table = example(900, 20);
        let rows: Vec<usize> = (0..900).collect();
        let first = fit(&table, &rows);
        for _ in 0..19 {
            assert_eq!(fit(&table, &rows), first);
        }
    }

    #[test]
    fn deeper_trees_have_more_leaves_and_every_tree_is_sound() {
        let table = example(2000, 21);
        let models = fit(&table, &(0..2000).collect::<Vec<_>>());
        let leaves: Vec<usize> = models.iter().map(|model| model.trees[0].n_leaves()).collect();
        assert!(leaves[11] > leaves[1] && leaves[1] > 4, "{leaves:?}");
        for model in &models {
            check_structure(&model.trees[0]);
        }
    }

    #[test]
    fn a_cut_inside_tied_values_below_the_root_is_found() {
        // The left half is decided by a flag, the right half is all of one class: two questions separate everything.
        let mut table = example(400, 22);
        table.columns[0] = (0..400).map(|row| f64::from(u8::from(row >= 200))).collect();
        table.columns[1] = vec![0.0; 400];
        table.columns[2] = vec![0.0; 400];
        table.columns[3] = (0..400).map(|row| f64::from(u8::from(row % 2 == 0))).collect();
        table.target = (0..400).map(|row| f64::from(u8::from(row < 200 && row % 2 == 0))).collect();
        let model = &fit(&table, &(0..400).collect::<Vec<_>>())[0];
        assert_eq!(model.trees[0].n_leaves(), 3);
        for (row, &label) in table.all_rows().in_order().zip(&table.target) {
            assert_eq!(model.margin(row) > 0.0, label == 1.0);
        }
    }

    #[test]
    fn values_a_millionth_apart_are_separated() {
        let mut table = example(200, 23);
        table.columns = vec![(0..200).map(|row| f64::from(row) * 1e-6).collect(), vec![0.0; 200], vec![0.0; 200], vec![0.0; 200]];
        table.target = (0..200).map(|row| f64::from(u8::from(row >= 100))).collect();
        let model = &fit(&table, &(0..200).collect::<Vec<_>>())[0];
        for (row, &label) in table.all_rows().in_order().zip(&table.target) {
            assert_eq!(model.margin(row) > 0.0, label == 1.0);
        }
    }

    #[test]
    fn a_leaf_is_its_frequency_shrunk_toward_its_parents() {
        let mut table = example(100, 24);
        table.columns =
            vec![(0..100).map(|row| f64::from(u8::from(row < 50))).collect(), vec![0.0; 100], vec![0.0; 100], vec![0.0; 100]];
        table.target = (0..100).map(|row| f64::from(u8::from(row < 40))).collect();
        let model = &fit(&table, &(0..100).collect::<Vec<_>>())[1];
        let rate = (40.0 + SMOOTHING_ROWS * 0.4) / (50.0 + SMOOTHING_ROWS);
        assert!((model.margin(&[1.0, 0.0, 0.0, 0.0]) - (rate / (1.0 - rate)).ln()).abs() < 1e-12);
    }

    #[test]
    fn class_weights_add_up_exactly() {
        let targets: Array1<bool> = (0..12_345).map(|row| row % 7 == 0).collect();
        let weights = balanced_weights(&targets, targets.iter().filter(|&&positive| positive).count());
        for class in [false, true] {
            let total: f32 =
                weights.iter().zip(&targets).filter(|(_, target)| **target == class).map(|(weight, _)| *weight).sum();
            assert_eq!(total, CLASS_WEIGHT as f32);
        }
    }

    #[test]
    fn a_table_of_constants_gives_one_leaf() {
        let mut table = example(60, 25);
        table.columns.iter_mut().for_each(|column| column.fill(f64::NAN));
        assert_eq!(fit(&table, &(0..60).collect::<Vec<_>>())[0].trees[0].n_leaves(), 1);
    }
}
