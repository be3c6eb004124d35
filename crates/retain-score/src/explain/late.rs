//! An explainer that is laid out for the first explanation: a model that only scores, as most do, loads in less time.

use std::sync::{Mutex, OnceLock};

use super::Explainer;
use crate::model::{NodeKind, Tree};

/// The trees of a checked model until their explainer is asked for, and the explainer from then on.
#[derive(Debug)]
pub(crate) struct LateExplainer {
    n_features: usize,
    /// The intercept and the means of the terms together.
    base_of_terms: f64,
    /// Given away for the explainer.
    trees: Mutex<Vec<Tree>>,
    ready: OnceLock<Ready>,
}

#[derive(Debug)]
struct Ready {
    explainer: Explainer,
    base_margin: f64,
}

impl LateExplainer {
    /// Keeps the trees of a model that was checked against a schema of `n_features`; `base_of_terms` is the mean of all else in its margin.
    pub(crate) fn new(trees: Vec<Tree>, base_of_terms: f64, n_features: usize) -> Self {
        Self { n_features, base_of_terms, trees: Mutex::new(trees), ready: OnceLock::new() }
    }

    pub(super) fn explainer(&self) -> &Explainer {
        &self.ready().explainer
    }

    /// Mean margin over the training rows.
    pub(crate) fn base_margin(&self) -> f64 {
        self.ready().base_margin
    }

    fn ready(&self) -> &Ready {
        self.ready.get_or_init(|| {
            let trees = std::mem::take(&mut *self.trees.lock().expect("nobody stops while taking the trees"));
            Ready {
                explainer: Explainer::new(&trees, self.n_features),
                base_margin: trees.iter().fold(self.base_of_terms, |sum, tree| sum + mean_of(tree)),
            }
        })
    }
}

/// Mean of a tree over its training rows.
fn mean_of(tree: &Tree) -> f64 {
    // Children stand after their parent: from the end, each node finds its children's means.
    let mut means = vec![0.0; tree.nodes.len()];
    for (position, node) in tree.nodes.iter().enumerate().rev() {
        means[position] = match node.kind {
            NodeKind::Leaf { value } => value,
            NodeKind::Split { left, right, .. } => {
                let (left, right) = (left as usize, right as usize);
                let share = tree.nodes[left].cover / (tree.nodes[left].cover + tree.nodes[right].cover);
                share * means[left] + (1.0 - share) * means[right]
            }
        };
    }
    means.first().copied().unwrap_or(0.0)
}
