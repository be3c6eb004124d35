//! Small trees side by side: sixty-four of them answer their n-th question in the same step.
//!
//! Leaves are counted from the left, and a tree keeps one number: the first leaf of the subtree that the row is in. A question is the
//! row's when the leftmost leaf below it is that number, because only nodes down the left side of one subtree begin with the same leaf
//! and they are asked from the top; the answer "right" moves the number on to the first leaf of the right child. So a step is two comparisons
//! and a move for sixty-four trees, without a branch, and a question is four bytes. A symmetric tree asks one question a
//! level, and the answers are the bits of its leaf's position.

use crate::engine::fixed::FixedPoint;
use crate::engine::views::{NEVER, Question, Scale, View, Views};
use crate::model::{Node, NodeKind, Tree};

/// Trees of a block: as many as a vector register has bytes.
pub(crate) const BLOCK: usize = 64;
/// Rows that are scored together.
pub(crate) const ROWS: usize = 256;
/// Trees of which one row walks down side by side.
pub(crate) const LANES: usize = 8;
/// Views of one part: as many as a byte can name.
pub(crate) const MAX_VIEWS: usize = 256;
/// Levels of a symmetric tree: its leaf's position is a byte.
const MAX_LEVELS: usize = 8;
/// Questions that one view has to be asked on average; below, finding its rank costs more than walking the trees.
const MIN_TREES_PER_VIEW: f64 = 1.0 / 3.0;
/// Bytes that ranks of categories may take: a few nodes could otherwise ask for a large table each.
const MAX_CATEGORY_BYTES: usize = 1 << 24;
/// The place where ranks go that nobody asks for.
const NOWHERE: u16 = MAX_VIEWS as u16;

/// At most [`ROWS`] rows, one after another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub(crate) values: &'a [f64],
    pub(crate) n_features: usize,
}

/// Ranks of [`ROWS`] rows, view by view.
pub(crate) type Columns = Vec<[u8; ROWS]>;

/// Sixty-four bytes that fill a vector register.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Bytes(pub(crate) [u8; BLOCK]);

/// Trees that share the ranks of at most 256 views.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    pub(crate) n_views: usize,
    pub(crate) scales: Vec<ScaleRanks>,
    /// Thresholds of the scales, eight at a time.
    pub(crate) lines: Vec<[f64; 8]>,
    pub(crate) categories: Vec<CategoryRanks>,
    pub(crate) symmetric: Vec<Symmetric>,
    pub(crate) leaves_8: Vec<Ordered<8>>,
    pub(crate) leaves_16: Vec<Ordered<16>>,
    pub(crate) leaves_32: Vec<Ordered<32>>,
    pub(crate) leaves_64: Vec<Ordered<64>>,
}

/// Finds the rank of a number in two steps, the group of eight thresholds it falls in, then the place within the group; or by
/// halving the groups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScaleRanks {
    pub(crate) feature_idx: u32,
    /// Position in [`Part::lines`] of the first threshold of each group but the first, then of the groups, all filled up with NaN,
    /// which no value reaches.
    pub(crate) first_line: u32,
    /// Lines that say which group.
    pub(crate) n_head_lines: u8,
    /// A power of two, with room for one threshold more than there are.
    pub(crate) n_groups: u8,
    pub(crate) n_thresholds: u8,
    /// Places of the ranks where missing values go left, and where they go right.
    pub(crate) places: [u16; 2],
}

#[derive(Debug, Clone)]
pub(crate) struct CategoryRanks {
    pub(crate) feature_idx: u32,
    pub(crate) ranks: Vec<u8>,
    pub(crate) missing_rank: u8,
    pub(crate) place: u16,
}

/// A block of trees of at most `LEAVES` leaves.
#[derive(Debug, Clone)]
pub(crate) struct Ordered<const LEAVES: usize> {
    pub(crate) steps: Vec<Step>,
    /// The same tree by tree, for many rows.
    pub(crate) questions: Vec<PlainQuestion>,
    /// How many questions each tree has.
    pub(crate) n_questions: Vec<u32>,
    /// The same node by node, for walking down: trees have the children of a node beside each other and the root first.
    pub(crate) trees: Vec<[Nodes<LEAVES>; LANES]>,
    /// Steps to the deepest leaf of so many trees.
    pub(crate) depths: Vec<u8>,
    /// Leaf values in units, from the left.
    pub(crate) leaves: Box<[[i64; LEAVES]; BLOCK]>,
    /// The same byte by byte, tree by tree.
    pub(crate) planes: Vec<Planes>,
}

/// Leaf values of one tree by their bytes, the lowest first: a register holds a byte of up to sixty-four leaves.
pub(crate) type Planes = [Bytes; 8];

/// As many nodes as a tree of so many leaves can have, and one more.
pub(crate) type Nodes<const LEAVES: usize> = [[RankNode; LEAVES]; 2];

/// A question, or a leaf that steps onto itself.
#[derive(Debug, Clone, Copy)]
#[repr(align(4))]
pub(crate) struct RankNode {
    pub(crate) view: u8,
    pub(crate) at: u8,
    /// The left child; the right one stands behind it. A leaf's own position.
    pub(crate) left: u8,
    /// Which leaf it is, from the left.
    pub(crate) leaf: u8,
}

/// One question of each of the trees; a node comes after those above it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) view: Bytes,
    pub(crate) at: Bytes,
    /// The first leaf below the node.
    pub(crate) first: Bytes,
    /// The first leaf below its right child.
    pub(crate) right: Bytes,
}

/// One question of one tree, each byte four times over: registers are filled with four bytes at the price of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlainQuestion {
    pub(crate) view: u32,
    pub(crate) at: u32,
    pub(crate) first: u32,
    pub(crate) right: u32,
}

/// A block of symmetric trees.
#[derive(Debug, Clone)]
pub(crate) struct Symmetric {
    /// The question of each level.
    pub(crate) levels: Vec<(Bytes, Bytes)>,
    /// Leaf values in units, `1 << levels` for each tree; going right at level `l` adds `1 << l` to the position.
    pub(crate) leaves: Vec<i64>,
    /// The same byte by byte, tree by tree; none where a tree has more leaves than a register has bytes.
    pub(crate) planes: Vec<Planes>,
    pub(crate) n_trees: usize,
}

/// A tree in the form of its block: what it asks and what it says.
struct Shaped {
    form: Form,
    /// A symmetric tree has one question a level; another one tells which leaves are left of it: the first and how many.
    questions: Vec<(Question, usize, usize)>,
    leaves: Vec<i64>,
    /// Steps from the root to the deepest leaf.
    depth: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Symmetric,
    Leaves8,
    Leaves16,
    Leaves32,
    Leaves64,
}

/// Sorts trees into parts; the positions that come with them are of trees that are better walked.
pub(crate) fn parts_of(trees: &[Tree], n_categories: &dyn Fn(u32) -> usize, fixed: FixedPoint) -> (Vec<Part>, Vec<usize>) {
    let is_small = |tree: &Tree| tree.nodes.len() < 2 * BLOCK || symmetric_levels(tree).is_some();
    let (small, mut walked): (Vec<usize>, Vec<usize>) = (0..trees.len()).partition(|&position| is_small(&trees[position]));
    let Some(mut views) = Views::of(small.iter().map(|&position| &trees[position])) else {
        return (Vec::new(), (0..trees.len()).collect());
    };
    let mut parts = Vec::new();
    let mut open = OpenPart::default();
    let mut first_node = 0;
    for position in small {
        let shaped = shape(&trees[position], first_node, &mut views, fixed);
        first_node += trees[position].nodes.len();
        let Some(shaped) = shaped else {
            walked.push(position);
            continue;
        };
        if !open.has_room_for(&shaped) {
            parts.push(std::mem::take(&mut open));
        }
        open.add(position, shaped);
    }
    parts.push(open);
    let mut n_bytes = 0;
    let (worth, others): (Vec<OpenPart>, Vec<OpenPart>) = parts.into_iter().partition(|part| {
        n_bytes += part.n_category_bytes(&views, n_categories);
        n_bytes <= MAX_CATEGORY_BYTES && part.trees.len() as f64 >= MIN_TREES_PER_VIEW * part.views.len() as f64
    });
    walked.extend(others.iter().flat_map(|part| part.trees.iter().map(|(position, _)| *position)));
    walked.sort_unstable();
    (worth.into_iter().filter(|part| !part.trees.is_empty()).map(|part| part.close(&views, n_categories)).collect(), walked)
}

/// The first node of each level of a tree that asks the same question everywhere on a level, and is complete.
fn symmetric_levels(tree: &Tree) -> Option<Vec<usize>> {
    let mut levels = Vec::new();
    let mut level: Vec<&Node> = vec![tree.nodes.first()?];
    let mut first = 0;
    while let NodeKind::Split { feature_idx, test, missing_left, left, .. } = &level[0].kind {
        let mut below = Vec::with_capacity(2 * level.len());
        for node in &level {
            match &node.kind {
                NodeKind::Split { feature_idx: f, test: t, missing_left: m, left, right }
                    if f == feature_idx && t == test && m == missing_left =>
                {
                    below.extend([&tree.nodes[*left as usize], &tree.nodes[*right as usize]]);
                }
                _ => return None,
            }
        }
        levels.push(first);
        first = *left as usize;
        if levels.len() > MAX_LEVELS {
            return None;
        }
        level = below;
    }
    level.iter().all(|node| matches!(node.kind, NodeKind::Leaf { .. })).then_some(levels)
}

/// `first_node` is the position of the tree's root, counted through the trees that the views are of.
fn shape(tree: &Tree, first_node: usize, views: &mut Views, fixed: FixedPoint) -> Option<Shaped> {
    let mut ask = |position: usize| views.question(first_node + position, &tree.nodes[position].kind);
    // A stump is as well one question as one level.
    if let Some(levels) = symmetric_levels(tree).filter(|levels| levels.len() > 1) {
        let questions = levels.into_iter().map(|position| Some((ask(position)?, 0, 0))).collect::<Option<Vec<_>>>()?;
        let leaves = symmetric_leaves(tree, questions.len(), fixed);
        return Some(Shaped { form: Form::Symmetric, depth: questions.len() as u8, questions, leaves });
    }
    let n_leaves = tree.nodes.len() / 2 + 1;
    let (mut questions, mut leaves, mut depth) = (Vec::with_capacity(n_leaves), Vec::with_capacity(n_leaves), 0);
    // Depth first, left before right: leaves come in their order. A question is complete when its left side is.
    let mut waiting = vec![Visit::Node(0, 0)];
    while let Some(visit) = waiting.pop() {
        match visit {
            Visit::Node(position, level) => match &tree.nodes[position as usize].kind {
                NodeKind::Leaf { value } => {
                    leaves.push(fixed.encode(*value));
                    depth = level.max(depth);
                }
                NodeKind::Split { left, right, .. } => {
                    questions.push((ask(position as usize)?, leaves.len(), 0));
                    let done = Visit::LeftDone(questions.len() - 1);
                    waiting.extend([Visit::Node(*right, level + 1), done, Visit::Node(*left, level + 1)]);
                }
            },
            Visit::LeftDone(question) => questions[question].2 = leaves.len() - questions[question].1,
        }
    }
    let form = match leaves.len() {
        ..=8 => Form::Leaves8,
        9..=16 => Form::Leaves16,
        17..=32 => Form::Leaves32,
        _ => Form::Leaves64,
    };
    Some(Shaped { form, questions, leaves, depth })
}

enum Visit {
    /// Position and depth.
    Node(u32, u8),
    LeftDone(usize),
}

fn symmetric_leaves(tree: &Tree, n_levels: usize, fixed: FixedPoint) -> Vec<i64> {
    let leaf = |position: usize| {
        let mut node = &tree.nodes[0];
        for level in 0..=n_levels {
            match &node.kind {
                NodeKind::Leaf { value } => return fixed.encode(*value),
                NodeKind::Split { left, right, .. } => {
                    node = &tree.nodes[if position >> level & 1 == 1 { *right } else { *left } as usize];
                }
            }
        }
        0
    };
    (0..1 << n_levels).map(leaf).collect()
}

/// A part that grows.
#[derive(Default)]
struct OpenPart {
    /// Views of the model, by place in this part.
    views: Vec<u32>,
    /// The other way round.
    places: Vec<Option<u8>>,
    trees: Vec<(usize, Shaped)>,
}

impl OpenPart {
    fn place_of(&self, view: u32) -> Option<u8> {
        self.places.get(view as usize).copied().flatten()
    }

    fn has_room_for(&self, shaped: &Shaped) -> bool {
        let new = |(question, _, _): &&(Question, usize, usize)| self.place_of(question.view).is_none();
        // A view that is new twice is counted twice: the part may close a little early.
        self.views.len() + shaped.questions.iter().filter(new).count() <= MAX_VIEWS
    }

    fn add(&mut self, position: usize, shaped: Shaped) {
        for (question, _, _) in &shaped.questions {
            if self.place_of(question.view).is_none() {
                let view = question.view as usize;
                self.places.resize(self.places.len().max(view + 1), None);
                self.places[view] = Some(self.views.len() as u8);
                self.views.push(question.view);
            }
        }
        self.trees.push((position, shaped));
    }

    fn n_category_bytes(&self, views: &Views, n_categories: &dyn Fn(u32) -> usize) -> usize {
        let bytes = |view: &u32| match views.list[*view as usize] {
            View::Category { chain } => n_categories(views.chains[chain as usize].feature_idx) + 1,
            View::Number { .. } => 0,
        };
        self.views.iter().map(bytes).sum()
    }

    fn close(mut self, views: &Views, n_categories: &dyn Fn(u32) -> usize) -> Part {
        // Trees of one form, size and depth stand together, so that none waits long for others.
        self.trees.sort_by_key(|(position, shaped)| (shaped.form, shaped.questions.len(), shaped.depth, *position));
        let place = |view: u32| self.place_of(view).unwrap_or(0);
        let mut part = Part { n_views: self.views.len(), ..Part::default() };
        for (at, &view) in self.views.iter().enumerate() {
            part.add_ranks(views.list[view as usize], at as u16, views, n_categories);
        }
        // Scales of like size one after another: their loops are predicted.
        part.scales.sort_by_key(|scale| scale.n_thresholds);
        for of_form in self.trees.chunk_by(|(_, a), (_, b)| a.form == b.form) {
            for block in of_form.chunks(BLOCK) {
                let trees: Vec<&Shaped> = block.iter().map(|(_, shaped)| shaped).collect();
                match trees[0].form {
                    Form::Symmetric => part.symmetric.push(Symmetric::new(&trees, place)),
                    Form::Leaves8 => part.leaves_8.push(Ordered::new(&trees, place)),
                    Form::Leaves16 => part.leaves_16.push(Ordered::new(&trees, place)),
                    Form::Leaves32 => part.leaves_32.push(Ordered::new(&trees, place)),
                    Form::Leaves64 => part.leaves_64.push(Ordered::new(&trees, place)),
                }
            }
        }
        part
    }
}

impl Part {
    fn add_ranks(&mut self, view: View, place: u16, views: &Views, n_categories: &dyn Fn(u32) -> usize) {
        match view {
            View::Category { chain } => {
                let chain = &views.chains[chain as usize];
                self.categories.push(CategoryRanks {
                    feature_idx: chain.feature_idx,
                    ranks: chain.ranks(n_categories(chain.feature_idx)),
                    missing_rank: chain.missing_rank(),
                    place,
                });
            }
            View::Number { scale, missing_left } => {
                let scale = &views.scales[scale as usize];
                let side = usize::from(!missing_left);
                let lines = &self.lines;
                let groups_of = |ranks: &ScaleRanks| lines[ranks.first_line as usize + usize::from(ranks.n_head_lines)];
                let same =
                    |ranks: &ScaleRanks| ranks.feature_idx == scale.feature_idx && groups_of(ranks)[0] == scale.thresholds[0];
                match self.scales.iter().position(same) {
                    Some(position) => self.scales[position].places[side] = place,
                    None => self.add_scale(scale, side, place),
                }
            }
        }
    }

    fn add_scale(&mut self, scale: &Scale, side: usize, place: u16) {
        let in_lines = |values: &[f64]| -> Vec<[f64; 8]> {
            values.chunks(8).map(|line| std::array::from_fn(|i| line.get(i).copied().unwrap_or(f64::NAN))).collect()
        };
        let mut groups = in_lines(&scale.thresholds);
        let heads = in_lines(&groups.iter().skip(1).map(|group| group[0]).collect::<Vec<_>>());
        let n_groups = (scale.thresholds.len() / 8 + 1).next_power_of_two();
        groups.resize(n_groups, [f64::NAN; 8]);
        let mut places = [NOWHERE; 2];
        places[side] = place;
        self.scales.push(ScaleRanks {
            feature_idx: scale.feature_idx,
            first_line: self.lines.len() as u32,
            n_head_lines: heads.len() as u8,
            n_groups: n_groups as u8,
            n_thresholds: scale.thresholds.len() as u8,
            places,
        });
        self.lines.extend(heads.into_iter().chain(groups));
    }
}

impl<'a> Batch<'a> {
    #[inline]
    pub(crate) fn n_rows(self) -> usize {
        self.values.len() / self.n_features
    }

    #[inline]
    pub(crate) fn rows(self) -> impl Iterator<Item = &'a [f64]> {
        self.values.chunks_exact(self.n_features)
    }
}

impl CategoryRanks {
    #[inline]
    pub(crate) fn of(&self, value: f64) -> u8 {
        if value.is_nan() { self.missing_rank } else { self.ranks[(value as usize).min(self.ranks.len() - 1)] }
    }
}

impl<const LEAVES: usize> Ordered<LEAVES> {
    fn new(trees: &[&Shaped], place: impl Fn(u32) -> u8) -> Self {
        let n_steps = trees.iter().map(|tree| tree.questions.len()).max().unwrap_or(0);
        let zeros = Bytes([0; BLOCK]);
        let nothing = Step { view: zeros, at: Bytes([NEVER; BLOCK]), first: zeros, right: zeros };
        let mut block = Self {
            steps: vec![nothing; n_steps],
            questions: Vec::new(),
            n_questions: trees.iter().map(|tree| tree.questions.len() as u32).collect(),
            trees: Vec::new(),
            depths: Vec::new(),
            leaves: Box::new([[0; LEAVES]; BLOCK]),
            planes: trees.iter().map(|tree| planes_of(&tree.leaves)).collect(),
        };
        for (slot, tree) in trees.iter().enumerate() {
            for (step, &(question, first, n_left)) in block.steps.iter_mut().zip(&tree.questions) {
                let bytes @ [view, at, first, right] = [place(question.view), question.at, first as u8, (first + n_left) as u8];
                (step.view.0[slot], step.at.0[slot], step.first.0[slot], step.right.0[slot]) = (view, at, first, right);
                let [_, at, first, right] = bytes.map(|byte| u32::from_ne_bytes([byte; 4]));
                block.questions.push(PlainQuestion { view: u32::from(view), at, first, right });
            }
            block.leaves[slot][..tree.leaves.len()].copy_from_slice(&tree.leaves);
        }
        for side_by_side in trees.chunks(LANES) {
            let nodes =
                |lane: usize| side_by_side.get(lane).map_or([[RankNode::leaf(0, 0); LEAVES]; 2], |tree| nodes_of(tree, &place));
            block.trees.push(std::array::from_fn(nodes));
            block.depths.push(side_by_side.iter().map(|tree| tree.depth).max().unwrap_or(0));
        }
        block
    }
}

fn planes_of(leaves: &[i64]) -> Planes {
    let mut planes = [Bytes([0; BLOCK]); 8];
    for (position, leaf) in leaves.iter().enumerate() {
        for (plane, byte) in planes.iter_mut().zip(leaf.to_le_bytes()) {
            plane.0[position] = byte;
        }
    }
    planes
}

/// The nodes of a tree, level by level.
fn nodes_of<const LEAVES: usize>(tree: &Shaped, place: impl Fn(u32) -> u8) -> Nodes<LEAVES> {
    let mut nodes = [[RankNode::leaf(0, 0); LEAVES]; 2];
    // What stands at each position: a node that is told by its first leaf and how many there are below it, and the question
    // that is asked there or next.
    let mut waiting = vec![(0, tree.leaves.len(), 0)];
    let mut position = 0;
    while let Some(&(first, n_leaves, question)) = waiting.get(position) {
        nodes.as_flattened_mut()[position] = if n_leaves == 1 {
            RankNode::leaf(position, first)
        } else {
            let (Question { view, at }, _, n_left) = tree.questions[question];
            let left = waiting.len() as u8;
            // Questions stand depth first: those of the left side, one fewer than its leaves, come before those of the right side.
            waiting.extend([(first, n_left, question + 1), (first + n_left, n_leaves - n_left, question + n_left)]);
            RankNode { view: place(view), at, left, leaf: 0 }
        };
        position += 1;
    }
    nodes
}

impl RankNode {
    fn leaf(position: usize, leaf: usize) -> Self {
        Self { view: 0, at: NEVER, left: position as u8, leaf: leaf as u8 }
    }
}

impl Symmetric {
    fn new(trees: &[&Shaped], place: impl Fn(u32) -> u8) -> Self {
        let n_levels = trees.iter().map(|tree| tree.questions.len()).max().unwrap_or(0);
        let stride = 1 << n_levels;
        let nothing = (Bytes([0; BLOCK]), Bytes([NEVER; BLOCK]));
        let mut block =
            Self { levels: vec![nothing; n_levels], leaves: vec![0; BLOCK * stride], planes: Vec::new(), n_trees: trees.len() };
        if stride <= BLOCK {
            block.planes.extend(trees.iter().map(|tree| planes_of(&tree.leaves)));
        }
        for (slot, tree) in trees.iter().enumerate() {
            for ((view, at), (question, _, _)) in block.levels.iter_mut().zip(&tree.questions) {
                view.0[slot] = place(question.view);
                at.0[slot] = question.at;
            }
            block.leaves[slot * stride..][..tree.leaves.len()].copy_from_slice(&tree.leaves);
        }
        block
    }
}
