//! How much to clip, switch or shrink, and which estimator to trust: by the error that the log itself suggests.

use super::estimator::{Estimator, Rows, mean};

/// Candidates for the largest weight, and for λ as the square of one; from "the model alone" to "all of it".
const CANDIDATES: [f64; 13] = [0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0, 300.0, 1000.0];

/// The estimated mean squared error of an estimator: its clustered variance and the square of its direct bias estimate.
///
/// The bias is what the unused part of the weights would have added: `mean((w − ŵ)(reward − model))`.
///
/// # Source
/// Su et al. (2020), section 5: the direct estimate.
pub fn direct_error(estimator: Estimator, rows: &Rows<'_>) -> f64 {
    let contributions = estimator.contributions(rows);
    let bias = direct_bias(estimator, rows);
    contributions.variance(rows.log) + bias * bias
}

pub(super) fn direct_bias(estimator: Estimator, rows: &Rows<'_>) -> f64 {
    if estimator.is_self_normalized() {
        return 0.0;
    }
    // Of clipped weights without a model the unused part is the rewards' themselves.
    let without_model = matches!(estimator, Estimator::ClippedInverseProbability(_));
    let missed = |row: usize| {
        let unused = rows.weights[row] - estimator.used_weight(rows.weights[row]);
        unused * (rows.log.reward[row] - if without_model { 0.0 } else { rows.factual[row] })
    };
    mean(&(0..rows.weights.len()).map(missed).collect::<Vec<_>>())
}

/// The estimator of a kind with the candidate of least [`direct_error`]; the largest of equal ones.
///
/// `kind` makes an estimator of a candidate, such as `Estimator::SwitchDoublyRobust`.
pub fn tuned(kind: impl Fn(f64) -> Estimator, rows: &Rows<'_>) -> Estimator {
    let largest = rows.weights.iter().copied().fold(0.0, f64::max);
    // Beyond the largest weight nothing changes any more for clipping and switching.
    let candidates =
        CANDIDATES.into_iter().chain([largest]).map(&kind).map(|estimator| (estimator, direct_error(estimator, rows)));
    let least = candidates.reduce(|best, next| if next.1 <= best.1 { next } else { best });
    least.map_or(Estimator::DoublyRobust, |(estimator, _)| estimator)
}

/// Every estimator that a log allows, tuned.
pub(super) fn all(rows: &Rows<'_>) -> Vec<Estimator> {
    if rows.log.propensity.is_none() {
        return vec![Estimator::DirectMethod];
    }
    vec![
        Estimator::DirectMethod,
        Estimator::InverseProbability,
        tuned(Estimator::ClippedInverseProbability, rows),
        Estimator::SelfNormalized,
        Estimator::DoublyRobust,
        Estimator::SelfNormalizedDoublyRobust,
        tuned(Estimator::SwitchDoublyRobust, rows),
        tuned(|weight| Estimator::ShrunkDoublyRobust(weight * weight), rows),
    ]
}
