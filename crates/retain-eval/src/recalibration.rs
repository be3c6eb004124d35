//! Logistic recalibration: `logit P(positive) = intercept + slope · logit p`, fitted by maximum likelihood.

use crate::ranking::Tally;

const MAX_STEPS: usize = 100;
const SMALLEST_SHARE: f64 = 1e-12;
/// Newton's method converges quadratically: after a step of this relative size the error is its square, below the last digit.
const TOLERANCE: f64 = 1e-8;

/// What the predictions' log-odds should be multiplied by and shifted by; slope 1 and intercept 0 for a calibrated model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Recalibration {
    pub(crate) intercept: f64,
    pub(crate) slope: f64,
}

/// First and second derivatives of the log-likelihood.
#[derive(Debug, Clone, Copy, Default)]
struct Derivatives {
    gradient: [f64; 2],
    /// Minus the second derivatives: intercept twice, mixed, slope twice.
    information: [f64; 3],
}

/// Fits intercept and slope to the counts of `tally`, whose blocks have these log-odds.
///
/// None where the likelihood has no maximum: one class, one prediction for all, or classes that the predictions separate.
/// `start` speeds up the fit of a resample and does not change where it ends.
///
/// # Source
/// Cox (1958), "Two further applications of a model for binary regression".
pub(crate) fn recalibrate(log_odds: &[f64], tally: &Tally, start: Option<Recalibration>) -> Option<Recalibration> {
    if is_separated(log_odds, tally) {
        return None;
    }
    let base_log_odds = libm::log(tally.n_positives as f64 / tally.n_negatives as f64);
    let mut fit = start.unwrap_or(Recalibration { intercept: base_log_odds, slope: 0.0 });
    let mut derivatives = Derivatives::at(fit, log_odds, tally);
    for _ in 0..MAX_STEPS {
        let direction = derivatives.newton_direction()?;
        let size = 1.0 + fit.intercept.abs().max(fit.slope.abs());
        if direction[0].abs().max(direction[1].abs()) <= TOLERANCE * size {
            return Some(fit.moved(direction, 1.0));
        }
        let rise = derivatives.along(direction);
        // The likelihood is concave: where its slope at the end of the step falls more steeply than it rose at the start, the
        // step went too far.
        let (mut share, mut next) = (1.0, fit.moved(direction, 1.0));
        let mut next_derivatives = Derivatives::at(next, log_odds, tally);
        while share > SMALLEST_SHARE && next_derivatives.falls_steeper(direction, rise) {
            share /= 2.0;
            next = fit.moved(direction, share);
            next_derivatives = Derivatives::at(next, log_odds, tally);
        }
        (fit, derivatives) = (next, next_derivatives);
    }
    None
}

/// Whether some threshold has all positives on one side and all negatives on the other, itself included on both.
fn is_separated(log_odds: &[f64], tally: &Tally) -> bool {
    let ends = |counts: &[u64]| {
        let first = counts.iter().position(|&count| count > 0)?;
        let last = counts.iter().rposition(|&count| count > 0)?;
        Some((log_odds[first], log_odds[last]))
    };
    match (ends(&tally.positives), ends(&tally.negatives)) {
        (Some((highest_positive, lowest_positive)), Some((highest_negative, lowest_negative))) => {
            lowest_positive >= highest_negative || lowest_negative >= highest_positive
        }
        _ => true,
    }
}

impl Recalibration {
    fn moved(self, direction: [f64; 2], share: f64) -> Self {
        Self { intercept: self.intercept + share * direction[0], slope: self.slope + share * direction[1] }
    }
}

impl Derivatives {
    fn at(fit: Recalibration, log_odds: &[f64], tally: &Tally) -> Self {
        let mut sums = Self::default();
        for ((positives, negatives), &x) in tally.blocks().zip(log_odds) {
            let n = (positives + negatives) as f64;
            if n == 0.0 {
                continue;
            }
            let e = libm::exp(-(fit.intercept + fit.slope * x).abs());
            let smaller = e / (1.0 + e);
            let rate = if fit.intercept + fit.slope * x >= 0.0 { 1.0 - smaller } else { smaller };
            let residual = positives as f64 - n * rate;
            let weight = n * smaller / (1.0 + e);
            sums.gradient[0] += residual;
            sums.gradient[1] += residual * x;
            sums.information[0] += weight;
            sums.information[1] += weight * x;
            sums.information[2] += weight * x * x;
        }
        sums
    }

    fn newton_direction(&self) -> Option<[f64; 2]> {
        let [a, b, c] = self.information;
        let determinant = a * c - b * b;
        let [g, h] = self.gradient;
        let direction = [(c * g - b * h) / determinant, (a * h - b * g) / determinant];
        (determinant > 0.0 && direction.iter().all(|part| part.is_finite())).then_some(direction)
    }

    fn along(&self, direction: [f64; 2]) -> f64 {
        self.gradient[0] * direction[0] + self.gradient[1] * direction[1]
    }

    /// Also true where a step was so long that nothing can be computed there.
    fn falls_steeper(&self, direction: [f64; 2], rise: f64) -> bool {
        let slope = self.along(direction);
        slope.is_nan() || slope < -rise
    }
}
