//! What trees ask of a row, as small whole numbers.
//!
//! A view is one feature seen through the eyes of a model's trees: its rank is the number of thresholds that the value has reached, so a
//! test `x < threshold` becomes `rank < at`, exactly. Category sets that lie inside one another are thresholds too: the rank of a
//! category is the number of sets that it is outside of. A missing value has the lowest rank where it goes left and the highest where
//! it goes right; a feature whose splits disagree has two views. Ranks fit in a byte: a feature with more thresholds has several
//! views.

use std::collections::BTreeMap;

use crate::model::{NodeKind, Test, Tree};

/// Thresholds of one view: its ranks go from 0 to this number, and [`NEVER`] is above them.
const MAX_THRESHOLDS: usize = 254;
/// A place in the ranks that none reaches: a question whose answer is always to go left.
pub(crate) const NEVER: u8 = 255;
/// Chains of sets of one feature; a model with more has its trees walked.
const MAX_CHAINS: usize = 256;

/// `rank < at` goes left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Question {
    /// Position in [`Views::list`].
    pub(crate) view: u32,
    pub(crate) at: u8,
}

/// Everything that the trees ask.
#[derive(Debug, Default)]
pub(crate) struct Views {
    pub(crate) list: Vec<View>,
    /// Sorted thresholds of numbers, feature by feature, at most [`MAX_THRESHOLDS`] in each.
    pub(crate) scales: Vec<Scale>,
    /// By node, counted through all trees: the scale that has its threshold, and the threshold's place there, from 1.
    place_of_threshold: Vec<(u32, u8)>,
    pub(crate) chains: Vec<Chain>,
    /// The view of a scale, by where missing values go: left, right.
    view_of_scale: Vec<[Option<u32>; 2]>,
    /// The place of a set: by feature, where missing values go, and the set.
    place_of_set: BTreeMap<(u32, bool), BTreeMap<Vec<u32>, Question>>,
}

/// Where a rank comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Number { scale: u32, missing_left: bool },
    Category { chain: u32 },
}

#[derive(Debug)]
pub(crate) struct Scale {
    pub(crate) feature_idx: u32,
    pub(crate) thresholds: Vec<f64>,
}

/// Sets of categories, each inside the next.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) feature_idx: u32,
    pub(crate) missing_left: bool,
    pub(crate) sets: Vec<Vec<u32>>,
}

impl Views {
    /// What these trees ask. `None` for a model that asks of too many sets that lie across one another.
    pub(crate) fn of<'a>(trees: impl Iterator<Item = &'a Tree>) -> Option<Self> {
        let mut views = Self::default();
        let mut thresholds: Vec<Vec<(f64, u32)>> = Vec::new();
        let mut sets: BTreeMap<(u32, bool), Vec<&Vec<u32>>> = BTreeMap::new();
        let mut n_nodes = 0;
        for node in trees.flat_map(|tree| &tree.nodes) {
            if let NodeKind::Split { feature_idx, test, missing_left, .. } = &node.kind {
                match test {
                    // Plus and minus zero are one threshold.
                    Test::Below(threshold) => of_feature(&mut thresholds, *feature_idx).push((threshold + 0.0, n_nodes)),
                    Test::OneOf(set) => sets.entry((*feature_idx, *missing_left)).or_default().push(set),
                }
            }
            n_nodes += 1;
        }
        views.place_of_threshold = vec![(0, 0); n_nodes as usize];
        for (feature_idx, thresholds) in thresholds.into_iter().enumerate() {
            views.add_scales(feature_idx as u32, thresholds);
        }
        for ((feature_idx, missing_left), sets) in sets {
            views.add_chains(feature_idx, missing_left, sets)?;
        }
        Some(views)
    }

    /// Adds the thresholds of one feature, each with the node that asks for it.
    fn add_scales(&mut self, feature_idx: u32, mut thresholds: Vec<(f64, u32)>) {
        thresholds.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
        let first = self.scales.len();
        for same in thresholds.chunk_by(|(a, _), (b, _)| a == b) {
            let is_full = |scale: &Scale| scale.thresholds.len() == MAX_THRESHOLDS;
            if self.scales[first..].last().is_none_or(is_full) {
                self.scales.push(Scale { feature_idx, thresholds: Vec::new() });
                self.view_of_scale.push([None; 2]);
            }
            let position = self.scales.len() - 1;
            let scale = &mut self.scales[position];
            scale.thresholds.push(same[0].0);
            for (_, node) in same {
                self.place_of_threshold[*node as usize] = (position as u32, scale.thresholds.len() as u8);
            }
        }
    }

    fn add_chains(&mut self, feature_idx: u32, missing_left: bool, mut sets: Vec<&Vec<u32>>) -> Option<()> {
        sets.sort_unstable_by(|a, b| a.len().cmp(&b.len()).then(a.cmp(b)));
        sets.dedup();
        let first = self.chains.len();
        for set in sets {
            let fits =
                |chain: &Chain| chain.sets.len() < MAX_THRESHOLDS && chain.sets.last().is_none_or(|inner| is_inside(inner, set));
            let position = match self.chains[first..].iter().position(fits) {
                Some(position) => first + position,
                None if self.chains.len() - first == MAX_CHAINS => return None,
                None => {
                    self.list.push(View::Category { chain: self.chains.len() as u32 });
                    self.chains.push(Chain { feature_idx, missing_left, sets: Vec::new() });
                    self.chains.len() - 1
                }
            };
            self.chains[position].sets.push(set.clone());
            let view = self.list.iter().position(|view| *view == View::Category { chain: position as u32 })? as u32;
            let at = self.chains[position].sets.len() as u8;
            self.place_of_set.entry((feature_idx, missing_left)).or_default().insert(set.clone(), Question { view, at });
        }
        Some(())
    }

    /// The question of a split; `node` is its position, counted through all trees.
    pub(crate) fn question(&mut self, node: usize, kind: &NodeKind) -> Option<Question> {
        let NodeKind::Split { feature_idx, test, missing_left, .. } = kind else { return None };
        match test {
            Test::OneOf(set) => self.place_of_set.get(&(*feature_idx, *missing_left))?.get(set).copied(),
            Test::Below(_) => {
                let (scale, at) = self.place_of_threshold[node];
                let list = &mut self.list;
                let view = *self.view_of_scale[scale as usize][usize::from(!missing_left)].get_or_insert_with(|| {
                    list.push(View::Number { scale, missing_left: *missing_left });
                    list.len() as u32 - 1
                });
                Some(Question { view, at })
            }
        }
    }
}

fn of_feature<T>(lists: &mut Vec<Vec<T>>, feature_idx: u32) -> &mut Vec<T> {
    let position = feature_idx as usize;
    if lists.len() <= position {
        lists.resize_with(position + 1, Vec::new);
    }
    &mut lists[position]
}

/// Whether every element of a sorted list is in another one.
fn is_inside(inner: &[u32], outer: &[u32]) -> bool {
    inner.iter().all(|element| outer.binary_search(element).is_ok())
}

impl Chain {
    /// The rank of each category up to `n_categories`, which stands for those never seen.
    pub(crate) fn ranks(&self, n_categories: usize) -> Vec<u8> {
        let n_outside = |category: u32| self.sets.partition_point(|set| set.binary_search(&category).is_err()) as u8;
        (0..=n_categories as u32).map(n_outside).collect()
    }

    /// The rank of a missing value.
    pub(crate) fn missing_rank(&self) -> u8 {
        if self.missing_left { 0 } else { self.sets.len() as u8 }
    }
}
