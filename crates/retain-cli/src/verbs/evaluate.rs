//! `retain evaluate`: a model's metrics on labelled rows, beside the trivial baseline.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use rayon::prelude::*;
use retain_core::Rows;
use retain_data::Dataset;
use retain_eval::{BootstrapOptions, Labelled};
use retain_score::{Bundle, Scorer};
use retain_train::Measurement;
use serde_json::json;

use crate::cli::Global;
use crate::exit::Exit;
use crate::input::{base_rate, open_table, read_bundle, read_labelled_table, scorer_of};
use crate::model_path::ModelArguments;
use crate::output::Output;
use crate::tables;

/// Rows that one thread scores at a time.
const ROWS_AT_A_TIME: usize = 1024;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Table with features and labels: CSV or Parquet, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, global: &Global, output: Output) -> Result<Exit> {
    let bundle = read_bundle(&arguments.model.path()?)?;
    let source = open_table(&arguments.data)?;
    let dataset = read_labelled_table(&source, &bundle, output)?;
    let labelled = predictions(&bundle, &dataset)?;
    let defaults = BootstrapOptions::default();
    let options = BootstrapOptions { seed: global.seed.unwrap_or(defaults.seed), ..defaults };
    let measurement = Measurement::new(source.name(), &labelled, base_rate(&bundle), &options)?;
    let evaluation = &measurement.evaluation;
    output.text(&format!(
        "{} on {}: {} rows, {} customers, {} positive ({:.2} %)\n\n{}\n\ncalibration\n\n{}",
        bundle.manifest.address(),
        source.name(),
        evaluation.n_rows,
        evaluation.n_groups,
        evaluation.n_positives,
        100.0 * evaluation.n_positives as f64 / evaluation.n_rows as f64,
        tables::metrics(evaluation, &measurement.baseline),
        tables::calibration(&measurement.calibration_table)
    ))?;
    output.json(&json!({ "model": bundle.manifest.name, "version": bundle.manifest.version, "measurement": measurement }))?;
    Ok(Exit::GOOD)
}

/// A model's predictions beside what happened.
pub(crate) fn predictions(bundle: &Bundle, dataset: &Dataset) -> Result<Labelled> {
    let probability = probabilities(&scorer_of(bundle)?, &dataset.all_rows());
    Ok(Labelled::new(&dataset.target, &probability, &dataset.group)?)
}

/// One probability per row, in order, computed by all threads.
pub(crate) fn probabilities(scorer: &Scorer, rows: &Rows) -> Vec<f64> {
    // A schema has at least one feature, so no chunk is empty.
    let values = rows.values().par_chunks(rows.n_features().max(1));
    values.with_min_len(ROWS_AT_A_TIME).map(|row| scorer.predict(row).probability).collect()
}
