//! Thresholds of models that compare in `f32`, for rows in `f64`.
//!
//! XGBoost and CatBoost round a value to the nearest `f32`, ties to even, before they compare it. The question they ask of a value in
//! `f64` is therefore not whether it is below the threshold, but whether it is below the point where rounding reaches the threshold.

/// The one after the largest `f32`, if it had one: where rounding to infinity is measured from.
const BEYOND_MAX: f64 = 340_282_366_920_938_463_463_374_607_431_768_211_456.0;

/// The `f64` boundary `b` such that `x < b` for an `f64` `x` exactly when `(x as f32) < threshold`.
pub(crate) fn below_f32(threshold: f32) -> f64 {
    // Neither zero lies below the other.
    let threshold = if threshold == 0.0 { 0.0 } else { threshold };
    if threshold == f32::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    let halfway = f64::midpoint(as_wide(threshold.next_down()), as_wide(threshold));
    // A tie goes to the even mantissa; infinity counts as even, since its bits end in zeros.
    if threshold.to_bits() & 1 == 0 { halfway } else { halfway.next_up() }
}

/// The boundary for `(x as f32) <= threshold`.
pub(crate) fn at_most_f32(threshold: f32) -> f64 {
    below_f32(threshold.next_up())
}

fn as_wide(value: f32) -> f64 {
    if value.is_infinite() { BEYOND_MAX.copysign(f64::from(value)) } else { f64::from(value) }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    #[track_caller]
    fn check(threshold: f32, value: f64) {
        assert_eq!(value < below_f32(threshold), (value as f32) < threshold, "{value:e} < {threshold:e}");
        assert_eq!(value < at_most_f32(threshold), (value as f32) <= threshold, "{value:e} <= {threshold:e}");
    }

    /// Values around a threshold: itself, its neighbours in `f32`, the points halfway between, and their neighbours in `f64`.
    fn around(threshold: f32) -> Vec<f64> {
        let neighbours = [threshold.next_down().next_down(), threshold.next_down(), threshold, threshold.next_up()];
        let finite = neighbours.map(f64::from).map(|value| value.clamp(f64::MIN, f64::MAX));
        let halfway = finite.windows(2).map(|pair| f64::midpoint(pair[0], pair[1]));
        let all: Vec<f64> = finite.iter().copied().chain(halfway).collect();
        all.iter().flat_map(|value| [value.next_down(), *value, value.next_up()]).filter(|value| value.is_finite()).collect()
    }

    #[test]
    fn special_thresholds_flip_where_the_rounded_value_does() {
        let special = [0.0, -0.0, f32::MIN_POSITIVE, f32::from_bits(1), -f32::from_bits(1), f32::MAX, f32::MIN, 1.0, 0.1, -1.5];
        for threshold in special {
            for value in around(threshold).into_iter().chain([0.0, -0.0, 1e-60, -1e-60, 1e300, -1e300, f64::MAX, f64::MIN]) {
                check(threshold, value);
            }
        }
        assert_eq!((below_f32(f32::NEG_INFINITY), below_f32(f32::INFINITY) < f64::MAX), (f64::NEG_INFINITY, true));
    }

    #[test]
    fn thresholds_flip_where_the_rounded_value_does() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        for _ in 0..20_000 {
            let threshold = f32::from_bits(rng.random());
            let value = f64::from_bits(rng.random());
            if threshold.is_finite() && !value.is_nan() {
                check(threshold, value);
                for value in around(threshold) {
                    check(threshold, value);
                }
            }
        }
    }
}
