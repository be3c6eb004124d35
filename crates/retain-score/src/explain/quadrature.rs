//! Gauss–Legendre points on the unit interval: `n` of them integrate every polynomial of degree `2n − 1` exactly.

/// A point of the rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// Where, strictly within `(0, 1)`.
    pub(super) t: f64,
    /// `1 − t`, without the rounding of the subtraction.
    pub(super) rest: f64,
    /// All weights add up to 1.
    pub(super) weight: f64,
}

/// The rule with `n` points, rising.
///
/// Roots of the Legendre polynomial by Newton's method from the usual first guess; see Press et al., "Numerical Recipes", 4.6.
pub(super) fn gauss_legendre(n: usize) -> Vec<Point> {
    let mut points = vec![Point { t: 0.5, rest: 0.5, weight: 1.0 }; n];
    for i in 0..n.div_ceil(2) {
        // From −1 up; the other half mirrors it.
        let mut x = -libm::cos(std::f64::consts::PI * (i as f64 + 0.75) / (n as f64 + 0.5));
        // Newton doubles the digits of a good guess each time.
        for _ in 0..6 {
            let (value, slope) = legendre(n, x);
            x -= value / slope;
        }
        let (_, slope) = legendre(n, x);
        let (t, rest) = (f64::midpoint(1.0, x), f64::midpoint(1.0, -x));
        let weight = 1.0 / ((1.0 - x * x) * slope * slope);
        points[i] = Point { t, rest, weight };
        points[n - 1 - i] = Point { t: rest, rest: t, weight };
    }
    points
}

/// The Legendre polynomial of degree `n` above 0 and its slope, within `(−1, 1)`.
fn legendre(n: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (1.0, x);
    for degree in 2..=n {
        let degree = degree as f64;
        (before, value) = (value, ((2.0 * degree - 1.0) * x * value - (degree - 1.0) * before) / degree);
    }
    (value, n as f64 * (x * value - before) / (x * x - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_integrated_exactly() {
        for n in [1, 2, 3, 4, 5, 8, 16, 40, 128] {
            let points = gauss_legendre(n);
            assert!(points.is_sorted_by(|a, b| a.t < b.t) && points[0].t > 0.0 && points[n - 1].rest > 0.0);
            for power in 0..2 * n as i32 {
                let integral: f64 = points.iter().map(|point| point.weight * point.t.powi(power)).sum();
                let exact = 1.0 / f64::from(power + 1);
                assert!((integral - exact).abs() < 1e-14, "{n} points, power {power}: {integral} instead of {exact}");
            }
        }
    }

    #[test]
    fn the_power_after_the_last_is_not_exact() {
        let integral: f64 = gauss_legendre(2).iter().map(|point| point.weight * point.t.powi(4)).sum();
        assert!((integral - 0.2).abs() > 1e-3);
    }
}
