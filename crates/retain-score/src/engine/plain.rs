//! Kernels in safe loops over bytes: what every machine can do.
//!
//! One row goes from node to node of several trees side by side, over the ranks of its values. Many rows answer a tree's questions
//! one after another, whether they concern a row or not: those loops have no branch, and compilers turn them into the vector
//! instructions of the target.

#![allow(clippy::inline_always, reason = "a caller compiled for a wider instruction set has to compile all of this for it")]
// Blocks are visited by loops, not by iterators with closures: a long closure remains a function of its own, compiled for every
// processor.

use crate::engine::parts::{BLOCK, Batch, Columns, LANES, MAX_VIEWS, Ordered, Part, ROWS, ScaleRanks, Symmetric};

/// Rows whose positions in one tree stay in registers.
const GROUP: usize = 128;

/// Ranks of one row; the last line is for those that nobody asks for.
pub(crate) type Ranks = [u8; MAX_VIEWS + BLOCK];

/// Ranks of a batch in one scale, where missing values go left and where they go right.
pub(crate) struct Column {
    pub(crate) missing_left: [u8; ROWS],
    pub(crate) missing_right: [u8; ROWS],
}

/// The sum of the part's trees for one row, in units.
#[inline(always)]
pub(crate) fn sum(part: &Part, row: &[f64]) -> i64 {
    let ranks = ranks_of_row(part, row, |scale, value| {
        let groups = groups_of(part, scale);
        match scale.n_groups {
            1 => rank_among::<1>(groups, value),
            2 => rank_among::<2>(groups, value),
            4 => rank_among::<4>(groups, value),
            8 => rank_among::<8>(groups, value),
            16 => rank_among::<16>(groups, value),
            _ => rank_among::<32>(groups, value),
        }
    });
    sum_of_ranks(part, &ranks)
}

/// The sum of the part's trees for the row that has these ranks.
#[inline(always)]
pub(crate) fn sum_of_ranks(part: &Part, ranks: &Ranks) -> i64 {
    let mut sum = 0;
    for block in &part.symmetric {
        sum += sum_of_symmetric(block, ranks);
    }
    for block in &part.leaves_8 {
        sum += sum_of_ordered(block, ranks);
    }
    for block in &part.leaves_16 {
        sum += sum_of_ordered(block, ranks);
    }
    for block in &part.leaves_32 {
        sum += sum_of_ordered(block, ranks);
    }
    for block in &part.leaves_64 {
        sum += sum_of_ordered(block, ranks);
    }
    sum
}

/// Adds the sums of the part's trees to `sums`, for a batch.
#[inline(always)]
pub(crate) fn add_sums(part: &Part, batch: Batch<'_>, columns: &mut Columns, sums: &mut [i64; ROWS]) {
    find_ranks(part, batch, columns, |scale| {
        let groups = groups_of(part, scale);
        match scale.n_groups {
            1 => column_of(scale, batch, |value| rank_among::<1>(groups, value)),
            2 => column_of(scale, batch, |value| rank_among::<2>(groups, value)),
            4 => column_of(scale, batch, |value| rank_among::<4>(groups, value)),
            8 => column_of(scale, batch, |value| rank_among::<8>(groups, value)),
            16 => column_of(scale, batch, |value| rank_among::<16>(groups, value)),
            _ => column_of(scale, batch, |value| rank_among::<32>(groups, value)),
        }
    });
    add_trees(part, batch.n_rows(), columns, sums);
}

/// Adds the sums of the part's trees for the rows that have these ranks.
#[inline(always)]
pub(crate) fn add_trees(part: &Part, n_rows: usize, columns: &Columns, sums: &mut [i64; ROWS]) {
    let (groups, _) = sums.as_chunks_mut();
    let groups = &mut groups[..n_rows.div_ceil(GROUP)];
    for block in &part.symmetric {
        add_symmetric(block, columns, groups);
    }
    for block in &part.leaves_8 {
        add_ordered(block, columns, groups);
    }
    for block in &part.leaves_16 {
        add_ordered(block, columns, groups);
    }
    for block in &part.leaves_32 {
        add_ordered(block, columns, groups);
    }
    for block in &part.leaves_64 {
        add_ordered(block, columns, groups);
    }
}

/// The ranks of one row; `rank_of` says how many thresholds of a scale a value has reached.
#[inline(always)]
pub(crate) fn ranks_of_row(part: &Part, row: &[f64], rank_of: impl Fn(&ScaleRanks, f64) -> u8) -> Ranks {
    let mut ranks = [0; MAX_VIEWS + BLOCK];
    for scale in &part.scales {
        let value = row[scale.feature_idx as usize];
        let rank = rank_of(scale, value);
        ranks[usize::from(scale.places[0])] = rank;
        ranks[usize::from(scale.places[1])] = if value.is_nan() { scale.n_thresholds } else { rank };
    }
    for category in &part.categories {
        ranks[usize::from(category.place)] = category.of(row[category.feature_idx as usize]);
    }
    ranks
}

/// The ranks of a batch; `column_of` finds those of a scale.
#[inline(always)]
pub(crate) fn find_ranks(part: &Part, batch: Batch<'_>, columns: &mut Columns, column_of: impl Fn(&ScaleRanks) -> Column) {
    // One more for ranks that nobody asks for; rows that are not there have any ranks.
    columns.resize(part.n_views + 1, [0; ROWS]);
    for scale in &part.scales {
        let column = column_of(scale);
        for (place, ranks) in scale.places.into_iter().zip([column.missing_left, column.missing_right]) {
            columns[usize::from(place).min(part.n_views)] = ranks;
        }
    }
    for category in &part.categories {
        let column = &mut columns[usize::from(category.place)];
        for (rank, row) in column.iter_mut().zip(batch.rows()) {
            *rank = category.of(row[category.feature_idx as usize]);
        }
    }
}

/// The ranks of a scale; `rank_of` says how many thresholds a value has reached.
#[inline(always)]
pub(crate) fn column_of(scale: &ScaleRanks, batch: Batch<'_>, rank_of: impl Fn(f64) -> u8) -> Column {
    let mut column = Column { missing_left: [0; ROWS], missing_right: [0; ROWS] };
    let ranks = column.missing_left.iter_mut().zip(&mut column.missing_right);
    for ((left, right), row) in ranks.zip(batch.rows()) {
        let value = row[scale.feature_idx as usize];
        *left = rank_of(value);
        *right = if value.is_nan() { scale.n_thresholds } else { *left };
    }
    column
}

#[inline(always)]
fn groups_of<'a>(part: &'a Part, scale: &ScaleRanks) -> &'a [[f64; 8]] {
    &part.lines[scale.first_line as usize + usize::from(scale.n_head_lines)..]
}

/// How many thresholds a value has reached, by halving so many groups of them.
#[inline(always)]
fn rank_among<const GROUPS: usize>(groups: &[[f64; 8]], value: f64) -> u8 {
    let Some(groups) = groups.first_chunk::<GROUPS>() else { return 0 };
    let thresholds = groups.as_flattened();
    let mut reached = 0;
    for bit in (0..(8 * GROUPS).ilog2()).rev() {
        reached |= usize::from(thresholds[reached + (1 << bit) - 1] <= value) << bit;
    }
    reached as u8
}

#[inline(always)]
fn sum_of_symmetric(block: &Symmetric, ranks: &Ranks) -> i64 {
    let mut positions = [0_u8; BLOCK];
    for (level, (view, at)) in block.levels.iter().enumerate() {
        let ranks: [u8; BLOCK] = std::array::from_fn(|slot| ranks[usize::from(view.0[slot])]);
        for ((position, rank), at) in positions.iter_mut().zip(ranks).zip(at.0) {
            *position |= u8::from(rank >= at) << level;
        }
    }
    symmetric_leaves(block, positions)
}

/// The sum of the leaves at these positions.
#[inline(always)]
pub(crate) fn symmetric_leaves(block: &Symmetric, positions: [u8; BLOCK]) -> i64 {
    let leaves = block.leaves.chunks_exact(1 << block.levels.len());
    leaves.zip(positions).map(|(leaves, position)| leaves[usize::from(position)]).sum()
}

#[inline(always)]
fn sum_of_ordered<const LEAVES: usize>(block: &Ordered<LEAVES>, ranks: &Ranks) -> i64 {
    let (leaves, _) = block.leaves.as_chunks::<LANES>();
    let mut sum = 0;
    for ((trees, depth), leaves) in block.trees.iter().zip(&block.depths).zip(leaves) {
        let mut positions = [0; LANES];
        for _ in 0..*depth {
            for (position, tree) in positions.iter_mut().zip(trees) {
                let node = tree.as_flattened()[*position % (2 * LEAVES)];
                *position = usize::from(node.left) + usize::from(ranks[usize::from(node.view)] >= node.at);
            }
        }
        for ((position, tree), leaves) in positions.iter().zip(trees).zip(leaves) {
            let node = tree.as_flattened()[*position % (2 * LEAVES)];
            sum += leaves[usize::from(node.leaf) % LEAVES];
        }
    }
    sum
}

#[inline(always)]
fn add_symmetric(block: &Symmetric, columns: &Columns, groups: &mut [[i64; GROUP]]) {
    let stride = 1 << block.levels.len();
    for (tree, leaves) in block.leaves.chunks_exact(stride).take(block.n_trees).enumerate() {
        for (group, sums) in groups.iter_mut().enumerate() {
            let mut positions = [0_u8; GROUP];
            for (level, (view, at)) in block.levels.iter().enumerate() {
                let (at, bit) = (at.0[tree], 1 << level);
                for (position, &rank) in positions.iter_mut().zip(ranks_of_group(columns, usize::from(view.0[tree]), group)) {
                    *position |= if rank >= at { bit } else { 0 };
                }
            }
            for (sum, position) in sums.iter_mut().zip(positions) {
                *sum += leaves[usize::from(position)];
            }
        }
    }
}

#[inline(always)]
fn add_ordered<const LEAVES: usize>(block: &Ordered<LEAVES>, columns: &Columns, groups: &mut [[i64; GROUP]]) {
    let mut questions = &block.questions[..];
    for (&n_questions, leaves) in block.n_questions.iter().zip(&block.leaves[..]) {
        let (of_tree, rest) = questions.split_at(n_questions as usize);
        questions = rest;
        for (group, sums) in groups.iter_mut().enumerate() {
            let mut positions = [0_u8; GROUP];
            for question in of_tree {
                let [at, first, right] = [question.at, question.first, question.right].map(|byte| byte as u8);
                for (position, &rank) in positions.iter_mut().zip(ranks_of_group(columns, question.view as usize, group)) {
                    *position ^= if rank >= at && *position == first { first ^ right } else { 0 };
                }
            }
            for (sum, position) in sums.iter_mut().zip(positions) {
                *sum += leaves[usize::from(position) % LEAVES];
            }
        }
    }
}

#[inline(always)]
fn ranks_of_group(columns: &Columns, view: usize, group: usize) -> &[u8; GROUP] {
    &columns[view].as_chunks().0[group]
}
