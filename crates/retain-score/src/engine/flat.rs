//! Trees as explanations read them.

use crate::model::{NodeKind, Test, Tree};

#[derive(Debug, Clone, Default)]
pub(crate) struct Flat {
    pub(crate) nodes: Vec<FlatNode>,
    pub(crate) covers: Vec<f64>,
    pub(crate) trees: Vec<FlatTree>,
    sets: Vec<u64>,
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
}

impl Flat {
    pub(crate) fn goes_left(&self, node: FlatNode, row: &[f64]) -> bool {
        node.goes_left(row, &self.sets)
    }

    /// Lays out one tree, parents before children and the children of one parent side by side.
    pub(crate) fn add_tree(&mut self, tree: &Tree) {
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

    /// Mean value below a node, weighted by cover.
    pub(crate) fn mean_of(&self, position: u32) -> f64 {
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
