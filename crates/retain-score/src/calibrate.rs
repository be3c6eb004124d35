//! From margin to probability.

use crate::model::ModelError;

/// How a margin becomes a probability.
#[derive(Debug, Clone, PartialEq)]
pub enum Calibrator {
    /// The margin is believed as it stands: `σ(margin)`.
    Identity,
    /// `σ(slope · margin + intercept)`, after Platt (1999).
    Sigmoid {
        /// Positive, so that the order of customers is kept.
        slope: f64,
        /// Shift in log-odds.
        intercept: f64,
    },
    /// `σ(rise · ln p − fall · ln(1 − p) + intercept)` with `p = σ(margin)`: bends the two ends apart, after Kull, Silva Filho and
    /// Flach (2017).
    Beta {
        /// Weight of `ln p`, from 0.
        rise: f64,
        /// Weight of `−ln(1 − p)`, from 0; one of the two is positive, so that the order of customers is kept.
        fall: f64,
        /// Shift in log-odds.
        intercept: f64,
    },
    /// A rising line through points of (margin, log-odds), straight between them and parallel to the margin outside,
    /// fitted by pool-adjacent-violators, after Zadrozny and Elkan (2002). Strictly rising: no two customers are tied
    /// whom the margin tells apart.
    Isotonic {
        /// Margins, strictly rising.
        margins: Vec<f64>,
        /// Calibrated log-odds at these margins, strictly rising.
        log_odds: Vec<f64>,
    },
    /// `ln(margin)`: the margin is an amount already, and what is expected is the margin itself; nothing where it is not above 0. Only of
    /// expected amounts: models that were trained elsewhere on amounts as they stand.
    Logarithm,
}

/// The logistic function, from log-odds to probability.
///
/// Uses `libm`'s `exp`, written in Rust, so that every machine gives the same bits; the platform's own does not.
pub fn sigmoid(log_odds: f64) -> f64 {
    // One exp of a negative number keeps both tails exact and never overflows.
    if log_odds >= 0.0 {
        1.0 / (1.0 + libm::exp(-log_odds))
    } else {
        let e = libm::exp(log_odds);
        e / (1.0 + e)
    }
}

/// `ln(1 + eˣ)`, without overflow.
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}

impl Calibrator {
    /// The calibrated log-odds of a margin.
    pub fn log_odds(&self, margin: f64) -> f64 {
        match self {
            Self::Identity => margin,
            Self::Sigmoid { slope, intercept } => slope * margin + intercept,
            Self::Beta { rise, fall, intercept } => fall * softplus(margin) - rise * softplus(-margin) + intercept,
            Self::Isotonic { margins, log_odds } => interpolate(margins, log_odds, margin),
            Self::Logarithm => libm::log(margin.max(0.0)),
        }
    }

    /// The probability of a margin, within `[0, 1]`.
    pub fn probability(&self, margin: f64) -> f64 {
        sigmoid(self.log_odds(margin))
    }

    /// The name in manifests and cards.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Identity => "none",
            Self::Sigmoid { .. } => "sigmoid",
            Self::Beta { .. } => "beta",
            Self::Isotonic { .. } => "isotonic",
            Self::Logarithm => "logarithm",
        }
    }

    /// Checks the numbers of a calibrator that came from a file.
    ///
    /// # Errors
    /// [`ModelError`] when a number is not finite, or the mapping does not rise.
    pub fn check(&self) -> Result<(), ModelError> {
        let mismatch = |what| Err(ModelError::Mismatch { place: "calibrator".to_owned(), what });
        match self {
            Self::Identity | Self::Logarithm => Ok(()),
            Self::Sigmoid { slope, intercept } => {
                if !(slope.is_finite() && intercept.is_finite() && *slope > 0.0) {
                    return mismatch("the slope should be positive and both numbers finite");
                }
                Ok(())
            }
            Self::Beta { rise, fall, intercept } => {
                let is_weight = |weight: f64| weight.is_finite() && weight >= 0.0;
                if !(is_weight(*rise) && is_weight(*fall) && rise + fall > 0.0 && intercept.is_finite()) {
                    return mismatch("the weights should not be negative, one of them positive, and all numbers finite");
                }
                Ok(())
            }
            Self::Isotonic { margins, log_odds } => {
                let rises =
                    |values: &[f64]| values.iter().all(|v| v.is_finite()) && values.windows(2).all(|pair| pair[0] < pair[1]);
                if margins.is_empty() || margins.len() != log_odds.len() {
                    return mismatch("there should be as many margins as log-odds, at least one");
                }
                if !rises(margins) || !rises(log_odds) {
                    return mismatch("margins and log-odds should be finite and rise strictly");
                }
                // Between two points their distance divides.
                let span = |values: &[f64]| values[values.len() - 1] - values[0];
                if !(span(margins).is_finite() && span(log_odds).is_finite()) {
                    return mismatch("the distance from the first point to the last should be finite");
                }
                Ok(())
            }
        }
    }
}

fn interpolate(margins: &[f64], log_odds: &[f64], margin: f64) -> f64 {
    let above = margins.partition_point(|&known| known <= margin);
    let last = margins.len() - 1;
    if above == 0 {
        return log_odds[0] + (margin - margins[0]);
    }
    if above > last {
        return log_odds[last] + (margin - margins[last]);
    }
    let (x0, x1) = (margins[above - 1], margins[above]);
    let share = (margin - x0) / (x1 - x0);
    log_odds[above - 1] + share * (log_odds[above] - log_odds[above - 1])
}
