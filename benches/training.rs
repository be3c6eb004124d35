//! How long boosting trains, and how much memory it takes beside the table.
//!
//! Without a table, criterion measures fits on made-up rows. `training/compare.py` names a table in the environment instead: then
//! one fit is measured and its figures are printed as one line of JSON, so that each measurement has a fresh process.

#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros make undocumented items; a bench may stop")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_core::{ColumnKind, FeatureSchema, FeatureSpec};
use retain_data::Dataset;
use retain_score::{MarginModel, sigmoid};
use retain_train::boosting::Boosting;
use retain_train::{Configuration, FitContext, Learner, Loss};

fn main() {
    match std::env::var_os("RETAIN_TRAINING_TABLE") {
        Some(path) => measure_once(&PathBuf::from(path)),
        None => measure_growth(),
    }
}

/// Two sizes that show how time grows.
fn measure_growth() {
    let mut criterion = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(10)).configure_from_args();
    let mut group = criterion.benchmark_group("train");
    for (n_rows, n_columns) in [(7_000, 20), (100_000, 40)] {
        let dataset = made_up(n_rows, n_columns);
        let row_idxs: Vec<usize> = (0..n_rows).collect();
        group.throughput(Throughput::Elements(n_rows as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("{n_rows}x{n_columns}")), |bencher| {
            bencher.iter(|| fit(&dataset, &row_idxs, 31));
        });
    }
    group.finish();
    criterion.final_summary();
}

/// Fits the table of the environment once and prints seconds, bytes and the mean log loss of the training rows.
fn measure_once(path: &std::path::Path) {
    let number = |name: &str| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let (n_columns, n_threads) = (number("RETAIN_TRAINING_COLUMNS"), number("RETAIN_TRAINING_THREADS"));
    rayon::ThreadPoolBuilder::new().num_threads(n_threads).build_global().unwrap();
    let dataset = read(path, n_columns);
    let row_idxs: Vec<usize> = (0..dataset.n_rows()).collect();
    let (before, cpu_before) = (resident_bytes("VmRSS:"), cpu_seconds());
    let started = Instant::now();
    let model = fit(&dataset, &row_idxs, number("RETAIN_TRAINING_LEAVES"));
    let seconds = started.elapsed().as_secs_f64();
    let peak = resident_bytes("VmHWM:").zip(before).map_or(0, |(peak, before)| peak.saturating_sub(before));
    let (cpu_seconds, log_loss) = (cpu_seconds() - cpu_before, log_loss(&dataset, &model));
    let figures = format!("\"cpu_seconds\": {cpu_seconds}, \"peak_bytes\": {peak}, \"log_loss\": {log_loss}");
    println!("{{\"seconds\": {seconds}, {figures}}}");
}

/// A hundred trees with the settings that `compare.py` gives `LightGBM`.
fn fit(dataset: &Dataset, row_idxs: &[usize], leaves: usize) -> MarginModel {
    let configuration = Configuration::new(&[
        ("rounds", 100.0),
        ("learning_rate", 0.1),
        ("leaves", leaves as f64),
        ("depth", 64.0),
        ("l2", 0.0),
        ("min_leaf_rows", 20.0),
        ("columns", 1.0),
        ("rows", 1.0),
    ]);
    let context = FitContext { loss: Loss::Logistic, seed: 1, deadline: None, gap_days: None };
    Boosting.fit(dataset, row_idxs, &[configuration], &context).unwrap().remove(0)
}

/// Mean log loss of every tenth row.
fn log_loss(dataset: &Dataset, model: &MarginModel) -> f64 {
    let row_idxs: Vec<usize> = (0..dataset.n_rows()).step_by(10).collect();
    let loss = |(row, &row_idx): (&[f64], &usize)| {
        let probability = sigmoid(model.margin(row));
        -(if dataset.target[row_idx] == 1.0 { probability } else { 1.0 - probability }).ln()
    };
    dataset.rows(&row_idxs).in_order().zip(&row_idxs).map(loss).sum::<f64>() / row_idxs.len() as f64
}

/// Columns of 64-bit numbers one after the other, the target last, all little-endian.
fn read(path: &std::path::Path, n_columns: usize) -> Dataset {
    use std::io::Read;
    let n_rows = std::fs::metadata(path).unwrap().len() as usize / 8 / (n_columns + 1);
    let mut file = std::fs::File::open(path).unwrap();
    // A column at a time, so that the peak before the fit is the table itself.
    let mut bytes = vec![0; 8 * n_rows];
    let mut column = || {
        file.read_exact(&mut bytes).unwrap();
        bytes.chunks_exact(8).map(|number| f64::from_le_bytes(number.try_into().unwrap())).collect::<Vec<f64>>()
    };
    let columns = (0..n_columns).map(|_| column()).collect();
    dataset(columns, column())
}

/// Half of the columns say something, some are missing now and then, some have few values.
fn made_up(n_rows: usize, n_columns: usize) -> Dataset {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let column = |column: usize, rng: &mut Xoshiro256PlusPlus| -> Vec<f64> {
        let value = |rng: &mut Xoshiro256PlusPlus| match column % 4 {
            0 => f64::from(rng.random_range(0..8u32)) / 4.0 - 1.0,
            1 if rng.random::<f64>() < 0.1 => f64::NAN,
            _ => 2.0 * rng.random::<f64>() - 1.0,
        };
        (0..n_rows).map(|_| value(rng)).collect()
    };
    let columns: Vec<Vec<f64>> = (0..n_columns).map(|number| column(number, &mut rng)).collect();
    let margin = |row: usize| -> f64 {
        let known = |column: usize| if columns[column][row].is_nan() { 0.5 } else { columns[column][row] };
        (0..n_columns / 2).map(|column| known(column) * known((column + 1) % n_columns)).sum::<f64>() - 1.0
    };
    let target = (0..n_rows).map(|row| f64::from(u8::from(rng.random::<f64>() < sigmoid(margin(row))))).collect();
    dataset(columns, target)
}

fn dataset(columns: Vec<Vec<f64>>, target: Vec<f64>) -> Dataset {
    let n_rows = target.len();
    let features = (0..columns.len()).map(|column| FeatureSpec::new(&format!("x{column}"), ColumnKind::Number)).collect();
    let schema = FeatureSchema::new(features, None, "churned".into(), "1".into(), None).unwrap();
    let entity = vec![String::new(); n_rows];
    Dataset {
        schema,
        columns,
        target,
        weight: None,
        duration: None,
        past: None,
        treatment: None,
        propensity: None,
        entity,
        group: (0..n_rows as u32).collect(),
        observed: None,
    }
}

/// CPU time of this process so far, in hundredths of a second as Linux counts it; 0 where there is no such file.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// A line of `/proc/self/status` in bytes; none where there is no such file.
fn resident_bytes(name: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kilobytes| kilobytes << 10)
}
