//! `metrics.json`: how good the model is, beside the trivial baseline and the learners it was chosen from.

use retain_data::Dataset;
use retain_eval::{
    BootstrapOptions, CalibrationBin, EvalError, Evaluation, Labelled, Metric, OutcomeKind, ThresholdRow, calibration_table,
    evaluate, survival_calibration_table, threshold_table,
};
use retain_score::{Model, ModelError, Predictor};
use serde::{Deserialize, Serialize};

use crate::outcome::{CurveDays, labelled};
use crate::train::TrainError;
use crate::uplift::UpliftReport;

/// Rows whose contributions are averaged for the importance of features.
const IMPORTANCE_ROWS: usize = 1_000;
/// As many of a hazard, which is explained once for every period of the horizon.
const HAZARD_IMPORTANCE_ROWS: usize = 250;
/// From here on a leak is likelier than a good model: honest ones on the public churn tables stay below .95.
const TOO_GOOD_AUC: f64 = 0.99;

/// What stands in `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricsFile {
    /// Layout of the file.
    pub format_version: u32,
    /// The model on the rows that judged it.
    pub validation: Measurement,
    /// The model on a table given for the purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Measurement>,
    /// What the model answers beside its main number, on the rows that judged it: whether there is any amount, whether it declines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heads: Vec<HeadMeasurement>,
    /// Every learner that was tried, best first.
    pub leaderboard: Vec<LeaderboardRow>,
    /// Mean absolute contribution per feature, largest first.
    pub importance: Vec<Importance>,
    /// What the trivial baseline of all training rows says of everybody: the mean amount, or the Kaplan-Meier curve at the days of the
    /// metrics. Left out for churn, where it is the rate of positives in the manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub baseline_prediction: Vec<f64>,
    /// What was learned of every treatment; only of uplift, whose `validation` is that of the leading treatment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplift: Option<UpliftReport>,
}

/// One set of predictions, measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Which rows, in words.
    pub measured_on: String,
    /// The model.
    pub evaluation: Evaluation,
    /// What one would say without a model, on the same rows: the training rows' rate of positives, mean amount or Kaplan-Meier curve, or
    /// what was there before once more.
    pub baseline: Evaluation,
    /// What that is, in words.
    #[serde(default = "base_rate")]
    pub baseline_is: String,
    /// What was promised and what came, in tenths of the rows: probabilities of leaving (of survival within the horizon), or amounts.
    pub calibration_table: Vec<CalibrationBin>,
    /// What lists of the riskiest customers hold; of churn alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub threshold_table: Vec<ThresholdRow>,
}

/// One of several answers of a model, measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadMeasurement {
    /// What it says, in words.
    pub answer: String,
    /// How well.
    pub measurement: Measurement,
}

/// A learner that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeaderboardRow {
    /// Its name.
    pub learner: String,
    /// The setting that did best.
    pub configuration: String,
    /// How many settings that one was chosen from.
    pub n_configurations: usize,
    /// The calibrator that did best.
    pub calibrator: String,
    /// What the choice was made by, less is better: log loss after calibration of events; of amounts 1 − the mean of normalised Gini
    /// and Spearman; of effects 1 − Qini.
    #[serde(alias = "selection_log_loss")]
    pub selection_loss: f64,
    /// Whether this one was bundled.
    pub is_winner: bool,
    /// Whether the paired interval of its log loss against the winner's leaves open which is better.
    pub is_tied: bool,
    /// Its metrics.
    pub evaluation: Evaluation,
}

/// How much a feature moves predictions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    /// The feature.
    pub feature: String,
    /// Mean absolute contribution in log-odds.
    pub mean_abs_contribution: f64,
}

/// The baseline of an event.
fn base_rate() -> String {
    "base rate".to_owned()
}

impl Measurement {
    /// Measures a model on a table, beside what [`crate::baseline`] says of everybody; `measured_on` says in words which rows these are.
    ///
    /// # Errors
    /// [`TrainError`] when model, table and baseline do not fit each other.
    pub fn of_model(
        measured_on: &str,
        model: &Model,
        dataset: &Dataset,
        baseline: &[f64],
        options: &BootstrapOptions,
    ) -> Result<Self, TrainError> {
        let labelled = labelled(model, dataset, model)?;
        Ok(match model {
            Model::Hazard(hazard) => {
                let day = CurveDays::new(&hazard.period_ends, dataset).metric_days(hazard.horizon_days);
                Self::of_curves(measured_on, &labelled, baseline, day, options)?
            }
            Model::Uplift(_) => {
                let average = labelled.with_constant(baseline)?;
                Self::beside(measured_on, &labelled, ("the average for all", &average), options)
            }
            Model::Event(_) | Model::Amount(_) => {
                Self::new(measured_on, &labelled, baseline.first().copied().unwrap_or(f64::NAN), options)?
            }
        })
    }

    /// Measures probabilities or amounts beside the rate of positives or the mean amount of the training rows; `measured_on` says in words
    /// which rows these are.
    ///
    /// # Errors
    /// [`EvalError`] when `base_rate` is not a probability, or not a number.
    pub fn new(measured_on: &str, labelled: &Labelled, base_rate: f64, options: &BootstrapOptions) -> Result<Self, EvalError> {
        let baseline_is = if labelled.kind() == OutcomeKind::Value { "mean amount".to_owned() } else { self::base_rate() };
        Ok(Self::beside(measured_on, labelled, (&baseline_is, &labelled.with_constant(&[base_rate])?), options))
    }

    /// Measures predictions beside those of a baseline for the same rows, and says in words what that is.
    pub fn beside(
        measured_on: &str,
        labelled: &Labelled,
        (baseline_is, baseline): (&str, &Labelled),
        options: &BootstrapOptions,
    ) -> Self {
        let metrics = Metric::of_kind(labelled.kind());
        Self {
            measured_on: measured_on.to_owned(),
            evaluation: evaluate(labelled, metrics, options),
            baseline: evaluate(baseline, metrics, options),
            baseline_is: baseline_is.to_owned(),
            calibration_table: calibration_table(labelled, options.confidence),
            threshold_table: threshold_table(labelled),
        }
    }

    /// The same of survival curves: `base_curve` has a probability for every day of theirs, and the calibration is that of the risk by
    /// `horizon_day`.
    ///
    /// # Errors
    /// [`EvalError`] when the curve has another length or is none.
    pub fn of_curves(
        measured_on: &str,
        labelled: &Labelled,
        base_curve: &[f64],
        horizon_day: f64,
        options: &BootstrapOptions,
    ) -> Result<Self, EvalError> {
        Ok(Self {
            measured_on: measured_on.to_owned(),
            evaluation: evaluate(labelled, &Metric::OF_SURVIVAL, options),
            baseline: evaluate(&labelled.with_constant(base_curve)?, &Metric::OF_SURVIVAL, options),
            baseline_is: "Kaplan-Meier".to_owned(),
            calibration_table: survival_calibration_table(labelled, horizon_day, options.confidence),
            threshold_table: Vec::new(),
        })
    }
}

impl MetricsFile {
    /// What to look at when the model is better than churn models are: a column that was filled in after the customer had left.
    pub(crate) fn suspicion(&self) -> Option<String> {
        let most = self.importance.first()?;
        let ranking = [(Metric::RocAuc, "ROC AUC"), (Metric::UnoC, "Uno's C")];
        let (name, value) = ranking.into_iter().find_map(|(metric, name)| {
            let measured = self.validation.evaluation.get(metric)?;
            (measured.value >= TOO_GOOD_AUC).then_some((name, measured.value))
        })?;
        Some(format!(
            "a {name} of {value:.4} is too good to be true for churn: look whether a column knows the answer, `{}` first, and `exclude` it",
            most.feature
        ))
    }

    pub(crate) fn new(
        validation: Measurement,
        leaderboard: Vec<LeaderboardRow>,
        test: Option<Measurement>,
        dataset: &Dataset,
        model: &Model,
    ) -> Result<Self, ModelError> {
        let (importance, baseline_prediction) = (importance(dataset, model)?, Vec::new());
        Ok(Self {
            format_version: 1,
            validation,
            test,
            heads: Vec::new(),
            leaderboard,
            importance,
            baseline_prediction,
            uplift: None,
        })
    }
}

/// Mean absolute contributions over rows spread evenly through the table.
fn importance(dataset: &Dataset, model: &Model) -> Result<Vec<Importance>, ModelError> {
    let predictor = Predictor::new(model, &dataset.schema)?;
    let n_rows = if matches!(model, Model::Hazard(_)) { HAZARD_IMPORTANCE_ROWS } else { IMPORTANCE_ROWS };
    let stride = dataset.n_rows().div_ceil(n_rows).max(1);
    let rows = dataset.rows(&(0..dataset.n_rows()).step_by(stride).collect::<Vec<_>>());
    let mut sums = vec![0.0; dataset.n_features()];
    for row in rows.in_order() {
        for (sum, contribution) in sums.iter_mut().zip(predictor.explain(row).contributions) {
            *sum += contribution.abs();
        }
    }
    let mut importance: Vec<Importance> = dataset
        .schema
        .features
        .iter()
        .zip(sums)
        .map(|(feature, sum)| Importance {
            feature: feature.name.clone(),
            mean_abs_contribution: sum / rows.n_rows().max(1) as f64,
        })
        .collect();
    // A stable sort: features of equal importance keep the order of the schema.
    importance.sort_by(|a, b| b.mean_abs_contribution.total_cmp(&a.mean_abs_contribution));
    Ok(importance)
}
