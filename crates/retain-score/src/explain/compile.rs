//! From a model's tree to the flat parts that [`super::forest`] evaluates.

use std::collections::VecDeque;

use super::forest::{Ask, AskCategory, BETWEEN, Leaf, NEW, OWN, Word};
use crate::model::{NodeKind, Test, Tree};

/// The parts of one tree, numbered from 1; kept between trees for its buffers.
#[derive(Debug, Default)]
pub(super) struct TreeParts {
    /// Nodes with a question below them, parents first.
    pub(super) inner: Vec<Ask>,
    /// Nodes over two leaves, and the values of these.
    pub(super) over_leaves: Vec<Ask>,
    pub(super) pairs: Vec<[f64; 2]>,
    /// The other leaves.
    pub(super) leaves: Vec<Leaf>,
    pub(super) categories: Vec<AskCategory>,
    pub(super) words: Vec<Word>,
    /// Shares of training rows on edges that are asked again below, in the order of their factors.
    pub(super) asked_shares: Vec<f64>,
    /// Operands of the features; those of the tree's categories follow.
    pub(super) n_operands: u32,
    /// Most features that a path asks for.
    pub(super) n_path_features: usize,
    /// What the path down to an inner node knows.
    paths: Vec<Path>,
    /// The factor of each edge that is asked again, 0 elsewhere.
    factors: Vec<u32>,
    /// Nodes to place, with the edge that leads there.
    waiting: VecDeque<(u32, u32)>,
}

#[derive(Debug, Clone, Copy)]
struct Path {
    /// Features that it asks for, the node's own among them.
    n_features: usize,
    /// Share of training rows that pass all tests of the node's feature above the node.
    passed: f64,
}

impl TreeParts {
    pub(super) fn n_asks(&self) -> usize {
        self.inner.len() + self.over_leaves.len()
    }

    /// Lays out a checked tree; `places` maps its features to positions in the explainer's list of `n_features`.
    pub(super) fn read(&mut self, tree: &Tree, places: &[u32], n_features: usize) {
        self.clear();
        self.n_operands = 2 * n_features as u32;
        if leaf(tree, 0).is_none() {
            self.waiting.push_back((0, 0));
        }
        while let Some((position, edge)) = self.waiting.pop_front() {
            let NodeKind::Split { left, right, .. } = tree.nodes[position as usize].kind else { continue };
            if let (Some(left), Some(right)) = (leaf(tree, left), leaf(tree, right)) {
                let (ask, _) = self.ask(tree, position, edge, places);
                self.over_leaves.push(ask);
                self.pairs.push([left, right]);
                continue;
            }
            let (ask, path) = self.ask(tree, position, edge, places);
            self.inner.push(ask);
            self.paths.push(path);
            self.factors.extend([0, 0]);
            for (child, edge) in [(left, 2 * self.inner.len() as u32), (right, 2 * self.inner.len() as u32 + 1)] {
                match leaf(tree, child) {
                    Some(value) => self.leaves.push(Leaf { edge, value }),
                    None => self.waiting.push_back((child, edge)),
                }
            }
        }
    }

    fn clear(&mut self) {
        self.inner.clear();
        self.over_leaves.clear();
        self.pairs.clear();
        self.leaves.clear();
        self.categories.clear();
        self.words.clear();
        self.asked_shares.clear();
        self.n_path_features = 0;
        self.paths.clear();
        self.factors.clear();
    }

    fn ask(&mut self, tree: &Tree, position: u32, edge: u32, places: &[u32]) -> (Ask, Path) {
        let NodeKind::Split { feature_idx, test, missing_left, left, right } = &tree.nodes[position as usize].kind else {
            unreachable!("only splits are placed")
        };
        let feature = places[*feature_idx as usize];
        let asked = self.asked_before(edge, feature);
        let (factor, passed) = self.factor(asked);
        let above = parent(edge).map_or(0, |parent| self.paths[parent].n_features);
        let n_features = above + usize::from(asked == 0);
        self.n_path_features = n_features.max(self.n_path_features);
        let covers = [*left, *right].map(|child| tree.nodes[child as usize].cover);
        let total = covers[0] + covers[1];
        let (threshold, operand) = self.question(test, 2 * feature + u32::from(*missing_left));
        let ask = Ask { threshold, shares: covers.map(|cover| cover / total), feature, operand, edge, asked, factor };
        (ask, Path { n_features, passed })
    }

    /// The last edge on the path down to `edge` that asks for the feature, or 0.
    fn asked_before(&self, mut edge: u32, feature: u32) -> u32 {
        // A path has at most `limits::MAX_DEPTH` nodes.
        while let Some(parent) = parent(edge) {
            if self.inner[parent].feature == feature {
                return edge;
            }
            edge = self.inner[parent].edge;
        }
        0
    }

    /// The factor of nodes whose feature was asked last at this edge, and the share of training rows that pass the tests up to it.
    fn factor(&mut self, asked: u32) -> (u32, f64) {
        let Some(parent) = parent(asked) else { return (NEW, 1.0) };
        let passed = self.paths[parent].passed * self.inner[parent].shares[asked as usize & 1];
        let factor = &mut self.factors[asked as usize - 2];
        if *factor == 0 {
            *factor = OWN + self.asked_shares.len() as u32;
            self.asked_shares.push(passed);
        }
        (*factor, passed)
    }

    /// The threshold and operand that ask what `test` asks of `operand`; what no threshold can say becomes the set of a category.
    fn question(&mut self, test: &Test, operand: u32) -> (f64, u32) {
        let set: &[u32] = match test {
            // Nothing but a missing value goes left, and that is not below minus infinity either.
            Test::Below(f64::NEG_INFINITY) => &[],
            Test::Below(threshold) => return (*threshold, operand),
            Test::OneOf(set) => set,
        };
        let begin = self.words.len();
        for word in set.chunk_by(|a, b| a / 64 == b / 64) {
            let bits = word.iter().fold(0, |bits, category| bits | 1 << (category % 64));
            self.words.push(Word { index: word[0] / 64, bits });
        }
        let answer = self.n_operands + self.categories.len() as u32;
        self.categories.push(AskCategory { operand, begin, end: self.words.len() });
        (BETWEEN, answer)
    }
}

/// Position of the inner node that an edge leaves; none of the root's.
fn parent(edge: u32) -> Option<usize> {
    (edge as usize / 2).checked_sub(1)
}

/// The value of a leaf; none of a split.
fn leaf(tree: &Tree, position: u32) -> Option<f64> {
    match tree.nodes[position as usize].kind {
        NodeKind::Leaf { value } => Some(value),
        NodeKind::Split { .. } => None,
    }
}
