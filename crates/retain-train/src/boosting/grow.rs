//! Grows one tree, best leaf first, on binned rows and their derivatives.

use rayon::prelude::*;

use super::bins::{BinSet, BinnedTable};
use super::histogram::{Sums, histogram, remainder};
use super::loss::Derivatives;
use super::params::BoostingParams;
use super::split::{Bounds, Parent, Side, Split, best_split};

/// Histograms are kept for subtraction as long as those of all leaves fit into so many bytes; past that each is built, read and
/// forgotten, column by column.
const MAX_HISTOGRAM_BYTES: usize = 256 << 20;
/// Below so many bytes of bins to read, spreading the columns over threads costs more than it saves.
pub(super) const MIN_PARALLEL_BYTES: usize = 1 << 16;

/// A tree that asks for bins.
#[derive(Debug)]
pub(super) struct GrownTree {
    /// Node 0 is the root; children stand after their parent.
    pub(super) nodes: Vec<GrownNode>,
    /// The rows it was grown on, leaf by leaf.
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
    /// Position of the leaf that a row of the table falls in.
    pub(super) fn leaf_of(&self, table: &BinnedTable, row: u32) -> usize {
        let mut position = 0;
        while let GrownNode::Split { column, left_bins, left, right } = &self.nodes[position] {
            let goes_left = left_bins.contains(table.columns[*column].bins[row as usize]);
            position = if goes_left { *left } else { *right };
        }
        position
    }
}

/// Grows a tree on these rows with these columns (positions in the table, sorted); `derivatives` has one entry per row of the
/// table.
pub(super) fn grow(
    table: &BinnedTable,
    params: &BoostingParams,
    derivatives: &[Derivatives],
    rows: Vec<u32>,
    columns: &[usize],
) -> GrownTree {
    let n_bins: usize = columns.iter().map(|&column| table.columns[column].n_bins()).sum();
    let keep_histograms = n_bins.saturating_mul(size_of::<Sums>()).saturating_mul(params.max_leaves) <= MAX_HISTOGRAM_BYTES;
    Grower { table, params, derivatives, columns, keep_histograms, rows, scratch: Vec::new(), nodes: Vec::new() }.grow()
}

/// One histogram per column of the tree.
type Histograms = Vec<Vec<Sums>>;

struct Grower<'a> {
    table: &'a BinnedTable,
    params: &'a BoostingParams,
    derivatives: &'a [Derivatives],
    columns: &'a [usize],
    keep_histograms: bool,
    rows: Vec<u32>,
    scratch: Vec<u32>,
    nodes: Vec<GrownNode>,
}

/// A leaf that may still be split.
struct OpenLeaf {
    /// Position of its node.
    node: usize,
    start: usize,
    end: usize,
    depth: usize,
    histograms: Option<Histograms>,
    /// The best split and its column's position in the table.
    best: Option<(usize, Split)>,
}

impl Grower<'_> {
    fn grow(mut self) -> GrownTree {
        let root_rows: Vec<Derivatives> = self.rows.iter().map(|&row| self.derivatives[row as usize]).collect();
        // The root's own value stays 0: a tree without a split has nothing to say that the margin does not.
        self.nodes.push(GrownNode::Leaf { value: 0.0, start: 0, end: self.rows.len() });
        let parent = Parent { sums: Sums::of(&root_rows), bounds: Bounds::NONE };
        let mut root = OpenLeaf { node: 0, start: 0, end: self.rows.len(), depth: 0, histograms: None, best: None };
        self.examine(&mut root, &parent, None);
        let mut open = vec![root];
        for n_leaves in 2..=self.params.max_leaves {
            let Some(chosen) = most_gain(&open) else { break };
            let leaf = open.swap_remove(chosen);
            open.extend(self.split(leaf, n_leaves == self.params.max_leaves).into_iter().flatten());
        }
        GrownTree { nodes: self.nodes, rows: self.rows }
    }

    /// Splits a leaf; its children are examined unless the tree is full.
    fn split(&mut self, leaf: OpenLeaf, is_last: bool) -> Option<[OpenLeaf; 2]> {
        let (column, split) = leaf.best?;
        let middle = self.partition(leaf.start..leaf.end, column, &split.left_bins);
        let mut left = self.child(&split.left, leaf.start, middle, leaf.depth + 1);
        let mut right = self.child(&split.right, middle, leaf.end, leaf.depth + 1);
        self.nodes[leaf.node] = GrownNode::Split { column, left_bins: split.left_bins, left: left.node, right: right.node };
        if is_last {
            return None;
        }
        if !self.may_split(&left) && !self.may_split(&right) {
            return Some([left, right]);
        }
        let left_parent = Parent { sums: split.left.sums, bounds: split.left.bounds };
        let right_parent = Parent { sums: split.right.sums, bounds: split.right.bounds };
        // The smaller child is counted, the larger is what remains of the parent.
        if middle - leaf.start <= leaf.end - middle {
            self.examine(&mut left, &left_parent, None);
            self.examine(&mut right, &right_parent, leaf.histograms.as_ref().zip(left.histograms.as_ref()));
        } else {
            self.examine(&mut right, &right_parent, None);
            self.examine(&mut left, &left_parent, leaf.histograms.as_ref().zip(right.histograms.as_ref()));
        }
        Some([left, right])
    }

    fn child(&mut self, side: &Side, start: usize, end: usize, depth: usize) -> OpenLeaf {
        self.nodes.push(GrownNode::Leaf { value: self.params.learning_rate * side.value, start, end });
        OpenLeaf { node: self.nodes.len() - 1, start, end, depth, histograms: None, best: None }
    }

    fn may_split(&self, leaf: &OpenLeaf) -> bool {
        leaf.depth < self.params.max_depth && leaf.end - leaf.start >= 2 * self.params.limits.min_leaf_rows as usize
    }

    /// Finds the leaf's best split, from its rows or from what its parent has more than its sibling.
    fn examine(&self, leaf: &mut OpenLeaf, parent: &Parent, family: Option<(&Histograms, &Histograms)>) {
        let rows = &self.rows[leaf.start..leaf.end];
        let gathered: Vec<Derivatives> = match family {
            Some(_) => Vec::new(),
            None => rows.iter().map(|&row| self.derivatives[row as usize]).collect(),
        };
        let may_split = self.may_split(leaf);
        let look = |(place, &column): (usize, &usize)| {
            let binned = &self.table.columns[column];
            let sums = match family {
                Some((all, sibling)) => remainder(&all[place], &sibling[place]),
                None => histogram(binned, rows, &gathered),
            };
            let split = if may_split { best_split(binned, &sums, parent, &self.params.limits) } else { None };
            (split.map(|split| (column, split)), self.keep_histograms.then_some(sums))
        };
        let found: Vec<_> = if rows.len() * self.columns.len() >= MIN_PARALLEL_BYTES {
            self.columns.par_iter().enumerate().map(look).collect()
        } else {
            self.columns.iter().enumerate().map(look).collect()
        };
        let (splits, histograms): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        leaf.histograms = histograms.into_iter().collect();
        leaf.best = splits.into_iter().flatten().reduce(|best, next| if next.1.gain > best.1.gain { next } else { best });
    }

    /// Moves the rows that go left to the front, both sides in their order, and returns where the right side starts.
    fn partition(&mut self, range: std::ops::Range<usize>, column: usize, left_bins: &BinSet) -> usize {
        let bins = &self.table.columns[column].bins;
        let rows = &mut self.rows[range.clone()];
        self.scratch.clear();
        let mut n_left = 0;
        for place in 0..rows.len() {
            let row = rows[place];
            if left_bins.contains(bins[row as usize]) {
                rows[n_left] = row;
                n_left += 1;
            } else {
                self.scratch.push(row);
            }
        }
        rows[n_left..].copy_from_slice(&self.scratch);
        range.start + n_left
    }
}

/// The open leaf whose split saves most; the first node among equals.
fn most_gain(open: &[OpenLeaf]) -> Option<usize> {
    let gain = |leaf: &OpenLeaf| leaf.best.as_ref().map(|(_, split)| split.gain);
    let splittable = open.iter().enumerate().filter_map(|(place, leaf)| gain(leaf).map(|gain| (place, gain, leaf.node)));
    let best = splittable.reduce(|best, next| if (next.1, best.2) > (best.1, next.2) { next } else { best });
    best.map(|(place, _, _)| place)
}
