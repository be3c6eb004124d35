//! `retain bench`: nanoseconds per row, rotating over different rows so that no branch or cache line is known beforehand. `serve` does
//! the same from outside, over a socket.

mod serve;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use retain_core::{Day, FeatureValue, Rows, TaskKind};
use retain_data::RowReader;
use retain_eval::ServingNumbers;
use retain_score::{Bundle, CheckRow, CheckValue, Model, Prediction, Scorer};
use serde_json::json;

use crate::cli::Global;
use crate::exit::{Complaint, Exit};
use crate::input::{open_table, read_bundle, scorer_of, table_attempt};
use crate::model_path::ModelArguments;
use crate::output::Output;
use crate::tables;

pub(crate) use serve::echo;

/// Different rows that are rotated over, and the rows of the large batch.
const N_ROWS: usize = 10_000;
/// Rows of the small batch.
const SMALL_BATCH: usize = 64;
/// How long each measurement takes.
const PATIENCE: Duration = Duration::from_millis(400);
/// One call of some nanoseconds is shorter than reading the clock: the median is of runs of at least this length.
const SHORTEST_RUN: Duration = Duration::from_micros(50);
/// Calls timed one by one for the 99th percentile, at most.
const MAX_SINGLE_CALLS: usize = 200_000;
const DEFAULT_SEED: u64 = 7;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Rows to score: CSV or Parquet; without it, rows are drawn column by column from the bundle's check rows
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    #[command(flatten)]
    serve: serve::ServeArguments,
}

/// How long a call took, per row.
#[derive(Debug, Clone, Copy)]
struct Timing {
    median_ns: f64,
    p99_ns: f64,
}

/// The five measurements.
struct Timings {
    encode_single: Timing,
    single: Timing,
    batch64: Timing,
    batch10k: Timing,
    explain: Timing,
}

pub(crate) fn run(arguments: &Arguments, global: &Global, output: Output) -> Result<Exit> {
    let bundle = read_bundle(&arguments.model.path()?)?;
    let scorer = scorer_of(&bundle)?;
    let seed = global.seed.unwrap_or(DEFAULT_SEED);
    let raw = RawRows::draw(&bundle, seed)?;
    let rows = match &arguments.input {
        Some(path) => rows_of_table(path, &scorer, raw.observed, seed)?,
        None => raw.encode(&scorer)?,
    };
    if arguments.serve.serve {
        let values = match arguments.input {
            Some(_) => None,
            None => Some(raw.to_values()),
        };
        let asked = serve::Asked { bundle: &bundle, scorer: &scorer, rows, values, observed: raw.observed, seed };
        return serve::run(&arguments.serve, &asked, output);
    }
    let timings = measure_all(&scorer, &raw, &rows);
    output.text(&text(&bundle, &scorer, &timings))?;
    output.json(&json!({
        "model": bundle.manifest.name,
        "version": bundle.manifest.version,
        "n_features": scorer.schema().n_features(),
        "n_trees": scorer.n_trees(),
        "n_rows": rows.n_rows(),
        "seed": seed,
        "encode_single_ns": timings.encode_single.median_ns,
        "encode_single_p99_ns": timings.encode_single.p99_ns,
        "single_ns": timings.single.median_ns,
        "single_p99_ns": timings.single.p99_ns,
        "batch64_ns_per_row": timings.batch64.median_ns,
        "batch64_p99_ns_per_row": timings.batch64.p99_ns,
        "batch10k_ns_per_row": timings.batch10k.median_ns,
        "batch10k_p99_ns_per_row": timings.batch10k.p99_ns,
        "explain_ns": timings.explain.median_ns,
        "explain_p99_ns": timings.explain.p99_ns,
    }))?;
    Ok(Exit::GOOD)
}

fn text(bundle: &Bundle, scorer: &Scorer, timings: &Timings) -> String {
    let mut table = tables::table(&["one thread, per row", "median ns", "p99 ns"], 1);
    let lines = [
        ("one row, encoding its values", timings.encode_single),
        ("one row", timings.single),
        ("64 rows", timings.batch64),
        ("10,000 rows", timings.batch10k),
        ("one explanation", timings.explain),
    ];
    for (what, timing) in lines {
        table.add_row([what.to_owned(), format!("{:.0}", timing.median_ns), format!("{:.0}", timing.p99_ns)]);
    }
    let (n_features, n_trees) = (scorer.schema().n_features(), scorer.n_trees());
    format!("{}: {n_features} features, {n_trees} trees\n\n{}", bundle.manifest.address(), tables::render(&table))
}

fn measure_all(scorer: &Scorer, raw: &RawRows<'_>, rows: &Rows) -> Timings {
    let n_rows = rows.n_rows();
    let batches = batches_of(rows);
    let mut predictions: Vec<Prediction> = Vec::with_capacity(n_rows);
    let mut encoded = vec![f64::NAN; rows.n_features()];
    Timings {
        encode_single: measure(1, |call| raw.encode_one(scorer, call % raw.n_rows(), &mut encoded)),
        single: measure(1, |call| black_box(scorer.predict(black_box(rows.row(call % n_rows))))),
        batch64: measure(SMALL_BATCH, |call| {
            scorer.predict_rows(black_box(batches[call % batches.len()].values()), &mut predictions);
            black_box(predictions.len())
        }),
        batch10k: measure(n_rows, |_| {
            scorer.predict_rows(black_box(rows.values()), &mut predictions);
            black_box(predictions.len())
        }),
        explain: measure(1, |call| black_box(scorer.explain(black_box(rows.row(call % n_rows))))),
    }
}

/// The rows in batches of 64; the last incomplete one is left out.
fn batches_of(rows: &Rows) -> Vec<Rows> {
    let batch = |values: &[f64]| {
        let mut batch = Rows::new(rows.n_features());
        values.chunks_exact(rows.n_features()).for_each(|row| batch.push(row));
        batch
    };
    rows.values().chunks_exact(SMALL_BATCH * rows.n_features()).map(batch).collect()
}

/// Times `call`, which does `n_rows` rows and is told how many calls came before it.
fn measure<T>(n_rows: usize, mut call: impl FnMut(usize) -> T) -> Timing {
    let mut n_calls = 0;
    let mut run = |length: usize| {
        let start = Instant::now();
        for _ in 0..length {
            black_box(call(n_calls));
            n_calls += 1;
        }
        start.elapsed()
    };
    let mut length = 1;
    while run(length) < SHORTEST_RUN && length < 1 << 20 {
        length *= 2;
    }
    let medians = repeat(usize::MAX, || run(length).as_nanos() as f64 / (length * n_rows) as f64);
    let singles = repeat(MAX_SINGLE_CALLS, || run(1).as_nanos() as f64 / n_rows as f64);
    Timing { median_ns: quantile(&medians, 0.5), p99_ns: quantile(&singles, 0.99) }
}

/// Repeats a measurement for half of the patience, at least three times; the results are sorted.
fn repeat(most: usize, mut measurement: impl FnMut() -> f64) -> Vec<f64> {
    let start = Instant::now();
    let mut values = Vec::new();
    while values.len() < 3 || (values.len() < most && start.elapsed() < PATIENCE / 2) {
        values.push(measurement());
    }
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The value that `share` of the sorted values do not pass.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = (share * sorted.len() as f64).ceil() as usize;
    sorted[position.clamp(1, sorted.len()) - 1]
}

/// Rows as a request would carry them, each value from another check row.
struct RawRows<'a> {
    values: Vec<Vec<Option<&'a CheckValue>>>,
    observed: Option<Day>,
}

impl<'a> RawRows<'a> {
    fn draw(bundle: &'a Bundle, seed: u64) -> Result<Self> {
        let check_rows = &bundle.check_rows.rows;
        if check_rows.is_empty() {
            return Err(Complaint::new(Exit::DATA, "the bundle has no check rows to draw from").into());
        }
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let features = &bundle.schema.features;
        let mut value = |name: &str| check_rows[rng.random_range(0..check_rows.len())].features.get(name);
        let values = (0..N_ROWS).map(|_| features.iter().map(|feature| value(&feature.name)).collect()).collect();
        let observed = check_rows.iter().find_map(|row| row.observed).map(Day::from_days);
        Ok(Self { values, observed })
    }

    fn n_rows(&self) -> usize {
        self.values.len()
    }

    /// The same values, for requests to carry.
    fn to_values(&self) -> Vec<Vec<Option<CheckValue>>> {
        self.values.iter().map(|row| row.iter().map(|value| value.cloned()).collect()).collect()
    }

    /// Whether the row could be encoded.
    fn encode_one(&self, scorer: &Scorer, row_idx: usize, encoded: &mut [f64]) -> bool {
        let values = self.values[row_idx].iter();
        let values = values.map(|value| value.map_or(FeatureValue::Missing, CheckValue::as_feature_value));
        scorer
            .schema()
            .encode_row(values, self.observed, encoded, |feature_idx, note| {
                black_box((feature_idx, note));
            })
            .is_ok()
    }

    fn encode(&self, scorer: &Scorer) -> Result<Rows> {
        let mut rows = scorer.schema().rows();
        for row_idx in 0..self.n_rows() {
            if !self.encode_one(scorer, row_idx, rows.push_missing()) {
                return Err(Complaint::new(Exit::DATA, "the bundle's check rows do not fit its schema").into());
            }
        }
        Ok(rows)
    }
}

/// Rows of a table that can be scored, at most 10,000; fewer are filled up by mixing their columns.
fn rows_of_table(path: &Path, scorer: &Scorer, observed: Option<Day>, seed: u64) -> Result<Rows> {
    let source = open_table(path)?;
    let day = scorer.manifest().reference_day().or(observed);
    let attempt = || table_attempt(source.name());
    let mut rows = scorer.schema().rows();
    for batch in RowReader::open(&source, scorer.schema(), day).with_context(attempt)? {
        let batch = batch.with_context(attempt)?;
        let good = batch.rows.in_order().zip(&batch.row_ok).filter(|(_, ok)| **ok);
        good.take(N_ROWS - rows.n_rows()).for_each(|(row, _)| rows.push(row));
        if rows.n_rows() == N_ROWS {
            break;
        }
    }
    let n_read = rows.n_rows();
    if n_read == 0 {
        return Err(Complaint::new(Exit::DATA, format!("no row of `{}` can be scored", path.display())).into());
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    while rows.n_rows() < N_ROWS {
        let mixed: Vec<f64> = (0..rows.n_features()).map(|column| rows.row(rng.random_range(0..n_read))[column]).collect();
        rows.push(&mixed);
    }
    Ok(rows)
}

/// What the gate asks of a model in service, measured in this process.
pub(crate) fn serving_numbers(bundle: &Bundle) -> Result<ServingNumbers> {
    let scorer = scorer_of(bundle)?;
    let rows = RawRows::draw(bundle, DEFAULT_SEED)?.encode(&scorer)?;
    let single = measure(1, |call| black_box(scorer.predict(black_box(rows.row(call % rows.n_rows())))));
    Ok(ServingNumbers {
        p99_ms: Some(single.p99_ns / 1e6),
        model_bytes: Some(bundle.size_bytes),
        parity_max_abs: Some(parity(bundle, &scorer)?),
    })
}

/// The largest difference between a check row's probability when the model was made and now: alone, in a batch, and for the
/// probability of an event read straight off the model's parts.
fn parity(bundle: &Bundle, scorer: &Scorer) -> Result<f64> {
    let mut rows = scorer.schema().rows();
    for check_row in &bundle.check_rows.rows {
        let encoded = check_row.encode(scorer.schema()).map_err(|(feature, what)| {
            Complaint::new(Exit::DATA, format!("a check row of the bundle cannot be encoded: `{feature}` {what}"))
        })?;
        rows.push(&encoded);
    }
    let mut batch = Vec::new();
    scorer.predict_rows(rows.values(), &mut batch);
    // Check rows hold what the model says; the task asks engagement for the opposite.
    let expected = |check_row: &CheckRow| match scorer.manifest().kind {
        TaskKind::Engagement => 1.0 - check_row.probability,
        TaskKind::Churn | TaskKind::Survival | TaskKind::Ltv | TaskKind::Uplift => check_row.probability,
    };
    let differences = bundle.check_rows.rows.iter().zip(rows.in_order()).zip(&batch).map(|((check_row, row), in_batch)| {
        let alone = scorer.predict(row).probability;
        // Other kinds of models have no plainer version than the one that scores.
        let plain = if let Model::Event(head) = &bundle.model { head.probability(row) } else { alone };
        [alone, in_batch.probability, plain].iter().map(|answer| (answer - expected(check_row)).abs()).fold(0.0, f64::max)
    });
    Ok(differences.fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&values, 0.5), quantile(&values, 0.99)), (50.0, 99.0));
        assert_eq!(quantile(&[3.0], 0.99), 3.0);
    }
}
