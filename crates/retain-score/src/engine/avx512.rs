//! The kernels for processors with AVX-512 and byte permutations (VBMI): Intel from Ice Lake on, AMD from Zen 4 on.
//!
//! All `unsafe` of scoring stands here. There are two kinds of it, and nothing else: tables are indexed with bounds checks, and leaves
//! are picked by permutation or by checked positions.
//!
//! - *Calls into this module*: an [`Avx512`] is only made by [`Avx512::detect`], which asks the processor, so a value of it is the proof
//!   that the instructions exist.
//! - *Loads and stores of whole registers* go through references to arrays of exactly a register's size, and need no alignment.

#![allow(unsafe_code, reason = "vector instructions; the module says why each block is sound")]

use std::arch::x86_64::{
    __m512d, __m512i, __mmask64, _CMP_LE_OQ, _CMP_UNORD_Q, _mm_cvtsi128_si64, _mm_loadu_si128, _mm512_add_epi16,
    _mm512_add_epi64, _mm512_cmp_pd_mask, _mm512_cmpge_epu8_mask, _mm512_cvtepi64_epi8, _mm512_cvtepu16_epi64, _mm512_loadu_pd,
    _mm512_loadu_si512, _mm512_mask_add_epi8, _mm512_mask_add_epi64, _mm512_mask_blend_epi8, _mm512_mask_cmpeq_epu8_mask,
    _mm512_mask_mov_epi8, _mm512_mask_mov_epi64, _mm512_movepi8_mask, _mm512_permutex2var_epi8, _mm512_permutex2var_epi64,
    _mm512_permutexvar_epi8, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_epi64, _mm512_set1_pd, _mm512_setr_epi64,
    _mm512_setzero_si512, _mm512_slli_epi16, _mm512_slli_epi64, _mm512_srli_epi16, _mm512_storeu_si512, _mm512_sub_epi16,
};

use crate::engine::parts::{BLOCK, Batch, Bytes, Columns, Ordered, Part, Planes, ROWS, ScaleRanks, Symmetric};
use crate::engine::plain::{self, Column};

/// Registers of 64 rows that are scored together: while one waits for a comparison the others go on.
const GROUPS: usize = ROWS / 64;

/// The proof that this processor has the instructions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

#[allow(clippy::unused_self, reason = "the value is the proof")]
impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("popcnt");
        has_all.then_some(Self(()))
    }

    /// What `work` gives, compiled for these instructions as far as it is inlined here; no instruction here rounds otherwise than those
    /// that every processor has.
    #[inline]
    pub(crate) fn compiled_for<T>(self, work: impl FnOnce() -> T) -> T {
        // SAFETY: `self` proves that the processor has the features that the function is compiled for.
        unsafe { compiled_for(work) }
    }

    /// The sum of the part's trees for one row, in units.
    #[inline]
    pub(crate) fn sum(self, part: &Part, row: &[f64]) -> i64 {
        // SAFETY: `self` proves that the processor has the features that the function is compiled for.
        unsafe { sum(part, row) }
    }

    /// Adds the sums of the part's trees to `sums`, for a batch.
    pub(crate) fn add_sums(self, part: &Part, batch: Batch<'_>, columns: &mut Columns, sums: &mut [i64; ROWS]) {
        // SAFETY: `self` proves that the processor has the features that the function is compiled for.
        unsafe { add_sums(part, batch, columns, sums) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn compiled_for<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the array is a register's size; the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn load_leaves(leaves: &[i64; 8]) -> __m512i {
    // SAFETY: the array is a register's size; the load needs no alignment.
    unsafe { _mm512_loadu_si512(leaves.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn load_numbers(numbers: &[f64; 8]) -> __m512d {
    // SAFETY: the array is a register's size; the load needs no alignment.
    unsafe { _mm512_loadu_pd(numbers.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn store_bytes(values: __m512i) -> [u8; 64] {
    let mut array = [0; 64];
    // SAFETY: the array is a register's size; the store needs no alignment.
    unsafe { _mm512_storeu_si512(array.as_mut_ptr().cast(), values) };
    array
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn store_i64(values: __m512i) -> [i64; 8] {
    let mut array = [0; 8];
    // SAFETY: the array is a register's size; the store needs no alignment.
    unsafe { _mm512_storeu_si512(array.as_mut_ptr().cast(), values) };
    array
}

/// How many of eight thresholds a value has reached.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn n_reached(thresholds: &[f64; 8], value: f64) -> usize {
    _mm512_cmp_pd_mask::<_CMP_LE_OQ>(load_numbers(thresholds), _mm512_set1_pd(value)).count_ones() as usize
}

/// The thresholds of a scale: those that say which group of eight, and the groups.
type Lines<'a, const HEADS: usize> = (&'a [[f64; 8]; HEADS], &'a [[f64; 8]]);

#[inline]
fn lines_of<'a, const HEADS: usize>(scale: &ScaleRanks, part: &'a Part) -> Lines<'a, HEADS> {
    let lines = &part.lines[scale.first_line as usize..];
    lines.split_first_chunk::<HEADS>().unwrap_or((&[[0.0; 8]; HEADS], &[]))
}

/// The rank of a value that is there; 0 of one that is missing.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn rank_of<const HEADS: usize>((heads, groups): Lines<'_, HEADS>, value: f64) -> u8 {
    let mut group = 0;
    for heads in heads {
        group += n_reached(heads, value);
    }
    (8 * group + n_reached(&groups[group], value)) as u8
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn sum(part: &Part, row: &[f64]) -> i64 {
    let ranks = plain::ranks_of_row(part, row, |scale, value| match scale.n_head_lines {
        0 => rank_of(lines_of::<0>(scale, part), value),
        1 => rank_of(lines_of::<1>(scale, part), value),
        2 => rank_of(lines_of::<2>(scale, part), value),
        3 => rank_of(lines_of::<3>(scale, part), value),
        _ => rank_of(lines_of::<4>(scale, part), value),
    });
    let (lines, _) = ranks.as_chunks::<BLOCK>();
    let lines: [__m512i; 4] = std::array::from_fn(|line| load(&lines[line]));
    match part.n_views {
        ..=64 => sum_with(part, |view| _mm512_permutexvar_epi8(view, lines[0])),
        65..=128 => sum_with(part, |view| _mm512_permutex2var_epi8(lines[0], view, lines[1])),
        _ => sum_with(part, |view| {
            let low = _mm512_permutex2var_epi8(lines[0], view, lines[1]);
            let high = _mm512_permutex2var_epi8(lines[2], view, lines[3]);
            _mm512_mask_blend_epi8(_mm512_movepi8_mask(view), low, high)
        }),
    }
}

/// `ranks_of` picks the rank of each of 64 views.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn sum_with(part: &Part, ranks_of: impl Fn(__m512i) -> __m512i) -> i64 {
    let goes_right = |view: &Bytes, at: &Bytes| -> __mmask64 { _mm512_cmpge_epu8_mask(ranks_of(load(&view.0)), load(&at.0)) };
    let mut sum = 0;
    for block in &part.symmetric {
        let mut positions = _mm512_setzero_si512();
        for (level, (view, at)) in block.levels.iter().enumerate() {
            positions = _mm512_mask_add_epi8(positions, goes_right(view, at), positions, _mm512_set1_epi8((1_u8 << level) as i8));
        }
        let stride = 1 << block.levels.len();
        let positions = store_bytes(positions);
        for (leaves, &position) in block.leaves.chunks_exact(stride).zip(&positions) {
            sum += leaves[usize::from(position)];
        }
    }
    for block in &part.leaves_8 {
        sum += sum_of_block(block, goes_right);
    }
    for block in &part.leaves_16 {
        sum += sum_of_block(block, goes_right);
    }
    for block in &part.leaves_32 {
        sum += sum_of_block(block, goes_right);
    }
    for block in &part.leaves_64 {
        sum += sum_of_block(block, goes_right);
    }
    sum
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn sum_of_block<const LEAVES: usize>(block: &Ordered<LEAVES>, goes_right: impl Fn(&Bytes, &Bytes) -> __mmask64) -> i64 {
    let mut leaf = _mm512_setzero_si512();
    for step in &block.steps {
        leaf = moved(leaf, goes_right(&step.view, &step.at), load(&step.first.0), load(&step.right.0));
    }
    block.leaves.iter().zip(store_bytes(leaf)).map(|(leaves, leaf)| leaves[usize::from(leaf) % LEAVES]).sum()
}

/// Moves on to `right` where the question is the row's, at leaf `first`, and the answer is "right".
///
/// The answers do not wait for the leaf, so a step waits for one comparison and one move only.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn moved(leaf: __m512i, goes_right: __mmask64, first: __m512i, right: __m512i) -> __m512i {
    _mm512_mask_mov_epi8(leaf, _mm512_mask_cmpeq_epu8_mask(goes_right, leaf, first), right)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn add_sums(part: &Part, batch: Batch<'_>, columns: &mut Columns, sums: &mut [i64; ROWS]) {
    plain::find_ranks(part, batch, columns, |scale| match scale.n_head_lines {
        _ if scale.n_thresholds <= FEW_THRESHOLDS => column_of_few(scale, part, batch),
        0 => column_of::<0>(scale, part, batch),
        1 => column_of::<1>(scale, part, batch),
        2 => column_of::<2>(scale, part, batch),
        3 => column_of::<3>(scale, part, batch),
        _ => column_of::<4>(scale, part, batch),
    });
    let mut positions = [[_mm512_setzero_si512(); GROUPS]; BLOCK];
    add_symmetric(&part.symmetric, columns, &mut positions, sums);
    add_ordered(&part.leaves_8, columns, &mut positions, sums);
    add_ordered(&part.leaves_16, columns, &mut positions, sums);
    add_ordered(&part.leaves_32, columns, &mut positions, sums);
    add_ordered(&part.leaves_64, columns, &mut positions, sums);
}

/// Positions of the rows' leaves in each tree of a block.
type Positions = [[__m512i; GROUPS]; BLOCK];

/// So many thresholds are asked of eight values together in less time than eight values ask their way through them one by one.
const FEW_THRESHOLDS: u8 = 32;

/// The ranks of a scale with few thresholds: each is compared with eight values at a time.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn column_of_few(scale: &ScaleRanks, part: &Part, batch: Batch<'_>) -> Column {
    let first = 8 * (scale.first_line as usize + usize::from(scale.n_head_lines));
    let thresholds = &part.lines.as_flattened()[first..first + usize::from(scale.n_thresholds)];
    let (one, all) = (_mm512_set1_epi64(1), _mm512_set1_epi64(i64::from(scale.n_thresholds)));
    let mut column = Column { missing_left: [0; ROWS], missing_right: [0; ROWS] };
    let (left, _) = column.missing_left.as_chunks_mut::<8>();
    let (right, _) = column.missing_right.as_chunks_mut::<8>();
    for ((rows, left), right) in batch.values.chunks(8 * batch.n_features).zip(left).zip(right) {
        let value = |row: usize| rows.get(row * batch.n_features + scale.feature_idx as usize).copied().unwrap_or(0.0);
        let values = load_numbers(&std::array::from_fn(value));
        let mut ranks = _mm512_setzero_si512();
        for &threshold in thresholds {
            let reached = _mm512_cmp_pd_mask::<_CMP_LE_OQ>(_mm512_set1_pd(threshold), values);
            ranks = _mm512_mask_add_epi64(ranks, reached, ranks, one);
        }
        let missing = _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(values, values);
        *left = low_bytes(ranks);
        *right = low_bytes(_mm512_mask_mov_epi64(ranks, missing, all));
    }
    column
}

/// The lowest byte of each of eight numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn low_bytes(numbers: __m512i) -> [u8; 8] {
    _mm_cvtsi128_si64(_mm512_cvtepi64_epi8(numbers)).to_le_bytes()
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn column_of<const HEADS: usize>(scale: &ScaleRanks, part: &Part, batch: Batch<'_>) -> Column {
    let lines = lines_of::<HEADS>(scale, part);
    plain::column_of(scale, batch, |value| rank_of(lines, value))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn add_symmetric(blocks: &[Symmetric], columns: &Columns, positions: &mut Positions, sums: &mut [i64; ROWS]) {
    for block in blocks {
        for (tree, positions) in positions.iter_mut().enumerate().take(block.n_trees) {
            *positions = [_mm512_setzero_si512(); GROUPS];
            for (level, (view, at)) in block.levels.iter().enumerate() {
                let (at, bit) = (_mm512_set1_epi8(at.0[tree] as i8), _mm512_set1_epi8((1_u8 << level) as i8));
                for (position, ranks) in positions.iter_mut().zip(groups(&columns[usize::from(view.0[tree])])) {
                    *position = _mm512_mask_add_epi8(*position, _mm512_cmpge_epu8_mask(load(ranks), at), *position, bit);
                }
            }
        }
        if block.planes.is_empty() {
            add_large_leaves(block, positions, sums);
        } else {
            add_leaves(&block.planes, positions, sums);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn add_ordered<const LEAVES: usize>(
    blocks: &[Ordered<LEAVES>],
    columns: &Columns,
    positions: &mut Positions,
    sums: &mut [i64; ROWS],
) {
    for block in blocks {
        let mut questions = &block.questions[..];
        for (&n_questions, positions) in block.n_questions.iter().zip(&mut *positions) {
            let (of_tree, rest) = questions.split_at(n_questions as usize);
            questions = rest;
            let mut leaf = [_mm512_setzero_si512(); GROUPS];
            for question in of_tree {
                let [at, first, right] = [question.at, question.first, question.right].map(|byte| _mm512_set1_epi32(byte as i32));
                for (leaf, ranks) in leaf.iter_mut().zip(groups(&columns[question.view as usize])) {
                    *leaf = moved(*leaf, _mm512_cmpge_epu8_mask(load(ranks), at), first, right);
                }
            }
            *positions = leaf;
        }
        add_leaves(&block.planes, positions, sums);
    }
}

#[inline]
fn groups(column: &[u8; ROWS]) -> &[[u8; 64]] {
    column.as_chunks::<64>().0
}

/// Adds the leaves at these positions, tree by tree, one byte of 64 rows' leaves at a time.
///
/// Sums of bytes are kept in sixteen bits, which a block of trees cannot fill: those of every row with 256 times its neighbour's, and
/// those of every other row alone. Two's complement makes the bytes of negative leaves add up like the others.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn add_leaves(planes: &[Planes], positions: &Positions, sums: &mut [i64; ROWS]) {
    for (group, sums) in sums.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let (mut both, mut odd) = ([_mm512_setzero_si512(); 8], [_mm512_setzero_si512(); 8]);
        for (planes, positions) in planes.iter().zip(positions) {
            for ((plane, both), odd) in planes.iter().zip(&mut both).zip(&mut odd) {
                let bytes = _mm512_permutexvar_epi8(positions[group], load(&plane.0));
                *both = _mm512_add_epi16(*both, bytes);
                *odd = _mm512_add_epi16(*odd, _mm512_srli_epi16::<8>(bytes));
            }
        }
        add_bytes(&both, &odd, sums);
    }
}

/// Puts the sums of bytes together and adds them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn add_bytes(both: &[__m512i; 8], odd: &[__m512i; 8], sums: &mut [i64; 64]) {
    let even: [[u8; 64]; 8] =
        std::array::from_fn(|plane| store_bytes(_mm512_sub_epi16(both[plane], _mm512_slli_epi16::<8>(odd[plane]))));
    let odd = std::array::from_fn(|plane| store_bytes(odd[plane]));
    // The low and the high half of two registers, their numbers in turn.
    let low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    let high = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
    for (eighth, sums) in sums.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (even, odd) = (whole_numbers(&even, eighth), whole_numbers(&odd, eighth));
        let (sums, _) = sums.as_chunks_mut::<8>();
        for (sums, order) in sums.iter_mut().zip([low, high]) {
            let added = _mm512_permutex2var_epi64(even, order, odd);
            *sums = store_i64(_mm512_add_epi64(load_leaves(sums), added));
        }
    }
}

/// Eight whole numbers from the sums of their bytes, which are sixteen bits each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn whole_numbers(planes: &[[u8; 64]; 8], eighth: usize) -> __m512i {
    let mut numbers = _mm512_setzero_si512();
    for plane in planes.iter().rev() {
        let eight: &[u8; 16] = &plane.as_chunks::<16>().0[eighth];
        // SAFETY: the array is the size of the register that is loaded; the load needs no alignment.
        let eight = _mm512_cvtepu16_epi64(unsafe { _mm_loadu_si128(eight.as_ptr().cast()) });
        numbers = _mm512_add_epi64(_mm512_slli_epi64::<8>(numbers), eight);
    }
    numbers
}

/// Adds the leaves of trees that have more of them than a register has bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,popcnt")]
fn add_large_leaves(block: &Symmetric, positions: &Positions, sums: &mut [i64; ROWS]) {
    let trees = block.leaves.chunks_exact(1 << block.levels.len()).take(block.n_trees);
    for (leaves, positions) in trees.zip(positions) {
        for (sums, positions) in sums.as_chunks_mut::<64>().0.iter_mut().zip(positions) {
            for (sum, position) in sums.iter_mut().zip(store_bytes(*positions)) {
                *sum += leaves[usize::from(position)];
            }
        }
    }
}
