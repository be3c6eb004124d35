//! Grows one tree, best leaf first, on binned rows and their derivatives.

use std::ops::Range;

use rayon::prelude::*;

use super::bins::{BinSet, BinnedTable};
use super::histogram::{Derived, Histogram, Layout};
use super::params::BoostingParams;
use super::partition::partition;
use super::split::{Bounds, Parent, Side, Split, best_split};

/// Histograms are kept for subtraction as long as those of all leaves fit into so many bytes; past that each is built, read and
/// forgotten.
pub(super) const MAX_HISTOGRAM_BYTES: usize = 256 << 20;
/// Below so many cells to search, spreading them over threads costs more than it saves.
pub(super) const MIN_PARALLEL_BYTES: usize = 1 << 16;

/// A tree that asks for bins.
#[derive(Debug)]
pub(super) struct GrownTree {
    /// Node 0 is the root; children stand after their parent.
    pub(super) nodes: Vec<GrownNode>,
    /// The rows it was grown on, leaf by leaf, in each leaf in the order they were given.
    pub(super) rows: Vec<u32>,
}

/// A leaf or a question.
#[derive(Debug)]
pub(super) enum GrownNode {
    /// The end of a path.
    Leaf {
        /// What it adds to the margin, learning rate included.
        value: f64,
        /// Its first row in [`GrownTree::rows`].
        start: usize,
        /// One past its last.
        end: usize,
    },
    /// Rows with a bin of the set go left.
    Split {
        /// Position in [`BinnedTable::columns`].
        column: usize,
        /// The set.
        left_bins: BinSet,
        /// Position of the left child.
        left: usize,
        /// Position of the right child.
        right: usize,
    },
}

impl GrownTree {
    /// Position and value of the leaf that a row of the table falls in.
    pub(super) fn leaf_of(&self, table: &BinnedTable, row: u32) -> (usize, f64) {
        let mut position = 0;
        loop {
            match &self.nodes[position] {
                GrownNode::Leaf { value, .. } => return (position, *value),
                GrownNode::Split { column, left_bins, left, right } => {
                    position = if left_bins.contains(table.bin(*column, row)) { *left } else { *right };
                }
            }
        }
    }

    /// Position, rows and value of each leaf.
    pub(super) fn leaves(&self) -> impl Iterator<Item = (usize, &[u32], f64)> {
        self.nodes.iter().enumerate().filter_map(|(position, node)| match *node {
            GrownNode::Leaf { value, start, end } => Some((position, &self.rows[start..end], value)),
            GrownNode::Split { .. } => None,
        })
    }
}

/// Grows a tree on these rows with these columns (positions in the table, sorted); no leaf leaves the bounds.
pub(super) fn grow(
    table: &BinnedTable,
    params: &BoostingParams,
    derived: Derived,
    bounds: Bounds,
    rows: Vec<u32>,
    columns: &[usize],
) -> GrownTree {
    let layout = Layout::new(table, columns);
    let keep_histograms = layout.n_bytes().saturating_mul(params.max_leaves) <= MAX_HISTOGRAM_BYTES;
    Grower { table, params, derived, layout, keep_histograms, scratch: vec![0; rows.len()], rows, nodes: Vec::new() }.grow(bounds)
}

struct Grower<'a> {
    table: &'a BinnedTable,
    params: &'a BoostingParams,
    derived: Derived<'a>,
    layout: Layout<'a>,
    keep_histograms: bool,
    rows: Vec<u32>,
    /// Room for as many rows.
    scratch: Vec<u32>,
    nodes: Vec<GrownNode>,
}

/// A leaf that may still be split.
struct OpenLeaf {
    /// Position of its node.
    node: usize,
    range: Range<usize>,
    depth: usize,
    histogram: Option<Histogram>,
    /// The best split and its column's position in the table.
    best: Option<(usize, Split)>,
}

impl Grower<'_> {
    fn grow(mut self, bounds: Bounds) -> GrownTree {
        let range = 0..self.rows.len();
        // The root's own value stays 0: a tree without a split has nothing to say that the margin does not.
        self.nodes.push(GrownNode::Leaf { value: 0.0, start: range.start, end: range.end });
        let mut root = OpenLeaf { node: 0, range, depth: 0, histogram: None, best: None };
        let histogram = self.histogram(&root);
        let sums = self.layout.total(&histogram, &self.derived.fixed);
        self.examine(&mut root, histogram, &Parent { sums, bounds });
        let mut open = vec![root];
        for n_leaves in 2..=self.params.max_leaves {
            let Some(chosen) = most_gain(&open) else { break };
            let leaf = open.swap_remove(chosen);
            open.extend(self.split(leaf, n_leaves == self.params.max_leaves).into_iter().flatten());
            // So many more splits can be made: leaves that save less than so many others never will be, and free their memory.
            while open.len() > self.params.max_leaves - n_leaves {
                let Some(last) = least_gain(&open) else { break };
                open.swap_remove(last);
            }
        }
        GrownTree { nodes: self.nodes, rows: self.rows }
    }

    /// Splits a leaf; its children are examined unless the tree is full.
    fn split(&mut self, leaf: OpenLeaf, is_last: bool) -> Option<[OpenLeaf; 2]> {
        let (column, split) = leaf.best?;
        let range = leaf.range.clone();
        let bins = self.table.bins(column);
        let (rows, scratch) = (&mut self.rows[range.clone()], &mut self.scratch[range.clone()]);
        let n_left = partition(rows, scratch, |row| bins.of(row), &split.left_bins);
        let middle = range.start + n_left;
        let left = self.child(&split.left, range.start..middle, leaf.depth + 1);
        let right = self.child(&split.right, middle..range.end, leaf.depth + 1);
        self.nodes[leaf.node] = GrownNode::Split { column, left_bins: split.left_bins, left: left.node, right: right.node };
        if is_last {
            return None;
        }
        let parent = |side: &Side| Parent { sums: side.sums, bounds: side.bounds };
        let children = [(left, parent(&split.left)), (right, parent(&split.right))];
        Some(self.examine_children(children, leaf.histogram))
    }

    fn child(&mut self, side: &Side, range: Range<usize>, depth: usize) -> OpenLeaf {
        let value = self.params.learning_rate * side.value;
        self.nodes.push(GrownNode::Leaf { value, start: range.start, end: range.end });
        OpenLeaf { node: self.nodes.len() - 1, range, depth, histogram: None, best: None }
    }

    /// Examines the children that may be split. The rows of the smaller are counted; the larger is what remains of the parent.
    fn examine_children(&self, children: [(OpenLeaf, Parent); 2], of_parent: Option<Histogram>) -> [OpenLeaf; 2] {
        let [(mut left, left_parent), (mut right, right_parent)] = children;
        let left_is_smaller = left.range.len() <= right.range.len();
        let ((small, small_parent), (large, large_parent)) = if left_is_smaller {
            ((&mut left, left_parent), (&mut right, right_parent))
        } else {
            ((&mut right, right_parent), (&mut left, left_parent))
        };
        let (small_may, large_may) = (self.may_split(small), self.may_split(large));
        let counted = (small_may || (large_may && of_parent.is_some())).then(|| self.histogram(small));
        if large_may {
            let histogram = match (of_parent, &counted) {
                (Some(mut parent), Some(counted)) => {
                    parent.subtract(counted);
                    parent
                }
                _ => self.histogram(large),
            };
            self.examine(large, histogram, &large_parent);
        }
        if let Some(counted) = counted.filter(|_| small_may) {
            self.examine(small, counted, &small_parent);
        }
        [left, right]
    }

    fn may_split(&self, leaf: &OpenLeaf) -> bool {
        leaf.depth < self.params.max_depth && leaf.range.len() >= 2 * self.params.limits.min_leaf_rows as usize
    }

    fn histogram(&self, leaf: &OpenLeaf) -> Histogram {
        self.layout.histogram(&self.rows[leaf.range.clone()], &self.derived)
    }

    /// Finds the leaf's best split, and keeps its histogram if it will be asked for.
    fn examine(&self, leaf: &mut OpenLeaf, histogram: Histogram, parent: &Parent) {
        let look = |(place, &column): (usize, &usize)| {
            let sums = self.layout.sums(&histogram, place, &self.derived.fixed);
            let split = best_split(&self.table.columns[column], &sums, parent, &self.params.limits);
            split.map(|split| (column, split))
        };
        let columns = &self.layout.columns;
        let better = |best: (usize, Split), next: (usize, Split)| {
            // The first column among equals, in whatever order threads compare them.
            let next_is_better = (next.1.gain, best.0) > (best.1.gain, next.0);
            if next_is_better { next } else { best }
        };
        leaf.best = if !self.may_split(leaf) {
            None
        } else if self.layout.n_bytes() >= MIN_PARALLEL_BYTES {
            columns.par_iter().enumerate().with_min_len(4).filter_map(look).reduce_with(better)
        } else {
            columns.iter().enumerate().filter_map(look).reduce(better)
        };
        leaf.histogram = (self.keep_histograms && leaf.best.is_some()).then_some(histogram);
    }
}

impl OpenLeaf {
    /// What its split saves; nothing without a split.
    fn gain(&self) -> f64 {
        self.best.as_ref().map_or(f64::NEG_INFINITY, |(_, split)| split.gain)
    }

    /// Which leaf is split first: that which saves more, the earlier node among equals.
    fn rank(&self, other: &Self) -> std::cmp::Ordering {
        self.gain().total_cmp(&other.gain()).then(other.node.cmp(&self.node))
    }
}

/// The open leaf whose split saves most.
fn most_gain(open: &[OpenLeaf]) -> Option<usize> {
    (0..open.len()).max_by(|&a, &b| open[a].rank(&open[b])).filter(|&place| open[place].best.is_some())
}

/// The open leaf that is split last.
fn least_gain(open: &[OpenLeaf]) -> Option<usize> {
    (0..open.len()).min_by(|&a, &b| open[a].rank(&open[b]))
}
