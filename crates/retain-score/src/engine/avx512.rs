//! The kernels for processors with AVX-512 and byte permutations (VBMI): Intel from Ice Lake on, AMD from Zen 4 on.
//!
//! All `unsafe` of scoring stands here. There are three kinds of it:
//!
//! - *Calls into this module*: [`Avx512`] is only made by [`Avx512::detect`], which asks the processor, so a value of it is the proof that the
//!   instructions exist.
//! - *Loads and stores of whole registers* go through references to arrays of exactly a register's size.
//! - Nothing else: tables are indexed with bounds checks, and leaves are picked by permutation or by checked indices.

#![allow(unsafe_code, reason = "vector instructions; the module says why each block is sound")]

use std::arch::x86_64::{
    __m512i, __mmask64, _CMP_LE_OQ, _mm512_add_epi64, _mm512_and_si512, _mm512_cmp_pd_mask, _mm512_cmpge_epu8_mask,
    _mm512_cvtepu8_epi64, _mm512_cvtepu32_epi64, _mm512_extracti64x4_epi64, _mm512_load_si512, _mm512_loadu_pd,
    _mm512_loadu_si512, _mm512_lzcnt_epi32, _mm512_lzcnt_epi64, _mm512_castsi512_si256, _mm512_mask_add_epi8,
    _mm512_mask_and_epi32, _mm512_mask_and_epi64, _mm512_mask_blend_epi8, _mm512_mask_blend_epi64, _mm512_movepi8_mask,
    _mm512_permutex2var_epi8, _mm512_permutex2var_epi64, _mm512_permutexvar_epi8, _mm512_permutexvar_epi64,
    _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_epi64, _mm512_set1_pd, _mm512_setzero_si512, _mm512_store_si512,
    _mm512_storeu_si512, _mm512_test_epi64_mask, _mm_loadl_epi64,
};

use crate::engine::parts::{BLOCK, Bytes, Masked, Part, Ranks, Symmetric};

/// Rows that are scored together.
pub(crate) const ROWS: usize = 64;

/// The proof that this processor has the instructions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

/// Ranks of sixty-four rows, view by view.
pub(crate) type Columns = Vec<Bytes>;

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("popcnt");
        has_all.then_some(Self(()))
    }

    /// The sum of the part's trees for one row, in units.
    #[inline]
    pub(crate) fn sum(self, part: &Part, row: &[f64]) -> i64 {
        // SAFETY: `self` proves that the processor has the features that `sum` is compiled for.
        unsafe { sum(part, row) }
    }

    /// Adds the sums of the part's trees to `sums`, for at most 64 rows of `n_features` numbers each.
    pub(crate) fn add_sums(self, part: &Part, rows: &[f64], n_features: usize, columns: &mut Columns, sums: &mut [i64; ROWS]) {
        // SAFETY: `self` proves that the processor has the features that `add_sums` is compiled for.
        unsafe { add_sums(part, rows, n_features, columns, sums) }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn load(bytes: &Bytes) -> __m512i {
    // SAFETY: `Bytes` is 64 bytes, aligned to 64.
    unsafe { _mm512_load_si512(bytes.0.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn load_u32(masks: &[u32; 16]) -> __m512i {
    // SAFETY: sixteen times four bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(masks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn load_u64(masks: &[u64; 8]) -> __m512i {
    // SAFETY: eight times eight bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(masks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn load_i64(values: &[i64; 8]) -> __m512i {
    // SAFETY: eight times eight bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn store_u32(values: __m512i) -> [u32; 16] {
    let mut array = [0; 16];
    // SAFETY: sixteen times four bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(array.as_mut_ptr().cast(), values) };
    array
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn store_i64(values: __m512i) -> [i64; 8] {
    let mut array = [0; 8];
    // SAFETY: eight times eight bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(array.as_mut_ptr().cast(), values) };
    array
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn store_bytes(values: __m512i) -> Bytes {
    let mut bytes = Bytes([0; BLOCK]);
    // SAFETY: `Bytes` is 64 bytes, aligned to 64.
    unsafe { _mm512_store_si512(bytes.0.as_mut_ptr().cast(), values) };
    bytes
}

/// How many of eight thresholds a value has reached.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn n_reached(thresholds: &[f64; 8], value: f64) -> usize {
    // SAFETY: eight times eight bytes; the load needs no alignment.
    let thresholds = unsafe { _mm512_loadu_pd(thresholds.as_ptr()) };
    _mm512_cmp_pd_mask::<_CMP_LE_OQ>(thresholds, _mm512_set1_pd(value)).count_ones() as usize
}

#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn sum(part: &Part, row: &[f64]) -> i64 {
    let mut ranks = Ranks::default();
    for scale in &part.scales {
        let [low, high] = scale.of(row[scale.feature_idx as usize], |thresholds, value| n_reached(thresholds, value));
        ranks.set(scale.places[0], low);
        ranks.set(scale.places[1], high);
    }
    for category in &part.categories {
        ranks.set(category.place, category.of(row[category.feature_idx as usize]));
    }
    let lines: [__m512i; 4] = std::array::from_fn(|line| load(&ranks.0[line]));
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
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn sum_with(part: &Part, ranks_of: impl Fn(__m512i) -> __m512i) -> i64 {
    let goes_right = |view: &Bytes, at: &Bytes| -> __mmask64 { _mm512_cmpge_epu8_mask(ranks_of(load(view)), load(at)) };
    let mut sum = 0;
    for block in &part.symmetric {
        let mut positions = _mm512_setzero_si512();
        for (level, (view, at)) in block.levels.iter().enumerate() {
            positions = _mm512_mask_add_epi8(positions, goes_right(view, at), positions, _mm512_set1_epi8((1_u8 << level) as i8));
        }
        let stride = 1 << block.levels.len();
        let positions = store_bytes(positions);
        for (leaves, &position) in block.leaves.chunks_exact(stride).zip(&positions.0).take(block.n_trees) {
            sum += leaves[usize::from(position)];
        }
    }
    for block in &part.narrow {
        let mut remaining = [_mm512_set1_epi32(-1); 4];
        for step in &block.steps {
            let right = goes_right(&step.view, &step.at);
            let (masks, _) = step.remaining.as_chunks::<16>();
            for (quarter, (remaining, masks)) in remaining.iter_mut().zip(masks).enumerate() {
                *remaining = _mm512_mask_and_epi32(*remaining, (right >> (16 * quarter)) as u16, *remaining, load_u32(masks));
            }
        }
        for (remaining, leaves) in remaining.into_iter().zip(block.leaves.chunks_exact(16 * block.stride)) {
            for (leaf, leaves) in store_u32(_mm512_lzcnt_epi32(remaining)).into_iter().zip(leaves.chunks_exact(block.stride)) {
                sum += leaves[leaf as usize];
            }
        }
    }
    for block in &part.wide {
        let mut remaining = [_mm512_set1_epi64(-1); 8];
        for step in &block.steps {
            let right = goes_right(&step.view, &step.at);
            let (masks, _) = step.remaining.as_chunks::<8>();
            for (eighth, (remaining, masks)) in remaining.iter_mut().zip(masks).enumerate() {
                *remaining = _mm512_mask_and_epi64(*remaining, (right >> (8 * eighth)) as u8, *remaining, load_u64(masks));
            }
        }
        for (remaining, leaves) in remaining.into_iter().zip(block.leaves.chunks_exact(8 * block.stride)) {
            for (leaf, leaves) in store_i64(_mm512_lzcnt_epi64(remaining)).into_iter().zip(leaves.chunks_exact(block.stride)) {
                sum += leaves[leaf as usize];
            }
        }
    }
    sum
}

#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn add_sums(part: &Part, rows: &[f64], n_features: usize, columns: &mut Columns, sums: &mut [i64; ROWS]) {
    columns.clear();
    // One more for ranks that nobody asks for.
    columns.resize(part.n_views + 1, Bytes([0; BLOCK]));
    let nowhere = part.n_views;
    for scale in &part.scales {
        let [low, high] = scale.places.map(|place| usize::from(place).min(nowhere));
        for (slot, row) in rows.chunks_exact(n_features).enumerate() {
            let ranks = scale.of(row[scale.feature_idx as usize], |thresholds, value| n_reached(thresholds, value));
            columns[low].0[slot] = ranks[0];
            columns[high].0[slot] = ranks[1];
        }
    }
    for category in &part.categories {
        let column = &mut columns[usize::from(category.place)];
        for (slot, row) in rows.chunks_exact(n_features).enumerate() {
            column.0[slot] = category.of(row[category.feature_idx as usize]);
        }
    }
    let mut totals: [__m512i; 8] = {
        let (eighths, _) = sums.as_chunks::<8>();
        std::array::from_fn(|eighth| load_i64(&eighths[eighth]))
    };
    for block in &part.symmetric {
        add_symmetric(block, columns, &mut totals);
    }
    for block in &part.narrow {
        add_narrow(block, columns, &mut totals);
    }
    for block in &part.wide {
        add_wide(block, columns, &mut totals);
    }
    let (eighths, _) = sums.as_chunks_mut::<8>();
    for (eighth, total) in eighths.iter_mut().zip(totals) {
        *eighth = store_i64(total);
    }
}

/// Which of the 64 rows go right at a tree's question.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn rows_right(columns: &Columns, view: &Bytes, at: &Bytes, tree: usize) -> __mmask64 {
    let ranks = load(&columns[usize::from(view.0[tree])]);
    _mm512_cmpge_epu8_mask(ranks, _mm512_set1_epi8(at.0[tree] as i8))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn add_symmetric(block: &Symmetric, columns: &Columns, totals: &mut [__m512i; 8]) {
    let stride = 1 << block.levels.len();
    for (tree, leaves) in block.leaves.chunks_exact(stride).take(block.n_trees).enumerate() {
        let mut positions = _mm512_setzero_si512();
        for (level, (view, at)) in block.levels.iter().enumerate() {
            let right = rows_right(columns, view, at, tree);
            positions = _mm512_mask_add_epi8(positions, right, positions, _mm512_set1_epi8((1_u8 << level) as i8));
        }
        let positions = store_bytes(positions);
        let (eighths, _) = positions.0.as_chunks::<8>();
        for (total, eighth) in totals.iter_mut().zip(eighths) {
            // SAFETY: eight bytes; the load needs no alignment.
            let positions = _mm512_cvtepu8_epi64(unsafe { _mm_loadl_epi64(eighth.as_ptr().cast()) });
            *total = _mm512_add_epi64(*total, picked(leaves, positions));
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn add_narrow(block: &Masked<u32>, columns: &Columns, totals: &mut [__m512i; 8]) {
    for (tree, leaves) in block.leaves.chunks_exact(block.stride).take(block.n_trees).enumerate() {
        let mut remaining = [_mm512_set1_epi32(-1); 4];
        for step in &block.steps {
            let right = rows_right(columns, &step.view, &step.at, tree);
            let mask = _mm512_set1_epi32(step.remaining[tree] as i32);
            for (quarter, remaining) in remaining.iter_mut().enumerate() {
                *remaining = _mm512_mask_and_epi32(*remaining, (right >> (16 * quarter)) as u16, *remaining, mask);
            }
        }
        for (quarter, remaining) in remaining.into_iter().enumerate() {
            let leaf = _mm512_lzcnt_epi32(remaining);
            let halves = [_mm512_castsi512_si256(leaf), _mm512_extracti64x4_epi64::<1>(leaf)];
            for (half, leaf) in halves.into_iter().enumerate() {
                let total = &mut totals[2 * quarter + half];
                *total = _mm512_add_epi64(*total, picked(leaves, _mm512_cvtepu32_epi64(leaf)));
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn add_wide(block: &Masked<u64>, columns: &Columns, totals: &mut [__m512i; 8]) {
    for (tree, leaves) in block.leaves.chunks_exact(block.stride).take(block.n_trees).enumerate() {
        let mut remaining = [_mm512_set1_epi64(-1); 8];
        for step in &block.steps {
            let right = rows_right(columns, &step.view, &step.at, tree);
            let mask = _mm512_set1_epi64(step.remaining[tree] as i64);
            for (eighth, remaining) in remaining.iter_mut().enumerate() {
                *remaining = _mm512_mask_and_epi64(*remaining, (right >> (8 * eighth)) as u8, *remaining, mask);
            }
        }
        for (total, remaining) in totals.iter_mut().zip(remaining) {
            *total = _mm512_add_epi64(*total, picked(leaves, _mm512_lzcnt_epi64(remaining)));
        }
    }
}

/// The leaves at eight positions; `leaves` are a power of two.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,popcnt")]
fn picked(leaves: &[i64], positions: __m512i) -> __m512i {
    let (tables, _) = leaves.as_chunks::<8>();
    let pair = |first: usize| _mm512_permutex2var_epi64(load_i64(&tables[first]), positions, load_i64(&tables[first + 1]));
    let choose = |bit: i64, low: __m512i, high: __m512i| {
        _mm512_mask_blend_epi64(_mm512_test_epi64_mask(positions, _mm512_set1_epi64(bit)), low, high)
    };
    match tables.len() {
        1 => _mm512_permutexvar_epi64(positions, load_i64(&tables[0])),
        2 => pair(0),
        4 => choose(16, pair(0), pair(2)),
        8 => choose(32, choose(16, pair(0), pair(2)), choose(16, pair(4), pair(6))),
        _ => {
            let positions = store_i64(_mm512_and_si512(positions, _mm512_set1_epi64(0xff)));
            load_i64(&positions.map(|position| leaves[position as usize]))
        }
    }
}
