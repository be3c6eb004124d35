//! From nodes as a file has them to a tree that the engine takes.

use std::rc::Rc;

use retain_score::{Node, NodeKind, Test, Tree, limits};

use crate::error::ImportError;

/// LightGBM takes numbers up to this size for zero: its `kZeroThreshold`, an `f32`.
pub(crate) const ZERO_BAND: f64 = 1e-35_f32 as f64;

/// Nodes that may be added to all trees of a model so that zeros go with missing values: to any model, for each node that was read, and
/// at most. Every level of a tree may double it, so a small file could otherwise ask for as much as a large one.
const FREE_EXTRA_NODES: usize = 50_000;
const EXTRA_NODES_PER_NODE: usize = 32;
const MAX_EXTRA_NODES: usize = 500_000;

/// Categories of a set that count as one more node when it stands there twice: they take the same room.
const CATEGORIES_PER_NODE: usize = 16;

/// The least cover of a leaf, as a share of the mean leaf's: explanations divide by covers, and leaves that no row reached have none.
const LEAST_COVER: f64 = 1e-6;

/// A node of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RawNode {
    /// The end of a path.
    Leaf {
        /// What it adds to the margin.
        value: f64,
        /// Training rows or their weight; a number that is not positive means that the file does not know.
        weight: f64,
    },
    /// A question.
    Split {
        feature_idx: usize,
        test: RawTest,
        /// Positions among the tree's nodes.
        left: usize,
        right: usize,
    },
}

/// A question as the libraries ask it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RawTest {
    /// One of the engine's.
    Plain { test: Test, missing_left: bool },
    /// LightGBM with `zero_as_missing`: `x <= threshold`, where missing values and numbers within [`ZERO_BAND`] go by default.
    ZeroMissing { threshold: f64, default_left: bool },
}

/// Makes trees, and keeps count of what they grow by.
#[derive(Debug, Default)]
pub(crate) struct TreeMaker {
    n_read: usize,
    n_extra: usize,
}

impl TreeMaker {
    /// Checks that the nodes are a tree whose root stands first, and orders them as the engine asks.
    ///
    /// Zeros that are missing while the numbers on both sides of them go the same way cannot be told by one question. They get two more,
    /// `x < −band` and `x <= band`, and the subtrees below stand there more than once. This happens once on a path for each feature, since
    /// below it the answer is known. The alternative, a third kind of question in the engine, would slow every model for the sake of
    /// few.
    ///
    /// # Errors
    /// [`ImportError::Model`] names the node that makes it no tree.
    pub(crate) fn make(&mut self, tree: usize, raw: &[RawNode], n_features: usize) -> Result<Tree, ImportError> {
        check(tree, raw, n_features)?;
        let mut unfolding = Unfolding::new(raw);
        let n_read: usize = raw.iter().map(size_of).sum();
        self.n_read += n_read;
        let allowed = (FREE_EXTRA_NODES + EXTRA_NODES_PER_NODE * self.n_read).min(MAX_EXTRA_NODES);
        while let Some(next) = unfolding.waiting.pop() {
            unfolding.place(next);
            if self.n_extra + unfolding.size.saturating_sub(n_read) > allowed {
                let found = format!("so many splits with `zero_as_missing` that zeros need more than {allowed} extra nodes");
                return Err(ImportError::unsupported(found, "`zero_as_missing` with few levels, or `use_missing` alone"));
            }
        }
        self.n_extra += unfolding.size.saturating_sub(n_read);
        if unfolding.depth > limits::MAX_DEPTH {
            let (found, limit) = (unfolding.depth, limits::MAX_DEPTH);
            return Err(ImportError::too_large("nodes on a path", found, limit));
        }
        Ok(unfolding.finish())
    }
}

/// Every node of the root's tree has one parent, finite numbers and features that exist; nodes that nothing leads to are ignored.
fn check(tree: usize, raw: &[RawNode], n_features: usize) -> Result<(), ImportError> {
    let wrong = |node, what| Err(ImportError::no_tree(tree, node, what));
    if raw.is_empty() {
        return wrong(0, "there are no nodes");
    }
    let mut seen = vec![false; raw.len()];
    seen[0] = true;
    let mut waiting = vec![(0, 1)];
    while let Some((node, depth)) = waiting.pop() {
        if depth > limits::MAX_DEPTH {
            return wrong(node, "the path from the root is longer than 256 nodes");
        }
        match &raw[node] {
            RawNode::Leaf { value, .. } if !value.is_finite() => return wrong(node, "the leaf's value is not a finite number"),
            RawNode::Leaf { .. } => {}
            RawNode::Split { feature_idx, .. } if *feature_idx >= n_features => {
                return wrong(node, "the feature is not one of the model's");
            }
            RawNode::Split { test, .. } if has_nan(test) => return wrong(node, "the threshold is not a number"),
            RawNode::Split { left, right, .. } => {
                for child in [*left, *right] {
                    match seen.get_mut(child) {
                        None => return wrong(node, "a child is not one of the tree's nodes"),
                        Some(true) => return wrong(child, "two parents lead here, or a cycle"),
                        Some(seen) => *seen = true,
                    }
                    waiting.push((child, depth + 1));
                }
            }
        }
    }
    Ok(())
}

fn has_nan(test: &RawTest) -> bool {
    match test {
        RawTest::Plain { test: Test::Below(threshold), .. } | RawTest::ZeroMissing { threshold, .. } => threshold.is_nan(),
        RawTest::Plain { test: Test::OneOf(_), .. } => false,
    }
}

/// Where a value lies, once a path has asked.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    Below,
    /// Within the band, or missing.
    Zero,
    Above,
}

/// What a path knows of its features, newest first.
struct Known {
    feature_idx: usize,
    side: Side,
    before: Option<Rc<Known>>,
}

fn side_of(known: Option<&Rc<Known>>, feature_idx: usize) -> Option<Side> {
    let mut next = known;
    while let Some(known) = next {
        if known.feature_idx == feature_idx {
            return Some(known.side);
        }
        next = known.before.as_ref();
    }
    None
}

/// A node that has yet to be placed.
struct Waiting {
    raw_idx: usize,
    /// The parent's place, and whether this is its left child; none for the root.
    parent: Option<(usize, bool)>,
    depth: usize,
    known: Option<Rc<Known>>,
    /// The second of the two questions around zero comes here.
    is_not_below: bool,
}

struct Unfolding<'a> {
    raw: &'a [RawNode],
    waiting: Vec<Waiting>,
    nodes: Vec<Node>,
    /// Where each placed node comes from.
    origins: Vec<usize>,
    depth: usize,
    /// Of all nodes placed, see [`size_of`].
    size: usize,
}

impl<'a> Unfolding<'a> {
    fn new(raw: &'a [RawNode]) -> Self {
        let root = Waiting { raw_idx: 0, parent: None, depth: 1, known: None, is_not_below: false };
        Self { raw, waiting: vec![root], nodes: Vec::with_capacity(raw.len()), origins: Vec::new(), depth: 0, size: 0 }
    }

    fn place(&mut self, next: Waiting) {
        match &self.raw[next.raw_idx] {
            RawNode::Leaf { value, .. } => {
                self.push(&next, NodeKind::Leaf { value: *value });
            }
            RawNode::Split { feature_idx, test: RawTest::Plain { test, missing_left }, left, right } => {
                let (test, children) = (test.clone(), [*left, *right]);
                self.push_split(&next, *feature_idx, test, *missing_left, children, [next.known.clone(), next.known.clone()]);
            }
            RawNode::Split { feature_idx, test: RawTest::ZeroMissing { threshold, default_left }, left, right } => {
                self.place_zero_missing(next, *feature_idx, (*threshold, *default_left), [*left, *right]);
            }
        }
    }

    fn place_zero_missing(
        &mut self,
        next: Waiting,
        feature_idx: usize,
        (threshold, default_left): (f64, bool),
        [left, right]: [usize; 2],
    ) {
        if next.is_not_below {
            let known = [Side::Zero, Side::Above].map(|side| Some(knowing(&next, feature_idx, side)));
            let here = [next.raw_idx; 2];
            return self.push_split(&next, feature_idx, Test::Below(ZERO_BAND.next_up()), true, here, known);
        }
        let plain = Test::Below(threshold.next_up());
        let test = match side_of(next.known.as_ref(), feature_idx) {
            Some(Side::Zero) => {
                let raw_idx = if default_left { left } else { right };
                return self.waiting.push(Waiting { raw_idx, ..next });
            }
            // Infinity lies above the band, and below no threshold.
            Some(Side::Above) if threshold == f64::INFINITY => return self.waiting.push(Waiting { raw_idx: left, ..next }),
            Some(Side::Below | Side::Above) => plain,
            None if default_left && threshold >= -ZERO_BAND => Test::Below(threshold.max(ZERO_BAND).next_up()),
            None if !default_left && threshold < -ZERO_BAND => plain,
            None if !default_left && threshold <= ZERO_BAND => Test::Below(-ZERO_BAND),
            None => {
                let below = Some(knowing(&next, feature_idx, Side::Below));
                let place = self.push(&next, split(feature_idx, Test::Below(-ZERO_BAND), false));
                let (raw_idx, depth) = (next.raw_idx, next.depth + 1);
                self.waiting.push(Waiting {
                    raw_idx,
                    parent: Some((place, false)),
                    depth,
                    known: next.known,
                    is_not_below: true,
                });
                let parent = Some((place, true));
                return self.waiting.push(Waiting { raw_idx, parent, depth, known: below, is_not_below: false });
            }
        };
        let known = [next.known.clone(), next.known.clone()];
        self.push_split(&next, feature_idx, test, default_left, [left, right], known);
    }

    fn push_split(
        &mut self,
        next: &Waiting,
        feature_idx: usize,
        test: Test,
        missing_left: bool,
        children: [usize; 2],
        known: [Option<Rc<Known>>; 2],
    ) {
        let place = self.push(next, split(feature_idx, test, missing_left));
        for ((raw_idx, known), is_left) in children.into_iter().zip(known).zip([true, false]) {
            let parent = Some((place, is_left));
            self.waiting.push(Waiting { raw_idx, parent, depth: next.depth + 1, known, is_not_below: false });
        }
    }

    /// Places a node and tells its parent where.
    fn push(&mut self, next: &Waiting, kind: NodeKind) -> usize {
        let place = self.nodes.len();
        if let Some((parent, is_left)) = next.parent
            && let NodeKind::Split { left, right, .. } = &mut self.nodes[parent].kind
        {
            *(if is_left { left } else { right }) = place as u32;
        }
        self.nodes.push(Node { cover: 0.0, kind });
        self.origins.push(next.raw_idx);
        self.depth = self.depth.max(next.depth);
        self.size += size_of(&self.raw[next.raw_idx]);
        place
    }

    /// Covers: those of the leaves, shared out among the copies of a leaf; a parent's is the sum of its children's.
    fn finish(mut self) -> Tree {
        let mut n_copies = vec![0_u32; self.raw.len()];
        self.origins.iter().for_each(|&origin| n_copies[origin] += 1);
        let weights: Vec<f64> = self.raw.iter().filter_map(known_weight).collect();
        let mean = if weights.is_empty() { 1.0 } else { weights.iter().sum::<f64>() / weights.len() as f64 };
        let unknown = if weights.is_empty() { 1.0 } else { 0.0 };
        for place in (0..self.nodes.len()).rev() {
            let origin = self.origins[place];
            self.nodes[place].cover = match self.nodes[place].kind {
                NodeKind::Leaf { .. } => {
                    let weight = known_weight(&self.raw[origin]).unwrap_or(unknown);
                    weight.max(LEAST_COVER * mean) / f64::from(n_copies[origin])
                }
                NodeKind::Split { left, right, .. } => self.nodes[left as usize].cover + self.nodes[right as usize].cover,
            };
        }
        Tree { nodes: self.nodes }
    }
}

/// The room that a node takes, in nodes.
fn size_of(node: &RawNode) -> usize {
    match node {
        RawNode::Split { test: RawTest::Plain { test: Test::OneOf(set), .. }, .. } => 1 + set.len() / CATEGORIES_PER_NODE,
        RawNode::Leaf { .. } | RawNode::Split { .. } => 1,
    }
}

fn split(feature_idx: usize, test: Test, missing_left: bool) -> NodeKind {
    NodeKind::Split { feature_idx: feature_idx as u32, test, missing_left, left: 0, right: 0 }
}

fn knowing(next: &Waiting, feature_idx: usize, side: Side) -> Rc<Known> {
    Rc::new(Known { feature_idx, side, before: next.known.clone() })
}

/// The weight of a leaf, where the file says one.
fn known_weight(node: &RawNode) -> Option<f64> {
    match node {
        RawNode::Leaf { weight, .. } if weight.is_finite() && *weight > 0.0 => Some(*weight),
        _ => None,
    }
}
