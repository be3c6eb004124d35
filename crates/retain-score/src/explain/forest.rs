//! Shapley values of trees whose paths ask for about as many features, by quadrature.
//!
//! In the path-dependent value function a leaf of value `v` counts `v · Π_j (o_j or z_j)` over the features `j` of its path: `o_j`
//! is 1 where the row passes all of the path's tests of the feature and 0 elsewhere, `z_j` is the share of training rows that
//! pass them. A coalition of `s` of `d` features has the Shapley weight `s! (d−1−s)! / d! = ∫ t^s (1−t)^(d−1−s) dt`, so the sum
//! over coalitions becomes an integral over `t` from 0 to 1:
//!
//! `φ_i = Σ_leaves v (o_i − z_i) ∫ Π_{j≠i} f_j(t) dt` with `f_j(t) = t·o_j + (1−t)·z_j`.
//!
//! The integrand is a polynomial of degree `d − 1`: `⌈d/2⌉` Gauss–Legendre points give it exactly, and every quantity below is a
//! vector over these points. That polynomials of whole trees can be summed bottom-up is from
//! "Linear `TreeSHAP`" (Yu et al., 2022).
//!
//! Let `W` be the product of the factors `f_j` down to a node, `V` the sum of `v` times the factors below it over its leaves, and
//! let the row go on to the hot child; `s` is the share of training rows in the cold one. A new feature's factors are
//! `t + (1−t)(1−s)` and `(1−t)s`, which add up to 1, and with `E = V_hot − V_cold`
//!
//! `C = W (1−t) s`, `W_cold = C`, `W_hot = W − C`, `V = V_hot − (1−t) s E`, `φ_i += ∫ C E / (1−t) dt`.
//!
//! Where the path asked for the feature before, the earlier factor is divided out. Its edge has the share `z`; if the row took it,
//! its factor is `f = t + (1−t)z`, and the same lines hold with `k = (1−t)z/f` in the place of `1−t` and `1/f` before the
//! integrand. If the row did not take it, both children are outside: `k = 1`, and nothing is added to `φ_i`. So a node costs
//! the same whatever the row does, and only numbers, never branches, depend on it.

#![allow(clippy::inline_always, reason = "a caller compiled for a wider instruction set has to compile all of this for it")]

use super::compile::TreeParts;
use super::quadrature::{Point, gauss_legendre};

/// A vector over the points of the rule, or over one chunk of them.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Lanes<const N: usize>([f64; N]);

/// What the feature asked before does to a node; see the module's formulas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factor<const N: usize> {
    k: Lanes<N>,
    /// Weight of the contribution.
    m: Lanes<N>,
}

/// A chunk of the rule's points.
#[derive(Debug, Clone)]
pub(super) struct Chunk<const N: usize> {
    t: Lanes<N>,
    /// `1 − t`.
    rest: Lanes<N>,
    /// Where products begin: the points' weights over `1 − t`, so that contributions only have to be added up.
    root: Lanes<N>,
}

/// A node that asks. Within its block it has a number from 1; edges are `2 · number + side`, and edge 0 leads to the roots.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    /// The row goes left when its operand is below.
    pub(super) threshold: f64,
    /// Shares of training rows that go left and right.
    pub(super) shares: [f64; 2],
    /// Position in the explainer's list of features.
    pub(super) feature: u32,
    /// Twice the feature, and 1 more where a missing value goes left; of a category, the place of the answer.
    pub(super) operand: u32,
    /// The edge that leads here.
    pub(super) edge: u32,
    /// The edge of the path that asked for the same feature last; 0, which every row takes, where it is new.
    pub(super) asked: u32,
    /// The factor when the row has passed all of the path's tests of the feature: a place in the block's table.
    pub(super) factor: u32,
}

/// The place of a new feature in every table of factors. Place 1 is for features whose tests above the row failed.
pub(super) const NEW: u32 = 0;
/// Where the edges' own factors begin.
pub(super) const OWN: u32 = 2;

/// A question about a category. Its answer is an operand too, after those of the features: [`LEFT`] or [`RIGHT`].
#[derive(Debug, Clone, Copy)]
pub(super) struct AskCategory {
    /// Which operand is asked.
    pub(super) operand: u32,
    /// Where the words of its set stand.
    pub(super) begin: usize,
    pub(super) end: usize,
}

/// Answers to the question for a category, on both sides of its node's threshold.
const LEFT: f64 = 0.0;
const RIGHT: f64 = 1.0;
pub(super) const BETWEEN: f64 = 0.5;

/// 64 categories of a set. Words without any are left out, so a set never takes more room than its categories.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    pub(super) index: u32,
    pub(super) bits: u64,
}

/// A leaf whose sibling is not one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf {
    pub(super) edge: u32,
    pub(super) value: f64,
}

/// Nodes of a block before the next tree begins another one: its vectors stay in the first-level cache, and its loops are long
/// enough that the processor's wrong guesses about their ends do not count.
const BLOCK: usize = 128;

/// Trees that share one rule.
#[derive(Debug, Clone)]
pub(super) struct Forest<const N: usize> {
    chunks: Vec<Chunk<N>>,
    blocks: Vec<Block<N>>,
}

/// A few trees, evaluated together as if their roots were one.
#[derive(Debug, Clone, Default)]
struct Block<const N: usize> {
    /// Nodes with a question below them, parents first. They have the first numbers.
    inner: Vec<Ask>,
    /// Nodes over two leaves, and the values of these.
    over_leaves: Vec<Ask>,
    pairs: Vec<[f64; 2]>,
    /// So many of them, the first, ask for features that are new on their path.
    n_new: usize,
    /// The other leaves.
    leaves: Vec<Leaf>,
    categories: Vec<AskCategory>,
    words: Vec<Word>,
    /// Shares of training rows on edges that are asked again below, in the order of their factors.
    asked_shares: Vec<f64>,
    /// The table of factors; empty where the rule has several chunks, each of which then makes its own.
    factors: Vec<Factor<N>>,
}

/// What one row makes of an inner node.
#[derive(Debug, Clone, Copy)]
struct Cell<const N: usize> {
    /// `W` of the hot and the cold child.
    products: [Lanes<N>; 2],
    /// `V` of the hot and the cold child.
    values: [Lanes<N>; 2],
    /// Share of training rows in the cold child.
    share: f64,
    /// Side of the hot child.
    side: u32,
    /// 1 where the row fails a test above that asks for the same feature.
    failed: u32,
    /// Whether the node is the hot child of its parent: 0, or the cold one: 1.
    place: u32,
    factor: u32,
}

/// Buffers of one explanation, as long as the largest block needs.
struct Scratch<const N: usize> {
    /// Those of the features, then those of the block's categories.
    operands: Vec<f64>,
    /// By number; the first stands above the roots.
    cells: Vec<Cell<N>>,
    /// A table of factors that is not kept.
    factors: Vec<Factor<N>>,
    /// Contributions by feature, over the points still.
    sums: Vec<Lanes<N>>,
}

impl<const N: usize> Lanes<N> {
    #[inline(always)]
    fn splat(value: f64) -> Self {
        Self([value; N])
    }

    #[inline(always)]
    fn from_fn(lane: impl FnMut(usize) -> f64) -> Self {
        Self(std::array::from_fn(lane))
    }

    #[inline(always)]
    fn times(self, other: Self) -> Self {
        Self::from_fn(|lane| self.0[lane] * other.0[lane])
    }

    #[inline(always)]
    fn scaled(self, factor: f64) -> Self {
        Self::from_fn(|lane| self.0[lane] * factor)
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self::from_fn(|lane| self.0[lane] + other.0[lane])
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        Self::from_fn(|lane| self.0[lane] - other.0[lane])
    }
}

impl<const N: usize> Chunk<N> {
    fn new(points: &[Point]) -> Self {
        Self {
            t: Lanes::from_fn(|lane| points[lane].t),
            rest: Lanes::from_fn(|lane| points[lane].rest),
            root: Lanes::from_fn(|lane| points[lane].weight / points[lane].rest),
        }
    }

    /// The factor of a feature whose edge asked before has the share `share` and is hot.
    #[inline(always)]
    fn factor(&self, share: f64) -> Factor<N> {
        let m = Lanes::from_fn(|lane| 1.0 / (self.t.0[lane] + self.rest.0[lane] * share));
        Factor { k: self.rest.scaled(share).times(m), m }
    }

    fn fixed_factors(&self) -> [Factor<N>; OWN as usize] {
        [Factor { k: self.rest, m: Lanes::splat(1.0) }, Factor { k: Lanes::splat(1.0), m: Lanes::splat(0.0) }]
    }
}

impl<const N: usize> Forest<N> {
    /// A forest without trees whose rule has `n_chunks · N` points: enough for paths of twice as many features.
    pub(super) fn new(n_chunks: usize) -> Self {
        Self { chunks: gauss_legendre(n_chunks * N).chunks_exact(N).map(Chunk::new).collect(), blocks: Vec::new() }
    }

    /// Points of the rule.
    pub(super) fn n_points(&self) -> usize {
        self.chunks.len() * N
    }

    pub(super) fn push(&mut self, tree: &TreeParts) {
        let has_room = |block: &Block<N>| block.n_asks() + tree.n_asks() <= BLOCK;
        if !self.blocks.last().is_some_and(has_room) {
            self.blocks.push(Block::default());
        }
        let kept = if let [chunk] = self.chunks.as_slice() { Some(chunk) } else { None };
        if let Some(block) = self.blocks.last_mut() {
            block.push(tree, kept);
        }
    }

    /// Ends the construction.
    pub(super) fn finish(&mut self) {
        self.blocks.iter_mut().for_each(Block::arrange);
    }

    /// Adds the contributions of all trees; `contributions` is by position in the explainer's list of features, and `operands` has
    /// two numbers for each: the row's, with a missing value above and below all others.
    #[inline(always)]
    pub(super) fn explain(&self, operands: &[f64], contributions: &mut [f64]) {
        let mut scratch = Scratch::new(&self.blocks, operands);
        for block in &self.blocks {
            scratch.operands.truncate(operands.len());
            scratch.operands.extend(block.categories.iter().map(|category| block.answer(*category, operands)));
            for chunk in &self.chunks {
                block.add(chunk, &mut scratch);
            }
        }
        for (contribution, sum) in contributions.iter_mut().zip(&scratch.sums) {
            *contribution += sum.0.iter().sum::<f64>();
        }
    }
}

impl<const N: usize> Block<N> {
    fn n_asks(&self) -> usize {
        self.inner.len() + self.over_leaves.len()
    }

    /// Adds a tree behind the others; a table of factors is kept where there is only one chunk.
    fn push(&mut self, tree: &TreeParts, chunk: Option<&Chunk<N>>) {
        let inner = self.inner.len() as u32;
        let words = self.words.len();
        let factors = self.asked_shares.len() as u32;
        let categories = self.categories.len() as u32;
        let edge = |edge: u32| if edge == 0 { 0 } else { edge + 2 * inner };
        let ask = |ask: &Ask| Ask {
            edge: edge(ask.edge),
            asked: edge(ask.asked),
            factor: if ask.factor < OWN { ask.factor } else { ask.factor + factors },
            operand: if ask.operand < tree.n_operands { ask.operand } else { ask.operand + categories },
            ..*ask
        };
        self.inner.extend(tree.inner.iter().map(ask));
        self.over_leaves.extend(tree.over_leaves.iter().map(ask));
        self.pairs.extend_from_slice(&tree.pairs);
        self.leaves.extend(tree.leaves.iter().map(|leaf| Leaf { edge: edge(leaf.edge), value: leaf.value }));
        let category = |ask: &AskCategory| AskCategory { begin: ask.begin + words, end: ask.end + words, ..*ask };
        self.categories.extend(tree.categories.iter().map(category));
        self.words.extend_from_slice(&tree.words);
        self.asked_shares.extend_from_slice(&tree.asked_shares);
        if let Some(chunk) = chunk {
            if self.factors.is_empty() {
                self.factors.extend(chunk.fixed_factors());
            }
            self.factors.extend(tree.asked_shares.iter().map(|&share| chunk.factor(share)));
        }
    }

    /// Orders inner nodes by depth: neighbours then belong to different trees and do not wait for each other's numbers.
    fn arrange(&mut self) {
        let mut depths = vec![0_u32; self.inner.len() + 1];
        for (position, ask) in self.inner.iter().enumerate() {
            depths[position + 1] = depths[ask.edge as usize / 2] + 1;
        }
        let mut order: Vec<usize> = (0..self.inner.len()).collect();
        order.sort_by_key(|&position| depths[position + 1]);
        let mut numbers = vec![0_u32; self.inner.len() + 1];
        for (position, &before) in order.iter().enumerate() {
            numbers[before + 1] = position as u32 + 1;
        }
        let edge = |edge: u32| 2 * numbers[edge as usize / 2] + edge % 2;
        self.inner = order.iter().map(|&before| self.inner[before]).collect();
        for ask in self.inner.iter_mut().chain(&mut self.over_leaves) {
            (ask.edge, ask.asked) = (edge(ask.edge), edge(ask.asked));
        }
        for leaf in &mut self.leaves {
            leaf.edge = edge(leaf.edge);
        }
        let mut over_leaves: Vec<(Ask, [f64; 2])> = self.over_leaves.iter().copied().zip(self.pairs.iter().copied()).collect();
        over_leaves.sort_by_key(|(ask, _)| ask.asked != 0);
        self.n_new = over_leaves.partition_point(|(ask, _)| ask.asked == 0);
        (self.over_leaves, self.pairs) = over_leaves.into_iter().unzip();
    }

    /// The operand that says where the row goes on.
    fn answer(&self, category: AskCategory, operands: &[f64]) -> f64 {
        let operand = category.operand as usize;
        let encoded = operands[operand];
        // The two operands of a feature differ where it is missing.
        let goes_left = if encoded == operands[operand ^ 1] {
            contains(&self.words[category.begin..category.end], encoded as u32)
        } else {
            encoded < 0.0
        };
        if goes_left { LEFT } else { RIGHT }
    }

    /// Adds the contributions at the points of one chunk.
    #[inline(always)]
    fn add(&self, chunk: &Chunk<N>, scratch: &mut Scratch<N>) {
        let Scratch { operands, cells, factors, sums } = scratch;
        let factors = if self.factors.is_empty() {
            factors.clear();
            factors.extend(chunk.fixed_factors());
            factors.extend(self.asked_shares.iter().map(|&share| chunk.factor(share)));
            &*factors
        } else {
            &self.factors
        };
        cells[0] = Cell::above(chunk.root);
        self.descend(operands, factors, cells);
        self.add_over_leaves(operands, factors, cells, sums);
        self.ascend(factors, cells, sums);
    }

    /// Products from the roots down.
    #[inline(always)]
    fn descend(&self, operands: &[f64], factors: &[Factor<N>], cells: &mut [Cell<N>]) {
        for (position, ask) in self.inner.iter().enumerate() {
            let side = ask.side(operands);
            let failed = ask.failed(cells);
            let factor = ask.factor(failed);
            let (above, place) = ask.above(cells);
            let share = ask.shares[1 - side as usize];
            let cold = above.times(factors[factor as usize].k.scaled(share));
            let cell = &mut cells[position + 1];
            cell.products = [above.minus(cold), cold];
            (cell.share, cell.side, cell.failed, cell.place, cell.factor) = (share, side, failed, place, factor);
        }
    }

    /// Nodes over two leaves: down and up at once.
    #[inline(always)]
    fn add_over_leaves(&self, operands: &[f64], factors: &[Factor<N>], cells: &mut [Cell<N>], sums: &mut [Lanes<N>]) {
        let new = factors[NEW as usize];
        let (new_asks, other_asks) = self.over_leaves.split_at(self.n_new);
        let (new_pairs, other_pairs) = self.pairs.split_at(self.n_new);
        for (ask, pair) in new_asks.iter().zip(new_pairs) {
            ask.add_over_leaves(pair, operands, &new, cells, sums);
        }
        for (ask, pair) in other_asks.iter().zip(other_pairs) {
            let factor = &factors[ask.factor(ask.failed(cells)) as usize];
            ask.add_over_leaves(pair, operands, factor, cells, sums);
        }
    }

    /// Values from the leaves up, and with them the contributions.
    #[inline(always)]
    fn ascend(&self, factors: &[Factor<N>], cells: &mut [Cell<N>], sums: &mut [Lanes<N>]) {
        for leaf in &self.leaves {
            let parent = &mut cells[leaf.edge as usize / 2];
            parent.values[((leaf.edge ^ parent.side) & 1) as usize] = Lanes::splat(leaf.value);
        }
        for (position, ask) in self.inner.iter().enumerate().rev() {
            let cell = &cells[position + 1];
            let factor = &factors[cell.factor as usize];
            let [hot, cold] = cell.values;
            let difference = hot.minus(cold);
            let value = hot.minus(factor.k.scaled(cell.share).times(difference));
            let sum = &mut sums[ask.feature as usize];
            *sum = sum.plus(cell.products[1].times(factor.m).times(difference));
            let place = cell.place as usize & 1;
            cells[ask.edge as usize / 2].values[place] = value;
        }
    }
}

impl Ask {
    /// The side on which the row goes on.
    #[inline(always)]
    fn side(&self, operands: &[f64]) -> u32 {
        // Neither is NaN.
        u32::from(operands[self.operand as usize] >= self.threshold)
    }

    /// 1 where the row fails a test above that asks for the same feature, else 0.
    #[inline(always)]
    fn failed<const N: usize>(&self, cells: &[Cell<N>]) -> u32 {
        let asked = &cells[self.asked as usize / 2];
        ((self.asked ^ asked.side) & 1) | asked.failed
    }

    /// The place of the factor, chosen without a branch: 1 where the row failed.
    #[inline(always)]
    fn factor(&self, failed: u32) -> u32 {
        (self.factor & failed.wrapping_sub(1)) | failed
    }

    /// `W` of the node, and whether it is the cold child of its parent.
    #[inline(always)]
    fn above<const N: usize>(&self, cells: &[Cell<N>]) -> (Lanes<N>, u32) {
        let parent = &cells[self.edge as usize / 2];
        let place = (self.edge ^ parent.side) & 1;
        (parent.products[place as usize], place)
    }
}

impl Ask {
    /// Both ways of a node over the leaves of values `pair`.
    #[inline(always)]
    fn add_over_leaves<const N: usize>(
        &self,
        pair: &[f64; 2],
        operands: &[f64],
        factor: &Factor<N>,
        cells: &mut [Cell<N>],
        sums: &mut [Lanes<N>],
    ) {
        let side = self.side(operands) as usize;
        let (above, place) = self.above(cells);
        let step = factor.k.scaled(self.shares[1 - side] * (pair[side] - pair[1 - side]));
        cells[self.edge as usize / 2].values[place as usize] = Lanes::splat(pair[side]).minus(step);
        let sum = &mut sums[self.feature as usize];
        *sum = sum.plus(above.times(step).times(factor.m));
    }
}

impl<const N: usize> Cell<N> {
    /// What stands above the roots: its hot child is each of them.
    fn above(root: Lanes<N>) -> Self {
        let zero = Lanes::splat(0.0);
        Self { products: [root, zero], values: [zero; 2], share: 0.0, side: 0, failed: 0, place: 0, factor: NEW }
    }
}

impl<const N: usize> Scratch<N> {
    fn new(blocks: &[Block<N>], operands: &[f64]) -> Self {
        let n_inner = blocks.iter().map(|block| block.inner.len()).max().unwrap_or(0);
        Self {
            operands: operands.to_vec(),
            cells: vec![Cell::above(Lanes::splat(0.0)); n_inner + 1],
            factors: Vec::new(),
            sums: vec![Lanes::splat(0.0); operands.len() / 2],
        }
    }
}

fn contains(words: &[Word], category: u32) -> bool {
    let found = words.binary_search_by_key(&(category / 64), |word| word.index);
    found.is_ok_and(|found| words[found].bits >> (category % 64) & 1 == 1)
}
