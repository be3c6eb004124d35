//! Margins that hold for any number of rows, if the range of what is averaged is known.

/// How far the mean of `values` may be above the truth, at most with probability `delta`.
///
/// `range` is the width that values can have, not the one they happened to have. Wider than a bootstrap's margin, but no
/// approximation. Infinite for fewer than two values.
///
/// # Source
/// Maurer and Pontil (2009), theorem 4.
pub fn bernstein_margin(values: &[f64], range: f64, delta: f64) -> f64 {
    if values.len() < 2 {
        return f64::INFINITY;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (n - 1.0);
    let log = (2.0 / delta).ln();
    (2.0 * variance * log / n).sqrt() + 7.0 * range * log / (3.0 * (n - 1.0))
}
