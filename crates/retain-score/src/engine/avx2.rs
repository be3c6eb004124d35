//! The kernels for processors with AVX2: Intel from Haswell on, AMD from Zen on.
//!
//! Many rows need nothing but the portable loops, compiled for registers of 32 bytes. For one row 64 trees stand in two registers, and
//! ranks are looked up sixteen at a time. `unsafe` is as in the module for AVX-512, of two kinds and nothing else:
//!
//! - *Calls into this module*: an [`Avx2`] is only made by [`Avx2::detect`], which asks the processor, so a value of it is the proof
//!   that the instructions exist.
//! - *Loads and stores of whole registers* go through references to arrays of exactly a register's size, and need no alignment.

#![allow(unsafe_code, reason = "vector instructions; the module says why each block is sound")]

use std::arch::x86_64::{
    __m256i, _CMP_LE_OQ, _mm_loadu_si128, _mm256_and_si256, _mm256_blendv_epi8, _mm256_broadcastsi128_si256, _mm256_castpd_si256,
    _mm256_castsi256_ps, _mm256_cmp_pd, _mm256_cmpeq_epi8, _mm256_loadu_pd, _mm256_loadu_si256, _mm256_max_epu8,
    _mm256_movemask_ps, _mm256_or_si256, _mm256_packs_epi32, _mm256_set1_epi8, _mm256_set1_pd, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_storeu_si256, _mm256_sub_epi8, _mm256_xor_si256,
};

use crate::engine::parts::{BLOCK, Batch, Bytes, Columns, Ordered, Part, ROWS, ScaleRanks, Symmetric};
use crate::engine::plain::{self, Ranks};

/// The proof that this processor has the instructions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

#[allow(clippy::unused_self, reason = "the value is the proof")]
impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt")).then_some(Self(()))
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

#[target_feature(enable = "avx2,popcnt")]
fn compiled_for<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[target_feature(enable = "avx2,popcnt")]
fn add_sums(part: &Part, batch: Batch<'_>, columns: &mut Columns, sums: &mut [i64; ROWS]) {
    plain::find_ranks(part, batch, columns, |scale| plain::column_of(scale, batch, |value| rank_of(part, scale, value)));
    plain::add_trees(part, batch.n_rows(), columns, sums);
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the array is a register's size; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Sixteen bytes in both halves of a register.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn load_twice(bytes: &[u8; 16]) -> __m256i {
    // SAFETY: the array is the size of the register that is loaded; the load needs no alignment.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn store(values: [__m256i; 2]) -> [u8; BLOCK] {
    let mut array = [0; BLOCK];
    for (half, values) in array.as_chunks_mut::<32>().0.iter_mut().zip(values) {
        // SAFETY: the array is a register's size; the store needs no alignment.
        unsafe { _mm256_storeu_si256(half.as_mut_ptr().cast(), values) };
    }
    array
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn load_bytes(bytes: &Bytes) -> [__m256i; 2] {
    let (halves, _) = bytes.0.as_chunks::<32>();
    [load(&halves[0]), load(&halves[1])]
}

/// How many thresholds of a scale a value has reached.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn rank_of(part: &Part, scale: &ScaleRanks, value: f64) -> u8 {
    let (heads, groups) = part.lines[scale.first_line as usize..].split_at(usize::from(scale.n_head_lines));
    let mut group = 0;
    for heads in heads {
        group += n_reached(heads, value);
    }
    (8 * group + n_reached(&groups[group], value)) as u8
}

/// How many of eight thresholds a value has reached.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn n_reached(thresholds: &[f64; 8], value: f64) -> usize {
    let (halves, _) = thresholds.as_chunks::<4>();
    let reached = |half: &[f64; 4]| {
        // SAFETY: the array is a register's size; the load needs no alignment.
        let thresholds = unsafe { _mm256_loadu_pd(half.as_ptr()) };
        _mm256_castpd_si256(_mm256_cmp_pd::<_CMP_LE_OQ>(thresholds, _mm256_set1_pd(value)))
    };
    // Two halves of sixty-four bits become one of thirty-two, in whatever order.
    let reached = _mm256_packs_epi32(reached(&halves[0]), reached(&halves[1]));
    _mm256_movemask_ps(_mm256_castsi256_ps(reached)).count_ones() as usize
}

#[target_feature(enable = "avx2,popcnt")]
fn sum(part: &Part, row: &[f64]) -> i64 {
    let ranks = plain::ranks_of_row(part, row, |scale, value| rank_of(part, scale, value));
    match part.n_views {
        ..=32 => sum_with::<2>(part, &ranks),
        33..=64 => sum_with::<4>(part, &ranks),
        65..=128 => sum_with::<8>(part, &ranks),
        // Looking ranks up in so many registers takes longer than walking.
        _ => plain::sum_of_ranks(part, &ranks),
    }
}

/// `TABLES` registers hold the ranks.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn sum_with<const TABLES: usize>(part: &Part, ranks: &Ranks) -> i64 {
    let (lines, _) = ranks.as_chunks::<16>();
    let tables: [__m256i; TABLES] = std::array::from_fn(|table| load_twice(&lines[table]));
    // Each table but the first as its difference from the one before it.
    let changes: [__m256i; TABLES] = std::array::from_fn(|table| match table {
        0 => tables[0],
        _ => _mm256_xor_si256(tables[table], tables[table - 1]),
    });
    // A shuffle picks by the low four bits, and 0 where the sign is set: the tables up to the view's own remain, whose differences
    // add up to it.
    let ranks_of = |mut view: __m256i| {
        let mut ranks = _mm256_shuffle_epi8(changes[0], view);
        for change in &changes[1..] {
            view = _mm256_sub_epi8(view, _mm256_set1_epi8(16));
            ranks = _mm256_xor_si256(ranks, _mm256_shuffle_epi8(*change, view));
        }
        ranks
    };
    let goes_right = |view: &Bytes, at: &Bytes| {
        let (view, at) = (load_bytes(view), load_bytes(at));
        std::array::from_fn(|half| {
            let rank = ranks_of(view[half]);
            _mm256_cmpeq_epi8(_mm256_max_epu8(rank, at[half]), rank)
        })
    };
    let symmetric: i64 = part.symmetric.iter().map(|block| sum_of_symmetric(block, goes_right)).sum();
    let leaves_8: i64 = part.leaves_8.iter().map(|block| sum_of_ordered(block, goes_right)).sum();
    let leaves_16: i64 = part.leaves_16.iter().map(|block| sum_of_ordered(block, goes_right)).sum();
    let leaves_32: i64 = part.leaves_32.iter().map(|block| sum_of_ordered(block, goes_right)).sum();
    let leaves_64: i64 = part.leaves_64.iter().map(|block| sum_of_ordered(block, goes_right)).sum();
    symmetric + leaves_8 + leaves_16 + leaves_32 + leaves_64
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn sum_of_symmetric(block: &Symmetric, goes_right: impl Fn(&Bytes, &Bytes) -> [__m256i; 2]) -> i64 {
    let mut positions = [_mm256_setzero_si256(); 2];
    for (level, (view, at)) in block.levels.iter().enumerate() {
        let bit = _mm256_set1_epi8((1_u8 << level) as i8);
        for (position, goes_right) in positions.iter_mut().zip(goes_right(view, at)) {
            *position = _mm256_or_si256(*position, _mm256_and_si256(goes_right, bit));
        }
    }
    plain::symmetric_leaves(block, store(positions))
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn sum_of_ordered<const LEAVES: usize>(block: &Ordered<LEAVES>, goes_right: impl Fn(&Bytes, &Bytes) -> [__m256i; 2]) -> i64 {
    let mut positions = [_mm256_setzero_si256(); 2];
    for step in &block.steps {
        let answers = goes_right(&step.view, &step.at).into_iter().zip(load_bytes(&step.first)).zip(load_bytes(&step.right));
        for (position, ((goes_right, first), right)) in positions.iter_mut().zip(answers) {
            let moves = _mm256_and_si256(_mm256_cmpeq_epi8(*position, first), goes_right);
            *position = _mm256_blendv_epi8(*position, right, moves);
        }
    }
    block.leaves.iter().zip(store(positions)).map(|(leaves, leaf)| leaves[usize::from(leaf) % LEAVES]).sum()
}
