//! Puts a model that was trained elsewhere into a bundle: what is not known of it is said to be unknown, and nothing is made up.

use retain_core::{ColumnKind, FeatureSchema};
use retain_data::{Dataset, TableReport, Task};
use retain_eval::BootstrapOptions;
use retain_score::{
    AmountModel, Bundle, Calibrator, Head, Manifest, MarginModel, Model, NodeKind, Predictor, Test, ValueHead, sha256,
};
use serde_json::json;

use crate::bundle::{bands, base_manifest, json_bytes};
use crate::calibration::fit_sigmoid;
use crate::draw::draw_check_rows;
use crate::imported_card::imported_card;
use crate::metrics_file::{HeadMeasurement, Measurement, MetricsFile};
use crate::outcome::{baseline, labelled, occurrence};
use crate::reference::reference;
use crate::train::TrainError;

/// Values around thresholds that check rows are drawn from, at most so many thresholds of each feature.
const MAX_PROBES: usize = 1_000;
/// Days of a date beyond this many years from its observation mean nothing.
const MAX_PROBE_DAYS: f64 = 36_500.0;

/// A model that was trained elsewhere, and where it came from.
#[derive(Debug, Clone)]
pub struct ImportParts<'a> {
    /// What it predicts.
    pub task: &'a Task,
    /// What it expects of a row.
    pub schema: &'a FeatureSchema,
    /// The model.
    pub model: Model,
    /// The library that trained it.
    pub library: &'a str,
    /// Its loss and size, in words.
    pub configuration: String,
    /// The bytes of its file.
    pub file: &'a [u8],
    /// Labelled rows of the same schema, to measure it on.
    pub table: Option<MeasuringTable<'a>>,
    /// What its user should know.
    pub warnings: Vec<String>,
    /// Of the check rows and the intervals.
    pub seed: u64,
}

/// A table to measure an imported model on. Whether the model was fitted to it is not known.
#[derive(Debug, Clone, Copy)]
pub struct MeasuringTable<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its rows.
    pub dataset: &'a Dataset,
    /// What is in it.
    pub report: &'a TableReport,
}

/// Makes the bundle, and what stands in its `metrics.json` where there is a table to measure on.
///
/// Without a table there are no metrics, no histograms and no bands, and check rows are drawn from around the thresholds.
///
/// # Errors
/// [`TrainError`] when the model does not fit the schema, or cannot be measured.
pub fn import_bundle(parts: &ImportParts<'_>) -> Result<(Bundle, Option<MetricsFile>), TrainError> {
    parts.model.check(parts.schema)?;
    let metrics = parts.table.map(|table| measure(parts, table)).transpose()?;
    let judged = parts.table.map_or_else(|| Ok(Vec::new()), |table| predictions(&parts.model, table.dataset))?;
    let empty = table_of(parts.schema, vec![Vec::new(); parts.schema.n_features()]);
    let dataset = parts.table.map_or(&empty, |table| table.dataset);
    let manifest = manifest(parts, dataset, &judged);
    let probes = if parts.table.is_some() { None } else { Some(probes(parts)) };
    let observed = parts.table.and_then(|table| table.report.observed.map(|(_, last)| last).or(table.report.reference));
    let check_rows = draw_check_rows(probes.as_ref().unwrap_or(dataset), &parts.model, observed, parts.seed)?;
    let predicted = if parts.task.kind.is_amount() { "expected_value" } else { "probability" };
    let bundle = Bundle {
        card: imported_card(&manifest, parts, metrics.as_ref()),
        manifest,
        schema: parts.schema.clone(),
        model: parts.model.clone(),
        check_rows,
        metrics: match &metrics {
            Some(metrics) => json_bytes(metrics)?,
            None => json_bytes(&json!({ "format_version": 1, "leaderboard": [], "importance": [] }))?,
        },
        reference: json_bytes(&reference(dataset, predicted, &judged))?,
        size_bytes: 0,
    };
    Ok((bundle, metrics))
}

/// The model of an amount: `calibrator` turns the margin into the logarithm of what is expected.
///
/// What the library trained says nothing of whether there is any amount. Its own score tells that too, by a sigmoid (Platt, 1999) fitted to
/// the table; where the score does not order customers by that, all have the table's share.
///
/// # Errors
/// [`TrainError`] when the margin does not fit the table.
pub fn amount_model(margin: MarginModel, calibrator: Calibrator, dataset: &Dataset) -> Result<Model, TrainError> {
    margin.check(&dataset.schema)?;
    let rows = dataset.all_rows();
    let margins: Vec<f64> = rows.in_order().map(|row| margin.margin(row)).collect();
    let happened: Vec<f64> = dataset.target.iter().map(|&amount| f64::from(u8::from(amount > 0.0))).collect();
    let occurrence = match fit_occurrence(&margins, &happened) {
        Some(calibrator) => Head { margin: margin.clone(), calibrator },
        None => constant_chance(dataset),
    };
    let value = ValueHead { margin, occurrence_weight: 0.0, spread: None, calibrator, interval: None };
    Ok(Model::Amount(AmountModel { occurrence, value, decline: None }))
}

/// A sigmoid of the standardised margins, told in the margins' own scale: amounts may be in thousands.
fn fit_occurrence(margins: &[f64], happened: &[f64]) -> Option<Calibrator> {
    let n = margins.len() as f64;
    let mean = margins.iter().sum::<f64>() / n;
    let spread = (margins.iter().map(|margin| (margin - mean).powi(2)).sum::<f64>() / n).sqrt();
    if !(spread.is_finite() && spread > 0.0) || happened.iter().all(|&label| label == happened[0]) {
        return None;
    }
    let standardised: Vec<f64> = margins.iter().map(|margin| (margin - mean) / spread).collect();
    let Some(Calibrator::Sigmoid { slope, intercept }) = fit_sigmoid(&standardised, happened) else { return None };
    let calibrator = Calibrator::Sigmoid { slope: slope / spread, intercept: intercept - slope / spread * mean };
    calibrator.check().is_ok().then_some(calibrator)
}

/// The share of rows with an amount, with half a row added to either side so that it is never certain.
fn constant_chance(dataset: &Dataset) -> Head {
    let (n_positives, n_rows) = (dataset.n_positives() as f64, dataset.n_rows() as f64);
    let intercept = ((n_positives + 0.5) / (n_rows - n_positives + 0.5)).ln();
    Head { margin: MarginModel { intercept, ..MarginModel::default() }, calibrator: Calibrator::Identity }
}

/// What bands and histograms are made of: probabilities of an event, or expected amounts.
fn predictions(model: &Model, dataset: &Dataset) -> Result<Vec<f64>, TrainError> {
    let predictor = Predictor::new(model, &dataset.schema)?;
    let rows = dataset.all_rows();
    let answer = |row| {
        let prediction = predictor.predict(row);
        prediction.expected_value.unwrap_or(prediction.probability)
    };
    Ok(rows.in_order().map(answer).collect())
}

fn measure(parts: &ImportParts<'_>, table: MeasuringTable<'_>) -> Result<MetricsFile, TrainError> {
    let (model, dataset) = (&parts.model, table.dataset);
    let options = BootstrapOptions { seed: parts.seed, ..BootstrapOptions::default() };
    let base = baseline(model, dataset)?;
    let measured_on = format!("`{}`, given with the import: whether the model was fitted to these rows is not known", table.name);
    let base_rate = base.first().copied().unwrap_or(f64::NAN);
    let validation = Measurement::new(&measured_on, &labelled(model, dataset, model)?, base_rate, &options)?;
    let mut metrics = MetricsFile::new(validation, Vec::new(), None, dataset, model)?;
    if let Some(occurrence) = occurrence(model, dataset)? {
        let share = dataset.n_positives() as f64 / dataset.n_rows().max(1) as f64;
        let measured_on = format!("{measured_on}; this chance was fitted to them");
        let measurement = Measurement::new(&measured_on, &occurrence, share, &options)?;
        metrics.heads.push(HeadMeasurement { answer: "there is any amount".to_owned(), measurement });
    }
    if parts.task.kind.is_amount() {
        metrics.baseline_prediction = base;
    }
    Ok(metrics)
}

fn manifest(parts: &ImportParts<'_>, dataset: &Dataset, judged: &[f64]) -> Manifest {
    let base = base_manifest(parts.task, dataset, &parts.model, parts.seed);
    Manifest {
        learner: parts.library.to_owned(),
        configuration: format!("{}; file SHA-256 {}", parts.configuration, sha256(parts.file)),
        validation: match parts.table {
            Some(table) => format!("trained elsewhere; measured on `{}`", table.name),
            None => "trained elsewhere; not measured".to_owned(),
        },
        reference_day: parts.table.and_then(|table| table.report.reference).map(retain_core::Day::days),
        bands: if judged.is_empty() { base.bands } else { bands(judged) },
        warnings: parts.warnings.clone(),
        // The training table is not known, and neither is its digest.
        ..base
    }
}

/// A table of columns without labels.
fn table_of(schema: &FeatureSchema, columns: Vec<Vec<f64>>) -> Dataset {
    Dataset {
        schema: schema.clone(),
        columns,
        target: Vec::new(),
        weight: None,
        entity: Vec::new(),
        group: Vec::new(),
        duration: None,
        past: None,
        treatment: None,
        propensity: None,
        observed: None,
    }
}

/// Columns of values at and next to the thresholds of the model.
fn probes(parts: &ImportParts<'_>) -> Dataset {
    let mut columns = vec![Vec::new(); parts.schema.n_features()];
    for node in margins(&parts.model).iter().flat_map(|margin| &margin.trees).flat_map(|tree| &tree.nodes) {
        let NodeKind::Split { feature_idx, test: Test::Below(threshold), .. } = &node.kind else { continue };
        let column: &mut Vec<f64> = &mut columns[*feature_idx as usize];
        if column.len() < MAX_PROBES {
            column.extend([threshold.next_down(), *threshold]);
        }
    }
    for (column, feature) in columns.iter_mut().zip(&parts.schema.features) {
        let is_usable = |value: &f64| match feature.kind {
            ColumnKind::Date => value.abs() < MAX_PROBE_DAYS,
            _ => value.is_finite(),
        };
        column.retain(is_usable);
        if feature.kind != ColumnKind::Number || column.is_empty() {
            column.extend([0.0, 1.0]);
        }
    }
    table_of(parts.schema, columns)
}

fn margins(model: &Model) -> Vec<&MarginModel> {
    match model {
        Model::Event(head) => vec![&head.margin],
        Model::Hazard(hazard) => hazard.causes.iter().map(|cause| &cause.hazard.margin).collect(),
        Model::Amount(amount) => vec![&amount.value.margin],
        // The libraries' models are none.
        Model::Uplift(_) => Vec::new(),
    }
}
