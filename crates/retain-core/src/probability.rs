//! A number known to be a probability.

use serde::{Deserialize, Serialize};

/// A probability: finite and within `[0, 1]`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Probability(f64);

/// A number that is not a probability.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a probability lies within [0, 1], found `{0}`")]
pub struct ProbabilityError(pub f64);

impl Probability {
    /// Checks that `value` lies within `[0, 1]`.
    ///
    /// # Errors
    /// [`ProbabilityError`] for anything else, NaN included.
    pub fn new(value: f64) -> Result<Self, ProbabilityError> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err(ProbabilityError(value)) }
    }

    /// Moves `value` to the nearest probability; NaN becomes 0.5, which says "nothing known".
    pub fn clamped(value: f64) -> Self {
        if value.is_nan() { Self(0.5) } else { Self(value.clamp(0.0, 1.0)) }
    }

    /// The number itself.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Probability {
    type Error = ProbabilityError;

    fn try_from(value: f64) -> Result<Self, Self::Error> {
        Self::new(value)
    }
}

impl From<Probability> for f64 {
    fn from(probability: Probability) -> Self {
        probability.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_from_zero_to_one_are_probabilities() {
        assert!(Probability::new(0.0).is_ok());
        assert!(Probability::new(1.0).is_ok());
        for bad in [-1e-300, 1.0 + f64::EPSILON, f64::NAN, f64::INFINITY] {
            assert!(Probability::new(bad).is_err(), "{bad}");
        }
        assert_eq!(Probability::clamped(f64::NAN).get(), 0.5);
        assert_eq!(Probability::clamped(7.0).get(), 1.0);
    }
}
