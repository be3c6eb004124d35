//! `retain evaluate`: a model's metrics on labelled rows, beside the trivial baseline.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use retain_data::Dataset;
use retain_eval::BootstrapOptions;
use retain_score::{Bundle, Model, UpliftModel};
use retain_train::{Measurement, arm_measurement, occurrence};
use serde_json::json;

use crate::cli::Global;
use crate::exit::Exit;
use crate::input::{base_rate, baseline_of, open_table, read_bundle, read_labelled_table};
use crate::model_path::ModelArguments;
use crate::output::Output;
use crate::tables;

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
    let defaults = BootstrapOptions::default();
    let options = BootstrapOptions { seed: global.seed.unwrap_or(defaults.seed), ..defaults };
    if let Model::Uplift(model) = &bundle.model {
        return of_effects(&bundle, model, source.name(), &dataset, &options, output);
    }
    let baseline = baseline_of(&bundle, Some(&dataset))?;
    let measurement = Measurement::of_model(source.name(), &bundle.model, &dataset, &baseline, &options)?;
    let occurrence = occurrence(&bundle.model, &dataset)?
        .map(|labelled| Measurement::new(source.name(), &labelled, base_rate(&bundle), &options))
        .transpose()?;
    output.text(&text(&bundle, source.name(), &measurement, occurrence.as_ref()))?;
    let mut value = json!({ "model": bundle.manifest.name, "version": bundle.manifest.version, "measurement": measurement });
    if let Some(occurrence) = &occurrence {
        value["occurrence"] = json!(occurrence);
    }
    output.json(&value)?;
    Ok(Exit::GOOD)
}

/// Measures every treatment of a model of effects.
fn of_effects(
    bundle: &Bundle,
    model: &UpliftModel,
    table: &str,
    dataset: &Dataset,
    options: &BootstrapOptions,
    output: Output,
) -> Result<Exit> {
    let mut treatments = Vec::with_capacity(model.arms.len());
    for (position, arm) in model.arms.iter().enumerate() {
        let measurement = arm_measurement(table, &bundle.model, dataset, position, options)?;
        let alike = if arm.individual.is_some() { "" } else { "\nthe model says the same effect for everybody" };
        output.text(&format!("{}{alike}\n\n{}\n", arm.name, text(bundle, table, &measurement, None)))?;
        treatments.push(json!({ "treatment": arm.name, "measurement": measurement }));
    }
    let leading = treatments[model.leading()]["measurement"].clone();
    output.json(&json!({
        "model": bundle.manifest.name,
        "version": bundle.manifest.version,
        "measurement": leading,
        "treatments": treatments,
    }))?;
    Ok(Exit::GOOD)
}

fn text(bundle: &Bundle, table: &str, measurement: &Measurement, occurrence: Option<&Measurement>) -> String {
    let evaluation = &measurement.evaluation;
    let of_amounts =
        occurrence.map_or_else(String::new, |occurrence| format!("\n\nchance of any amount\n\n{}", tables::metrics(occurrence)));
    format!(
        "{} on {table}: {} rows, {} customers, {} {} ({:.2} %)\n\n{}{of_amounts}\n\ncalibration\n\n{}",
        bundle.manifest.address(),
        evaluation.n_rows,
        evaluation.n_groups,
        evaluation.n_positives,
        tables::positive_word(evaluation.kind),
        100.0 * evaluation.n_positives as f64 / evaluation.n_rows as f64,
        tables::metrics(measurement),
        tables::calibration(&measurement.calibration_table, evaluation.kind)
    )
}
