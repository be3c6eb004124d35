//! What boosting minimises: the loss of one row and its first two derivatives by the margin.

use retain_score::sigmoid;

use crate::learner::Loss;

/// First and second derivative of the loss by the margin.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Derivatives {
    /// First derivative.
    pub(super) gradient: f64,
    /// Second derivative, not negative.
    pub(super) hessian: f64,
}

impl Loss {
    /// The constant margin with the smallest loss, kept finite where the target is constant.
    pub(super) fn constant(self, targets: impl Iterator<Item = f64>) -> f64 {
        if let Self::Quantile { level } = self {
            let mut sorted: Vec<f64> = targets.collect();
            sorted.sort_unstable_by(f64::total_cmp);
            return sorted.get((level * sorted.len() as f64) as usize).copied().unwrap_or(0.0);
        }
        let (sum, n) = targets.fold((0.0, 0.0), |(sum, n), target| (sum + target, n + 1.0));
        match self {
            // Half a row of each class keeps the logarithm finite.
            Self::Logistic if sum == 0.0 || sum == n => libm::log((sum + 0.5) / (n - sum + 0.5)),
            Self::Logistic => libm::log(sum / (n - sum)),
            Self::Squared | Self::Quantile { .. } => sum / f64::max(n, 1.0),
            Self::Poisson | Self::Tweedie { .. } | Self::Gamma if sum <= 0.0 => libm::log(0.5 / (n + 1.0)),
            Self::Poisson | Self::Tweedie { .. } | Self::Gamma => libm::log(sum / n),
        }
    }

    /// The derivatives at a margin.
    pub(super) fn derivatives(self, margin: f64, target: f64) -> Derivatives {
        let (gradient, hessian) = match self {
            Self::Logistic => {
                let probability = sigmoid(margin);
                (probability - target, probability * (1.0 - probability))
            }
            Self::Squared => (margin - target, 1.0),
            Self::Poisson => {
                let mean = libm::exp(margin);
                (mean - target, mean)
            }
            Self::Tweedie { power } => {
                let (low, high) = (target * libm::exp((1.0 - power) * margin), libm::exp((2.0 - power) * margin));
                (high - low, (2.0 - power) * high + (power - 1.0) * low)
            }
            Self::Gamma => {
                let ratio = target * libm::exp(-margin);
                (1.0 - ratio, ratio)
            }
            Self::Quantile { level } => (if target > margin { -level } else { 1.0 - level }, 1.0),
        };
        Derivatives { gradient, hessian }
    }

    /// The loss at a margin, less what does not depend on it.
    pub(crate) fn value(self, margin: f64, target: f64) -> f64 {
        match self {
            Self::Logistic => margin.max(0.0) - margin * target + libm::log1p(libm::exp(-margin.abs())),
            Self::Squared => 0.5 * (margin - target) * (margin - target),
            Self::Poisson => libm::exp(margin) - target * margin,
            Self::Tweedie { power } => {
                libm::exp((2.0 - power) * margin) / (2.0 - power) + target * libm::exp((1.0 - power) * margin) / (power - 1.0)
            }
            Self::Gamma => margin + target * libm::exp(-margin),
            Self::Quantile { level } => (target - margin) * if target > margin { level } else { level - 1.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_are_those_of_the_loss() {
        let step = 1e-5;
        for margin in [-3.0, -0.2, 0.0, 1.5, 6.0] {
            for target in [0.0, 1.0] {
                let at = |m: f64| Loss::Logistic.value(m, target);
                let found = Loss::Logistic.derivatives(margin, target);
                let first = (at(margin + step) - at(margin - step)) / (2.0 * step);
                let second = (at(margin + step) - 2.0 * at(margin) + at(margin - step)) / (step * step);
                assert!((found.gradient - first).abs() < 1e-8, "{margin} {target}");
                assert!((found.hessian - second).abs() < 1e-4, "{margin} {target}");
            }
        }
    }

    #[test]
    fn extreme_margins_stay_finite() {
        assert_eq!(Loss::Logistic.value(800.0, 1.0), 0.0);
        assert_eq!(Loss::Logistic.value(-800.0, 1.0), 800.0);
        assert_eq!(Loss::Logistic.value(1e308, 0.0), 1e308);
    }

    #[test]
    fn the_constant_is_the_log_odds_of_the_base_rate() {
        let found = Loss::Logistic.constant([1.0, 0.0, 0.0, 0.0].into_iter());
        assert!((found - (1.0f64 / 3.0).ln()).abs() < 1e-15);
        assert!(Loss::Logistic.constant([1.0, 1.0].into_iter()).is_finite());
        assert!(Loss::Logistic.constant(std::iter::empty()).is_finite());
    }
}
