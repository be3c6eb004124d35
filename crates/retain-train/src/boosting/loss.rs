//! What boosting minimises: the loss of one row and its first two derivatives by the margin.
//!
//! Poisson, Tweedie and gamma losses are sums of exponentials of the margin. Past [`MAX_LOG`] they go on as their tangent, so
//! that nothing overflows, and a step before the learning rate is at most [`MAX_LOG_STEP`]: where a leaf's hessian is next to
//! nothing, the quadratic on which Newton's step rests says nothing of the loss.

use retain_score::sigmoid;

use super::histogram::Pair;
use super::split::Bounds;
use crate::learner::{FitError, Loss};

/// Largest absolute margin whose exponential is taken.
const MAX_LOG: f64 = 60.0;
/// Longest step of a margin that is a logarithm: a tree may multiply the prediction by 4.5 and no more.
const MAX_LOG_STEP: f64 = 1.5;
/// Largest absolute target: its derivatives are kept in 32 bits.
const MAX_TARGET: f64 = 1e30;

/// First and second derivative of the loss by the margin.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Derivatives {
    /// First derivative.
    pub(super) gradient: f64,
    /// Second derivative, not negative.
    pub(super) hessian: f64,
}

impl Derivatives {
    /// Times a weight, in 32 bits.
    pub(super) fn weighted(self, weight: f64) -> Pair {
        let kept = |value: f64| (weight * value).clamp(-1e38, 1e38) as f32;
        [kept(self.gradient), kept(self.hessian)]
    }
}

impl Loss {
    /// Refuses parameters that make no loss, and targets that this loss cannot have.
    ///
    /// # Errors
    /// [`FitError::LossParameter`] or [`FitError::Target`] with the first row, as a position in the dataset.
    pub(super) fn check(self, targets: &[f64], row_idxs: &[usize]) -> Result<(), FitError> {
        match self {
            Self::Tweedie { power } if !(power > 1.0 && power < 2.0) => {
                return Err(FitError::LossParameter {
                    parameter: "the power of the Tweedie loss",
                    found: power,
                    from: 1.0,
                    to: 2.0,
                });
            }
            Self::Quantile { level } if !(level > 0.0 && level < 1.0) => {
                return Err(FitError::LossParameter {
                    parameter: "the level of the quantile loss",
                    found: level,
                    from: 0.0,
                    to: 1.0,
                });
            }
            _ => {}
        }
        let (expected, fits): (_, fn(f64) -> bool) = match self {
            Self::Logistic => ("0 or 1", |target| target == 0.0 || target == 1.0),
            Self::Squared | Self::Quantile { .. } => ("a number between -1e30 and 1e30", |target| target.abs() <= MAX_TARGET),
            Self::Poisson | Self::Tweedie { .. } => ("a number from 0 to 1e30", |target| (0.0..=MAX_TARGET).contains(&target)),
            Self::Gamma => ("a number above 0 and up to 1e30", |target| target > 0.0 && target <= MAX_TARGET),
        };
        match row_idxs.iter().find(|row_idx| !fits(targets[**row_idx])) {
            Some(&row) => Err(FitError::Target { row, found: targets[row], expected }),
            None => Ok(()),
        }
    }

    /// The constant margin with the smallest loss over targets and their weights, kept finite where the target is constant.
    pub(super) fn constant(self, rows: impl Iterator<Item = (f64, f64)>) -> f64 {
        if let Self::Quantile { level } = self {
            return weighted_quantile(rows.collect(), level);
        }
        let (sum, n) = rows.fold((0.0, 0.0), |(sum, n), (target, weight)| (sum + weight * target, n + weight));
        match self {
            // Half a row of each class keeps the logarithm finite.
            Self::Logistic if sum == 0.0 || sum == n => libm::log((sum + 0.5) / (n - sum + 0.5)),
            Self::Logistic => libm::log(sum / (n - sum)),
            Self::Squared | Self::Quantile { .. } => sum / f64::max(n, 1.0),
            Self::Poisson | Self::Tweedie { .. } | Self::Gamma if sum <= 0.0 => libm::log(0.5 / (n + 1.0)),
            Self::Poisson | Self::Tweedie { .. } | Self::Gamma => libm::log(sum / n),
        }
    }

    /// The interval of one tree's steps before the learning rate.
    pub(super) fn step_bounds(self) -> Bounds {
        match self {
            Self::Logistic | Self::Squared | Self::Quantile { .. } => Bounds::NONE,
            Self::Poisson | Self::Tweedie { .. } | Self::Gamma => Bounds { lower: -MAX_LOG_STEP, upper: MAX_LOG_STEP },
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
            Self::Quantile { level } => (if target > margin { -level } else { 1.0 - level }, 1.0),
            Self::Poisson | Self::Tweedie { .. } | Self::Gamma => {
                let Exponentials { growing, falling, power } = self.exponentials(margin, target);
                (growing - falling, (2.0 - power) * growing + (power - 1.0) * falling)
            }
        };
        Derivatives { gradient, hessian }
    }

    /// The loss at a margin, less what does not depend on it.
    pub(crate) fn value(self, margin: f64, target: f64) -> f64 {
        match self {
            Self::Logistic => margin.max(0.0) - margin * target + libm::log1p(libm::exp(-margin.abs())),
            Self::Squared => 0.5 * (margin - target) * (margin - target),
            Self::Quantile { level } => (target - margin) * if target > margin { level } else { level - 1.0 },
            Self::Poisson | Self::Tweedie { .. } | Self::Gamma => {
                let Exponentials { growing, falling, power } = self.exponentials(margin, target);
                let within = margin.clamp(-MAX_LOG, MAX_LOG);
                let part = |slope: f64, exponential: f64| if slope == 0.0 { within } else { exponential / slope };
                let sign_of_falling = if power == 1.0 { -target } else { 1.0 };
                part(2.0 - power, growing)
                    + sign_of_falling * part(power - 1.0, falling)
                    + (margin - within) * (growing - falling)
            }
        }
    }

    /// The two parts of the gradient of a loss whose margin is a logarithm; past the largest margin they stay.
    fn exponentials(self, margin: f64, target: f64) -> Exponentials {
        let margin = margin.clamp(-MAX_LOG, MAX_LOG);
        match self {
            Self::Gamma => Exponentials { growing: 1.0, falling: target * libm::exp(-margin), power: 2.0 },
            Self::Tweedie { power } => Exponentials {
                growing: libm::exp((2.0 - power) * margin),
                falling: target * libm::exp((1.0 - power) * margin),
                power,
            },
            _ => Exponentials { growing: libm::exp(margin), falling: target, power: 1.0 },
        }
    }
}

/// The gradient of a loss of the Tweedie family is `growing − falling`.
///
/// The first is `exp((2 − power) · margin)`, the second `target · exp((1 − power) · margin)`; a power of 1 is Poisson, 2 is gamma.
struct Exponentials {
    growing: f64,
    falling: f64,
    power: f64,
}

/// The smallest of the values below or at which lies a share `level` of the weight; 0 where there are none. Takes (value, weight).
pub(super) fn weighted_quantile(mut values: Vec<(f64, f64)>, level: f64) -> f64 {
    values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let wanted = level * values.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut below = 0.0;
    let reached = values.iter().find(|(_, weight)| {
        below += weight;
        below >= wanted
    });
    reached.or(values.last()).map_or(0.0, |&(value, _)| value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    const LOSSES: [Loss; 7] = [
        Loss::Logistic,
        Loss::Squared,
        Loss::Poisson,
        Loss::Tweedie { power: 1.1 },
        Loss::Tweedie { power: 1.7 },
        Loss::Gamma,
        Loss::Quantile { level: 0.3 },
    ];

    fn targets(loss: Loss) -> [f64; 2] {
        match loss {
            Loss::Logistic => [0.0, 1.0],
            Loss::Gamma => [0.4, 7.0],
            _ => [0.0, 3.25],
        }
    }

    #[test]
    fn derivatives_are_those_of_the_loss() {
        let step = 1e-4;
        for loss in LOSSES {
            for margin in [-65.0, -3.0, -0.2, 0.0, 1.5, 6.0] {
                for target in targets(loss).into_iter().filter(|&target| target != margin) {
                    let at = |m: f64| loss.value(m, target);
                    let found = loss.derivatives(margin, target);
                    let first = (at(margin + step) - at(margin - step)) / (2.0 * step);
                    let size = 1.0 + first.abs();
                    assert!((found.gradient - first).abs() < 1e-6 * size, "{loss:?} {margin} {target}: {found:?} {first}");
                    let gradient = |m: f64| loss.derivatives(m, target).gradient;
                    let second = (gradient(margin + step) - gradient(margin - step)) / (2.0 * step);
                    // The pinball loss has none, and past the largest margin the loss is a line.
                    if !matches!(loss, Loss::Quantile { .. }) && margin.abs() < MAX_LOG {
                        assert!((found.hessian - second).abs() < 1e-6 * (1.0 + second.abs()), "{loss:?} {margin} {target}");
                    }
                }
            }
        }
    }

    #[test]
    fn extreme_margins_stay_finite() {
        assert_eq!(Loss::Logistic.value(800.0, 1.0), 0.0);
        assert_eq!(Loss::Logistic.value(-800.0, 1.0), 800.0);
        assert_eq!(Loss::Logistic.value(1e308, 0.0), 1e308);
        for loss in LOSSES {
            for margin in [-1e6, 1e6] {
                for target in targets(loss).into_iter().chain([MAX_TARGET; 1].into_iter().filter(|_| loss != Loss::Logistic)) {
                    let Derivatives { gradient, hessian } = loss.derivatives(margin, target);
                    assert!(loss.value(margin, target).is_finite() && gradient.is_finite() && hessian.is_finite(), "{loss:?}");
                    assert!(hessian >= 0.0);
                    assert!(loss.derivatives(margin, target).weighted(1e300).iter().all(|value| value.is_finite()));
                }
            }
        }
    }

    #[test]
    fn the_constant_has_the_smallest_loss() {
        let rows = |loss: Loss| {
            let [low, high] = targets(loss);
            [(low, 2.0), (high, 1.0), (low, 0.5), (high, 3.0)]
        };
        for loss in LOSSES {
            let total = |margin: f64| rows(loss).iter().map(|&(target, weight)| weight * loss.value(margin, target)).sum::<f64>();
            let found = loss.constant(rows(loss).into_iter());
            assert!(total(found) <= total(found + 1e-3) && total(found) <= total(found - 1e-3), "{loss:?} {found}");
        }
    }

    #[test]
    fn a_constant_target_has_a_finite_constant() {
        assert!(Loss::Logistic.constant([(1.0, 1.0), (1.0, 1.0)].into_iter()).is_finite());
        for loss in LOSSES {
            assert!(loss.constant(std::iter::empty()).is_finite(), "{loss:?}");
            assert!(loss.constant([(0.0, 1.0)].into_iter()).is_finite(), "{loss:?}");
        }
    }

    #[test]
    fn a_quantile_is_counted_by_weight() {
        let values = || vec![(3.0, 1.0), (1.0, 1.0), (2.0, 2.0)];
        assert_eq!([0.25, 0.26, 0.75, 0.76, 1.0].map(|level| weighted_quantile(values(), level)), [1.0, 2.0, 2.0, 3.0, 3.0]);
        assert_eq!(weighted_quantile(Vec::new(), 0.5), 0.0);
    }

    #[test]
    fn targets_and_parameters_outside_the_loss_are_named() {
        let check = |loss: Loss, target: f64| loss.check(&[1.0, target], &[0, 1]).map_err(|error| error.to_string());
        assert_eq!(check(Loss::Poisson, -2.0).unwrap_err(), "row 1: the target should be a number from 0 to 1e30, found -2");
        assert!(check(Loss::Tweedie { power: 1.5 }, 0.0).is_ok() && check(Loss::Gamma, 0.0).is_err());
        assert!(check(Loss::Squared, f64::NAN).is_err() && check(Loss::Squared, f64::INFINITY).is_err());
        assert!(check(Loss::Logistic, 0.5).is_err() && check(Loss::Quantile { level: 0.5 }, -3.0).is_ok());
        let message = check(Loss::Tweedie { power: 2.0 }, 1.0).unwrap_err();
        assert_eq!(message, "the power of the Tweedie loss should be between 1 and 2, both excluded, found 2");
        assert!(check(Loss::Quantile { level: f64::NAN }, 1.0).is_err());
    }
}
