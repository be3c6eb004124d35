//! Finds rows that are equal but for a few columns: rows that agree in a random choice of columns meet in one bucket.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

use super::{CHANCE_PAIRS, Pairs, Sets, bits, is_same, mixed};

/// Choices of columns. A pair that differs in a fifth of them agrees in four given columns four times in ten: it is missed by all
/// choices once in 30,000.
const N_ROUNDS: usize = 20;
/// The columns of one choice tell customers apart this much better than needed to tell them all apart, in nats.
const MARGIN: f64 = 3.0;
/// Rows of a bucket that are compared with each other; larger buckets hold a frequent value and nothing surprising.
const MAX_BUCKET: usize = 64;
/// Each row is compared with so many before it in its bucket.
const N_BEFORE: usize = 4;
/// The choice of columns is no part of the training run's randomness.
const SEED: u64 = 0x7477_696e;

/// Joins rows whose agreement chance does not explain; returns how often which columns differed.
pub(super) fn join_equal(pairs: &Pairs<'_>, sets: &mut Sets) -> BTreeMap<u64, usize> {
    let mut seen = BTreeMap::new();
    let needed = pairs.ln_pairs() - CHANCE_PAIRS.ln();
    let in_all: f64 = pairs.surprise.columns.iter().map(|column| column.entropy).sum();
    if pairs.n_rows() < 2 || in_all < needed / 2.0 {
        return seen;
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let mut order: Vec<usize> = (0..pairs.surprise.columns.len()).collect();
    for _ in 0..N_ROUNDS {
        order.shuffle(&mut rng);
        let chosen = choose(pairs, &order);
        for bucket in buckets(pairs, &chosen).chunk_by(|a, b| a.0 == b.0) {
            if (2..=MAX_BUCKET).contains(&bucket.len()) {
                join_bucket(pairs, sets, bucket, needed, &mut seen);
            }
        }
    }
    seen
}

/// Columns from the front of the order until they tell the customers apart.
fn choose(pairs: &Pairs<'_>, order: &[usize]) -> Vec<usize> {
    let enough = (pairs.n_rows() as f64).ln() + MARGIN;
    let mut so_far = 0.0;
    let is_needed = |position: &usize| {
        let is_needed = so_far < enough;
        so_far += pairs.surprise.columns[*position].entropy;
        is_needed
    };
    order.iter().copied().take_while(is_needed).collect()
}

/// Rows with the hash of their values in the chosen columns, equal hashes side by side.
fn buckets(pairs: &Pairs<'_>, chosen: &[usize]) -> Vec<(u64, u32)> {
    let mut hashes = vec![0_u64; pairs.n_rows()];
    for &position in chosen {
        hashes.iter_mut().zip(pairs.column(position)).for_each(|(hash, &value)| *hash = mixed(*hash, bits(value)));
    }
    let mut buckets: Vec<(u64, u32)> = hashes.into_iter().zip(0..).collect();
    buckets.sort_unstable();
    buckets
}

fn join_bucket(pairs: &Pairs<'_>, sets: &mut Sets, bucket: &[(u64, u32)], needed: f64, seen: &mut BTreeMap<u64, usize>) {
    for (position, &(_, row)) in bucket.iter().enumerate().skip(1) {
        for &(_, other) in &bucket[position.saturating_sub(N_BEFORE)..position] {
            if sets.find(row) == sets.find(other) {
                continue;
            }
            if let Some((evidence, differing)) = pairs.evidence(row as usize, other as usize, |_, a, b| is_same(a, b))
                && evidence >= needed
            {
                sets.join(row, other);
                *seen.entry(differing).or_default() += 1;
            }
        }
    }
}
