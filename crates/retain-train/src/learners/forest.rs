//! Random forest with smartcore's regressor on labels of 0 and 1, whose mean is a probability.
//!
//! The package's classifier votes with hard labels and its trees are private, so the regressor is fitted and read through its
//! serialised form, whose layout [`SerializedForest`] mirrors field by field; the version is pinned, and a golden file in the
//! tests fails when the layout moves. Trees have to add up in log-odds: every leaf's frequency becomes log-odds, and a logistic
//! regression of the label on their out-of-bag mean gives the slope and intercept that are folded into the leaves. The slope on
//! the plain mean of probabilities was worse: out-of-fold log loss 0.4211 against 0.4137 on IBM's telco sample.

use ndarray::{Array1, Array2};
use rayon::prelude::*;
use retain_data::Dataset;
use retain_score::{MarginModel, Tree};
use serde::Deserialize;
use smartcore::ensemble::random_forest_regressor::{RandomForestRegressor, RandomForestRegressorParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;

use super::logistic::solve;
use super::rows;
use super::split_columns::{GrownNode, GrownSplit, SplitColumn, compile, most_columns, split_columns};
use crate::learner::{Configuration, FitContext, FitError, Learner, Loss};

/// Cells (rows × columns) that a fit may have; a larger table is thinned to a stratified sample of its rows. A
/// configuration took 2 to 5 CPU seconds per million cells.
const MAX_CELLS: usize = 1_400_000;

const N_TREES: usize = 100;

/// Most questions on a path. The package counts the root as the first level, so it is told one more.
const MAX_DEPTH: u16 = 12;

/// Weight of the base rate mixed into a leaf's frequency, which weighs 1: a leaf of one class has finite log-odds. From 0.02 to 0.4
/// the out-of-fold log loss on three churn tables rose by at most 0.003.
const LEAF_SMOOTHING: f64 = 0.02;

/// The penalty on the one slope of the map to log-odds: next to none, only that it stays finite.
const SLOPE_PENALTY: f64 = 1e-3;

type PackageForest = RandomForestRegressor<f64, f64, DenseMatrix<f64>, Vec<f64>>;

/// A forest of 100 trees; configurations are `min_leaf`, the least rows of a leaf, and `features`, the share of columns
/// that each question may choose from.
///
/// Beyond 1.4 million cells (rows × columns) the fit sees a random sample of the rows, stratified by label.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forest;

impl Learner for Forest {
    fn name(&self) -> &'static str {
        "forest"
    }

    fn configurations(&self, _dataset: &Dataset, _loss: Loss) -> Vec<Configuration> {
        [(25.0, 0.2), (25.0, 0.4), (10.0, 0.4)]
            .map(|(min_leaf, features)| Configuration::new(&[("min_leaf", min_leaf), ("features", features)]))
            .to_vec()
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
        let table = Table::new(dataset, &row_idxs)?;
        configurations
            .par_iter()
            .map(|configuration| {
                context.check_time()?;
                table.fit(configuration, context.seed)
            })
            .collect()
    }
}

/// The rows as the package takes them.
struct Table {
    columns: Vec<SplitColumn>,
    matrix: DenseMatrix<f64>,
    target: Vec<f64>,
}

impl Table {
    fn new(dataset: &Dataset, row_idxs: &[usize]) -> Result<Self, FitError> {
        let columns = split_columns(dataset, row_idxs);
        let cells = columns.iter().flat_map(|column| column.codes.iter().copied()).collect();
        let matrix = DenseMatrix::new(row_idxs.len(), columns.len(), cells, true).map_err(|error| package_error(&error))?;
        Ok(Self { columns, matrix, target: row_idxs.iter().map(|&row_idx| dataset.target[row_idx]).collect() })
    }

    fn fit(&self, configuration: &Configuration, seed: u64) -> Result<MarginModel, FitError> {
        if self.columns.is_empty() {
            let (intercept, _) = log_odds_map(&[], &self.target)?;
            return Ok(MarginModel { intercept, terms: Vec::new(), trees: Vec::new() });
        }
        let forest = self.package_fit(configuration, N_TREES, seed)?;
        let grown = read_forest(&forest)?;
        let base_rate = self.target.iter().sum::<f64>() / self.target.len() as f64;
        let leaf = |frequency: f64| leaf_log_odds(frequency, base_rate);
        let (intercept, slope) = log_odds_map(&self.out_of_bag_means(&grown, leaf), &self.target)?;
        let share = slope / grown.len() as f64;
        let trees = grown.iter().map(|tree| self.compile(tree, |frequency| share * leaf(frequency))).collect();
        Ok(MarginModel { intercept, terms: Vec::new(), trees })
    }

    fn package_fit(&self, configuration: &Configuration, n_trees: usize, seed: u64) -> Result<PackageForest, FitError> {
        let n_columns = self.columns.len();
        let n_tried = (configuration.get("features").unwrap_or(0.3) * n_columns as f64).round().clamp(1.0, n_columns as f64);
        let min_leaf = configuration.get("min_leaf").unwrap_or(25.0).clamp(1.0, 1e9) as usize;
        let parameters = RandomForestRegressorParameters::default()
            .with_n_trees(n_trees)
            .with_max_depth(MAX_DEPTH + 1)
            .with_min_samples_leaf(min_leaf)
            .with_m(n_tried as usize)
            .with_keep_samples(true)
            .with_seed(seed);
        RandomForestRegressor::fit(&self.matrix, &self.target, parameters).map_err(|error| package_error(&error))
    }

    fn compile(&self, tree: &GrownTree, leaf: impl Fn(f64) -> f64) -> Tree {
        compile(&tree.nodes, &self.columns, self.target.len(), usize::from(MAX_DEPTH), leaf)
    }

    /// For each row the mean over the trees that did not learn from it; NaN where there is none.
    fn out_of_bag_means(&self, forest: &[GrownTree], leaf: impl Fn(f64) -> f64) -> Vec<f64> {
        let mean = |row: usize| {
            let unseen = forest.iter().filter(|tree| !tree.in_bag[row]);
            let (sum, n) = unseen.fold((0.0, 0.0), |(sum, n), tree| (sum + leaf(self.frequency(&tree.nodes, row)), n + 1.0));
            sum / n
        };
        (0..self.target.len()).map(mean).collect()
    }

    /// The frequency of the leaf that a row falls in.
    fn frequency(&self, nodes: &[GrownNode], row: usize) -> f64 {
        let mut node = 0;
        while let Some(split) = nodes[node].split {
            node = if self.columns[split.column].codes[row] <= split.at { split.small } else { split.large };
        }
        nodes[node].value
    }
}

fn leaf_log_odds(frequency: f64, base_rate: f64) -> f64 {
    let smoothed = (frequency + LEAF_SMOOTHING * base_rate) / (1.0 + LEAF_SMOOTHING);
    libm::log(smoothed / (1.0 - smoothed))
}

/// Intercept and slope of `log-odds ≈ intercept + slope × mean`, fitted to the rows that some tree has not seen.
fn log_odds_map(means: &[f64], target: &[f64]) -> Result<(f64, f64), FitError> {
    let known: Vec<(f64, f64)> = means.iter().copied().zip(target.iter().copied()).filter(|(mean, _)| !mean.is_nan()).collect();
    let labels: Array1<bool> = target.iter().map(|&label| label == 1.0).collect();
    let flat = || Ok((solve(&Array2::zeros((target.len(), 0)), &labels, 0.0, None)?.intercept, 0.0));
    let center = known.iter().map(|(mean, _)| mean).sum::<f64>() / known.len() as f64;
    let spread = (known.iter().map(|(mean, _)| (mean - center).powi(2)).sum::<f64>() / known.len() as f64).sqrt();
    let both = known.iter().any(|&(_, label)| label == 1.0) && known.iter().any(|&(_, label)| label != 1.0);
    if !both || spread.partial_cmp(&1e-9) != Some(std::cmp::Ordering::Greater) {
        return flat();
    }
    let column = Array2::from_shape_fn((known.len(), 1), |(row, _)| (known[row].0 - center) / spread);
    let labels_known: Array1<bool> = known.iter().map(|&(_, label)| label == 1.0).collect();
    let solution = solve(&column, &labels_known, SLOPE_PENALTY, None)?;
    let slope = solution.coefficients[0] / spread;
    // A forest that ranks unseen rows backwards has learned noise; it says the base rate and no more.
    if slope <= 0.0 { flat() } else { Ok((solution.intercept - slope * center, slope)) }
}

fn package_error(error: &smartcore::error::Failed) -> FitError {
    FitError::Package { package: "smartcore", message: error.to_string() }
}

/// How smartcore 0.7.0 writes a fitted forest, where it matters here.
#[derive(Deserialize)]
struct SerializedForest {
    forest_regressor: SerializedTrees,
}

#[derive(Deserialize)]
struct SerializedTrees {
    trees: Vec<SerializedTree>,
    /// For each tree, whether it learned from each row.
    samples: Vec<Vec<bool>>,
}

#[derive(Deserialize)]
struct SerializedTree {
    nodes: Vec<SerializedNode>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SerializedNode {
    output: f64,
    split_feature: usize,
    split_value: Option<f64>,
    #[serde(rename = "split_score")]
    _split_score: Option<f64>,
    true_child: Option<usize>,
    false_child: Option<usize>,
}

/// A tree of the package's forest.
struct GrownTree {
    nodes: Vec<GrownNode>,
    /// For each row, whether the tree learned from it.
    in_bag: Vec<bool>,
}

/// The trees of a fitted forest, read through its serialised form: some 150 bytes per node and 6 per row and tree, once.
fn read_forest(forest: &PackageForest) -> Result<Vec<GrownTree>, FitError> {
    let unread = |error: serde_json::Error| FitError::Package {
        package: "smartcore",
        message: format!("the fitted forest cannot be read: {error}"),
    };
    let text = serde_json::to_vec(forest).map_err(unread)?;
    let SerializedTrees { trees, samples } = serde_json::from_slice::<SerializedForest>(&text).map_err(unread)?.forest_regressor;
    let grown =
        |(tree, in_bag): (SerializedTree, Vec<bool>)| GrownTree { nodes: tree.nodes.iter().map(grown_node).collect(), in_bag };
    Ok(trees.into_iter().zip(samples).map(grown).collect())
}

fn grown_node(node: &SerializedNode) -> GrownNode {
    // A leaf keeps the best split that was found and not made; only the children tell.
    let split = match (node.split_value, node.true_child, node.false_child) {
        (Some(at), Some(small), Some(large)) => Some(GrownSplit { column: node.split_feature, at, small, large }),
        _ => None,
    };
    GrownNode { value: node.output, split }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learners::rows::tests::example;
    use crate::learners::split_columns::tests::check_structure;

    const CONTEXT: FitContext = FitContext { loss: Loss::Logistic, seed: 3, deadline: None, gap_days: None };

    #[test]
    fn the_compiled_mean_is_the_packages() {
        let table = example(700, 30);
        let rows: Vec<usize> = (0..700).collect();
        let prepared = Table::new(&table, &rows).unwrap();
        for configuration in Forest.configurations(&table, Loss::Logistic) {
            let forest = prepared.package_fit(&configuration, 30, 4).unwrap();
            let expected = forest.predict(&prepared.matrix).unwrap();
            let grown = read_forest(&forest).unwrap();
            let trees: Vec<Tree> = grown.iter().map(|tree| prepared.compile(tree, |frequency| frequency / 30.0)).collect();
            trees.iter().for_each(check_structure);
            assert!(trees.iter().map(Tree::n_leaves).sum::<usize>() > 4 * trees.len());
            let model = MarginModel { intercept: 0.0, terms: Vec::new(), trees };
            for (row, expected) in table.all_rows().in_order().zip(expected) {
                assert!((model.margin(row) - expected).abs() < 1e-12);
            }
            let out_of_bag = forest.predict_oob(&prepared.matrix).unwrap();
            for (found, expected) in prepared.out_of_bag_means(&grown, |frequency| frequency).iter().zip(out_of_bag) {
                assert!((found - expected).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn the_serialised_layout_is_the_one_this_file_reads() {
        let x =
            DenseMatrix::from_2d_array(&[&[0.0, 1.0], &[1.0, 0.0], &[2.0, 1.0], &[3.0, 0.0], &[4.0, 1.0], &[5.0, 0.0]]).unwrap();
        let y = vec![0.0, 0.0, 0.0, 1.0, 1.0, 1.0];
        let parameters =
            RandomForestRegressorParameters::default().with_n_trees(2).with_max_depth(3).with_keep_samples(true).with_seed(1);
        let forest: PackageForest = RandomForestRegressor::fit(&x, &y, parameters).unwrap();
        let found = serde_json::to_value(&forest).unwrap();
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/smartcore_forest_0_7_0.json")).unwrap();
        assert_eq!(
            found, golden,
            "smartcore changed how it writes a forest; compare with `SerializedForest` before updating the file"
        );
    }

    #[test]
    fn equal_seeds_give_equal_bits_whatever_the_threads() {
        let table = example(500, 31);
        let rows: Vec<usize> = (0..500).collect();
        let fit = |threads: usize, seed: u64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let context = FitContext { loss: Loss::Logistic, seed, ..CONTEXT };
            pool.install(|| Forest.fit(&table, &rows, &Forest.configurations(&table, Loss::Logistic), &context).unwrap())
        };
        let first = fit(1, 3);
        assert_eq!(first, fit(2, 3));
        assert_ne!(first, fit(2, 4));
    }

    #[test]
    fn margins_are_log_odds_of_unseen_rows() {
        let (train, test) = (example(1500, 32), example(3000, 33));
        let rows: Vec<usize> = (0..1500).collect();
        let model = Forest.fit(&train, &rows, &Forest.configurations(&train, Loss::Logistic)[..1], &CONTEXT).unwrap().remove(0);
        let predicted: f64 = test.all_rows().in_order().map(|row| retain_score::sigmoid(model.margin(row))).sum::<f64>() / 3000.0;
        assert!((predicted - test.n_positives() as f64 / 3000.0).abs() < 0.03);
        let loss = |rate: &dyn Fn(&[f64]) -> f64| -> f64 {
            test.all_rows()
                .in_order()
                .zip(&test.target)
                .map(|(row, &label)| -(if label == 1.0 { rate(row) } else { 1.0 - rate(row) }).ln())
                .sum()
        };
        let base_rate = train.n_positives() as f64 / 1500.0;
        assert!(loss(&|row| retain_score::sigmoid(model.margin(row))) < 0.9 * loss(&|_| base_rate));
    }

    #[test]
    fn noise_and_constants_give_the_base_rate() {
        let (intercept, slope) = log_odds_map(&[0.9, 0.1, 0.2, f64::NAN], &[0.0, 1.0, 1.0, 1.0]).unwrap();
        assert!(slope == 0.0 && (intercept - 3.0_f64.ln()).abs() < 1e-12);
        let mut table = example(40, 34);
        table.columns.iter_mut().for_each(|column| column.fill(2.0));
        let model = Forest
            .fit(&table, &(0..40).collect::<Vec<_>>(), &Forest.configurations(&table, Loss::Logistic), &CONTEXT)
            .unwrap()
            .remove(0);
        assert!(model.trees.is_empty() && model.intercept.is_finite());
    }
}
