//! Path-dependent Shapley values of trees by recursion over paths: the plain version of what the engine does by quadrature.
//!
//! Algorithm 2 of Lundberg et al., "From local explanations to global understanding with explainable AI for trees" (2020).

use retain_score::{NodeKind, Tree};

/// A feature on the path from the root, with the shares of coalitions that flow through it.
#[derive(Debug, Clone, Copy)]
struct PathStep {
    /// None: the path's first step, which stands for no feature.
    feature_idx: Option<usize>,
    /// Share of training rows that take this turn when the feature is outside the coalition.
    zero: f64,
    /// 1 when the row takes this turn, else 0.
    one: f64,
    /// Weight of coalitions of this size.
    weight: f64,
}

/// Adds what the tree contributes to the margin of `row`.
pub fn add_tree(tree: &Tree, row: &[f64], contributions: &mut [f64]) {
    let first = PathStep { feature_idx: None, zero: 1.0, one: 1.0, weight: 0.0 };
    descend(tree, 0, Vec::new(), first, row, contributions);
}

fn descend(tree: &Tree, position: usize, mut path: Vec<PathStep>, step: PathStep, row: &[f64], contributions: &mut [f64]) {
    extend(&mut path, step);
    match &tree.nodes[position].kind {
        NodeKind::Leaf { value } => {
            for (position, step) in path.iter().enumerate() {
                if let Some(feature_idx) = step.feature_idx {
                    let weight: f64 = unwound(&path, position).iter().map(|step| step.weight).sum();
                    contributions[feature_idx] += weight * (step.one - step.zero) * value;
                }
            }
        }
        NodeKind::Split { feature_idx, test, missing_left, left, right } => {
            let feature_idx = *feature_idx as usize;
            let again = path.iter().position(|earlier| earlier.feature_idx == Some(feature_idx));
            let (zero, one) = again.map_or((1.0, 1.0), |again| (path[again].zero, path[again].one));
            let path = again.map_or(path.clone(), |again| unwound(&path, again));
            let goes_left = test.goes_left(row[feature_idx], *missing_left);
            let (left, right) = (*left as usize, *right as usize);
            let total = tree.nodes[left].cover + tree.nodes[right].cover;
            for (child, taken) in [(left, goes_left), (right, !goes_left)] {
                let zero = zero * tree.nodes[child].cover / total;
                let step = PathStep { feature_idx: Some(feature_idx), zero, one: if taken { one } else { 0.0 }, weight: 0.0 };
                descend(tree, child, path.clone(), step, row, contributions);
            }
        }
    }
}

/// Adds a step and updates the weights of coalitions of every size.
fn extend(path: &mut Vec<PathStep>, step: PathStep) {
    let last = path.len();
    let size = (last + 1) as f64;
    path.push(PathStep { weight: if last == 0 { 1.0 } else { 0.0 }, ..step });
    for position in (0..last).rev() {
        let weight = path[position].weight;
        path[position + 1].weight += step.one * weight * (position + 1) as f64 / size;
        path[position].weight = step.zero * weight * (last - position) as f64 / size;
    }
}

/// The path without the step at `position`.
fn unwound(path: &[PathStep], position: usize) -> Vec<PathStep> {
    let last = path.len() - 1;
    let size = path.len() as f64;
    let PathStep { zero, one, .. } = path[position];
    let mut weights: Vec<f64> = path.iter().map(|step| step.weight).collect();
    let mut next = weights[last];
    for i in (0..last).rev() {
        if one == 0.0 {
            weights[i] = weights[i] * size / (zero * (last - i) as f64);
        } else {
            let weight = weights[i];
            weights[i] = next * size / (i + 1) as f64;
            next = weight - weights[i] * zero * (last - i) as f64 / size;
        }
    }
    let mut steps = path.to_vec();
    steps.remove(position);
    steps.iter_mut().zip(weights).for_each(|(step, weight)| step.weight = weight);
    steps
}
