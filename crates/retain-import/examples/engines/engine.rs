//! What is compared, and how it is timed: the same loops for all, compiled for each.

use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use retain_core::{FeatureSchema, Rows};
use retain_import::{Library, read};
use retain_score::Engine;

use crate::clock::processor_time;

/// Rows before each timed pass: the engines before it have filled the caches with other forests.
const N_WARM_ROWS: usize = 100;

/// A forest that is ready to score.
pub(crate) trait ScoringEngine {
    /// The raw score of one row.
    fn one(&mut self, rows: &Rows, row_idx: usize) -> f64;

    /// The raw scores of all rows.
    fn batch(&mut self, rows: &Rows, margins: &mut Vec<f64>);

    /// What the first `n_rows` rows took, one call each.
    fn time_singles(&mut self, rows: &Rows, n_rows: usize) -> Duration {
        self.warm_up(rows, n_rows);
        processor_time(|| {
            for row_idx in 0..n_rows {
                black_box(self.one(rows, black_box(row_idx)));
            }
        })
    }

    /// How long each of the first `n_rows` rows took, in nanoseconds, with one look at the clock.
    fn time_each(&mut self, rows: &Rows, n_rows: usize, nanoseconds: &mut Vec<f64>) {
        self.warm_up(rows, n_rows);
        for row_idx in 0..n_rows {
            let start = Instant::now();
            black_box(self.one(rows, black_box(row_idx)));
            nanoseconds.push(start.elapsed().as_nanos() as f64);
        }
    }

    /// What one call for all rows took.
    fn time_batch(&mut self, rows: &Rows, margins: &mut Vec<f64>) -> Duration {
        processor_time(|| {
            self.batch(black_box(rows), margins);
            black_box(margins.last());
        })
    }

    /// The last rows of the pass: the next ones to come have not been seen for a pass.
    fn warm_up(&mut self, rows: &Rows, n_rows: usize) {
        for row_idx in n_rows.saturating_sub(N_WARM_ROWS)..n_rows {
            black_box(self.one(rows, row_idx));
        }
    }
}

/// Our engine with a model that another library trained.
pub(crate) struct Retain {
    pub(crate) engine: Engine,
}

impl Retain {
    pub(crate) fn open(library: Library, model: &Path) -> Result<Self, Box<dyn Error>> {
        let mut imported = read(library, &fs::read(model)?)?;
        let specs = imported.schema_features(|_| None)?;
        let schema = FeatureSchema::new(specs, None, "target".to_owned(), "1".to_owned(), None)?;
        Ok(Self { engine: Engine::new(&imported.margin, &schema)? })
    }
}

impl ScoringEngine for Retain {
    fn one(&mut self, rows: &Rows, row_idx: usize) -> f64 {
        self.engine.margin(rows.row(row_idx))
    }

    fn batch(&mut self, rows: &Rows, margins: &mut Vec<f64>) {
        self.engine.margins(rows.values(), margins);
    }
}

/// Reads rows of little-endian `f64` numbers, `most` of them where there are more.
pub(crate) fn read_rows(path: &Path, n_features: usize, most: usize) -> Result<Rows, Box<dyn Error>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_mul(8 * n_features) as u64).read_to_end(&mut bytes)?;
    let values = bytes.chunks_exact(8).map(|value| value.try_into().map(f64::from_le_bytes)).collect::<Result<_, _>>()?;
    Ok(Rows::from_values(n_features, values)?)
}

/// The largest difference, as a share of the largest expected value where that is above 1.
pub(crate) fn largest_difference(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "as many answers as rows");
    let scale = expected.iter().fold(1.0, |scale: f64, value| scale.max(value.abs()));
    let difference = |(found, expected): (&f64, &f64)| (found - expected).abs();
    // A NaN is no agreement: `max` would drop it.
    let worse = |worst: f64, found: f64| if found.is_nan() { f64::INFINITY } else { worst.max(found) };
    found.iter().zip(expected).map(difference).fold(0.0, worse) / scale
}

/// The value that `share` of the values do not pass.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let position = (share * values.len() as f64).ceil() as usize;
    values[position.clamp(1, values.len()) - 1]
}

/// Nanoseconds for each of some rows.
pub(crate) fn per_row(duration: Duration, n_rows: usize) -> f64 {
    duration.as_nanos() as f64 / n_rows as f64
}
