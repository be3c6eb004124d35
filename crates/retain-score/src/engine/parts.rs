//! Small trees side by side: sixty-four of them answer their n-th question in the same step.
//!
//! A tree of at most 64 leaves asks all its questions, whatever path the row takes; each that is answered "right" strikes the leaves
//! of its left side out of a bit mask, and the first leaf that remains is the row's (QuickScorer: Lucchese et al., 2015). A symmetric
//! tree asks one question a level, and the answers are the bits of its leaf's position. Neither has a branch to predict, and a
//! question is two bytes and a mask.

use crate::engine::fixed::FixedPoint;
use crate::engine::views::{NEVER, Question, View, Views};
use crate::model::{Node, NodeKind, Tree};

/// Trees of a block: as many as a vector register has bytes.
pub(crate) const BLOCK: usize = 64;
/// Views of one part: as many as a byte can name.
const MAX_VIEWS: usize = 256;
/// Levels of a symmetric tree: its leaf's position is a byte.
const MAX_LEVELS: usize = 8;
/// Questions that one view has to be asked on average; below, finding its rank costs more than walking the trees.
const MIN_TREES_PER_VIEW: f64 = 1.0 / 3.0;
/// The place where ranks go that nobody asks for.
const NOWHERE: u16 = MAX_VIEWS as u16;

/// Sixty-four bytes that fill a vector register.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Bytes(pub(crate) [u8; BLOCK]);

/// Ranks of one row, by view; the last line is for ranks that nobody asks for.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Ranks(pub(crate) [Bytes; MAX_VIEWS / BLOCK + 1]);

impl Ranks {
    #[inline(always)]
    pub(crate) fn set(&mut self, place: u16, rank: u8) {
        self.0[usize::from(place) / BLOCK].0[usize::from(place) % BLOCK] = rank;
    }
}

impl Default for Ranks {
    fn default() -> Self {
        Self([Bytes([0; BLOCK]); MAX_VIEWS / BLOCK + 1])
    }
}

/// Trees that share the ranks of at most 256 views.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    pub(crate) n_views: usize,
    pub(crate) scales: Vec<ScaleRanks>,
    pub(crate) categories: Vec<CategoryRanks>,
    /// Blocks of trees of at most 32 leaves.
    pub(crate) narrow: Vec<Masked<u32>>,
    /// Blocks of trees of 33 to 64 leaves.
    pub(crate) wide: Vec<Masked<u64>>,
    pub(crate) symmetric: Vec<Symmetric>,
}

/// Finds the rank of a number in two steps of eight comparisons each, or few more.
#[derive(Debug, Clone)]
pub(crate) struct ScaleRanks {
    pub(crate) feature_idx: u32,
    pub(crate) n_thresholds: u8,
    /// The first threshold of each group of eight but the first group, filled up with NaN, which no value reaches.
    pub(crate) heads: Vec<[f64; 8]>,
    /// The thresholds in groups of eight, filled up with NaN.
    pub(crate) groups: Vec<[f64; 8]>,
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

/// A block of trees that strike out leaves.
#[derive(Debug, Clone)]
pub(crate) struct Masked<M> {
    pub(crate) steps: Vec<Step<M>>,
    /// Leaves of the tree with the most of them, as a power of two.
    pub(crate) stride: usize,
    /// Leaf values in units, `stride` for each tree; the leftmost leaf first.
    pub(crate) leaves: Vec<i64>,
    pub(crate) n_trees: usize,
}

/// One question of each of the trees.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(crate) struct Step<M> {
    pub(crate) view: Bytes,
    pub(crate) at: Bytes,
    /// Leaves that remain when the row goes right; the leftmost leaf is the highest bit.
    pub(crate) remaining: [M; BLOCK],
}

/// A block of symmetric trees.
#[derive(Debug, Clone)]
pub(crate) struct Symmetric {
    /// The question of each level.
    pub(crate) levels: Vec<(Bytes, Bytes)>,
    /// Leaf values in units, `1 << levels` for each tree; going right at level `l` adds `1 << l` to the position.
    pub(crate) leaves: Vec<i64>,
    pub(crate) n_trees: usize,
}

/// A mask with a bit for each leaf.
pub(crate) trait Mask: Copy {
    /// All leaves.
    const ALL: Self;
    /// All but `n` leaves from `first` on, counted from the highest bit.
    fn without(first: usize, n: usize) -> Self;
}

impl Mask for u32 {
    const ALL: Self = u32::MAX;

    fn without(first: usize, n: usize) -> Self {
        !((u64::without(first, n) ^ u64::MAX) >> 32) as u32
    }
}

impl Mask for u64 {
    const ALL: Self = u64::MAX;

    fn without(first: usize, n: usize) -> Self {
        let ones = if n == 64 { u64::MAX } else { !(u64::MAX >> n) };
        !(ones >> first)
    }
}

/// A tree in the form of its block: what it asks and what it says.
struct Shaped {
    form: Form,
    /// A symmetric tree has one question a level; another one tells which leaves are left of it: the first and how many.
    questions: Vec<(Question, usize, usize)>,
    leaves: Vec<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Symmetric,
    Narrow,
    Wide,
}

/// Sorts trees into parts; the positions that come with them are of trees that are better walked.
pub(crate) fn parts_of(trees: &[Tree], n_categories: &dyn Fn(u32) -> usize, fixed: FixedPoint) -> (Vec<Part>, Vec<usize>) {
    let is_small = |tree: &Tree| tree.nodes.len() <= 2 * BLOCK - 1 || symmetric_levels(tree).is_some();
    let (small, mut walked): (Vec<usize>, Vec<usize>) = (0..trees.len()).partition(|&position| is_small(&trees[position]));
    let Some(mut views) = Views::of(small.iter().map(|&position| &trees[position])) else {
        return (Vec::new(), (0..trees.len()).collect());
    };
    let mut parts = Vec::new();
    let mut open = OpenPart::default();
    for position in small {
        let Some(shaped) = shape(&trees[position], &mut views, fixed) else {
            walked.push(position);
            continue;
        };
        if !open.has_room_for(&shaped) {
            parts.push(std::mem::take(&mut open));
        }
        open.add(position, shaped);
    }
    parts.push(open);
    let (worth, too_few): (Vec<OpenPart>, Vec<OpenPart>) =
        parts.into_iter().partition(|part| part.trees.len() as f64 >= MIN_TREES_PER_VIEW * part.views.len() as f64);
    walked.extend(too_few.iter().flat_map(|part| part.trees.iter().map(|(position, _)| *position)));
    walked.sort_unstable();
    (worth.into_iter().filter(|part| !part.trees.is_empty()).map(|part| part.close(&views, n_categories)).collect(), walked)
}

/// Levels of a tree that asks the same question everywhere on a level, and is complete.
fn symmetric_levels(tree: &Tree) -> Option<Vec<&NodeKind>> {
    let mut levels = Vec::new();
    let mut level: Vec<&Node> = vec![tree.nodes.first()?];
    while let NodeKind::Split { feature_idx, test, missing_left, .. } = &level[0].kind {
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
        levels.push(&level[0].kind);
        if levels.len() > MAX_LEVELS {
            return None;
        }
        level = below;
    }
    level.iter().all(|node| matches!(node.kind, NodeKind::Leaf { .. })).then_some(levels)
}

fn shape(tree: &Tree, views: &mut Views, fixed: FixedPoint) -> Option<Shaped> {
    let mut ask = |kind: &NodeKind| match kind {
        NodeKind::Split { feature_idx, test, missing_left, .. } => views.question(*feature_idx, test, *missing_left),
        NodeKind::Leaf { .. } => None,
    };
    // A stump is as well one question as one level.
    if let Some(levels) = symmetric_levels(tree).filter(|levels| levels.len() > 1) {
        let questions = levels.into_iter().map(|kind| Some((ask(kind)?, 0, 0))).collect::<Option<Vec<_>>>()?;
        let leaves = symmetric_leaves(tree, questions.len(), fixed);
        return Some(Shaped { form: Form::Symmetric, questions, leaves });
    }
    let (mut questions, mut leaves) = (Vec::new(), Vec::new());
    // Depth first, left before right: leaves come in their order. A question is complete when its left side is.
    let mut waiting = vec![Visit::Node(0)];
    while let Some(visit) = waiting.pop() {
        match visit {
            Visit::Node(position) => match &tree.nodes[position as usize].kind {
                NodeKind::Leaf { value } => leaves.push(fixed.encode(*value)),
                kind @ NodeKind::Split { left, right, .. } => {
                    questions.push((ask(kind)?, leaves.len(), 0));
                    waiting.extend([Visit::Node(*right), Visit::LeftDone(questions.len() - 1), Visit::Node(*left)]);
                }
            },
            Visit::LeftDone(question) => questions[question].2 = leaves.len() - questions[question].1,
        }
    }
    let form = if leaves.len() <= u32::BITS as usize { Form::Narrow } else { Form::Wide };
    Some(Shaped { form, questions, leaves })
}

enum Visit {
    Node(u32),
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

    fn close(mut self, views: &Views, n_categories: &dyn Fn(u32) -> usize) -> Part {
        // Trees of one form and size stand together, so that a block has no more steps than its trees need.
        self.trees.sort_by_key(|(position, shaped)| (shaped.form, shaped.questions.len(), *position));
        let place = |view: u32| self.place_of(view).unwrap_or(0);
        let mut part = Part { n_views: self.views.len(), ..Part::default() };
        for (at, &view) in self.views.iter().enumerate() {
            part.add_ranks(views.views[view as usize], at as u16, views, n_categories);
        }
        for form in [Form::Symmetric, Form::Narrow, Form::Wide] {
            let of_form: Vec<&Shaped> = self.trees.iter().map(|(_, shaped)| shaped).filter(|shaped| shaped.form == form).collect();
            for block in of_form.chunks(BLOCK) {
                match form {
                    Form::Symmetric => part.symmetric.push(Symmetric::new(block, place)),
                    Form::Narrow => part.narrow.push(Masked::new(block, place)),
                    Form::Wide => part.wide.push(Masked::new(block, place)),
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
                let same = |ranks: &&mut ScaleRanks| {
                    ranks.feature_idx == scale.feature_idx && ranks.groups[0][0] == scale.thresholds[0]
                };
                match self.scales.iter_mut().find(same) {
                    Some(ranks) => ranks.places[side] = place,
                    None => {
                        let mut places = [NOWHERE; 2];
                        places[side] = place;
                        self.scales.push(ScaleRanks::new(scale.feature_idx, &scale.thresholds, places));
                    }
                }
            }
        }
    }
}

impl ScaleRanks {
    fn new(feature_idx: u32, thresholds: &[f64], places: [u16; 2]) -> Self {
        let in_groups = |values: &[f64]| -> Vec<[f64; 8]> {
            values.chunks(8).map(|group| std::array::from_fn(|i| group.get(i).copied().unwrap_or(f64::NAN))).collect()
        };
        let groups = in_groups(thresholds);
        let heads: Vec<f64> = groups.iter().skip(1).map(|group| group[0]).collect();
        Self { feature_idx, n_thresholds: thresholds.len() as u8, heads: in_groups(&heads), groups, places }
    }

    /// What the rank of a value is where a missing one goes left, and where it goes right.
    #[inline(always)]
    pub(crate) fn of(&self, value: f64, count: impl Fn(&[f64; 8], f64) -> usize) -> [u8; 2] {
        let group = self.heads.iter().map(|heads| count(heads, value)).sum::<usize>();
        let rank = (8 * group + count(&self.groups[group], value)) as u8;
        [rank, if value.is_nan() { self.n_thresholds } else { rank }]
    }
}

impl CategoryRanks {
    #[inline(always)]
    pub(crate) fn of(&self, value: f64) -> u8 {
        if value.is_nan() { self.missing_rank } else { self.ranks[(value as usize).min(self.ranks.len() - 1)] }
    }
}

impl<M: Mask> Masked<M> {
    fn new(trees: &[&Shaped], place: impl Fn(u32) -> u8) -> Self {
        let n_steps = trees.iter().map(|tree| tree.questions.len()).max().unwrap_or(0);
        let most_leaves = trees.iter().map(|tree| tree.leaves.len()).max().unwrap_or(1);
        let stride = most_leaves.next_power_of_two().max(8);
        let nothing = Step { view: Bytes([0; BLOCK]), at: Bytes([NEVER; BLOCK]), remaining: [M::ALL; BLOCK] };
        let mut block = Self { steps: vec![nothing; n_steps], stride, leaves: vec![0; BLOCK * stride], n_trees: trees.len() };
        for (slot, tree) in trees.iter().enumerate() {
            for (step, (question, first, n_left)) in block.steps.iter_mut().zip(&tree.questions) {
                step.view.0[slot] = place(question.view);
                step.at.0[slot] = question.at;
                step.remaining[slot] = M::without(*first, *n_left);
            }
            block.leaves[slot * stride..][..tree.leaves.len()].copy_from_slice(&tree.leaves);
        }
        block
    }
}

impl Symmetric {
    fn new(trees: &[&Shaped], place: impl Fn(u32) -> u8) -> Self {
        let n_levels = trees.iter().map(|tree| tree.questions.len()).max().unwrap_or(0);
        let stride = 1 << n_levels;
        let nothing = (Bytes([0; BLOCK]), Bytes([NEVER; BLOCK]));
        let mut block = Self { levels: vec![nothing; n_levels], leaves: vec![0; BLOCK * stride], n_trees: trees.len() };
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
