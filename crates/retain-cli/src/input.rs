//! Reads the files that verbs name: task, table, bundle.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use retain_core::{Day, FeatureSchema};
use retain_data::{Dataset, TableReport, TableSource, Task, Training, read_labelled};
use retain_score::{Bundle, Model, Scorer};
use retain_train::MetricsFile;

use crate::exit::{Complaint, Exit};
use crate::output::Output;

/// No configuration is larger; what is may be a table given by mistake.
const MAX_CONFIGURATION_BYTES: u64 = 4 << 20;

/// Reads a text file such as a task; `-` is standard input.
pub(crate) fn read_text(path: &Path, what: &str) -> Result<String> {
    let attempt = || format!("cannot read the {what} `{}`", path.display());
    if path.is_dir() {
        return Err(Complaint::usage(format!("the {what} `{}` is a directory; name a TOML file", path.display())).into());
    }
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().lock().take(MAX_CONFIGURATION_BYTES + 1).read_to_end(&mut bytes).with_context(attempt)?;
    } else {
        let file = std::fs::File::open(path).with_context(attempt)?;
        file.take(MAX_CONFIGURATION_BYTES + 1).read_to_end(&mut bytes).with_context(attempt)?;
    }
    if bytes.len() as u64 > MAX_CONFIGURATION_BYTES {
        let message = format!("the {what} `{}` is larger than {} MiB", path.display(), MAX_CONFIGURATION_BYTES >> 20);
        return Err(Complaint::usage(message).hint("is it a table? tables are given with `--data`").into());
    }
    String::from_utf8(bytes).map_err(|_| {
        let message = format!("the {what} `{}` is not text in UTF-8", path.display());
        Complaint::usage(message).hint("save it as UTF-8; tables are given with `--data`").into()
    })
}

/// Reads and checks a task file.
pub(crate) fn read_task(path: &Path) -> Result<Task> {
    let text = read_text(path, "task")?;
    Task::parse(&text).with_context(|| format!("the task `{}` is not usable", path.display()))
}

/// Opens a table.
pub(crate) fn open_table(path: &Path) -> Result<TableSource> {
    TableSource::open(path).with_context(|| table_attempt(&path.display().to_string()))
}

/// Reads a table to train on, and tells its warnings.
pub(crate) fn read_training(source: &TableSource, task: &Task, output: Output) -> Result<Training> {
    let training = retain_data::read_training(source, task).with_context(|| table_attempt(source.name()))?;
    warn_of(&training.report, output);
    Ok(training)
}

/// Reads a table with labels by a model's schema, and tells its warnings.
pub(crate) fn read_labelled_table(source: &TableSource, bundle: &Bundle, output: Output) -> Result<Dataset> {
    let reference = bundle.manifest.reference_day();
    if let Some(day) = reference.filter(|_| needs_day(source, &bundle.schema)) {
        output.note(&format!("note: dates are counted to {day}, the reference day of the model"));
    }
    let training = read_by_schema(source, &bundle.schema, reference, output)?;
    if training.report.sha256 == bundle.manifest.data_sha256 {
        let message = format!(
            "`{}` is the table that {} was fitted to: it looks better here than on new customers",
            source.name(),
            bundle.manifest.address()
        );
        output.warn("training_table", &message);
    }
    Ok(training.dataset)
}

/// The same by a schema alone; `reference` is the day to which dates count where a row has no date of observation.
pub(crate) fn read_by_schema(
    source: &TableSource,
    schema: &FeatureSchema,
    reference: Option<Day>,
    output: Output,
) -> Result<Training> {
    let training = read_labelled(source, schema, reference).with_context(|| table_attempt(source.name()))?;
    warn_of(&training.report, output);
    Ok(training)
}

/// Whether the model counts days to the observation and the table has no column that says when that was.
pub(crate) fn needs_day(source: &TableSource, schema: &FeatureSchema) -> bool {
    let has_column = schema.observed_at.as_deref().is_some_and(|column| source.column_idx(column).is_some());
    schema.has_dates() && !has_column
}

fn warn_of(report: &TableReport, output: Output) {
    for warning in &report.warnings {
        output.warn(warning.code, &warning.message);
    }
}

pub(crate) fn table_attempt(name: &str) -> String {
    format!("cannot read the feature table `{name}`")
}

/// Reads and verifies the bundle in a folder.
pub(crate) fn read_bundle(path: &Path) -> Result<Bundle> {
    Bundle::read(path).with_context(|| format!("cannot load the model `{}`", path.display()))
}

/// A scorer for a bundle that was read.
pub(crate) fn scorer_of(bundle: &Bundle) -> Result<Scorer> {
    let scorer = Scorer::new(bundle.manifest.clone(), bundle.schema.clone(), &bundle.model);
    scorer.map_err(|error| Complaint::new(Exit::DATA, "the model does not hold together").because(error).into())
}

/// Rate of positives among the training rows.
pub(crate) fn base_rate(bundle: &Bundle) -> f64 {
    bundle.manifest.n_positives as f64 / bundle.manifest.n_rows.max(1) as f64
}

/// What the trivial baseline of the training rows predicts for everybody: their rate of positives, mean amount or Kaplan-Meier curve;
/// that of `dataset` where the bundle does not say, as one that was imported without a table does not.
pub(crate) fn baseline_of(bundle: &Bundle, dataset: Option<&Dataset>) -> Result<Vec<f64>> {
    let stored = || serde_json::from_slice::<MetricsFile>(&bundle.metrics).map(|metrics| metrics.baseline_prediction);
    match (&bundle.model, stored().unwrap_or_default(), dataset) {
        (Model::Event(_), _, Some(dataset)) if bundle.manifest.n_rows == 0 => Ok(retain_train::baseline(&bundle.model, dataset)?),
        (Model::Event(_), _, _) => Ok(vec![base_rate(bundle)]),
        (_, prediction, None) => Ok(prediction),
        (_, prediction, Some(_)) if !prediction.is_empty() => Ok(prediction),
        (model, _, Some(dataset)) => Ok(retain_train::baseline(model, dataset)?),
    }
}

/// Today, by the clock of this machine.
pub(crate) fn today() -> Day {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Day::from_seconds(since.as_secs_f64())
}
