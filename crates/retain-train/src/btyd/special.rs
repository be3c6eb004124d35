//! The special functions that the likelihoods need, from sums where those are exact and from asymptotic series where they are long.

/// Up to this many factors are multiplied out; beyond, the difference of two `lgamma` has digits enough.
const LONGEST_SUM: u32 = 64;
/// Above this argument seven terms of the asymptotic series of the digamma function give all digits of an `f64`.
const ASYMPTOTIC_FROM: f64 = 10.0;
/// Its coefficients: the Bernoulli numbers `B(2k) / 2k`, the last first.
const SERIES: [f64; 7] =
    [1.0 / 12.0, -1.0 / 12.0 * (691.0 / 2730.0), 1.0 / 132.0, -1.0 / 240.0, 1.0 / 252.0, -1.0 / 120.0, 1.0 / 12.0];

/// ln of the rising factorial `z (z + 1) … (z + n − 1)`, which is `lnΓ(z + n) − lnΓ(z)`; `z` is above zero.
///
/// The difference of two `lgamma` loses all digits where `z` is large and `n` small, which is where a degenerate fit ends.
pub(super) fn ln_rising(z: f64, n: u32) -> f64 {
    if n > LONGEST_SUM {
        return libm::lgamma(z + f64::from(n)) - libm::lgamma(z);
    }
    (0..n).map(|i| libm::log(z + f64::from(i))).sum()
}

/// Derivative of [`ln_rising`] by `z`: `ψ(z + n) − ψ(z)`.
pub(super) fn ln_rising_slope(z: f64, n: u32) -> f64 {
    if n > LONGEST_SUM {
        return digamma(z + f64::from(n)) - digamma(z);
    }
    (0..n).map(|i| 1.0 / (z + f64::from(i))).sum()
}

/// The digamma function ψ for an argument above zero.
///
/// # Source
/// Recurrence and asymptotic series: Abramowitz and Stegun (1964), 6.3.5 and 6.3.18.
pub(super) fn digamma(mut x: f64) -> f64 {
    let mut below = 0.0;
    while x < ASYMPTOTIC_FROM {
        below -= 1.0 / x;
        x += 1.0;
    }
    let inverse_square = 1.0 / (x * x);
    let series = SERIES.iter().fold(0.0, |sum, term| (sum + term) * inverse_square);
    below + libm::log(x) - 0.5 / x - series
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `SciPy` 1.17.1 (`scipy.special.digamma`).
    #[test]
    fn digamma_has_its_known_values() {
        let known = [
            (1e-3, -1_000.575_571_931_810_3),
            (0.5, -1.963_510_026_021_423_5),
            (1.0, -0.577_215_664_901_532_9),
            (3.7, 1.167_153_539_361_511_3),
            (25.0, 3.198_742_512_851_974),
            (1e6, 13.815_510_057_964_19),
        ];
        for (x, expected) in known {
            assert!((digamma(x) - expected).abs() < 1e-13 * f64::abs(expected).max(1.0), "ψ({x}) = {}", digamma(x));
        }
    }

    #[test]
    fn short_and_long_rising_factorials_agree() {
        for z in [0.01, 0.7, 3.0, 40.0] {
            for n in [1, 5, LONGEST_SUM] {
                let long = libm::lgamma(z + f64::from(n)) - libm::lgamma(z);
                assert!((ln_rising(z, n) - long).abs() < 1e-10, "z {z}, n {n}");
                let slope = digamma(z + f64::from(n)) - digamma(z);
                assert!((ln_rising_slope(z, n) - slope).abs() < 1e-10, "z {z}, n {n}");
            }
        }
        assert_eq!(ln_rising(1e12, 1), libm::log(1e12));
    }
}
