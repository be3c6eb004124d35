//! Puts a trained model and everything said about it into a bundle.

use std::collections::BTreeMap;

use retain_core::{Day, TaskKind};
use retain_data::{Dataset, TableReport, Task};
use retain_score::{BUNDLE_FORMAT_VERSION, Bands, Bundle, DateRange, Manifest, Model};

use crate::card::model_card;
use crate::draw::draw_check_rows;
use crate::metrics_file::MetricsFile;
use crate::plan::Plan;
use crate::reference::{reference, sorted_present};
use crate::train::TrainError;

/// Shares of customers above the bands' borders.
const HIGH_SHARE: f64 = 0.10;
const MEDIUM_SHARE: f64 = 0.30;

pub(crate) struct BundleParts<'a> {
    pub(crate) task: &'a Task,
    pub(crate) dataset: &'a Dataset,
    pub(crate) report: &'a TableReport,
    pub(crate) plan: &'a Plan,
    /// Name of what won.
    pub(crate) learner: &'a str,
    /// Its settings.
    pub(crate) configuration: String,
    pub(crate) model: Model,
    pub(crate) metrics: &'a MetricsFile,
    /// The winner's probabilities on the rows that judged it; of amounts, the expected amounts; of uplift, the
    /// effects of the treatment that does most. Bands are drawn from these.
    pub(crate) judged: &'a [f64],
    pub(crate) warnings: &'a [String],
    /// Whether the run would have done more with more time.
    pub(crate) budget_bound: bool,
    pub(crate) seed: u64,
}

pub(crate) fn build_bundle(parts: &BundleParts<'_>) -> Result<Bundle, TrainError> {
    let manifest = manifest(parts);
    let observed = parts.dataset.observed.as_ref().and_then(|days| last(days)).or(parts.report.reference);
    let check_rows = draw_check_rows(parts.dataset, &parts.model, observed, parts.seed)?;
    let predicted = match parts.task.kind {
        TaskKind::Ltv | TaskKind::Engagement => "expected_value",
        TaskKind::Uplift => "uplift",
        TaskKind::Churn | TaskKind::Survival => "probability",
    };
    let reference = reference(parts.dataset, predicted, parts.judged);
    Ok(Bundle {
        card: model_card(&manifest, parts),
        manifest,
        schema: parts.dataset.schema.clone(),
        model: parts.model.clone(),
        check_rows,
        metrics: json_bytes(parts.metrics)?,
        reference: json_bytes(&reference)?,
        size_bytes: 0,
    })
}

pub(crate) fn json_bytes(value: &impl serde::Serialize) -> Result<Vec<u8>, TrainError> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn manifest(parts: &BundleParts<'_>) -> Manifest {
    Manifest {
        learner: parts.learner.to_owned(),
        configuration: parts.configuration.clone(),
        validation: parts.plan.description.clone(),
        reference_day: parts.report.reference.map(Day::days),
        bands: bands(parts.judged),
        data_sha256: parts.report.sha256.clone(),
        warnings: parts.warnings.to_vec(),
        ..base_manifest(parts.task, parts.dataset, &parts.model, parts.seed)
    }
}

/// What a task, a table and a model say of themselves: how the model came about is left blank, and no customer is in a band.
pub(crate) fn base_manifest(task: &Task, dataset: &Dataset, model: &Model, seed: u64) -> Manifest {
    // Without a distribution nothing is high: the border is the largest value there is.
    let none = if task.kind.is_amount() || task.kind == TaskKind::Uplift { f64::MAX } else { 1.0 };
    Manifest {
        format_version: BUNDLE_FORMAT_VERSION,
        name: task.name.clone(),
        version: 1,
        kind: task.kind,
        definition: task.definition.clone(),
        horizon_days: task.horizon_days,
        lead_days: task.lead_days,
        seed,
        learner: String::new(),
        configuration: String::new(),
        calibrator: model.calibrator().name().to_owned(),
        validation: String::new(),
        n_rows: dataset.n_rows() as u64,
        n_positives: dataset.n_positives() as u64,
        n_customers: dataset.n_groups() as u64,
        observed: date_range(dataset),
        reference_day: None,
        currency: task.value.currency.clone(),
        bands: Bands { medium: none, high: none },
        data_sha256: String::new(),
        schema_sha256: String::new(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        warnings: Vec::new(),
        files: BTreeMap::new(),
    }
}

/// First and last date of observation, where rows have one.
fn date_range(dataset: &Dataset) -> Option<DateRange> {
    let days = dataset.observed.as_ref()?;
    Some(DateRange { from: first(days)?.to_string(), to: last(days)?.to_string() })
}

fn first(days: &[f64]) -> Option<Day> {
    days.iter().copied().min_by(f64::total_cmp).map(Day::from_days)
}

fn last(days: &[f64]) -> Option<Day> {
    days.iter().copied().max_by(f64::total_cmp).map(Day::from_days)
}

/// Borders such that a tenth of the judged customers is high and two tenths are medium.
pub(crate) fn bands(probabilities: &[f64]) -> Bands {
    let sorted = sorted_present(probabilities);
    let border = |share: f64| {
        let above = (share * sorted.len() as f64).round() as usize;
        sorted.get(sorted.len().saturating_sub(above.max(1))).copied().unwrap_or(1.0)
    };
    Bands { medium: border(MEDIUM_SHARE), high: border(HIGH_SHARE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_high_and_two_tenths_are_medium() {
        let probabilities: Vec<f64> = (0..1000).map(|i| f64::from(i) / 1000.0).collect();
        let bands = bands(&probabilities);
        let count = |band| probabilities.iter().filter(|&&p| bands.of(p) == band).count();
        assert_eq!(count(retain_score::Band::High), 100);
        assert_eq!(count(retain_score::Band::Medium), 200);
    }
}
