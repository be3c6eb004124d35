//! Why a margin is what it is: one contribution per feature, in log-odds.
//!
//! Terms contribute their value less their mean over the training rows. Trees contribute exact Shapley values of the
//! path-dependent value function (Lundberg et al., "From local explanations to global understanding with explainable AI for
//! trees", 2020): a feature outside the coalition sends the row down both sides in proportion to the training
//! rows. `base_margin + Σ contributions = margin` up to rounding. `forest.rs` holds the formulas.

mod compile;
mod forest;
mod late;
mod quadrature;

use self::compile::TreeParts;
use self::forest::Forest;
pub(crate) use self::late::LateExplainer;
use crate::engine::{Engine, Instructions};
use crate::model::{NodeKind, Tree};

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

/// The trees of a checked model, laid out for their Shapley values.
#[derive(Debug, Clone)]
pub(crate) struct Explainer {
    /// Features that trees ask for, rising.
    features: Vec<u32>,
    groups: Vec<Group>,
}

/// Trees by the points that their longest paths need.
#[derive(Debug, Clone)]
enum Group {
    Short(Forest<4>),
    Long(Forest<8>),
}

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
    /// Explains one encoded row. The first explanation lays the trees out, and takes longer by that.
    ///
    /// # Panics
    /// When `row` does not have `n_features` numbers.
    pub fn explain(&self, row: &[f64]) -> Explanation {
        let margin = self.margin(row);
        let mut contributions = vec![0.0; self.n_features];
        for term in &self.terms {
            let feature_idx = term.feature_idx as usize;
            contributions[feature_idx] += term.shape.value(row[feature_idx]) - term.mean;
        }
        self.explainer.explainer().add_trees(row, &mut contributions, self.instructions());
        Explanation { margin, base_margin: self.base_margin(), contributions }
    }
}

impl Explainer {
    /// Lays out the trees of a model that was checked against a schema of `n_features`.
    fn new(trees: &[Tree], n_features: usize) -> Self {
        let nodes = trees.iter().flat_map(|tree| &tree.nodes);
        let mut places = vec![u32::MAX; n_features];
        for node in nodes {
            if let NodeKind::Split { feature_idx, .. } = node.kind {
                places[feature_idx as usize] = 0;
            }
        }
        let features: Vec<u32> = (0..n_features as u32).filter(|&feature| places[feature as usize] == 0).collect();
        for (place, &feature) in features.iter().enumerate() {
            places[feature as usize] = place as u32;
        }
        let mut explainer = Self { features, groups: Vec::new() };
        let mut parts = TreeParts::default();
        for tree in trees {
            parts.read(tree, &places, explainer.features.len());
            if parts.n_asks() > 0 {
                explainer.push(&parts);
            }
        }
        for group in &mut explainer.groups {
            group.finish();
        }
        explainer
    }

    fn push(&mut self, tree: &TreeParts) {
        let n_points = tree.n_path_features.div_ceil(2);
        if let Some(group) = self.groups.iter_mut().find(|group| group.fits(n_points)) {
            return group.push(tree);
        }
        let mut group = Group::new(n_points);
        group.push(tree);
        self.groups.push(group);
    }

    /// Adds what trees contribute to the margin of `row`; `contributions` is in schema order.
    fn add_trees(&self, row: &[f64], contributions: &mut [f64], instructions: Instructions) {
        let operands: Vec<f64> = self.features.iter().flat_map(|&feature| operands(row[feature as usize])).collect();
        let mut sums = vec![0.0; self.features.len()];
        for group in &self.groups {
            // A closure each: one for all would be a function of its own, compiled once.
            match instructions {
                Instructions::Portable => group.explain(&operands, &mut sums),
                Instructions::Avx2(proof) => proof.compiled_for(|| group.explain(&operands, &mut sums)),
                Instructions::Avx512(proof) => proof.compiled_for(|| group.explain(&operands, &mut sums)),
            }
        }
        for (&feature, sum) in self.features.iter().zip(&sums) {
            contributions[feature as usize] += sum;
        }
    }
}

impl Group {
    /// An empty group for trees that need so many points.
    fn new(n_points: usize) -> Self {
        if n_points <= 4 { Self::Short(Forest::new(1)) } else { Self::Long(Forest::new(n_points.div_ceil(8))) }
    }

    /// Whether its rule has as many points as needed, and not many more.
    fn fits(&self, n_points: usize) -> bool {
        match self {
            Self::Short(_) => n_points <= 4,
            Self::Long(forest) => n_points > 4 && n_points.next_multiple_of(8) == forest.n_points(),
        }
    }

    fn push(&mut self, tree: &TreeParts) {
        match self {
            Self::Short(forest) => forest.push(tree),
            Self::Long(forest) => forest.push(tree),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::Short(forest) => forest.finish(),
            Self::Long(forest) => forest.finish(),
        }
    }

    #[allow(clippy::inline_always, reason = "a caller compiled for a wider instruction set has to compile all of this for it")]
    #[inline(always)]
    fn explain(&self, operands: &[f64], sums: &mut [f64]) {
        match self {
            Self::Short(forest) => forest.explain(operands, sums),
            Self::Long(forest) => forest.explain(operands, sums),
        }
    }
}

/// What questions compare: a missing value is above every threshold for those where it goes right, and below for the others.
fn operands(encoded: f64) -> [f64; 2] {
    if encoded.is_nan() { [f64::INFINITY, f64::NEG_INFINITY] } else { [encoded; 2] }
}
