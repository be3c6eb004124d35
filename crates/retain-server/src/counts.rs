//! What happened since the server began, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// What happened since the server began. Numbers only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// How often other versions have come to answer, the first time included.
    pub model_swaps: u64,
    /// How often a version, a model's aliases or the whole models directory was refused.
    pub model_refusals: u64,
    /// Rows of the prediction log that lie in complete files.
    pub logged_rows: u64,
    /// Rows that were not logged: the writer was behind, or the disk refused them.
    pub log_rows_dropped: u64,
    /// Rows that no shadow scored: it was behind, or could not read a value.
    pub shadow_rows_dropped: u64,
}

/// A number that grows, from any thread.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
