//! With which probability each action is taken, exactly, while its value is not yet known for certain.
//!
//! [`thompson`] takes an action as often as it is the best one by what is believed, [`inverse_gap`] by how far it is behind.
//! Both keep a floor under every action, so that each can be learned about and judged later. [`draw`] takes one with a given
//! uniform number: the probability that is logged is the one that was drawn with.
//! Everything is quadrature and arithmetic, so the same beliefs give the same bits.

mod best;
mod table;

pub use best::best_probabilities;

/// A belief about a number: normal around `mean`, or certain where `sd` is 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normal {
    mean: f64,
    sd: f64,
}

/// Numbers that make no belief.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("should be a finite mean and a finite standard deviation of at least 0, found mean {mean} and sd {sd}")]
pub struct NormalError {
    mean: f64,
    sd: f64,
}

impl Normal {
    /// Certainly nothing: the value of doing nothing against doing nothing.
    pub const ZERO: Self = Self { mean: 0.0, sd: 0.0 };

    /// A belief around `mean`.
    ///
    /// # Errors
    /// [`NormalError`] unless both are finite and `sd` is at least 0.
    pub fn new(mean: f64, sd: f64) -> Result<Self, NormalError> {
        let fits = mean.abs() <= f64::MAX / 4.0 && (0.0..=f64::MAX / 64.0).contains(&sd);
        if fits { Ok(Self { mean, sd }) } else { Err(NormalError { mean, sd }) }
    }

    /// The middle of the belief.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The standard deviation of the belief; 0 where it is certain.
    pub fn sd(&self) -> f64 {
        self.sd
    }

    /// The belief about `factor × number + shift`, such as an effect's worth less its cost.
    ///
    /// # Errors
    /// [`NormalError`] when the result is no longer finite.
    pub fn times_plus(&self, factor: f64, shift: f64) -> Result<Self, NormalError> {
        Self::new(self.mean * factor + shift, self.sd * factor.abs())
    }

    /// The probability that the number is below 0.
    pub fn below_zero(&self) -> f64 {
        if self.sd == 0.0 {
            return if self.mean < 0.0 { 1.0 } else { 0.0 };
        }
        0.5 * libm::erfc(self.mean / self.sd / std::f64::consts::SQRT_2)
    }
}

/// Thompson sampling with a floor: the probability of each action, in their order, that sums to 1.
///
/// An action has at least `floor`; the rest is shared by [`best_probabilities`]. For other floors per action see [`with_floors`].
/// `floor` is held within 0 and `1 / n`, and taken as 0 where it is no number. No action gives no probability.
///
/// # Source
/// Thompson (1933). The mixture with a floor is ours: it bounds importance weights by `1 / floor`.
pub fn thompson(values: &[Normal], floor: f64) -> Vec<f64> {
    with_floors(&best_probabilities(values), &vec![floor; values.len()])
}

/// Inverse-gap weighting with a floor: `1 / (n + gamma × gap)` for each action but the best, which has the rest.
///
/// `gap` is how far the action's value is behind the best; `gamma` counts per unit of value, grows with what is known, and is
/// held at 0 or above: 0 takes all alike. Actions that are equally best share the rest. A value that is not finite is never
/// best and has its floor alone. `floor` as in [`thompson`].
///
/// # Source
/// Foster and Rakhlin (2020), `SquareCB`; Abe and Long (1999).
pub fn inverse_gap(values: &[f64], gamma: f64, floor: f64) -> Vec<f64> {
    let best = values.iter().copied().filter(|value| value.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    if best == f64::NEG_INFINITY {
        return vec![1.0 / values.len() as f64; values.len()];
    }
    let n_finite = values.iter().filter(|value| value.is_finite()).count() as f64;
    let gamma = if gamma > 0.0 { gamma.min(f64::MAX) } else { 0.0 };
    let behind = |&value: &f64| match value.is_finite() {
        false => 0.0,
        true if value == best => f64::NAN,
        true => 1.0 / (n_finite + gamma * (best - value)),
    };
    let mut probabilities: Vec<f64> = values.iter().map(behind).collect();
    let n_best = probabilities.iter().filter(|probability| probability.is_nan()).count() as f64;
    let taken: f64 = probabilities.iter().filter(|probability| !probability.is_nan()).sum();
    probabilities.iter_mut().filter(|probability| probability.is_nan()).for_each(|best| *best = (1.0 - taken) / n_best);
    with_floors(&probabilities, &vec![floor; values.len()])
}

/// Puts a floor of its own under each probability: `floor + (1 − all floors) × probability`.
///
/// Each floor is held within 0 and 1 and taken as 0 where it is no number; floors that sum to more than 1 are scaled down to 1.
/// `floors` has as many numbers as `probabilities`; missing ones count as 0.
pub fn with_floors(probabilities: &[f64], floors: &[f64]) -> Vec<f64> {
    let held = |floor: f64| if floor > 0.0 { floor.min(1.0) } else { 0.0 };
    let floors = floors.iter().copied().map(held).chain(std::iter::repeat(0.0));
    let wanted: f64 = floors.clone().take(probabilities.len()).sum();
    let scale = if wanted > 1.0 { 1.0 / wanted } else { 1.0 };
    let rest = (1.0 - wanted * scale).max(0.0);
    probabilities.iter().zip(floors).map(|(probability, floor)| floor * scale + rest * probability).collect()
}

/// The action that a uniform number `u` of `[0, 1)` draws: the first whose cumulated probability is above `u`.
///
/// An action of probability 0 is never drawn, also where rounding leaves the sum below `u`. Gives 0 where there is no action.
pub fn draw(probabilities: &[f64], u: f64) -> usize {
    let mut cumulated = 0.0;
    let mut last_possible = 0;
    for (idx, &probability) in probabilities.iter().enumerate().filter(|(_, probability)| **probability > 0.0) {
        cumulated += probability;
        last_possible = idx;
        if u < cumulated {
            break;
        }
    }
    last_possible
}

#[cfg(test)]
mod tests;
