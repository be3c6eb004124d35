//! Counts of durations and shares, written to by many calls at once: no lock, and threads write to places of their own.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// Places that threads share; more threads than these share one.
pub(crate) const N_SHARDS: usize = 8;
/// Most buckets of a histogram, the one without an upper end included.
const MAX_BUCKETS: usize = 30;
/// Observations are whole numbers of a thousand-millionth: of a second, or of one.
const UNIT: f64 = 1e-9;

/// Upper ends in nanoseconds: a score takes less than a microsecond, a batch seconds.
#[rustfmt::skip]
const DURATIONS: [u64; 24] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000, 100_000_000, 250_000_000, 500_000_000,
    1_000_000_000, 2_500_000_000, 5_000_000_000, 10_000_000_000,
];
/// Twentieths of one.
const SHARES: [u64; 20] = {
    let mut ends = [0; 20];
    let mut at = 0;
    while at < ends.len() {
        ends[at] = 50_000_000 * (at as u64 + 1);
        at += 1;
    }
    ends
};

/// The place of the thread that asks, below [`N_SHARDS`].
pub(crate) fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % N_SHARDS);
        }
        mine.get()
    })
}

/// Observations in buckets, and their sum.
#[derive(Debug)]
pub(crate) struct Histogram {
    upper_ends: &'static [u64],
    shards: Box<[Shard; N_SHARDS]>,
}

/// As long as two cache lines or more, which processors fetch in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    counts: [AtomicU64; MAX_BUCKETS],
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) fn of_durations() -> Self {
        Self { upper_ends: &DURATIONS, shards: Box::default() }
    }

    /// For numbers from 0 to 1.
    pub(crate) fn of_shares() -> Self {
        Self { upper_ends: &SHARES, shards: Box::default() }
    }

    pub(crate) fn observe_duration(&self, duration: Duration) {
        self.observe(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn observe_share(&self, share: f64) {
        self.observe((share / UNIT) as u64);
    }

    fn observe(&self, value: u64) {
        let bucket = self.upper_ends.partition_point(|&end| end < value);
        let shard = &self.shards[shard()];
        shard.counts[bucket].fetch_add(1, Ordering::Relaxed);
        shard.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// How many were observed.
    pub(crate) fn count(&self) -> u64 {
        (0..=self.upper_ends.len()).map(|bucket| self.bucket(bucket)).sum()
    }

    fn bucket(&self, bucket: usize) -> u64 {
        self.shards.iter().map(|shard| shard.counts[bucket].load(Ordering::Relaxed)).sum()
    }

    /// Tells the buckets in seconds, or shares of one.
    pub(crate) fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        let ends = self.upper_ends.iter().map(|&end| end as f64 * UNIT).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = ends.enumerate().map(|(bucket, end)| (end, self.bucket(bucket))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum: u64 = self.shards.iter().map(|shard| shard.sum.load(Ordering::Relaxed)).sum();
        encoder.encode_histogram::<NoLabelSet>(sum as f64 * UNIT, count, &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_counts_in_the_bucket_that_ends_at_it() {
        let histogram = Histogram::of_durations();
        for nanos in [0, 250, 251, 20_000_000_000] {
            histogram.observe_duration(Duration::from_nanos(nanos));
        }
        assert_eq!((histogram.bucket(0), histogram.bucket(1), histogram.bucket(DURATIONS.len())), (2, 1, 1));
        assert_eq!(histogram.count(), 4);
        let shares = Histogram::of_shares();
        for share in [0.0, 0.05, 0.07, 1.0] {
            shares.observe_share(share);
        }
        assert_eq!((shares.bucket(0), shares.bucket(1), shares.bucket(19), shares.bucket(20)), (2, 1, 1, 0));
    }

    #[test]
    fn threads_count_together() {
        let histogram = Histogram::of_durations();
        std::thread::scope(|scope| {
            for _ in 0..2 * N_SHARDS {
                scope.spawn(|| (0..100).for_each(|_| histogram.observe_duration(Duration::from_micros(3))));
            }
        });
        assert_eq!(histogram.count(), 200 * N_SHARDS as u64);
    }
}
