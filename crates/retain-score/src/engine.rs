//! The hot path: a checked model laid out flat, evaluated without allocation.
//!
//! Nodes of all trees lie in one array of 16 bytes each, the two children of a node beside each other, so that a step is
//! `left + goes_right`. Leaves step onto themselves, which lets several trees of different depth walk side by side:
//! their memory loads overlap instead of waiting for each other. Margins add the parts in the model's order, alone or in a
//! batch, so one row and a batch give the same bits.

use retain_core::FeatureSchema;

use crate::explain::Explainer;
use crate::model::{MarginModel, ModelError, NodeKind, Term, Test, Tree};

/// Trees that walk side by side.
const LANES: usize = 8;

/// A margin model ready to be evaluated.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) n_features: usize,
    pub(crate) intercept: f64,
    pub(crate) terms: Vec<Term>,
    pub(crate) nodes: Vec<FlatNode>,
    /// Weight of training rows per node; explanations alone read it.
    pub(crate) covers: Vec<f64>,
    pub(crate) trees: Vec<FlatTree>,
    /// Bit sets of categories, one after another.
    sets: Vec<u64>,
    /// Mean margin over the training rows.
    pub(crate) base_margin: f64,
    pub(crate) explainer: Explainer,
}

/// A node: a question, or a leaf that steps onto itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlatNode {
    /// Threshold, leaf value, or the place of a category set (`first word << 32 | number of words`) as bits.
    value: f64,
    /// The left child; the right one stands behind it. A leaf's own position.
    pub(crate) left: u32,
    /// Feature in the low bits, flags above.
    feature_and_flags: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct FlatTree {
    pub(crate) root: u32,
    /// Steps from the root to the deepest leaf.
    pub(crate) depth: u32,
}

const FEATURE_BITS: u32 = 24;
const FEATURE_MASK: u32 = (1 << FEATURE_BITS) - 1;
const SPLIT: u32 = 1 << 31;
const MISSING_LEFT: u32 = 1 << 30;
const CATEGORIES: u32 = 1 << 29;

impl FlatNode {
    pub(crate) fn is_leaf(self) -> bool {
        self.feature_and_flags & SPLIT == 0
    }

    pub(crate) fn leaf_value(self) -> f64 {
        self.value
    }

    pub(crate) fn feature_idx(self) -> usize {
        (self.feature_and_flags & FEATURE_MASK) as usize
    }

    /// Whether a row goes left; at a leaf the answer means nothing.
    #[inline]
    pub(crate) fn goes_left(self, row: &[f64], sets: &[u64]) -> bool {
        let encoded = row[self.feature_idx()];
        if encoded.is_nan() {
            self.feature_and_flags & MISSING_LEFT != 0
        } else if self.feature_and_flags & CATEGORIES == 0 {
            encoded < self.value
        } else {
            let place = self.value.to_bits();
            let (first, n_words) = ((place >> 32) as usize, (place & u64::from(u32::MAX)) as usize);
            let category = encoded as usize;
            let word = category / 64;
            word < n_words && sets[first + word] >> (category % 64) & 1 == 1
        }
    }

    #[inline]
    fn step(self, row: &[f64], sets: &[u64]) -> u32 {
        let stride = self.feature_and_flags >> 31;
        self.left + (stride & u32::from(!self.goes_left(row, sets)))
    }
}

impl Engine {
    /// Checks a model against its schema and lays it out.
    ///
    /// # Errors
    /// [`ModelError`] when the model does not hold together or does not fit the schema.
    pub fn new(model: &MarginModel, schema: &FeatureSchema) -> Result<Self, ModelError> {
        model.check(schema)?;
        let mut engine = Self {
            n_features: schema.n_features(),
            intercept: model.intercept,
            terms: model.terms.clone(),
            nodes: Vec::new(),
            covers: Vec::new(),
            trees: Vec::with_capacity(model.trees.len()),
            sets: Vec::new(),
            base_margin: 0.0,
            explainer: Explainer::new(model, schema.n_features()),
        };
        for tree in &model.trees {
            engine.add_tree(tree);
        }
        engine.base_margin = engine.mean_margin();
        Ok(engine)
    }

    /// Numbers in a row.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// Mean margin over the training rows: what contributions are told against.
    pub fn base_margin(&self) -> f64 {
        self.base_margin
    }

    /// Number of trees.
    pub fn n_trees(&self) -> usize {
        self.trees.len()
    }

    /// The margin of one encoded row, in log-odds before calibration.
    ///
    /// # Panics
    /// When `row` does not have `n_features` numbers.
    pub fn margin(&self, row: &[f64]) -> f64 {
        assert_eq!(row.len(), self.n_features, "a row has one number per feature");
        let mut margin = self.intercept;
        for term in &self.terms {
            margin += term.shape.value(row[term.feature_idx as usize]);
        }
        let mut lanes = self.trees.chunks_exact(LANES);
        for chunk in &mut lanes {
            let mut positions: [u32; LANES] = std::array::from_fn(|lane| chunk[lane].root);
            let depth = chunk.iter().fold(0, |deepest, tree| tree.depth.max(deepest));
            for _ in 0..depth {
                for position in &mut positions {
                    *position = self.nodes[*position as usize].step(row, &self.sets);
                }
            }
            for position in positions {
                margin += self.nodes[position as usize].leaf_value();
            }
        }
        for tree in lanes.remainder() {
            margin += self.leaf(*tree, row).leaf_value();
        }
        margin
    }

    fn leaf(&self, tree: FlatTree, row: &[f64]) -> FlatNode {
        let mut node = self.nodes[tree.root as usize];
        while !node.is_leaf() {
            node = self.nodes[node.step(row, &self.sets) as usize];
        }
        node
    }

    /// Lays out one tree, parents before children and the children of one parent side by side.
    fn add_tree(&mut self, tree: &Tree) {
        let root = self.nodes.len() as u32;
        let mut depth = 0;
        // (position in the tree, position in the flat array, depth); the flat place of a node is taken when its parent is placed.
        let mut waiting = std::collections::VecDeque::from([(0_usize, root, 0_u32)]);
        self.nodes.push(FlatNode { value: 0.0, left: root, feature_and_flags: 0 });
        self.covers.push(0.0);
        while let Some((position, place, level)) = waiting.pop_front() {
            depth = level.max(depth);
            let node = &tree.nodes[position];
            self.covers[place as usize] = node.cover;
            self.nodes[place as usize] = match &node.kind {
                NodeKind::Leaf { value } => FlatNode { value: *value, left: place, feature_and_flags: 0 },
                NodeKind::Split { feature_idx, test, missing_left, left, right } => {
                    let first_child = self.nodes.len() as u32;
                    for (child, offset) in [(*left, 0), (*right, 1)] {
                        self.nodes.push(FlatNode { value: 0.0, left: first_child, feature_and_flags: 0 });
                        self.covers.push(0.0);
                        waiting.push_back((child as usize, first_child + offset, level + 1));
                    }
                    let (value, kind) = self.flat_test(test);
                    let missing = if *missing_left { MISSING_LEFT } else { 0 };
                    FlatNode { value, left: first_child, feature_and_flags: feature_idx | SPLIT | missing | kind }
                }
            };
        }
        self.trees.push(FlatTree { root, depth });
    }

    fn flat_test(&mut self, test: &Test) -> (f64, u32) {
        match test {
            Test::Below(threshold) => (*threshold, 0),
            Test::OneOf(set) => {
                let first = self.sets.len();
                let n_words = set.last().map_or(0, |&last| last as usize / 64 + 1);
                self.sets.resize(first + n_words, 0);
                for &category in set {
                    self.sets[first + category as usize / 64] |= 1 << (category % 64);
                }
                (f64::from_bits((first as u64) << 32 | n_words as u64), CATEGORIES)
            }
        }
    }

    fn mean_margin(&self) -> f64 {
        let terms = self.terms.iter().fold(self.intercept, |sum, term| sum + term.mean);
        self.trees.iter().fold(terms, |sum, tree| sum + self.mean_of(tree.root))
    }

    /// Mean value below a node, weighted by cover.
    fn mean_of(&self, position: u32) -> f64 {
        let node = self.nodes[position as usize];
        if node.is_leaf() {
            return node.leaf_value();
        }
        // The model's check bounds the depth, so this recursion is bounded too.
        let (left, right) = (node.left, node.left + 1);
        let (left_cover, right_cover) = (self.covers[left as usize], self.covers[right as usize]);
        let total = left_cover + right_cover;
        left_cover / total * self.mean_of(left) + right_cover / total * self.mean_of(right)
    }
}
