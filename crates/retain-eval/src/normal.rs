//! The standard normal distribution, as far as intervals need it.

/// z of 80 % power: the conventional chance of noticing a regression that is there.
pub(crate) const Z_POWER_80: f64 = 0.841_621_233_572_914_3;

/// A confidence that intervals can be made of: within 0.5 and 0.9999, the lower one for NaN.
pub(crate) fn held_confidence(confidence: f64) -> f64 {
    if confidence.is_nan() { 0.5 } else { confidence.clamp(0.5, 0.9999) }
}

/// The number that a standard normal variable exceeds with probability `(1 − confidence) / 2`; 1.96 for 0.95.
pub fn two_sided_z(confidence: f64) -> f64 {
    // Φ is inverted by Newton's method: libm has erfc to the last digits, and Φ'' makes the iteration from 0 rise monotonically.
    let tail = (1.0 - confidence) / 2.0;
    let mut z = 0.0_f64;
    for _ in 0..100 {
        let excess = 0.5 * libm::erfc(z / std::f64::consts::SQRT_2) - tail;
        let density = libm::exp(-z * z / 2.0) / (2.0 * std::f64::consts::PI).sqrt();
        let step = excess / density;
        z += step;
        if step.abs() < 1e-14 {
            break;
        }
    }
    z
}

/// Wilson's score interval (1927) for a rate found among `n_rows` independent rows; `(0, 1)` without rows.
///
/// `n_rows` may be an effective number of rows, which need not be whole.
pub fn wilson(rate: f64, n_rows: f64, confidence: f64) -> (f64, f64) {
    if n_rows <= 0.0 {
        return (0.0, 1.0);
    }
    let (n, z) = (n_rows, two_sided_z(confidence));
    let center = rate + z * z / (2.0 * n);
    let spread = z * (rate * (1.0 - rate) / n + z * z / (4.0 * n * n)).sqrt();
    let shrink = 1.0 + z * z / n;
    (((center - spread) / shrink).clamp(0.0, rate), ((center + spread) / shrink).clamp(rate, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_equal_the_tables() {
        // scipy.stats.norm.ppf of 0.975, 0.995, 0.75, 0.9995 and 0.8.
        for (confidence, z) in [
            (0.95, 1.959_963_984_540_054),
            (0.99, 2.575_829_303_548_900_4),
            (0.5, 0.674_489_750_196_081_7),
            (0.999, 3.290_526_731_491_926),
        ] {
            assert!((two_sided_z(confidence) - z).abs() < 1e-12, "{confidence}: {}", two_sided_z(confidence));
        }
        assert!((two_sided_z(0.6) - Z_POWER_80).abs() < 1e-12);
    }

    #[test]
    fn wilson_equals_published_values() {
        // Newcombe (1998), table I, method 3: 81 of 263 and 0 of 20.
        let check = |(low, high): (f64, f64), expected: (f64, f64)| {
            assert!((low - expected.0).abs() < 5e-5 && (high - expected.1).abs() < 5e-5, "{low} {high}");
        };
        check(wilson(81.0 / 263.0, 263.0, 0.95), (0.2553, 0.3662));
        check(wilson(0.0, 20.0, 0.95), (0.0, 0.1611));
        assert_eq!(wilson(0.0, 0.0, 0.95), (0.0, 1.0));
        assert_eq!(wilson(1.0, 5.0, 0.95).1, 1.0);
    }
}
