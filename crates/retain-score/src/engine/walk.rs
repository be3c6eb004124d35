//! Trees walked from the root over the values themselves: what very large trees need, and parts whose ranks would not pay.
//!
//! Nodes of all trees lie in one array of 16 bytes each, the two children of a node beside each other, so that a step is
//! `left + goes_right`. Leaves step onto themselves, which lets several trees of different depth walk side by side:
//! their memory loads overlap instead of waiting for each other.

use crate::engine::fixed::FixedPoint;
use crate::model::{NodeKind, Test, Tree};

/// Trees that walk side by side.
const LANES: usize = 8;

/// Trees laid out flat.
#[derive(Debug, Clone, Default)]
pub(crate) struct Walk {
    nodes: Vec<FlatNode>,
    trees: Vec<FlatTree>,
    /// Bit sets of categories, one after another.
    sets: Vec<u64>,
    /// Sorted lists of categories, one after another: what sets are that would be mostly empty as bits.
    lists: Vec<u32>,
}

/// A question, or a leaf that steps onto itself.
#[derive(Debug, Clone, Copy)]
struct FlatNode {
    /// Bits of the threshold, units of the leaf, or the place of a category set: `first << 32 | number`, of words or categories.
    value: u64,
    /// The left child; the right one stands behind it. A leaf's own position.
    left: u32,
    /// Feature in the low bits, flags above.
    feature_and_flags: u32,
}

#[derive(Debug, Clone, Copy)]
struct FlatTree {
    root: u32,
    /// Steps from the root to the deepest leaf.
    depth: u32,
}

const FEATURE_BITS: u32 = 24;
const FEATURE_MASK: u32 = (1 << FEATURE_BITS) - 1;
const SPLIT: u32 = 1 << 31;
const MISSING_LEFT: u32 = 1 << 30;
const CATEGORIES: u32 = 1 << 29;
const LIST: u32 = 1 << 28;

impl Walk {
    /// Lays out trees that were checked.
    pub(crate) fn new<'a>(trees: impl Iterator<Item = &'a Tree>, fixed: FixedPoint) -> Self {
        let mut walk = Self::default();
        trees.for_each(|tree| walk.add(tree, fixed));
        walk
    }

    /// The sum of all trees for one row, in units.
    #[inline]
    pub(crate) fn sum(&self, row: &[f64]) -> i64 {
        let mut sum = 0;
        let mut lanes = self.trees.chunks_exact(LANES);
        for chunk in &mut lanes {
            let mut positions: [u32; LANES] = std::array::from_fn(|lane| chunk[lane].root);
            let depth = chunk.iter().fold(0, |deepest, tree| tree.depth.max(deepest));
            for _ in 0..depth {
                for position in &mut positions {
                    *position = self.step(self.nodes[*position as usize], row);
                }
            }
            sum += positions.iter().map(|&position| self.nodes[position as usize].value as i64).sum::<i64>();
        }
        sum + lanes.remainder().iter().map(|tree| self.leaf(*tree, row)).sum::<i64>()
    }

    fn leaf(&self, tree: FlatTree, row: &[f64]) -> i64 {
        let mut node = self.nodes[tree.root as usize];
        while node.feature_and_flags & SPLIT != 0 {
            node = self.nodes[self.step(node, row) as usize];
        }
        node.value as i64
    }

    #[inline]
    fn step(&self, node: FlatNode, row: &[f64]) -> u32 {
        let stride = node.feature_and_flags >> 31;
        node.left + (stride & u32::from(!self.goes_left(node, row)))
    }

    /// At a leaf the answer means nothing.
    #[inline]
    fn goes_left(&self, node: FlatNode, row: &[f64]) -> bool {
        let encoded = row[(node.feature_and_flags & FEATURE_MASK) as usize];
        if encoded.is_nan() {
            node.feature_and_flags & MISSING_LEFT != 0
        } else if node.feature_and_flags & CATEGORIES == 0 {
            encoded < f64::from_bits(node.value)
        } else {
            let (first, number) = ((node.value >> 32) as usize, (node.value & u64::from(u32::MAX)) as usize);
            let category = encoded as usize;
            if node.feature_and_flags & LIST == 0 {
                let word = category / 64;
                word < number && self.sets[first + word] >> (category % 64) & 1 == 1
            } else {
                self.lists[first..first + number].binary_search(&(category as u32)).is_ok()
            }
        }
    }

    /// Lays out one tree, parents before children and the children of one parent side by side.
    fn add(&mut self, tree: &Tree, fixed: FixedPoint) {
        let root = self.nodes.len() as u32;
        let mut depth = 0;
        // (position in the tree, position in the flat array, depth); the flat place of a node is taken when its parent is placed.
        let mut waiting = std::collections::VecDeque::from([(0_usize, root, 0_u32)]);
        self.nodes.push(FlatNode { value: 0, left: root, feature_and_flags: 0 });
        while let Some((position, place, level)) = waiting.pop_front() {
            depth = level.max(depth);
            self.nodes[place as usize] = match &tree.nodes[position].kind {
                NodeKind::Leaf { value } => FlatNode { value: fixed.encode(*value) as u64, left: place, feature_and_flags: 0 },
                NodeKind::Split { feature_idx, test, missing_left, left, right } => {
                    let first_child = self.nodes.len() as u32;
                    for (child, offset) in [(*left, 0), (*right, 1)] {
                        self.nodes.push(FlatNode { value: 0, left: first_child, feature_and_flags: 0 });
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

    fn flat_test(&mut self, test: &Test) -> (u64, u32) {
        match test {
            Test::Below(threshold) => (threshold.to_bits(), 0),
            Test::OneOf(set) => {
                let n_words = set.last().map_or(0, |&last| last as usize / 64 + 1);
                // Bits never take more than a few times the room that the set has in a file.
                if n_words > 4 * set.len() {
                    let first = self.lists.len();
                    self.lists.extend(set);
                    return ((first as u64) << 32 | set.len() as u64, CATEGORIES | LIST);
                }
                let first = self.sets.len();
                self.sets.resize(first + n_words, 0);
                for &category in set {
                    self.sets[first + category as usize / 64] |= 1 << (category % 64);
                }
                ((first as u64) << 32 | n_words as u64, CATEGORIES)
            }
        }
    }
}
