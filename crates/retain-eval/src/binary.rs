//! Metrics of binary outcomes: functions of how many positives and negatives there are per distinct probability.

use crate::metrics::Metric;
use crate::outcome::Events;
use crate::ranking::{Ranking, Tally, tenth};
use crate::recalibration::Recalibration;

/// Bins of `ece_10`, of `decile_mape` and of the calibration table.
pub(crate) const N_BINS: usize = 10;

/// Binary outcomes sorted once, to be measured under any weights of their groups.
#[derive(Debug)]
pub(crate) struct BinaryGauge {
    pub(crate) ranking: Ranking,
    /// The recalibration of the rows as they are, where that of a resample starts from.
    start: Option<Recalibration>,
}

impl BinaryGauge {
    pub(crate) fn new(events: &Events, group_idx: &[u32], n_groups: usize) -> Self {
        let ranking = Ranking::new(events, group_idx);
        let start = ranking.recalibration(&ranking.tally(&vec![1; n_groups]), None);
        Self { ranking, start }
    }

    /// The metrics with each row counted as often as its group weighs; metrics of other kinds are not defined.
    pub(crate) fn measure(&self, metrics: &[Metric], group_weights: &[u32], is_resample: bool) -> Vec<Option<f64>> {
        let (ranking, tally) = (&self.ranking, &self.ranking.tally(group_weights));
        let recalibrates = |metric: &Metric| matches!(metric, Metric::CalibrationSlope | Metric::CalibrationIntercept);
        // One fit gives two metrics.
        let start = self.start.filter(|_| is_resample);
        let recalibration = metrics.iter().any(recalibrates).then(|| ranking.recalibration(tally, start)).flatten();
        let measure = |metric: &Metric| match metric {
            Metric::RocAuc => roc_auc(tally),
            Metric::AveragePrecision => average_precision(tally),
            Metric::LogLoss => Some(log_loss(ranking, tally)),
            Metric::BrierScore => Some(brier_score(ranking, tally)),
            Metric::BrierSkill => brier_skill(ranking, tally),
            Metric::Ece10 => Some(expected_calibration_error(ranking, tally)),
            Metric::LiftAt10 => top_tenth_lift(tally),
            Metric::CalibrationSlope => recalibration.map(|fit| fit.slope),
            Metric::CalibrationIntercept => recalibration.map(|fit| fit.intercept),
            Metric::CalibrationInTheLarge => Some(tally.mean(|b| ranking.probability[b] - 1.0, |b| ranking.probability[b])),
            _ => None,
        };
        metrics.iter().map(measure).collect()
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
    let n_rows = tally.n_rows();
    let mut below = 0;
    for ((positives, negatives), &probability) in tally.blocks().zip(&ranking.probability).rev() {
        let tied = positives + negatives;
        if tied == 0 {
            continue;
        }
        let bin = &mut bins[tenth(below, tied, n_rows)];
        bin.n_positives += positives;
        bin.n_rows += tied;
        bin.prediction_sum += tied as f64 * probability;
        bin.range = Some((bin.range.map_or(probability, |(low, _)| low), probability));
        below += tied;
    }
    bins
}

fn expected_calibration_error(ranking: &Ranking, tally: &Tally) -> f64 {
    let gaps = equal_mass_bins(ranking, tally).map(|bin| (bin.prediction_sum - bin.n_positives as f64).abs());
    gaps.iter().sum::<f64>() / tally.n_rows() as f64
}
