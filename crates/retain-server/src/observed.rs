//! What is seen of a live model while it answers: how many predictions it gave, how they spread, and how far its rows are from training.
//!
//! Calls leave their rows in a buffer, which is counted when it is full, beside the calls: counting costs about as much as scoring.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use retain_core::{ColumnKind, FeatureSchema, FeatureSpec};
use retain_score::{Histogram as Trained, Prediction, Reference};

use crate::metrics::{Histogram, N_SHARDS, shard};

/// Rows of a buffer, unless they are so wide that it would hold more numbers than [`MAX_CHUNK_VALUES`].
const CHUNK_ROWS: usize = 256;
const MAX_CHUNK_VALUES: usize = 1 << 16;
/// Full buffers that wait to be counted; beyond them rows are not watched.
const MAX_WAITING: usize = 32;
/// Rows of one batch that are looked at, evenly spread.
const BATCH_ROWS: usize = 500;
/// Drift is told of the last so many rows at least, and twice as many at most.
const WINDOW_ROWS: u64 = 10_000;
/// Fewer rows than these tell nothing: the index of ten bins would be above 0.02 by chance alone.
const MIN_WINDOW_ROWS: u64 = 500;

/// What one live model has been seen to do.
#[derive(Debug)]
pub(crate) struct Observed {
    n_predictions: AtomicU64,
    pub(crate) probabilities: Histogram,
    /// None where the bundle has no usable reference.
    drift: Option<Drift>,
}

#[derive(Debug)]
struct Drift {
    features: Vec<FeatureSpec>,
    reference: Reference,
    chunk_rows: usize,
    buffers: [Mutex<Vec<f64>>; N_SHARDS],
    n_waiting: AtomicUsize,
    counts: Mutex<Counts>,
}

/// Counts of the rows that were watched.
#[derive(Debug, Clone, Default)]
struct Counts {
    n_rows: u64,
    features: Vec<FeatureCounts>,
    scores: Window,
    n_in_window: u64,
}

#[derive(Debug, Clone, Default)]
struct FeatureCounts {
    n_missing: u64,
    n_unseen: u64,
    n_out_of_range: u64,
    window: Window,
}

/// Rows per bin, missing last: since the window began, and in the one before.
#[derive(Debug, Clone, Default)]
struct Window {
    current: Vec<u64>,
    previous: Vec<u64>,
}

/// What is told of the rows that a model was asked about.
#[derive(Debug)]
pub(crate) struct DriftReport {
    /// Rows that were looked at.
    pub(crate) n_rows: u64,
    /// In the order of the schema.
    pub(crate) features: Vec<FeatureDrift>,
    /// Population stability index of the scores, where there are enough.
    pub(crate) score_stability: Option<f64>,
}

/// What is told of one feature.
#[derive(Debug)]
pub(crate) struct FeatureDrift {
    pub(crate) name: String,
    pub(crate) n_missing: u64,
    /// None of features that are no categories.
    pub(crate) n_unseen: Option<u64>,
    /// None of features that have no range.
    pub(crate) n_out_of_range: Option<u64>,
    pub(crate) stability: Option<f64>,
}

impl Observed {
    /// Nothing seen yet; `reference` says what training saw.
    pub(crate) fn new(schema: &FeatureSchema, reference: Option<Reference>) -> Self {
        let drift = reference.map(|reference| Drift::new(schema, reference));
        Self { n_predictions: AtomicU64::new(0), probabilities: Histogram::of_shares(), drift }
    }

    pub(crate) fn n_predictions(&self) -> u64 {
        self.n_predictions.load(Ordering::Relaxed)
    }

    /// One row was scored, within the runtime of the server.
    pub(crate) fn row(self: &Arc<Self>, row: &[f64], prediction: &Prediction) {
        self.n_predictions.fetch_add(1, Ordering::Relaxed);
        self.probabilities.observe_share(prediction.probability);
        let Some(drift) = &self.drift else { return };
        if let Some(chunk) = drift.keep(row, prediction) {
            let observed = self.clone();
            tokio::task::spawn_blocking(move || observed.count(&chunk));
        }
    }

    /// Rows of a batch of `n_rows` were scored, on a thread that may take its time: each with its position in the batch.
    pub(crate) fn rows<'r>(&self, n_rows: usize, scored: impl Iterator<Item = (usize, &'r [f64], &'r Prediction)>) {
        let step = n_rows.div_ceil(BATCH_ROWS).max(1);
        let (mut n_scored, mut chunk) = (0, Vec::new());
        for (position, row, prediction) in scored {
            n_scored += 1;
            self.probabilities.observe_share(prediction.probability);
            if let Some(drift) = self.drift.as_ref().filter(|_| is_looked_at(position, step)) {
                chunk.extend_from_slice(row);
                chunk.push(drift.score(prediction));
            }
        }
        self.n_predictions.fetch_add(n_scored, Ordering::Relaxed);
        if let Some(drift) = &self.drift {
            lock(&drift.counts).add(drift, &chunk);
        }
    }

    fn count(&self, chunk: &[f64]) {
        let Some(drift) = &self.drift else { return };
        lock(&drift.counts).add(drift, chunk);
        drift.n_waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// What the rows looked like so far.
    pub(crate) fn report(&self) -> Option<DriftReport> {
        self.drift.as_ref().map(Drift::report)
    }
}

/// One position of every `step`, each at another place: rows that repeat in order shall not all look the same.
fn is_looked_at(position: usize, step: usize) -> bool {
    // The multiplier of Fibonacci hashing: 2^64 over the golden ratio.
    let mixed = ((position / step) as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    position % step == mixed as usize % step
}

impl Drift {
    fn new(schema: &FeatureSchema, reference: Reference) -> Self {
        let features = reference
            .features
            .iter()
            .map(|histogram| FeatureCounts { window: Window::new(histogram), ..FeatureCounts::default() });
        let counts = Counts { features: features.collect(), scores: Window::new(&reference.scores), ..Counts::default() };
        Self {
            chunk_rows: (MAX_CHUNK_VALUES / (schema.n_features() + 1)).clamp(1, CHUNK_ROWS),
            features: schema.features.clone(),
            reference,
            buffers: Default::default(),
            n_waiting: AtomicUsize::new(0),
            counts: Mutex::new(counts),
        }
    }

    fn score(&self, prediction: &Prediction) -> f64 {
        match self.reference.scores.name.as_str() {
            "probability" => prediction.probability,
            "uplift" => prediction.margin,
            _ => prediction.expected_value.unwrap_or(f64::NAN),
        }
    }

    /// Keeps a row; a buffer that is full comes back to be counted.
    fn keep(&self, row: &[f64], prediction: &Prediction) -> Option<Vec<f64>> {
        let mut buffer = lock(&self.buffers[shard()]);
        let n_full = self.chunk_rows * (row.len() + 1);
        if buffer.capacity() == 0 {
            buffer.reserve_exact(n_full);
        }
        buffer.extend_from_slice(row);
        buffer.push(self.score(prediction));
        if buffer.len() < n_full {
            return None;
        }
        if self.n_waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            self.n_waiting.fetch_sub(1, Ordering::Relaxed);
            buffer.clear();
            return None;
        }
        Some(std::mem::take(&mut *buffer))
    }

    fn report(&self) -> DriftReport {
        for buffer in &self.buffers {
            // Not held while it is counted: a call may wait for it.
            let chunk = lock(buffer).split_off(0);
            lock(&self.counts).add(self, &chunk);
        }
        let counts = lock(&self.counts).clone();
        let told = self.features.iter().zip(&self.reference.features).zip(&counts.features);
        let feature = |((spec, reference), counts): ((&FeatureSpec, &Trained), &FeatureCounts)| FeatureDrift {
            name: spec.name.clone(),
            n_missing: counts.n_missing,
            n_unseen: (spec.kind == ColumnKind::Category).then_some(counts.n_unseen),
            n_out_of_range: (spec.min.is_some() || spec.max.is_some()).then_some(counts.n_out_of_range),
            stability: counts.window.stability(reference),
        };
        DriftReport {
            n_rows: counts.n_rows,
            features: told.map(feature).collect(),
            score_stability: counts.scores.stability(&self.reference.scores),
        }
    }
}

impl Counts {
    /// Adds rows, each of them its features' values and then its score.
    fn add(&mut self, drift: &Drift, chunk: &[f64]) {
        let width = self.features.len() + 1;
        let column = |at: usize| chunk.iter().copied().skip(at).step_by(width);
        for (at, counts) in self.features.iter_mut().enumerate() {
            counts.add(&drift.features[at], &drift.reference.features[at], column(at));
        }
        column(width - 1).for_each(|score| self.scores.current[drift.reference.scores.bin(score)] += 1);
        let n_rows = (chunk.len() / width) as u64;
        self.n_rows += n_rows;
        self.n_in_window += n_rows;
        if self.n_in_window >= WINDOW_ROWS {
            self.n_in_window = 0;
            self.features.iter_mut().map(|feature| &mut feature.window).chain([&mut self.scores]).for_each(Window::turn);
        }
    }
}

impl FeatureCounts {
    fn add(&mut self, spec: &FeatureSpec, reference: &Trained, column: impl Iterator<Item = f64>) {
        let (min, max) = (spec.min.unwrap_or(f64::NEG_INFINITY), spec.max.unwrap_or(f64::INFINITY));
        let unseen = if spec.kind == ColumnKind::Category { spec.categories.len() as f64 } else { f64::INFINITY };
        for value in column {
            self.window.current[reference.bin(value)] += 1;
            self.n_missing += u64::from(value.is_nan());
            self.n_unseen += u64::from(value >= unseen);
            self.n_out_of_range += u64::from(value < min || value > max);
        }
    }
}

impl Window {
    fn new(reference: &Trained) -> Self {
        let empty = vec![0; reference.n_bins() + 1];
        Self { current: empty.clone(), previous: empty }
    }

    fn turn(&mut self) {
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.fill(0);
    }

    fn stability(&self, reference: &Trained) -> Option<f64> {
        let both: Vec<u64> = self.current.iter().zip(&self.previous).map(|(current, previous)| current + previous).collect();
        (both.iter().sum::<u64>() >= MIN_WINDOW_ROWS).then(|| reference.stability_index(&both)).flatten()
    }
}

/// Counts stay sums whatever happens to a thread that held them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed() -> Arc<Observed> {
        let mut number = FeatureSpec::new("x", ColumnKind::Number);
        (number.min, number.max) = (Some(0.0), Some(10.0));
        let mut category = FeatureSpec::new("c", ColumnKind::Category);
        category.set_categories(vec!["a".into(), "b".into()]);
        let schema = FeatureSchema::new(vec![number, category], None, "y".into(), "1".into(), None).unwrap();
        let histogram = |name: &str, borders: &[f64], counts: &[u64]| Trained {
            name: name.into(),
            borders: borders.to_vec(),
            counts: counts.to_vec(),
            n_missing: 0,
        };
        let features = vec![histogram("x", &[5.0], &[500, 500]), histogram("c", &[], &[500, 500, 0])];
        let reference =
            Reference { format_version: 1, n_rows: 1_000, features, scores: histogram("probability", &[0.5], &[500, 500]) };
        Arc::new(Observed::new(&schema, Some(reference)))
    }

    fn prediction(probability: f64) -> Prediction {
        Prediction { margin: 0.0, probability, expected_value: None, limits: None, decline: None }
    }

    #[tokio::test]
    async fn unusual_values_are_counted_and_every_row_is() {
        let observed = observed();
        let rows = [[1.0, 0.0], [f64::NAN, 1.0], [11.0, 2.0], [-1.0, f64::NAN]];
        for turn in 0..1_000 {
            observed.row(&rows[turn % 4], &prediction(0.25));
        }
        while observed.drift.as_ref().unwrap().n_waiting.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
        let report = observed.report().unwrap();
        assert_eq!((report.n_rows, observed.n_predictions()), (1_000, 1_000));
        let [x, c] = &report.features[..] else { panic!("two features") };
        assert_eq!((x.n_missing, x.n_out_of_range, x.n_unseen), (250, Some(500), None));
        assert_eq!((c.n_missing, c.n_unseen, c.n_out_of_range), (250, Some(250), None));
        assert!(report.score_stability.unwrap() > 1.0);
    }

    #[test]
    fn rows_like_those_of_training_are_stable_and_few_rows_tell_nothing() {
        let observed = observed();
        let rows: Vec<[f64; 2]> = (0..20_000).map(|row| [f64::from(row % 10), f64::from(row / 7 % 2)]).collect();
        let predictions: Vec<_> = (0..20_000).map(|row| prediction(f64::from(row % 10) / 10.0)).collect();
        let scored =
            || (0..).zip(&rows).zip(&predictions).map(|((position, row), prediction)| (position, row.as_slice(), prediction));
        observed.rows(200, scored().take(200));
        assert!(observed.report().unwrap().features[0].stability.is_none());
        observed.rows(20_000, scored());
        let report = observed.report().unwrap();
        assert_eq!(report.n_rows, 700);
        assert!(report.features.iter().all(|feature| feature.stability.unwrap() < 0.02), "{report:?}");
        assert!(report.score_stability.unwrap() < 0.02);
    }

    #[test]
    fn the_window_forgets() {
        let observed = observed();
        let prediction = prediction(0.9);
        let (far, near) = ([[1.0, 1.0]; 4], [[1.0, 0.0], [1.0, 1.0], [9.0, 0.0], [9.0, 1.0]]);
        let stability = |rows: &[[f64; 2]; 4]| {
            for _ in 0..60 {
                observed.rows(500, (0..500).map(|row| (row, rows[row % 4].as_slice(), &prediction)));
            }
            observed.report().unwrap().features[0].stability.unwrap()
        };
        assert!(stability(&far) > 1.0);
        assert!(stability(&near) < 0.02);
    }
}
