//! The nearest weights that add up to 1 and stay on their leash.

/// What each weight may be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Leash {
    low: Vec<f64>,
    high: Vec<f64>,
}

impl Leash {
    /// Around weights that add up to 1: none goes below 0, nor further than `length` from where it is.
    pub(super) fn around(hand: &[f64], length: f64) -> Self {
        Self {
            low: hand.iter().map(|weight| (weight - length).max(0.0)).collect(),
            high: hand.iter().map(|weight| (weight + length).min(1.0)).collect(),
        }
    }

    /// The point nearest to `wished` among weights within the leash that add up to 1.
    ///
    /// The nearest point is `wished` shifted by one number and held within the bounds; the sum falls as the shift grows, so the
    /// shift is found by halving.
    pub(super) fn nearest(&self, wished: &[f64]) -> Vec<f64> {
        let shifted = |shift: f64| {
            let bounds = self.low.iter().zip(&self.high);
            wished.iter().zip(bounds).map(|(wish, (&low, &high))| (wish - shift).clamp(low, high)).collect::<Vec<f64>>()
        };
        let reach = wished.iter().fold(0.0_f64, |reach, wish| reach.max(wish.abs())) + 1.0;
        let (mut least, mut most) = (-reach, reach);
        for _ in 0..200 {
            let middle = f64::midpoint(least, most);
            if shifted(middle).iter().sum::<f64>() > 1.0 { least = middle } else { most = middle }
        }
        shifted(most)
    }
}

#[cfg(test)]
mod tests {
    use super::Leash;

    #[test]
    fn what_is_allowed_stays_and_the_rest_comes_near() {
        let leash = Leash::around(&[0.5, 0.3, 0.2], 0.1);
        let check = |wished: &[f64], expected: &[f64]| {
            let found = leash.nearest(wished);
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
        };
        check(&[0.45, 0.35, 0.2], &[0.45, 0.35, 0.2]);
        // Both ends of the leash, and what is left goes to the third.
        check(&[5.0, 0.3, -5.0], &[0.6, 0.3, 0.1]);
        check(&[0.6, 0.4, 0.3], &[0.5, 0.3, 0.2]);
        let tight = Leash::around(&[1.0, 0.0], 0.0);
        assert_eq!(tight.nearest(&[0.0, 1.0]), [1.0, 0.0]);
    }
}
