//! Why a margin is what it is: one contribution per feature, in log-odds.
//!
//! Terms contribute their value less their mean over the training rows. Trees contribute exact Shapley values of the
//! path-dependent value function (Lundberg et al., "From local explanations to global understanding with explainable AI for
//! trees", 2020, algorithm 2): a feature outside the coalition sends the row down both sides in proportion to the training
//! rows. `base_margin + Σ contributions = margin` up to rounding.

use crate::engine::Engine;

/// Contributions of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Log-odds before calibration.
    pub margin: f64,
    /// Mean margin over the training rows.
    pub base_margin: f64,
    /// What each feature adds to the base margin, in schema order.
    pub contributions: Vec<f64>,
}

/// A feature on the path from the root, with the shares of coalitions that flow through it.
#[derive(Debug, Clone, Copy, Default)]
struct PathStep {
    feature_idx: usize,
    /// Share of training rows that take this turn when the feature is outside the coalition.
    zero: f64,
    /// 1 when the row takes this turn, else 0.
    one: f64,
    /// Weight of coalitions of this size.
    weight: f64,
}

/// The feature of the path's first step, which stands for no feature.
const NO_FEATURE: usize = usize::MAX;

impl Explanation {
    /// The `k` features with the largest contributions, positive or negative, largest first; equal ones in schema order.
    pub fn top(&self, k: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.contributions.len()).collect();
        order.sort_by(|&a, &b| self.contributions[b].abs().total_cmp(&self.contributions[a].abs()).then(a.cmp(&b)));
        order.truncate(k);
        order
    }
}

impl Engine {
    /// Explains one encoded row.
    ///
    /// # Panics
    /// When `row` does not have `n_features` numbers.
    pub fn explain(&self, row: &[f64]) -> Explanation {
        let mut contributions = vec![0.0; self.n_features];
        for term in &self.terms {
            let feature_idx = term.feature_idx as usize;
            contributions[feature_idx] += term.shape.value(row[feature_idx]) - term.mean;
        }
        let deepest = self.flat.trees.iter().map(|tree| tree.depth as usize).max().unwrap_or(0);
        let mut shap =
            TreeShap { engine: self, row, contributions, path: vec![PathStep::default(); (deepest + 2) * (deepest + 3) / 2] };
        for tree in &self.flat.trees {
            shap.descend(tree.root, 0, 0, PathStep { feature_idx: NO_FEATURE, zero: 1.0, one: 1.0, weight: 0.0 });
        }
        Explanation { margin: self.margin(row), base_margin: self.base_margin, contributions: shap.contributions }
    }
}

struct TreeShap<'a> {
    engine: &'a Engine,
    row: &'a [f64],
    contributions: Vec<f64>,
    /// One path per level, each a step longer than the one above it, laid one after another.
    path: Vec<PathStep>,
}

impl TreeShap<'_> {
    /// Visits a node whose path, without `step`, stands at `start` with `length` steps.
    fn descend(&mut self, position: u32, start: usize, length: usize, step: PathStep) {
        extend(&mut self.path[start..=start + length], step);
        let mut length = length + 1;
        let node = self.engine.flat.nodes[position as usize];
        if node.is_leaf() {
            return self.credit(start, length, node.leaf_value());
        }
        let feature_idx = node.feature_idx();
        let mut before = PathStep { feature_idx, zero: 1.0, one: 1.0, weight: 0.0 };
        // A feature asked before is taken off the path: its turns multiply into one step.
        if let Some(again) = self.path[start + 1..start + length].iter().position(|earlier| earlier.feature_idx == feature_idx) {
            before = self.path[start + 1 + again];
            unwind(&mut self.path[start..start + length], again + 1);
            length -= 1;
        }
        let (left, right) = (node.left, node.left + 1);
        let goes_left = self.engine.flat.goes_left(node, self.row);
        let covers = &self.engine.flat.covers;
        let total = covers[left as usize] + covers[right as usize];
        for (child, taken) in [(left, goes_left), (right, !goes_left)] {
            let zero = before.zero * (covers[child as usize] / total);
            let one = if taken { before.one } else { 0.0 };
            let below = start + length;
            self.path.copy_within(start..start + length, below);
            self.descend(child, below, length, PathStep { feature_idx, zero, one, weight: 0.0 });
        }
    }

    fn credit(&mut self, start: usize, length: usize, leaf_value: f64) {
        let path = &self.path[start..start + length];
        for position in 1..length {
            let step = path[position];
            self.contributions[step.feature_idx] += unwound_sum(path, position) * (step.one - step.zero) * leaf_value;
        }
    }
}

/// Adds a step at the end of `path`, whose last place is free, and updates the weights of coalitions of every size.
fn extend(path: &mut [PathStep], step: PathStep) {
    let last = path.len() - 1;
    let size = path.len() as f64;
    path[last] = PathStep { weight: if last == 0 { 1.0 } else { 0.0 }, ..step };
    for position in (0..last).rev() {
        let weight = path[position].weight;
        path[position + 1].weight += step.one * weight * (position + 1) as f64 / size;
        path[position].weight = step.zero * weight * (last - position) as f64 / size;
    }
}

/// Takes the step at `position` out again; the last place of `path` is free afterwards.
fn unwind(path: &mut [PathStep], position: usize) {
    let last = path.len() - 1;
    let size = path.len() as f64;
    let PathStep { zero, one, .. } = path[position];
    let mut next = path[last].weight;
    for i in (0..last).rev() {
        if one == 0.0 {
            path[i].weight = path[i].weight * size / (zero * (last - i) as f64);
        } else {
            let weight = path[i].weight;
            path[i].weight = next * size / ((i + 1) as f64 * one);
            next = weight - path[i].weight * zero * (last - i) as f64 / size;
        }
    }
    for i in position..last {
        let PathStep { feature_idx, zero, one, .. } = path[i + 1];
        path[i] = PathStep { feature_idx, zero, one, weight: path[i].weight };
    }
}

/// Sum of the weights that [`unwind`] would leave, without changing the path.
fn unwound_sum(path: &[PathStep], position: usize) -> f64 {
    let last = path.len() - 1;
    let size = path.len() as f64;
    let PathStep { zero, one, .. } = path[position];
    let mut next = path[last].weight;
    let mut total = 0.0;
    for i in (0..last).rev() {
        if one == 0.0 {
            total += path[i].weight * size / (zero * (last - i) as f64);
        } else {
            let weight = next * size / ((i + 1) as f64 * one);
            total += weight;
            next = path[i].weight - weight * zero * (last - i) as f64 / size;
        }
    }
    total
}
