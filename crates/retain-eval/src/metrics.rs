//! [`Metric`]: the names of the quality numbers and what each one computes.
//!
//! Ties are treated as scikit-learn treats them, and where it has no such metric the rule stands at the variant: a metric
//! depends on the rows, never on their order.

use std::fmt;

use retain_core::nearest;
use serde::{Deserialize, Serialize};

use crate::labelled::{EvalError, Labelled};
use crate::ranking::{Ranking, Tally};
use crate::recalibration::Recalibration;

/// Bins of `ece_10` and of the calibration table.
pub(crate) const N_BINS: usize = 10;

/// A number that says how good predicted probabilities are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
#[non_exhaustive]
pub enum Metric {
    /// Chance that a positive row is ranked above a negative one; a tie counts half. scikit-learn's `roc_auc_score`.
    RocAuc,
    /// `Σ (recall_k − recall_{k−1}) · precision_k` over distinct probabilities. scikit-learn's `average_precision_score`.
    AveragePrecision,
    /// Mean of `−ln(probability of what happened)`, natural logarithm, probabilities clipped to `[2⁻⁵², 1 − 2⁻⁵²]`.
    /// scikit-learn's `log_loss`.
    LogLoss,
    /// Mean of `(probability − label)²`. scikit-learn's `brier_score_loss`.
    BrierScore,
    /// `1 − brier_score / (r · (1 − r))`, where `r` is the rate of positives among the rows measured: the share of the Brier
    /// score that the best constant prediction leaves.
    BrierSkill,
    /// Expected calibration error: mean of `|mean prediction − rate of positives|` over ten bins, weighted by rows.
    ///
    /// Bins hold equal shares of rows. Rows of one probability are never split: together they go to the bin that their
    /// middle rank falls in, `⌊10 · (rows below + half of the tied rows) / rows⌋`.
    Ece10,
    /// Rate of positives among the tenth of rows of highest probability, divided by the rate among all.
    ///
    /// The tenth is exact: where its border falls among tied rows (or within a row), they count with the share that is inside,
    /// which is the expectation over their random orders.
    LiftAt10,
    /// Slope of the logistic recalibration (Cox, 1958); 1 is calibrated, below 1 is overconfident.
    CalibrationSlope,
    /// Intercept of the same fit, in log-odds: what is left at a predicted one half; 0 is calibrated.
    CalibrationIntercept,
    /// Mean prediction minus rate of positives; 0 is calibrated, above 0 promises too many.
    CalibrationInTheLarge,
}

impl Metric {
    /// All metrics, in the order of reports.
    pub const ALL: [Self; 10] = [
        Self::RocAuc,
        Self::AveragePrecision,
        Self::LogLoss,
        Self::BrierScore,
        Self::BrierSkill,
        Self::Ece10,
        Self::LiftAt10,
        Self::CalibrationSlope,
        Self::CalibrationIntercept,
        Self::CalibrationInTheLarge,
    ];

    /// The name in files and reports, such as `roc_auc`.
    pub fn name(self) -> &'static str {
        match self {
            Self::RocAuc => "roc_auc",
            Self::AveragePrecision => "average_precision",
            Self::LogLoss => "log_loss",
            Self::BrierScore => "brier_score",
            Self::BrierSkill => "brier_skill",
            Self::Ece10 => "ece_10",
            Self::LiftAt10 => "lift_at_10",
            Self::CalibrationSlope => "calibration_slope",
            Self::CalibrationIntercept => "calibration_intercept",
            Self::CalibrationInTheLarge => "calibration_in_the_large",
        }
    }

    /// The metric of this name.
    ///
    /// # Errors
    /// [`EvalError::UnknownMetric`], with the nearest name when one is close.
    pub fn parse(name: &str) -> Result<Self, EvalError> {
        Self::ALL.into_iter().find(|metric| metric.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            let hint = match nearest(name, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("expected one of {}", names.join(", ")),
            };
            EvalError::UnknownMetric { found: name.chars().take(40).collect(), hint }
        })
    }

    /// Whether more is better; false for losses and for metrics that have a [`Self::target`].
    pub fn higher_is_better(self) -> bool {
        matches!(self, Self::RocAuc | Self::AveragePrecision | Self::BrierSkill | Self::LiftAt10)
    }

    /// The best value of a metric that can be too high as well as too low.
    pub fn target(self) -> Option<f64> {
        match self {
            Self::CalibrationSlope => Some(1.0),
            Self::CalibrationIntercept | Self::CalibrationInTheLarge => Some(0.0),
            _ => None,
        }
    }

    /// The value on a scale where more is better: itself, its negative, or minus the distance from the target.
    pub(crate) fn goodness(self, value: f64) -> f64 {
        match self.target() {
            Some(target) => -(value - target).abs(),
            None if self.higher_is_better() => value,
            None => -value,
        }
    }

    /// Whether it depends on the order of the predictions alone, not on their size.
    pub(crate) fn depends_on_order_only(self) -> bool {
        matches!(self, Self::RocAuc | Self::AveragePrecision | Self::LiftAt10)
    }

    /// The metric of these rows.
    ///
    /// None where it is not defined: ranking metrics, skill and recalibration need both classes, and recalibration needs
    /// predictions that differ and do not separate the classes.
    pub fn measure(self, labelled: &Labelled) -> Option<f64> {
        let ranking = Ranking::new(labelled);
        Self::measure_tally(&[self], &ranking, &ranking.tally(labelled.n_groups()), None)[0]
    }

    /// Several metrics of the same counts; `start` is where the recalibration starts from.
    pub(crate) fn measure_tally(
        metrics: &[Self],
        ranking: &Ranking,
        tally: &Tally,
        start: Option<Recalibration>,
    ) -> Vec<Option<f64>> {
        let recalibrates = |metric: &Self| matches!(metric, Self::CalibrationSlope | Self::CalibrationIntercept);
        // One fit gives two metrics.
        let recalibration = if metrics.iter().any(recalibrates) { ranking.recalibration(tally, start) } else { None };
        let measure = |metric: &Self| match metric {
            Self::RocAuc => roc_auc(tally),
            Self::AveragePrecision => average_precision(tally),
            Self::LogLoss => Some(log_loss(ranking, tally)),
            Self::BrierScore => Some(brier_score(ranking, tally)),
            Self::BrierSkill => brier_skill(ranking, tally),
            Self::Ece10 => Some(expected_calibration_error(ranking, tally)),
            Self::LiftAt10 => top_tenth_lift(tally),
            Self::CalibrationSlope => recalibration.map(|fit| fit.slope),
            Self::CalibrationIntercept => recalibration.map(|fit| fit.intercept),
            Self::CalibrationInTheLarge => Some(tally.mean(|b| ranking.probability[b] - 1.0, |b| ranking.probability[b])),
        };
        metrics.iter().map(measure).collect()
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<Metric> for &'static str {
    fn from(metric: Metric) -> Self {
        metric.name()
    }
}

impl TryFrom<String> for Metric {
    type Error = EvalError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

fn both_classes(tally: &Tally) -> bool {
    tally.n_positives > 0 && tally.n_negatives > 0
}

fn roc_auc(tally: &Tally) -> Option<f64> {
    // Whole numbers: the area is exact before the one division. Counts of resamples may pass 2³², products 2⁶⁴.
    let (mut positives_above, mut twice_won) = (0_u128, 0_u128);
    for (positives, negatives) in tally.blocks() {
        twice_won += u128::from(negatives) * (2 * positives_above + u128::from(positives));
        positives_above += u128::from(positives);
    }
    let pairs = u128::from(tally.n_positives) * u128::from(tally.n_negatives);
    (pairs > 0).then(|| twice_won as f64 / (2 * pairs) as f64)
}

fn average_precision(tally: &Tally) -> Option<f64> {
    let (mut hits, mut taken, mut sum) = (0, 0, 0.0);
    for (positives, negatives) in tally.blocks() {
        hits += positives;
        taken += positives + negatives;
        if positives > 0 {
            sum += positives as f64 * (hits as f64 / taken as f64);
        }
    }
    both_classes(tally).then(|| sum / tally.n_positives as f64)
}

fn log_loss(ranking: &Ranking, tally: &Tally) -> f64 {
    tally.mean(|b| ranking.loss_if_positive[b], |b| ranking.loss_if_negative[b])
}

fn brier_score(ranking: &Ranking, tally: &Tally) -> f64 {
    let square = |x: f64| x * x;
    tally.mean(|b| square(1.0 - ranking.probability[b]), |b| square(ranking.probability[b]))
}

fn brier_skill(ranking: &Ranking, tally: &Tally) -> Option<f64> {
    let rate = tally.n_positives as f64 / tally.n_rows() as f64;
    both_classes(tally).then(|| 1.0 - brier_score(ranking, tally) / (rate * (1.0 - rate)))
}

fn top_tenth_lift(tally: &Tally) -> Option<f64> {
    let wanted = tally.n_rows() as f64 / 10.0;
    let (mut hits, mut left) = (0.0, wanted);
    for (positives, negatives) in tally.blocks().filter(|(positives, negatives)| positives + negatives > 0) {
        let n = (positives + negatives) as f64;
        let inside = (left / n).min(1.0);
        hits += inside * positives as f64;
        left -= n;
        if left <= 0.0 {
            break;
        }
    }
    let rate = tally.n_positives as f64 / tally.n_rows() as f64;
    both_classes(tally).then(|| hits / wanted / rate)
}

/// One bin of a calibration curve: counts, the sum of the predictions, and the blocks it spans.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bin {
    pub(crate) n_positives: u64,
    pub(crate) n_rows: u64,
    pub(crate) prediction_sum: f64,
    /// Lowest and highest probability in the bin.
    pub(crate) range: Option<(f64, f64)>,
}

/// Ten bins of equal shares of rows, from low probabilities to high; the rule for ties stands at [`Metric::Ece10`].
pub(crate) fn equal_mass_bins(ranking: &Ranking, tally: &Tally) -> [Bin; N_BINS] {
    let mut bins = [Bin::default(); N_BINS];
    let n_rows = u128::from(tally.n_rows());
    let mut below = 0_u128;
    for ((positives, negatives), &probability) in tally.blocks().zip(&ranking.probability).rev() {
        let tied = positives + negatives;
        if tied == 0 {
            continue;
        }
        // At most 9: twice the rows below and the tied rows once stay under twice the rows.
        let position = N_BINS as u128 * (2 * below + u128::from(tied)) / (2 * n_rows);
        let bin = &mut bins[position as usize];
        bin.n_positives += positives;
        bin.n_rows += tied;
        bin.prediction_sum += tied as f64 * probability;
        bin.range = Some((bin.range.map_or(probability, |(low, _)| low), probability));
        below += u128::from(tied);
    }
    bins
}

fn expected_calibration_error(ranking: &Ranking, tally: &Tally) -> f64 {
    let gaps = equal_mass_bins(ranking, tally).map(|bin| (bin.prediction_sum - bin.n_positives as f64).abs());
    gaps.iter().sum::<f64>() / tally.n_rows() as f64
}
